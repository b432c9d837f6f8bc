"""Cracks by how wide they are: classes for layers, colours and histograms. No grading: that is a standard's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# What inspectors of concrete decide on (0.1 to 0.4 mm) and of pavements (3, 6 and 19 mm; FHWA-HRT-13-092, section 1).
_BOUNDS = {"mm": (0.1, 0.2, 0.3, 0.4, 1.0, 3.0, 6.0, 19.0), "px": (3.0, 4.0, 6.0, 10.0, 20.0)}


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
    told = [f"{bound:g}" for bound in bounds(unit)]
    names = [f"up to {told[0]} {unit}", *(f"{low} to {high} {unit}" for low, high in pairwise(told))]
    names = ["too narrow to tell", *names, f"over {told[-1]} {unit}"]
    return [WidthClass(rank, name) for rank, name in enumerate(names)]


def unit_of(properties: Mapping[str, Any]) -> str:
    """The unit that a crack's figures are told in: with a marker some are in pixels, as they are too far from it."""
    return "mm" if properties.get("length_mm") is not None else "px"


def width_class(properties: Mapping[str, Any]) -> WidthClass:
    """The class of a crack, by its 95th percentile: its widest place but for single outliers."""
    unit = unit_of(properties)
    width = properties.get(f"width_p95_{unit}")
    rank = 0 if width is None else 1 + sum(width > bound for bound in bounds(unit))
    return classes(unit)[rank]
