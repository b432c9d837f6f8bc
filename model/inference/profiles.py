"""Brightness across a crack's centre line, finer than a pixel: how far the darkness reaches, and how steeply it ends.

Across the line, darkness rises from the wall to the crack and falls again. The network's mask says only where to look: it is
0.8 to 2.5 px wider than what is dark (docs/findings.md has the measurement). Left to others: where darkness is half
(`half_darkness`), what widths these are (`widths`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inference.half_darkness import full_width
from model.inference.skeleton import Float, Index, expand
from model.inference.smooth_lines import Lines

STEP_PX = 2  # along the line
_FINE_PX = 0.5  # across it
_VALUES = 2**19  # that are measured together: places along the lines times steps across them
_PART_PX = 2**14  # of the picture, a side
_WINDOW = 8  # profiles that are averaged: 16 px of the line
_VALUE_EVERY = 2  # profiles
APART = _WINDOW // _VALUE_EVERY  # values that have no profile in common
_BESIDE_PX = 1.5  # that darkness may reach beyond the mask's edge
_FLANK_PX = (2.5, 6.5)  # of wall beyond it, on either side; nearer pixels are darkened by the blur
_LONG_WAY = 1.3  # times the width by the nearest pixels that are no crack
_JUNCTION_HALVES = 2.5  # of the half width there, around a junction
_MAX_REACH_PX = 200.0
_MAX_STEPS = 100  # on either side
_LEAST_CLEAR = 3.0  # contrast over the remaining noise from which darkness counts as clear
_EVEN = 128


@dataclass(frozen=True)
class Profiles:
    """What is seen across a line, a value every 4 px of it and over some 16 px.

    Attributes:
        at_xy: (n, 2), where.
        along_xy: (n, 2), the line's direction there, of length 1.
        mask_px: (n,), the mask's width at even probability.
        dark_px: (n,), the width at half of the darkness; NaN where the photograph shows none.
        steepness: (n,), by which share of itself darkness falls at the edge within `dark_px`, were it to go on like that.
    """

    at_xy: Float
    along_xy: Float
    mask_px: Float
    dark_px: Float
    steepness: Float


_NO_PROFILES = Profiles(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), np.empty(0), np.empty(0))


@dataclass(frozen=True)
class _Places:
    """Where is looked: every `STEP_PX` of a line; not at its ends, where it is round or another line begins.

    Attributes:
        xy, normal_xy: (n, 2), the point, and what is square to the line.
        half_px: (n,), see `Lines`.
        line: (n,), whose it is; rising.
    """

    xy: Float
    normal_xy: Float
    half_px: Float
    line: Index

    def __getitem__(self, chosen: slice | NDArray[Any]) -> "_Places":
        return _Places(self.xy[chosen], self.normal_xy[chosen], self.half_px[chosen], self.line[chosen])


def look_across(
    lines: Lines, image_hwc_u8: NDArray[np.uint8], prob_hw_u8: NDArray[np.uint8], level: int
) -> tuple[Profiles, Index]:
    """Look across the lines of all cracks; also whose crack each profile is, rising.

    Args:
        level: probability, of 255, from which the mask calls a pixel crack.
    """
    places = _places(lines)
    if not len(places.line):
        return _NO_PROFILES, places.line
    # Lines of like width are looked at together, so that as far as the widest of them needs is no waste for the others; and
    # lines of one part of the picture, as OpenCV looks up values in no picture of more than 32,766 pixels a side.
    widest_px = np.zeros(len(lines.crack))
    np.maximum.at(widest_px, places.line, places.half_px)
    size = np.ceil(2 * np.log2(np.maximum(widest_px, 1))).astype(np.int64)
    x, y = (lines.points_xy[lines.first[:-1]] // _PART_PX).astype(np.int64).T
    kind = ((size << 40) + (y << 20) + x)[places.line]
    n_steps = np.minimum(5 * np.exp2(size / 2) + 30, 2 * _MAX_REACH_PX)
    most = (_VALUES / n_steps).astype(np.int64)[places.line]
    order = np.argsort(kind, kind="stable")
    kind, most, places = kind[order], most[order], places[order]
    green_hw_u8 = np.asarray(cv2.extractChannel(image_hwc_u8, 1), np.uint8)  # which has least noise
    found = []
    for begin, end in _chunks(kind, places.line, most):
        found.append(_look_across(places[begin:end], green_hw_u8, prob_hw_u8, level))
    line = np.concatenate([part[1] for part in found])
    back = np.argsort(line, kind="stable")
    parts = [part[0] for part in found]
    profiles = Profiles(*(np.concatenate([getattr(part, each.name) for part in parts])[back] for each in fields(Profiles)))
    return profiles, lines.crack[line[back]]


def _places(lines: Lines) -> _Places:
    n = np.diff(lines.first)
    at_ends_px = lines.half_px[np.stack([lines.first[:-1], lines.first[1:] - 1], axis=1)]
    round_px = np.minimum(np.rint(lines.width_px / 2), (n - 1) // 3).astype(np.int64)[:, None]
    left_out = np.where(lines.is_free, 0, np.rint(_JUNCTION_HALVES * at_ends_px).astype(np.int64))
    n_places = -(-np.maximum(n - left_out.sum(axis=1), 0) // STEP_PX)
    is_junctions_alone = np.bincount(lines.crack, n_places)[lines.crack] == 0
    left_out = np.where(is_junctions_alone[:, None], round_px, left_out)
    n_places = -(-np.maximum(n - left_out.sum(axis=1), 0) // STEP_PX)
    line, chosen = expand(lines.first[:-1] + left_out[:, 0], n_places, STEP_PX)
    before, after = np.maximum(chosen - 1, lines.first[line]), np.minimum(chosen + 1, lines.first[line + 1] - 1)
    along_xy = lines.points_xy[after] - lines.points_xy[before]
    length = np.hypot(*along_xy.T)
    is_going_on = length > 0  # where the line turns back upon itself, it has no normal
    chosen, along_xy = chosen[is_going_on], along_xy[is_going_on] / length[is_going_on, None]
    return _Places(lines.points_xy[chosen], along_xy[:, ::-1] * (-1, 1), lines.half_px[chosen], line[is_going_on])


def _chunks(kind: Index, line: Index, most: Index) -> Iterator[tuple[int, int]]:
    """Of at most so many places of one kind, whole lines if they aren't longer."""
    ends = np.append(np.flatnonzero(np.diff(line) != 0) + 1, len(line)).tolist()
    begin = end = 0
    for line_end in ends:
        if end > begin and (line_end - begin > most[begin] or kind[begin] != kind[line_end - 1]):
            yield begin, end
            begin = end
        end = line_end
        while end - begin > most[begin]:
            yield begin, begin + int(most[begin])
            begin += int(most[begin])
    if end > begin:
        yield begin, end


