"""Cracks by the bands of a named standard; the standards' tables are in `standards.toml`, each with its source.

Left to others: a crack's figures (`findings`), colours (`width_overlay`).
"""

import tomllib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from model.inference.errors import ErrorCode, RequestError

NOTE = "A guide value, not a verdict on safety."
_N_ERRORS = 2  # standard errors of a width between it and a limit, for its band to be certain


@dataclass(frozen=True)
class Bands:
    """Classes of widths.

    Attributes:
        width: which of a crack's widths counts, such as "p95".
        limits_mm: between the classes, rising; a width of exactly that is in the lower one.
        names: of the classes, one more than limits.
    """

    width: str
    limits_mm: tuple[float, ...]
    names: tuple[str, ...]

    def rank(self, told: Mapping[str, Any]) -> int | None:
        """The class of a crack with these properties, 0 for the narrowest; None where it can't be told."""
        width_mm = told.get(f"width_{self.width}_mm")
        if width_mm is None:  # it is narrower than the limit of what can be seen, if that is told
            return 0 if told.get("width_limit_mm", self.limits_mm[0] + 1) <= self.limits_mm[0] else None
        return bisect_left(self.limits_mm, width_mm)

    def is_certain(self, told: Mapping[str, Any]) -> bool:
        """Whether the width is far enough from the limits for its uncertainty."""
        width_mm, error_mm = told.get(f"width_{self.width}_mm"), told.get("width_uncertainty_mm")
        if width_mm is None or error_mm is None:
            return self.rank(told) is not None
        return all(abs(width_mm - limit) > _N_ERRORS * error_mm for limit in self.limits_mm)


BY_WIDTH = Bands(
    "p95", (0.1, 0.2, 0.3, 0.4), ("up to 0.1 mm", "0.1 to 0.2 mm", "0.2 to 0.3 mm", "0.3 to 0.4 mm", "over 0.4 mm")
)


@dataclass(frozen=True)
class Standard:
    """One row of a standard's table."""

    key: str
    exposure: str
    title: str
    exposure_title: str
    source: str
    bands: Bands

    def told(self) -> dict[str, Any]:
        """As answers have it, once."""
        return {
            "name": self.key,
            "title": self.title,
            "exposure": self.exposure,
            "exposure_title": self.exposure_title,
            "limits_mm": self.bands.limits_mm,
            "width": self.bands.width,
            "source": self.source,
            "note": NOTE,
        }

    def band(self, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """The band of a crack with these properties, in mm; None where its width can't be told that well."""
        rank = self.bands.rank(told)
        if rank is None:
            return None
        edges = (None, *self.bands.limits_mm, None)
        return {
            "name": self.bands.names[rank],
            "above_mm": edges[rank],
            "up_to_mm": edges[rank + 1],
            "is_certain": self.bands.is_certain(told),
        }

    def counted(self, told: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        """How many cracks there are by band, and of how many the band can't be told."""
        ranks = Counter(self.bands.rank(each) for each in told)
        return {**{name: ranks[rank] for rank, name in enumerate(self.bands.names)}, "not told": ranks[None]}


def names() -> list[str]:
    return list(_tables())


def exposures() -> list[str]:
    """Of all standards."""
    return list(dict.fromkeys(name for table in _tables().values() for name in table["exposures"]))


def find(key: str, exposure: str | None) -> Standard:
    """The row of a standard's table. Raises RequestError (PARAMETER_INVALID): there is no such standard, or row in it."""
    table = _tables().get(key)
    if table is None:
        raise _invalid("standard", key, names())
    row = table["exposures"].get(exposure)
    if row is None:
        raise _invalid("exposure", exposure, list(table["exposures"]), f" with standard={key}")
    bands = tuple(f"{table['name']}: {band}" for band in table["bands"])
    return Standard(
        key,
        str(exposure),
        table["title"],
        row["title"],
        table["source"],
        Bands(table["width"], tuple(row["limits_mm"]), bands),
    )


def _invalid(name: str, found: str | None, expected: list[str], where: str = "") -> RequestError:
    said = f"{name}={found!r}" if found is not None else f"no {name}"
    return RequestError(ErrorCode.PARAMETER_INVALID, f"{said}{where}: expected one of {', '.join(expected)}.")


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("standards.toml").read_text(encoding="utf-8"))
