"""From pixels to millimetres on the surface: a photograph's scale, where it comes from, and a crack's figures by it.

Left to others: where the scale of a photograph comes from (`surface`), one that isn't the same everywhere (`markers`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from model.inference.cracks import Crack

MM_PLACES = 4


class ScaleSource(StrEnum):
    """Where a photograph's scale comes from."""

    GIVEN = "given"
    CAMERA = "camera"
    MARKER = "marker"


class SurfaceScale(Protocol):
    """The scale of the surface that a photograph shows."""

    @property
    def mm_per_px(self) -> float:
        """How large a pixel is; where that isn't the same everywhere, at the marker."""

    @property
    def source(self) -> ScaleSource: ...

    @property
    def is_even(self) -> bool:
        """Whether it is the same everywhere; else some cracks may have no figures in millimetres."""

    def clear(self, prob_hw_u8: NDArray[np.uint8]) -> None:
        """Set the crack probability to 0 where the photograph shows what tells the scale, and no surface."""

    def figures_mm(self, crack: Crack, width_px: int) -> dict[str, Any]:
        """What a crack's figures are in millimetres, and what else is told of the scale there.

        Args:
            width_px: of the photograph.
        """


@dataclass(frozen=True)
class Scale:
    """The same everywhere."""

    mm_per_px: float
    source: ScaleSource
    is_even: ClassVar[bool] = True

    def clear(self, prob_hw_u8: NDArray[np.uint8]) -> None:
        """Nothing in the photograph gives the scale, so nothing is erased."""

    def figures_mm(self, crack: Crack, width_px: int) -> dict[str, Any]:
        return self.to_mm(crack.figures)

    def to_mm(self, figures: Mapping[str, Any]) -> dict[str, float | None]:
        """Of a crack's figures in pixels those that a scale adds."""
        told = {}
        for name, source in in_mm(figures).items():
            factor = self.mm_per_px ** (2 if name.endswith("2") else 1)
            told[name] = None if figures[source] is None else round(figures[source] * factor, MM_PLACES)
        return told


def in_mm(names: Iterable[str]) -> dict[str, str]:
    """Of the figures in pixels those that a scale adds, by the names of the figures that they come from."""
    lengths = (name for name in names if name.endswith("_px") and name.startswith(("length_", "width_")))
    return {name.removesuffix("_px") + "_mm": name for name in lengths} | {"area_mm2": "area_px"}