def _look_across(
    places: _Places, green_hw_u8: NDArray[np.uint8], prob_hw_u8: NDArray[np.uint8], level: int
) -> tuple[Profiles, Index]:
    """Arrays of what is seen are (steps across, places): NumPy is quick along the places, of which there are many more."""
    reach_px = math.ceil(min(2 * _LONG_WAY * float(places.half_px.max()), _MAX_REACH_PX)) + 1
    across = np.arange(-reach_px, reach_px + 1, dtype=np.float32)
    grid = _Grid(prob_hw_u8.shape, places, across)
    is_even, is_crack = grid.values(prob_hw_u8) >= _EVEN, grid.nearest(prob_hw_u8) >= level
    _end_at_the_edge(is_crack, prob_hw_u8.shape, places, across)
    right = _run(is_crack[reach_px:]) - 0.5
    left = _run(is_crack[reach_px::-1]) - 0.5
    # Where another line begins, or the outline is jagged, what is square to the line may be the long way across.
    (is_short,) = np.nonzero(is_crack[reach_px] & (left + right <= _LONG_WAY * 2 * places.half_px))
    if not len(is_short):
        return _NO_PROFILES, places.line[:0]
    even = (_run(is_even[reach_px:]) + _run(is_even[reach_px::-1]) - 1)[is_short]
    places, left, right = places[is_short], left[is_short], right[is_short]
    windows = _windows(places.line)
    places = replace(places, xy=places.xy + places.normal_xy * windows.mean_of((right - left) / 2)[:, None])
    half = (left + right) / 2

    flank_px = min(float(half.max()) + _FLANK_PX[1], _MAX_REACH_PX)
    n_side = min(math.ceil(flank_px / _FINE_PX), _MAX_STEPS)
    across = np.linspace(-flank_px, flank_px, 2 * n_side + 1, dtype=np.float32)
    grid = _Grid(prob_hw_u8.shape, places, across)
    grey, is_wall = grid.values(green_hw_u8), grid.nearest(prob_hw_u8) < level
    is_beside = cv2.inRange(np.abs(across)[:, None] - half.astype(np.float32), *_FLANK_PX)  # 255 where it is
    is_flank = (is_beside & is_wall.view(np.uint8)).view(np.bool_)
    told = windows.every(_VALUE_EVERY)
    of_wall = grey * is_flank
    (sum_below, n_below), (sum_above, n_above) = (
        (told.mean_of(_total(of_wall[side])), told.mean_of(_total(is_flank[side])))
        for side in (slice(n_side), slice(n_side, None))
    )
    wall = (sum_below + sum_above) / np.maximum(n_below + n_above, 1e-9)
    below = np.where(n_below > 0, sum_below / np.maximum(n_below, 1e-9), wall)  # at the picture's edge there is only one side
    above = np.where(n_above > 0, sum_above / np.maximum(n_above, 1e-9), wall)
    places, half, is_flank = places[told.at], told.mean_of(half), is_flank[:, told.at]
    middle, rise = (each.astype(np.float32) for each in ((below + above) / 2, (above - below) / 2))
    reach = np.maximum(half + _FLANK_PX[1] - 2, 1).astype(np.float32)
    tilt = np.asarray(np.clip(across[:, None] / reach, -1, 1), np.float32)
    dark = middle + rise * tilt - told.mean(grey)
    noise = np.sqrt(np.einsum("ij,ij,ij->j", is_flank, dark, dark) / np.maximum(_total(is_flank), 1))
    dark_px, beyond_px, contrast, slope = full_width(dark, across, half + 1)
    is_within = beyond_px <= half + _BESIDE_PX
    is_clear = np.isfinite(dark_px) & (contrast > _LEAST_CLEAR * noise) & is_within
    profiles = Profiles(
        places.xy,
        places.normal_xy[:, ::-1] * (1, -1),
        told.mean_of(np.minimum(even, left + right)),
        np.where(is_clear, dark_px, np.nan),
        dark_px * slope / np.maximum(contrast, 1e-9),
    )
    return profiles, places.line


