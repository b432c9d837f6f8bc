"""Printed markers in a photograph: they tell how large things are on the surface that they were laid on.

A marker is a black square with a pattern by which it is found (ArUco: Garrido-Jurado et al. 2014). There is one by itself, and
a sheet of four. Left to others: what is printed (`survey.markers`), the surface in perspective (`plane`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inference.cracks import Crack
from model.inference.millimetres import MM_PLACES, ScaleSource, in_mm
from model.inference.plane import MAX_UNCERTAINTY_RATIO, Float, Plane, shaken

DICTIONARY = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_50)
N_MODULES = 7  # along a side: the pattern's 5 and a black border
SINGLE = 0  # the number of the marker that is by itself
# The sheet's markers and where their top left corners are, x and y in sides of a marker.
BOARD = {1: (0.0, 0.0), 2: (2.5, 0.0), 3: (0.0, 4.0), 4: (2.5, 4.0)}
BOARD_SIDES = (3.5, 5.0)
MARGIN_SIDES = 1 / N_MODULES  # of white around all of it, without which a marker isn't found on a dark surface

_EDGE_SIDES = 2.75 / N_MODULES  # around it nothing is called crack: margin and label, and the shadow of the paper's edge
_SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
_LOOKED_AT_PX = 1600  # the longer side of a photograph as markers are looked for ...
_MAX_REDUCTION = 3.0  # ... unless it is very large: a marker of 150 px keeps 7 px for each module
_MIN_SIDE_PX = 28  # of a marker there
_CORNER_PX = 0.2  # standard error of a corner's place in the photograph, ...
_FLATNESS_RATIO = 0.002  # ... and, in sides, what paper that isn't quite flat and a lens that isn't quite true add
_CORNER_WINDOW_SIDES = 1 / 16  # around a corner, by which its place is told


@dataclass(frozen=True)
class Markers:
    """What the markers of a photograph tell.

    Attributes:
        planes: the surface by each sheet; more than one where several single markers are seen.
        outlines_xy: what each sheet covers in the photograph, (4, 2), x and y.
        mm_per_px: how large a pixel is at the middle of the sheet that is seen largest.
    """

    planes: list[Plane]
    outlines_xy: list[Float]
    mm_per_px: float
    source: ClassVar[ScaleSource] = ScaleSource.MARKER
    is_even: ClassVar[bool] = False

    def clear(self, prob_hw_u8: NDArray[np.uint8]) -> None:
        """Set the crack probability to 0 where a sheet covers the surface."""
        for outline_xy in self.outlines_xy:
            if np.isfinite(outline_xy).all():
                cv2.fillConvexPoly(prob_hw_u8, np.rint((outline_xy - 0.5) * 16).astype(np.int32), 0, cv2.LINE_8, 4)

    def best_plane(self, lines_xy: Sequence[Float]) -> tuple[Plane, float]:
        """The plane that knows the scale best along lines, and how well: `Plane.uncertainty_ratio`."""
        by_plane = [plane.uncertainty_ratio(lines_xy) for plane in self.planes]
        best = int(np.argmin(by_plane))
        return self.planes[best], by_plane[best]

    def figures_mm(self, crack: Crack, width_px: int) -> dict[str, Any]:
        """Also how sure the scale is at the crack; beyond `MAX_UNCERTAINTY_RATIO` nothing is told in millimetres."""
        plane, uncertainty_ratio = self.best_plane(crack.lines_xy)
        told = {"scale_uncertainty_ratio": round(uncertainty_ratio, MM_PLACES) if math.isfinite(uncertainty_ratio) else None}
        if uncertainty_ratio > MAX_UNCERTAINTY_RATIO:
            return told
        y, x = np.divmod(crack.pixels, width_px)
        area_mm2 = float(plane.mm2_per_px2(np.stack([x, y], axis=1) + 0.5).sum())
        figures = {
            "mm_per_px": math.sqrt(area_mm2 / len(crack.pixels)),
            "length_mm": sum(float(np.hypot(*np.diff(plane.place(line), axis=0).T).sum()) for line in crack.lines_xy),
            "area_mm2": area_mm2,
        }
        along, across = plane.along_and_across(crack.at_xy, crack.along_xy)
        mm_per_px = float(np.median(across)) if len(across) else figures["mm_per_px"]
        figures["width_limit_mm"] = crack.figures["width_limit_px"] * mm_per_px
        if not crack.figures["is_width_below_limit"]:
            # Places are as far apart in the photograph, not on the surface: each counts for as much line as it has there.
            width_mm = crack.width_px * across
            median, p95 = np.quantile(width_mm, [0.5, 0.95], weights=along, method="inverted_cdf").tolist()
            own_mm = crack.figures["width_uncertainty_px"] * mm_per_px
            figures |= {
                "width_mean_mm": float(np.average(width_mm, weights=along)),
                "width_median_mm": median,
                "width_p95_mm": p95,
                "width_max_mm": float(width_mm.max()),
                "width_uncertainty_mm": math.hypot(own_mm, uncertainty_ratio * median),
            }
        names = ("mm_per_px", *in_mm(crack.figures))
        return told | {name: round(figures[name], MM_PLACES) if name in figures else None for name in names}


def find(image_hwc_u8: NDArray[np.uint8], size_mm: float) -> Markers | None:
    """What a photograph's markers tell; None where there is none.

    Args:
        size_mm: the side of a marker's black square.
    """
    sheets = _sheets(*_look(image_hwc_u8))
    if not sheets:
        return None
    planes = [_plane(sheet, size_mm) for sheet in sheets]
    outlines_xy, scales = [], []
    for sheet, plane in zip(sheets, planes, strict=True):
        extent_sides = np.array(sheet.extent_sides)
        outline_sides = _SQUARE * (extent_sides + 2 * _EDGE_SIDES) - _EDGE_SIDES
        outlines_xy.append(plane.picture(outline_sides * size_mm))
        middle_xy = plane.picture(extent_sides / 2 * size_mm)
        scales.append(float(np.sqrt(plane.mm2_per_px2(middle_xy))))
    return Markers(planes, outlines_xy, min(scales))


@dataclass(frozen=True)
class _Sheet:
    """The visible markers of a sheet of paper.

    Attributes:
        offsets_sides: (n, 2), the top left corners of its markers, in sides of a marker.
        corners_xy: (n, 4, 2), their corners in the photograph, from the top left one clockwise.
        extent_sides: of all its markers together, those that aren't seen too.
    """

    offsets_sides: Float
    corners_xy: Float
    extent_sides: tuple[float, float]


def _sheets(numbers: list[int], corners_xy: Float) -> list[_Sheet]:
    counted = Counter(numbers)
    is_board = all(counted[number] <= 1 for number in BOARD)  # otherwise it is unknown which belong together
    on_board = [i for i, number in enumerate(numbers) if number in BOARD and is_board]
    sheets = [_Sheet(np.zeros((1, 2)), corners_xy[i : i + 1], (1.0, 1.0)) for i in range(len(numbers)) if i not in on_board]
    if on_board:
        offsets_sides = np.array([BOARD[numbers[i]] for i in on_board])
        sheets.append(_Sheet(offsets_sides, corners_xy[on_board], BOARD_SIDES))
    return sheets


def _look(image_hwc_u8: NDArray[np.uint8]) -> tuple[list[int], Float]:
    """The numbers of our markers, and their corners (n, 4, 2), from each one's own top left clockwise."""
    cv2.setNumThreads(1)  # other workers need the other cores
    height, width = image_hwc_u8.shape[:2]
    reduction = min(max(max(height, width) / _LOOKED_AT_PX, 1.0), _MAX_REDUCTION)
    small_hw = (round(height / reduction), round(width / reduction))
    small = cv2.cvtColor(cv2.resize(image_hwc_u8, small_hw[::-1], interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    parameters = cv2.aruco.DetectorParameters()
    parameters.minMarkerPerimeterRate = 4 * _MIN_SIDE_PX / max(small_hw)
    parameters.errorCorrectionRate = 0.0  # a pattern that almost matches a marker does not count: no invented millimetres
    found, seen, _ = cv2.aruco.ArucoDetector(DICTIONARY, parameters).detectMarkers(small)
    numbers = [] if seen is None else [int(number) for number in seen.ravel()]
    scale_xy = np.array([width / small_hw[1], height / small_hw[0]])
    ours = [i for i, number in enumerate(numbers) if number == SINGLE or number in BOARD]
    corners_xy = [_refined(image_hwc_u8, (found[i][0] + 0.5) * scale_xy) for i in ours]
    return [numbers[i] for i in ours], np.array(corners_xy, np.float64).reshape(-1, 4, 2)


def _refined(image_hwc_u8: NDArray[np.uint8], corners_xy: Float) -> Float:
    """A marker's corners below the pixel, from the photograph at its own size."""
    height, width = image_hwc_u8.shape[:2]
    reach = max(3, round(_side_px(corners_xy) * _CORNER_WINDOW_SIDES))
    margin = 2 * reach + 8
    left, top = np.maximum(np.floor(corners_xy.min(axis=0)).astype(int) - margin, 0).tolist()
    right, bottom = np.ceil(corners_xy.max(axis=0)).astype(int) + margin
    grey = cv2.cvtColor(
        np.ascontiguousarray(image_hwc_u8[top : min(bottom, height), left : min(right, width)]), cv2.COLOR_RGB2GRAY
    )
    from_corner = (corners_xy - (left, top) - 0.5).astype(np.float32).reshape(-1, 1, 2)  # OpenCV counts from a pixel's middle
    until = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 50, 0.001)
    refined = cv2.cornerSubPix(grey, from_corner, (reach, reach), (-1, -1), until).reshape(-1, 2)
    return np.asarray(refined + np.array([left + 0.5, top + 0.5]), np.float64)


def _plane(sheet: _Sheet, size_mm: float) -> Plane:
    on_paper_mm = ((sheet.offsets_sides[:, None] + _SQUARE) * size_mm).reshape(-1, 2)
    seen_xy = sheet.corners_xy.reshape(-1, 2)
    to_mm = _homography(seen_xy, on_paper_mm)
    side_px = np.repeat([_side_px(corners) for corners in sheet.corners_xy], 4)
    error_px = np.hypot(_CORNER_PX, _FLATNESS_RATIO * side_px)[:, None]
    n_spare = 2 * len(seen_xy) - 8
    if n_spare:  # how far the markers are from being in one plane tells how far the errors are from what they are taken for
        off_xy = Plane(to_mm, to_mm[None]).picture(on_paper_mm) - seen_xy
        error_px = error_px * max(1.0, float(np.sqrt(((off_xy / error_px) ** 2).sum() / n_spare)))
    errors_px = np.broadcast_to(error_px, seen_xy.shape)
    return Plane(to_mm, np.stack([_homography(moved, on_paper_mm) for moved in shaken(seen_xy, errors_px)]))


def _homography(seen_xy: Float, on_paper_mm: Float) -> Float:
    """From pixels to millimetres, by least squares in pixels; its last row gives 1 for the points' middle."""
    to_px, _ = cv2.findHomography(on_paper_mm, seen_xy)
    to_mm = np.linalg.inv(to_px)
    return np.asarray(to_mm / (to_mm[2] @ (*seen_xy.mean(axis=0), 1)), np.float64)


def _side_px(corners_xy: Float) -> float:
    return float(np.hypot(*(np.roll(corners_xy, 1, axis=0) - corners_xy).T).mean())
