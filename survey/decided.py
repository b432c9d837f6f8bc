"""What people decided about the photographs of an inspection that a server kept, once it is fetched into a survey's folder.

Left to others: asking the server (`fetch`), and storing it (`findings.About`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from inspection.findings import Mark
from inspection.left_out import Box, Kind, LookAlike
from inspection.taken import Taken


@dataclass(frozen=True)
class Decided:
    """
    Attributes:
        etag: of the photograph as it was fetched.
        taken: when and where, if the inspection keeps that; the photograph's file doesn't hold it.
        look_alikes: what was marked as no crack.
        zones: boxes that no figure counts.
        changed_by, changed_at: who decided or changed it last, and when.
    """

    etag: str
    state: Mark
    note: str
    quality: str
    taken: Taken
    look_alikes: tuple[LookAlike, ...]
    zones: tuple[Box, ...]
    changed_by: str = ""
    changed_at: str = ""

    @property
    def by_people(self) -> tuple[Mark, tuple[LookAlike, ...], tuple[Box, ...], str, str, str]:
        """As a `Photograph` has it."""
        return self.state, self.look_alikes, self.zones, self.note, self.changed_by, self.changed_at

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From a server's answer, or from what was stored. Raises KeyError, TypeError, ValueError if it is neither."""
        marked = tuple(LookAlike(_box(each["box"]), Kind(each["kind"])) for each in told["look_alikes"])
        zones, taken = tuple(map(_box, told["zones"])), Taken(**told.get("taken", {}))
        last = told.get("changed_by", ""), told.get("changed_at", "")
        return cls(told["etag"], Mark(told["state"]), told["note"], told.get("quality", "normal"), taken, marked, zones, *last)


def _box(sides: Any) -> Box:
    left, top, right, bottom = sides
    return left, top, right, bottom
