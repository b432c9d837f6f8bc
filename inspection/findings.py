"""Photographs with their cracks, as tables and reports show them.

Left to others: where they are kept (`survey.findings`, `sidecar.reporting`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inspection.left_out import Box, LookAlike, counted, covered
from inspection.rows import Row
from inspection.taken import Taken
from model.inference import standards
from model.inference.millimetres import Scale, ScaleSource


class Mark(StrEnum):
    """What a person decided about a photograph of an inspection."""

    UNSEEN = "unseen"
    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    REJECTED = "rejected"  # nothing of it is reported


@dataclass(frozen=True)
class Photograph:
    """A photograph's row, the properties of its cracks as in `response=cracks`, when and where it was taken, and what a person
    decided about it; `mark` is None in surveys, where nobody decides.

    Attributes:
        look_alikes: what was marked as not a crack; the cracks don't contain it.
        zones: boxes that no figure counts.
        note: a person's.
        changed_by, changed_at: who decided or changed it last, and when; empty in surveys.
    """

    row: Row
    given: Scale | None
    taken: Taken
    standard: standards.Standard | None = None
    mark: Mark | None = None
    look_alikes: tuple[LookAlike, ...] = ()
    zones: tuple[Box, ...] = ()
    note: str = ""
    changed_by: str = ""
    changed_at: str = ""

    @property
    def decided(self) -> tuple[str, str]:
        """Who decided about it, and when; empty if nobody has."""
        return ("", "") if self.mark in (None, Mark.UNSEEN) else (self.changed_by, self.changed_at)

    @property
    def scale(self) -> Scale | None:
        """One scale for the whole photograph: given, or from its camera. With a marker each crack has its own."""
        told = self.row.scale or {}
        if self.given is None and told.get("scale_source") in (ScaleSource.GIVEN, ScaleSource.CAMERA):
            return Scale(told["mm_per_px"], ScaleSource(told["scale_source"]))
        return self.given

    @property
    def told_scale(self) -> dict[str, Any]:
        """As in answers: `mm_per_px`, `scale_source`, and `scale_note` if a scale was asked for and not found."""
        if self.given is not None:
            return {"mm_per_px": self.given.mm_per_px, "scale_source": self.given.source}
        return self.row.scale or {}

    @cached_property
    def cracks(self) -> list[dict[str, Any]]:
        scale = self.scale
        told = [crack | scale.to_mm(crack) if scale else crack for crack in self.row.cracks or ()]
        if self.standard is None:
            return told
        return [{**crack, "band": self.standard.band(crack)} if "length_mm" in crack else crack for crack in told]

    @property
    def left_out(self) -> str:
        """What a person left out of its figures, as a sentence; empty if nothing was."""
        told = []
        if self.zones:
            share = covered(self.zones, (self.row.height or 0, self.row.width or 0)).mean()
            parts = "1 part counts" if len(self.zones) == 1 else f"{len(self.zones)} parts count"
            told.append(f"{parts} in no figure: {share:.1%} of the photograph.")
        if self.look_alikes:
            told.append(f"Marked as no crack: {counted(self.look_alikes)}.")
        return " ".join(told)


class Examination(Protocol):
    """How all photographs were examined."""

    @property
    def quality(self) -> str:
        """The quality with which the model was asked, such as "normal"."""

    @property
    def scale(self) -> Scale | None:
        """The scale given for all of them; None if there is none."""

    @property
    def standard(self) -> standards.Standard | None:
        """The standard whose bands the cracks with a scale get; None if none is named."""


class Findings(Examination, Protocol):
    """The photographs of a report, and what holds for all of them."""

    @property
    def title(self) -> str:
        """The report's title if nobody names the structure."""

    @property
    def elsewhere(self) -> str:
        """The files that list all cracks and all reasons; a report has only the first ones."""

    def photographs(self) -> Iterator[Photograph]:
        """All known photographs, in their order."""

    def find(self, file: str) -> Photograph:
        """Raises KeyError for an unknown file."""

    def picture(self, file: str) -> tuple[NDArray[np.uint8], bool]:
        """The upright photograph (height, width, 3) and True; or, if its file has changed, a stand-in and False."""


_NOT_IN_NAMES, _MAX_NAME_BYTES = re.compile(r'[<>:"/\\|?*]'), 200  # Windows has no such names; most systems take 255 bytes


def file_name(text: str) -> str:
    """The text as a part of a file's name that every system takes."""
    return printable(_NOT_IN_NAMES.sub("_", text)).encode()[:_MAX_NAME_BYTES].decode(errors="ignore")


def printable(text: str) -> str:
    """The text on one line, without characters that XML, DXF or people can't read: a file's name may be any bytes."""
    return "".join(" " if char.isspace() else char if char.isprintable() else "\ufffd" for char in text)
