"""What is seen across a crack's centre line, below the pixel: how far its darkness reaches, and how steeply it ends.

Across the line, darkness rises from the wall to the crack and falls again. The network's mask says only where to look: it is
0.8 to 2.5 px wider than what is dark (docs/findings.md has the measurement). Left to others: what widths these are (`widths`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inference.skeleton import Float, Index, expand
from model.inference.smooth_lines import Lines

STEP_PX = 2  # along the line
_FINE_PX = 0.5  # across it
_CHUNK = 1024  # points that are looked at together
WINDOW = 8  # profiles that are averaged: 16 px of the line
_BESIDE_PX = 1.5  # that darkness may reach beyond the mask's edge
_FLANK_PX = (2.5, 6.5)  # of wall beyond it, on either side; what is nearer is darkened by the blur
_LONG_WAY = 1.3  # times the width by the nearest pixels that are no crack
_JUNCTION_HALVES = 2.5  # of the half width there, around a junction
_MAX_REACH_PX = 200.0
_MAX_STEPS = 100  # on either side
_LEAST_CLEAR = 3.0  # contrast over the noise that is left in it, for darkness to be called clear
_EVEN = 128


@dataclass(frozen=True)
class Profiles:
    """What is seen across a line, each value over some 16 px of it.

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
    # Lines of like width are looked at together, so that as far as the widest of them needs is no waste for the others.
    widest_px = np.zeros(len(lines.crack))
    np.maximum.at(widest_px, places.line, places.half_px)
    size = np.ceil(2 * np.log2(np.maximum(widest_px, 1))).astype(np.int64)[places.line]
    order = np.argsort(size, kind="stable")
    size, places = size[order], places[order]
    found = []
    for begin, end in _chunks(size, places.line):
        found.append(_look_across(places[begin:end], image_hwc_u8, prob_hw_u8, level))
    line = np.concatenate([part[1] for part in found])
    back = np.argsort(line, kind="stable")
    parts = [part[0] for part in found]
    profiles = Profiles(*(np.concatenate([getattr(part, each.name) for part in parts])[back] for each in fields(Profiles)))
    return profiles, lines.crack[line[back]]