def _total(values: NDArray[np.uint8] | NDArray[np.bool_]) -> Index:
    """At each place over all steps."""
    return np.asarray(cv2.reduce(values.view(np.uint8), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0], np.int64)


def _run(is_crack: NDArray[np.bool_]) -> Float:
    """At each place, how many of the first steps are True without a break."""
    goes_on, n = is_crack[0].copy(), np.zeros(is_crack.shape[1], np.uint8)  # of at most _MAX_REACH_PX + 2 steps
    for each in is_crack:
        goes_on &= each
        n += goes_on.view(np.uint8)
    return n.astype(np.float64)


@dataclass(frozen=True)
class _Windows:
    """Points, each with its neighbours on the same line: `_WINDOW` profiles, fewer where the line has no more.

    Attributes:
        at: (n,), which points.
        in_line: (n,), how many there are before each on its line.
        low, high: (n,), its neighbours, itself among them.
    """

    at: Index
    in_line: Index
    low: Index
    high: Index

    def every(self, n: int) -> "_Windows":
        """The first point of each line, and each n-th after it."""
        (chosen,) = np.nonzero(self.in_line % n == 0)
        return _Windows(self.at[chosen], self.in_line[chosen], self.low[chosen], self.high[chosen])

    def mean(self, values_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of each step, (steps, places)."""
        total = cv2.integral(values_u8)
        sums = np.diff(total[:, self.high] - total[:, self.low], axis=0).astype(np.float32)
        return np.asarray(sums / (self.high - self.low).astype(np.float32))

    def mean_of(self, values: NDArray[Any]) -> Float:
        total = np.append(0.0, np.cumsum(values, dtype=np.float64))
        return np.asarray((total[self.high] - total[self.low]) / (self.high - self.low))


def _windows(line: Index) -> _Windows:
    begins = np.append(0, np.flatnonzero(np.diff(line)) + 1)
    n = np.diff(np.append(begins, len(line)))
    at, begin, end = np.arange(len(line)), np.repeat(begins, n), np.repeat(begins + n, n)
    high = np.minimum(np.maximum(at - _WINDOW // 2, begin) + _WINDOW, end)
    return _Windows(at, at - begin, np.maximum(high - _WINDOW, begin), high)


def _end_at_the_edge(
    is_crack: NDArray[np.bool_], size_hw: tuple[int, ...], places: _Places, across: NDArray[np.float32]
) -> None:
    """What is beyond the picture's edge is no crack."""
    height, width = size_hw
    x, y = places.xy.T
    (near,) = np.nonzero(np.minimum(np.minimum(x, width - x), np.minimum(y, height - y)) < across[-1])
    x, y = (places.xy[near, axis] + places.normal_xy[near, axis] * across[:, None] for axis in (0, 1))
    is_crack[:, near] &= (x >= 0) & (y >= 0) & (x <= width) & (y <= height)


class _Grid:
    """Places between pixels, (steps across, places), and a picture's values there; beyond the picture's edge its last ones."""

    def __init__(self, size_hw: tuple[int, ...], places: _Places, across: NDArray[np.float32]) -> None:
        first_xy = np.floor(places.xy.min(axis=0)).astype(np.int64) + math.floor(across[0]) - 1
        last_xy = np.ceil(places.xy.max(axis=0)).astype(np.int64) + math.ceil(across[-1]) + 1
        (left, top), (right, bottom) = (np.clip(xy, 0, size_hw[::-1]).tolist() for xy in (first_xy, last_xy))
        self._box = slice(top, bottom), slice(left, right)
        from_xy, normal_xy = (places.xy - (left + 0.5, top + 0.5)).astype(np.float32), places.normal_xy.astype(np.float32)
        self._x, self._y = (across[:, None] * normal_xy[:, axis] for axis in (0, 1))
        self._x += from_xy[:, 0]
        self._y += from_xy[:, 1]

    def nearest(self, plane_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Nearest pixel: between two pixels of a mask there is no third value."""
        return self._looked_up(plane_hw, cv2.INTER_NEAREST)

    def values(self, plane_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bilinear."""
        return self._looked_up(plane_hw, cv2.INTER_LINEAR)

    def _looked_up(self, plane_hw: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
        looked_up = cv2.remap(plane_hw[self._box], self._x, self._y, how, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(looked_up, np.uint8)
