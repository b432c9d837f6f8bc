"""A flat surface that a photograph shows in perspective: the scale at each place, and how certain it is.

Left to others: how the surface is found (`markers`), what is told of a crack on it (`findings`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

MAX_UNCERTAINTY_RATIO = 0.1  # of a length: where it is larger, nothing is told in millimetres
_LOOK_EVERY = 8  # points of a centre line
_DIRECTIONS = np.array([(1, 0), (math.sqrt(0.5), math.sqrt(0.5)), (0, 1), (-math.sqrt(0.5), math.sqrt(0.5))])


@dataclass(frozen=True)
class Plane:
    """
    Attributes:
        to_mm: homography (3, 3) from pixels to millimetres on the surface; positive before the camera.
        shaken_to_mm: (n, 3, 3), the same with each of n measured coordinates by its standard error aside.
    """

    to_mm: Float
    shaken_to_mm: Float

    def place(self, points_xy: Float) -> Float:
        """Where points of the photograph (..., 2) are on the surface, in mm; NaN at and beyond the horizon."""
        return _project(self.to_mm, points_xy)

    def picture(self, points_mm: Float) -> Float:
        """Where points of the surface (..., 2) are in the photograph, in px; NaN behind the camera."""
        return _project(self._to_px, points_mm)

    def mm2_per_px2(self, points_xy: Float) -> Float:
        """How much of the surface a pixel shows, at points (..., 2)."""
        return np.asarray(np.abs(np.linalg.det(_jacobians(self.to_mm, points_xy))))

    def along_and_across(self, points_xy: Float, along_xy: Float) -> tuple[Float, Float]:
        """Millimetres by the pixel, along a line and across it, as they are on the surface.

        What is square to a line in the photograph isn't on the surface: of a band's width in the photograph what counts is
        how far apart its edges are there, which is its area by its length.

        Args:
            points_xy: (n, 2).
            along_xy: (n, 2), the line's direction there, of length 1.
        """
        jacobians = _jacobians(self.to_mm, points_xy)
        along = np.hypot(*(jacobians @ along_xy[..., None])[..., 0].T)
        return along, np.abs(np.linalg.det(jacobians)) / along

    def uncertainty_ratio(self, lines_xy: Sequence[Float]) -> float:
        """Standard error of a short length over that length, where it is largest on lines, (n, 2) each, and in the direction in
        which it is; infinite beyond the horizon.
        """
        points_xy = np.concatenate([line[np.r_[0 : len(line) : _LOOK_EVERY, len(line) - 1]] for line in lines_xy])
        with np.errstate(invalid="ignore"):  # beyond the horizon
            from_surface = np.linalg.inv(_jacobians(self.to_mm, points_xy))
            error2 = np.zeros((len(points_xy), len(_DIRECTIONS)))
            for shaken_to_mm in self.shaken_to_mm:
                change = _jacobians(shaken_to_mm, points_xy) @ from_surface - np.eye(2)
                error2 += np.einsum("di,pij,dj->pd", _DIRECTIONS, change, _DIRECTIONS) ** 2
        worst = float(np.sqrt(error2.max()))
        return worst if math.isfinite(worst) else math.inf

    @cached_property
    def _to_px(self) -> Float:
        return np.asarray(np.linalg.inv(self.to_mm), np.float64)


def shaken(coordinates: Float, errors: Float) -> Iterator[Float]:
    """Measured coordinates, as many times as there are: each time another one is by its standard error aside."""
    for index, error in np.ndenumerate(errors):
        moved = coordinates.copy()
        moved[index] += error
        yield moved


def _project(homography: Float, points: Float) -> Float:
    *place, depth = np.moveaxis(points @ homography[:, :2].T + homography[:, 2], -1, 0)
    return np.asarray(np.stack(place, -1) / np.where(depth > 0, depth, np.nan)[..., None])


def _jacobians(homography: Float, points: Float) -> Float:
    """(..., 2, 2): how the projected x and y, by row, change with the point's x and y, by column."""
    depth = points @ homography[2, :2] + homography[2, 2]
    projected = _project(homography, points)
    change = homography[:2, :2] - projected[..., :, None] * homography[2, :2]
    return np.asarray(change / depth[..., None, None])