def _places(lines: Lines) -> _Places:
    n = np.diff(lines.first)
    at_ends_px = lines.half_px[np.stack([lines.first[:-1], lines.first[1:] - 1], axis=1)]
    round_px = np.minimum(np.rint(lines.width_px / 2), (n - 1) // 3).astype(np.int64)[:, None]
    left_out = np.where(lines.is_free, round_px, np.rint(_JUNCTION_HALVES * at_ends_px).astype(np.int64))
    n_places = -(-np.maximum(n - left_out.sum(axis=1), 0) // STEP_PX)
    is_junctions_alone = np.bincount(lines.crack, n_places)[lines.crack] == 0
    left_out = np.where(is_junctions_alone[:, None], round_px, left_out)
    n_places = -(-np.maximum(n - left_out.sum(axis=1), 0) // STEP_PX)
    line, chosen = expand(lines.first[:-1] + left_out[:, 0], n_places, STEP_PX)
    before, after = np.maximum(chosen - 1, lines.first[line]), np.minimum(chosen + 1, lines.first[line + 1] - 1)
    along_xy = lines.points_xy[after] - lines.points_xy[before]
    length = np.hypot(*along_xy.T)
    is_going_on = length > 0  # where it turns back upon itself, nothing is square to it
    chosen, along_xy = chosen[is_going_on], along_xy[is_going_on] / length[is_going_on, None]
    return _Places(lines.points_xy[chosen], along_xy[:, ::-1] * (-1, 1), lines.half_px[chosen], line[is_going_on])


def _chunks(size: Index, line: Index) -> Iterator[tuple[int, int]]:
    """Of some `_CHUNK` places of one size, whole lines if they aren't longer."""
    ends = np.append(np.flatnonzero(np.diff(line) != 0) + 1, len(line)).tolist()
    sizes = size.tolist()
    begin = end = 0
    for line_end in ends:
        if end > begin and (line_end - begin > _CHUNK or sizes[begin] != sizes[line_end - 1]):
            yield begin, end
            begin = end
        end = line_end
        while end - begin > _CHUNK:
            yield begin, begin + _CHUNK
            begin += _CHUNK
    if end > begin:
        yield begin, end


def _look_across(
    places: _Places, image_hwc_u8: NDArray[np.uint8], prob_hw_u8: NDArray[np.uint8], level: int
) -> tuple[Profiles, Index]:
    reach_px = math.ceil(min(2 * _LONG_WAY * float(places.half_px.max()), _MAX_REACH_PX)) + 1
    across: Float = np.arange(-reach_px, reach_px + 1, dtype=np.float64)
    grid = _Grid(prob_hw_u8.shape, places, across)
    prob, is_crack = grid.values(prob_hw_u8), grid.nearest(prob_hw_u8) >= level
    is_crack &= _is_inside(prob_hw_u8.shape, places, across)
    right = _run(is_crack[:, reach_px:]) - 0.5
    left = _run(is_crack[:, reach_px::-1]) - 0.5
    # Where another line begins, or the outline is jagged, what is square to the line may be the long way across.
    is_short = is_crack[:, reach_px] & (left + right <= _LONG_WAY * 2 * places.half_px)
    if not is_short.any():
        return _NO_PROFILES, places.line[:0]
    places, prob, left, right = places[is_short], prob[is_short], left[is_short], right[is_short]
    windows = _windows(places.line)
    places = replace(places, xy=places.xy + places.normal_xy * windows.mean_of((right - left) / 2)[:, None])
    half = (left + right) / 2
    is_even = prob >= _EVEN
    even = np.minimum(_run(is_even[:, reach_px:]) + _run(is_even[:, reach_px::-1]) - 1, left + right)

    flank_px = min(float(half.max()) + _FLANK_PX[1], _MAX_REACH_PX)
    # In green, which has least noise.
    n_side = min(math.ceil(flank_px / _FINE_PX), _MAX_STEPS)
    across = np.linspace(-flank_px, flank_px, 2 * n_side + 1)
    grid = _Grid(prob_hw_u8.shape, places, across)
    grey, other = grid.values(image_hwc_u8, channel=1), grid.nearest(prob_hw_u8) >= level
    beyond = np.abs(across) - half[:, None]
    is_flank = (beyond >= _FLANK_PX[0]) & (beyond <= _FLANK_PX[1]) & ~other
    sides = [is_flank & (across < 0), is_flank & (across > 0)]
    (sum_below, n_below), (sum_above, n_above) = (
        (windows.mean_of(np.where(side, grey, 0).sum(axis=1)), windows.mean_of(side.sum(axis=1))) for side in sides
    )
    wall = (sum_below + sum_above) / np.maximum(n_below + n_above, 1e-9)
    below = np.where(n_below > 0, sum_below / np.maximum(n_below, 1e-9), wall)  # at the picture's edge there is one side alone
    above = np.where(n_above > 0, sum_above / np.maximum(n_above, 1e-9), wall)
    tilt = np.clip(across / np.maximum(half + _FLANK_PX[1] - 2, 1)[:, None], -1, 1) / 2
    dark = windows.mean((below + above)[:, None] / 2 + (above - below)[:, None] * tilt) - windows.mean(grey)
    n_flank = np.maximum(is_flank.sum(axis=1), 1)
    noise = np.sqrt((np.where(is_flank, dark, 0) ** 2).sum(axis=1) / n_flank)
    dark_px, contrast, slope, is_within = _full_width(dark, across, windows.mean_of(half))
    is_clear = np.isfinite(dark_px) & (contrast > _LEAST_CLEAR * noise) & is_within
    profiles = Profiles(
        places.xy,
        places.normal_xy[:, ::-1] * (1, -1),
        windows.mean_of(even),
        np.where(is_clear, dark_px, np.nan),
        dark_px * slope / np.maximum(contrast, 1e-9),
    )
    return profiles, places.line


def _full_width(dark: Float, across: Float, half: Float) -> tuple[Float, Float, Float, NDArray[np.bool_]]:
    """Width at half of the darkness, the darkness of the middle, and how fast it falls at the edges, by the pixel."""
    inside = np.abs(across) <= half[:, None] + 1
    rows = np.arange(len(dark))
    soft = dark.copy()
    soft[:, 1:-1] = (dark[:, :-2] + dark[:, 1:-1] + dark[:, 2:]) / 3
    peak = np.where(inside, soft, -np.inf).argmax(axis=1)
    contrast = dark[rows, peak]
    width = np.full(len(dark), np.nan)
    for _ in range(2):
        low, high = (_crossing(dark, across, peak, contrast / 2, side) for side in (-1, 1))
        width = high - low
        centre = (low + high) / 2
        core = np.abs(across - centre[:, None]) <= np.maximum(width / 4, _FINE_PX / 2)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(core, dark, 0).sum(axis=1) / core.sum(axis=1)
        contrast = np.where(np.isfinite(mean), mean, contrast)
        is_usable = np.isfinite(centre)
        peak = np.where(is_usable, np.abs(across - np.where(is_usable, centre, 0)[:, None]).argmin(axis=1), peak)
    slope = np.zeros(len(dark))
    for edge in (low, high):
        at = np.where(np.isfinite(edge), edge, 0)
        slope += np.abs(_between(dark, across, at - 0.25) - _between(dark, across, at + 0.25))
    is_within = np.maximum(high, -low) <= half + _BESIDE_PX
    return width, contrast, slope, is_within


def _between(dark: Float, across: Float, at: Float) -> Float:
    """Each row's value at a place across the line."""
    place = np.clip((at - across[0]) / (across[1] - across[0]), 0, len(across) - 1.001)
    inner = place.astype(np.int64)
    rows = np.arange(len(dark))
    return np.asarray(dark[rows, inner] + (place - inner) * (dark[rows, inner + 1] - dark[rows, inner]))


def _crossing(dark: Float, across: Float, peak: NDArray[np.int64], level: Float, side: int) -> Float:
    """Where darkness falls below `level` on one side of the peak; NaN where it doesn't."""
    columns = np.arange(len(across))
    is_below = (dark < level[:, None]) & ((columns - peak[:, None]) * side > 0)
    found = is_below.any(axis=1)
    outer = is_below.argmax(axis=1) if side > 0 else len(across) - 1 - is_below[:, ::-1].argmax(axis=1)
    rows, inner = np.arange(len(dark)), np.clip(outer - side, 0, len(across) - 1)
    drop = dark[rows, inner] - dark[rows, outer]
    share = np.clip((dark[rows, inner] - level) / np.where(drop > 0, drop, 1), 0, 1)
    step_px = across[1] - across[0]
    return np.asarray(np.where(found, across[inner] + side * share * step_px, np.nan))


def _run(is_crack: NDArray[np.bool_]) -> Float:
    """How many of the first columns are True without a break."""
    ends = ~is_crack
    return np.asarray(np.where(ends.any(axis=1), ends.argmax(axis=1), is_crack.shape[1]), np.float64)


@dataclass(frozen=True)
class _Windows:
    """Each point with its neighbours on the same line, `WINDOW` of them, fewer where the line has no more."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def mean(self, rows: NDArray[Any]) -> Float:
        total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
        return np.asarray((total[self.high] - total[self.low]) / (self.high - self.low)[:, None])

    def mean_of(self, values: NDArray[Any]) -> Float:
        return np.asarray(self.mean(values[:, None])[:, 0])


def _windows(line: NDArray[np.int64]) -> _Windows:
    begin, end = np.searchsorted(line, line), np.searchsorted(line, line, side="right")
    low = np.maximum(np.arange(len(line)) - WINDOW // 2, begin)
    high = np.minimum(low + WINDOW, end)
    return _Windows(np.maximum(high - WINDOW, begin), high)


def _is_inside(size_hw: tuple[int, ...], places: _Places, across: Float) -> NDArray[np.bool_]:
    """Of each place and step across it, whether it is in the picture; almost all are."""
    height, width = size_hw
    inside = np.ones((len(places.line), len(across)), np.bool_)
    to_edge_px = np.minimum(places.xy, (width, height) - places.xy).min(axis=1)
    near = np.flatnonzero(to_edge_px < across[-1])
    x, y = (places.xy[near, axis, None] + places.normal_xy[near, axis, None] * across for axis in (0, 1))
    inside[near] = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
    return inside


class _Grid:
    """Places between pixels, (places, across), and a picture's values there; beyond the picture's edge its last ones."""

    def __init__(self, size_hw: tuple[int, ...], places: _Places, across: Float) -> None:
        height, width = size_hw
        x, y = (places.xy[:, axis, None] + places.normal_xy[:, axis, None] * across - 0.5 for axis in (0, 1))
        np.clip(x, 0, width - 1, out=x)
        np.clip(y, 0, height - 1, out=y)
        left, top = np.minimum(x.astype(np.int64), max(width - 2, 0)), np.minimum(y.astype(np.int64), max(height - 2, 0))
        self._at = top * width + left
        self._x, self._y = (x - left).astype(np.float32), (y - top).astype(np.float32)
        self._right, self._below = min(width - 1, 1), width * min(height - 1, 1)

    def nearest(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Of a plane (height, width): between two pixels of a mask there is no third value."""
        at = self._at + (self._x > 0.5) * self._right + (self._y > 0.5) * self._below
        return np.asarray(plane.reshape(-1).take(at), np.uint8)

    def values(self, plane: NDArray[np.uint8], channel: int = 0) -> NDArray[np.float32]:
        """Bilinear, of a plane (height, width) or of a channel of (height, width, channels)."""
        n_channels = plane.shape[2] if plane.ndim > 2 else 1
        flat, at = plane.reshape(-1), self._at * n_channels + channel

        def along_row(start: int) -> NDArray[np.float32]:
            values = flat.take(at + start).astype(np.float32)
            return values + self._x * (flat.take(at + (start + n_channels * self._right)) - values)

        upper = along_row(0)
        return upper + self._y * (along_row(n_channels * self._below) - upper)
