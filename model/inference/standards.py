"""Sorts cracks into the bands of a named standard; the tables are in `standards.toml`, each with its source.

Left to others: a crack's figures (`findings`), colours (`width_overlay`).
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from model.inference.errors import ErrorCode, RequestError
from model.inference.width_classes import Bands

NOTE = "A guide value, not a verdict on safety."


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
        """The band of a crack with these properties, in mm; None if its width isn't known that well."""
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
