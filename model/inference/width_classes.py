"""Classes of crack widths, for colours, layers and histograms. They don't grade: standards do that (`standards`)."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# The limits by which inspectors of concrete, and of pavements (FHWA-HRT-13-092, section 1), decide.
_CONCRETE_MM, _PAVEMENT_MM = (0.1, 0.2, 0.3, 0.4), (1.0, 3.0, 6.0, 19.0)
_BOUNDS = {"mm": _CONCRETE_MM + _PAVEMENT_MM, "px": (3.0, 4.0, 6.0, 10.0, 20.0)}
_N_ERRORS = 2  # standard errors of a width between it and a limit, for its band to be certain


@dataclass(frozen=True)
class Bands:
    """Classes of widths in millimetres: a standard's, or `BY_WIDTH`.

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


@dataclass(frozen=True)
class WidthClass:
    """`rank` is 0 for cracks narrower than can be told, then rises with the width."""

    rank: int
    name: str


def bounds(unit: str) -> Sequence[float]:
    """Between the classes that can be told, in "mm" or "px", rising; a width of exactly that is in the lower one."""
    return _BOUNDS[unit]


def classes(unit: str) -> Sequence[WidthClass]:
    """All classes in "mm" or "px", the narrowest first."""
    names = ["too narrow to tell", *_names(bounds(unit), unit)]
    return [WidthClass(rank, name) for rank, name in enumerate(names)]


def _names(limits: Sequence[float], unit: str) -> tuple[str, ...]:
    told = [f"{limit:g}" for limit in limits]
    between = (f"{low} to {high} {unit}" for low, high in pairwise(told))
    return f"up to {told[0]} {unit}", *between, f"over {told[-1]} {unit}"


def unit_of(properties: Mapping[str, Any]) -> str:
    """The unit that a crack's figures are told in: with a marker some are in pixels, as they are too far from it."""
    return "mm" if properties.get("length_mm") is not None else "px"


def width_class(properties: Mapping[str, Any]) -> WidthClass:
    """The class of a crack, by its 95th percentile: its widest place but for single outliers."""
    unit = unit_of(properties)
    width = properties.get(f"width_p95_{unit}")
    rank = 0 if width is None else 1 + sum(width > bound for bound in bounds(unit))
    return classes(unit)[rank]


BY_WIDTH = Bands("p95", _CONCRETE_MM, _names(_CONCRETE_MM, "mm"))  # as many as people can tell apart by colour in a photograph
