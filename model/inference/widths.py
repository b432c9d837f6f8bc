"""How wide a crack is along its centre line, below the pixel: from the darkness of the photograph itself.

Across the line, darkness rises from the wall to the crack and falls again; the width is where it is above half of the crack's.
The network's mask says only where to look: it is 1 to 1.8 px wider than what is dark (docs/findings.md has the measurement).
Where the photograph shows no clear darkness, the width is the mask's at even probability, less what that is too wide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

STEP_PX = 2  # along the line
_FINE_PX = 0.5  # across it
_CHUNK = 4096  # points that are looked at together
_WINDOW = 8  # profiles that are averaged: 16 px of the line
_FLANK_PX = (1.5, 5.5)  # of wall beyond the mask's edge, on either side
_LONG_WAY = 1.3  # times the width by the nearest pixels that are no crack
_JUNCTION_HALVES = 2.5  # of the half width there, around a junction
_MAX_REACH_PX = 200.0
_MAX_STEPS = 100  # on either side
_LEAST_CLEAR = 3.0  # contrast over the noise that is left in it, for darkness to be called clear
_TOO_WIDE_PX = 0.6  # the mask at even probability
_EVEN = 128
_LEAST_BLURS = 3.2  # a bar's width over the blur's standard deviation, below which they are seen alike
_SYSTEMATIC_PX = 0.15  # the figures of docs/findings.md
_MASK_LIMIT_PX = 3.0
_MASK_UNCERTAINTY_PX = 1.0


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


@dataclass(frozen=True)
class Line:
    """A smooth centre line, points some pixel apart.

    Attributes:
        points_xy: (n, 2), (0, 0) the top-left corner of the top-left pixel.
        half_px: (n,), from there to the nearest pixel that is no crack.
        is_free: of its start and its end, whether no other line begins there.
    """

    points_xy: Float
    half_px: Float
    is_free: tuple[bool, bool]


def look_across(
    lines: Sequence[Line], width_px: float, image_hwc_u8: NDArray[np.uint8], prob_hw_u8: NDArray[np.uint8], level: int
) -> Profiles:
    """Look across the lines of one crack.

    Args:
        width_px: of the mask there, roughly.
        level: probability, of 255, from which the mask calls a pixel crack.
    """
    places = [_places(line, width_px) for line in lines]
    if not any(len(place[0]) for place in places):  # junctions and nothing else
        places = [_places(replace(line, is_free=(True, True)), width_px) for line in lines]
    points_xy, normals_xy, half_px = (np.concatenate([place[i] for place in places]) for i in (0, 1, 2))
    line = np.repeat(np.arange(len(places)), [len(place[0]) for place in places])
    chunks = range(0, len(points_xy), _CHUNK)
    found = [
        _look_across(
            points_xy[i : i + _CHUNK],
            normals_xy[i : i + _CHUNK],
            half_px[i : i + _CHUNK],
            line[i : i + _CHUNK],
            width_px,
            image_hwc_u8,
            prob_hw_u8,
            level,
        )
        for i in chunks
    ]
    return Profiles(*(np.concatenate([getattr(part, name.name) for part in found]) for name in fields(Profiles)))


def _places(line: Line, width_px: float) -> tuple[Float, Float, Float]:
    """Every `STEP_PX` the point, what is square to the line, and the half width; not at its ends, where it is round or another
    line begins.
    """
    n = len(line.points_xy)
    low, high = (
        min(round(width_px / 2), (n - 1) // 3) if is_free else round(_JUNCTION_HALVES * half_px)
        for is_free, half_px in zip(line.is_free, line.half_px[[0, -1]].tolist(), strict=True)
    )
    within = slice(low, max(n - high, low), STEP_PX)
    line_xy, along_xy, half_px = line.points_xy[within], np.gradient(line.points_xy, axis=0)[within], line.half_px[within]
    is_going_on = np.hypot(*along_xy.T) > 0  # where it turns back upon itself, nothing is square to it
    line_xy, along_xy, half_px = line_xy[is_going_on], along_xy[is_going_on], half_px[is_going_on]
    return line_xy, along_xy[:, ::-1] * (-1, 1) / np.hypot(*along_xy.T)[:, None], half_px


def _look_across(
    line_xy: Float,
    normal_xy: Float,
    half_px: Float,
    line: NDArray[np.int64],
    width_px: float,
    image_hwc_u8: NDArray[np.uint8],
    prob_hw_u8: NDArray[np.uint8],
    level: int,
) -> Profiles:
    reach_px = min(1.5 * width_px + 8, _MAX_REACH_PX)
    across: Float = np.arange(-math.ceil(reach_px), math.ceil(reach_px) + 1, dtype=np.float64)
    prob = _sample(prob_hw_u8, line_xy, normal_xy, across)
    is_crack = (prob >= level) & _is_inside(prob_hw_u8.shape, line_xy, normal_xy, across)
    middle = len(across) // 2
    right = _run(is_crack[:, middle:]) - 0.5
    left = _run(is_crack[:, middle::-1]) - 0.5
    # Where another line begins, or the outline is jagged, what is square to the line may be the long way across.
    is_short = is_crack[:, middle] & (left + right <= _LONG_WAY * 2 * half_px)
    if not is_short.any():
        return Profiles(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), np.empty(0), np.empty(0))
    line_xy, normal_xy, line, prob = line_xy[is_short], normal_xy[is_short], line[is_short], prob[is_short]
    left, right = left[is_short], right[is_short]
    windows = _windows(line)
    shift = windows.mean_of((right - left) / 2)
    line_xy = line_xy + normal_xy * shift[:, None]
    half = (left + right) / 2
    even = np.minimum(_run(prob[:, middle:] >= _EVEN) + _run(prob[:, middle::-1] >= _EVEN) - 1, left + right)

    reach_px = min(float(np.percentile(half, 90)) + _FLANK_PX[1], _MAX_REACH_PX)
    # In green, which has least noise.
    n_side = min(math.ceil(reach_px / _FINE_PX), _MAX_STEPS)
    across = np.linspace(-reach_px, reach_px, 2 * n_side + 1)
    grey = _sample(image_hwc_u8[..., 1], line_xy, normal_xy, across)
    other = _sample(prob_hw_u8, line_xy, normal_xy, across) >= level
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
    return Profiles(
        line_xy,
        normal_xy[:, ::-1] * (1, -1),
        windows.mean_of(even),
        np.where(is_clear, dark_px, np.nan),
        dark_px * slope / np.maximum(contrast, 1e-9),
    )


@dataclass(frozen=True)
class Widths:
    """Of one crack, in pixels.

    Attributes:
        width_px: (n,), at the places of the profiles.
        uncertainty_px: standard error of one of them.
        limit_px: what is narrower can't be told from a line without width, by this photograph's blur and contrast.
    """

    width_px: Float
    uncertainty_px: float
    limit_px: float


def resolve(profiles: Profiles) -> Widths:
    """From what is seen across a crack's lines to widths, without the photograph's blur."""
    mask_px, dark_px, steepness = profiles.mask_px, profiles.dark_px, profiles.steepness
    is_clear = np.isfinite(dark_px)
    if 2 * is_clear.sum() <= len(dark_px):
        return Widths(np.maximum(mask_px - _TOO_WIDE_PX, 0), _MASK_UNCERTAINTY_PX, _MASK_LIMIT_PX)
    bar, seen, steep = _blurred_bars()
    ratio = float(np.interp(np.median(steepness[is_clear]), steep, bar))
    blur_px = float(np.median(dark_px[is_clear]) / np.interp(ratio, bar, seen))
    limit_px = _LEAST_BLURS * blur_px
    if ratio < _LEAST_BLURS:  # blur and width can't be told apart; at most it is this wide
        limit_px = _LEAST_BLURS * float(np.median(dark_px[is_clear]) / np.interp(_LEAST_BLURS, bar, seen))
        width_px = np.zeros(len(dark_px))
    else:
        width_px = blur_px * np.interp(dark_px / blur_px, seen, bar)
    width_px = np.where(is_clear, width_px, np.maximum(mask_px - _TOO_WIDE_PX, 0))
    apart = np.abs(width_px[_WINDOW:] - width_px[:-_WINDOW])
    random_px = 1.4826 * float(np.median(apart)) / math.sqrt(2) if len(apart) else _MASK_UNCERTAINTY_PX
    return Widths(width_px, math.hypot(random_px, _SYSTEMATIC_PX), limit_px)


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
        slope += np.abs(_between(dark, across, at - 0.5) - _between(dark, across, at + 0.5)) / 2
    is_within = np.maximum(high, -low) <= half + _FLANK_PX[0]
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
    """Each point with its neighbours on the same line, `_WINDOW` of them, fewer where the line has no more."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def mean(self, rows: NDArray[Any]) -> Float:
        total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0, dtype=np.float64)])
        return np.asarray((total[self.high] - total[self.low]) / (self.high - self.low)[:, None])

    def mean_of(self, values: NDArray[Any]) -> Float:
        return np.asarray(self.mean(values[:, None])[:, 0])


def _windows(line: NDArray[np.int64]) -> _Windows:
    begin, end = np.searchsorted(line, line), np.searchsorted(line, line, side="right")
    low = np.maximum(np.arange(len(line)) - _WINDOW // 2, begin)
    high = np.minimum(low + _WINDOW, end)
    return _Windows(np.maximum(high - _WINDOW, begin), high)


def _is_inside(size_hw: tuple[int, ...], line_xy: Float, normal_xy: Float, across: Float) -> NDArray[np.bool_]:
    x, y = (line_xy[:, axis, None] + normal_xy[:, axis, None] * across for axis in (0, 1))
    return np.asarray((x >= 0) & (y >= 0) & (x <= size_hw[1]) & (y <= size_hw[0]))


def _sample(plane: NDArray[np.uint8], line_xy: Float, normal_xy: Float, across: Float) -> Float:
    """Values between pixels, (points, across), bilinear; beyond the picture's edge its last ones."""
    height, width = plane.shape
    x = line_xy[:, :1] + normal_xy[:, :1] * across - 0.5
    y = line_xy[:, 1:] + normal_xy[:, 1:] * across - 0.5
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.minimum(x.astype(np.int64), max(width - 2, 0)), np.minimum(y.astype(np.int64), max(height - 2, 0))
    x, y = (x - left).astype(np.float32), (y - top).astype(np.float32)

    def at(dy: int, dx: int) -> NDArray[np.float32]:
        return np.asarray(plane[top + dy, left + dx], np.float32)

    upper = at(0, 0) * (1 - x) + at(0, 1) * x
    lower = at(1, 0) * (1 - x) + at(1, 1) * x
    return np.asarray(upper * (1 - y) + lower * y, np.float64)


@cache
def _blurred_bars() -> tuple[Float, Float, Float]:
    """Dark bars seen through a blur of 1 px (Gaussian): their widths, the widths at half of the darkness, the steepness."""
    bars = np.concatenate([np.linspace(0.02, 8, 200), np.geomspace(8.1, 800, 60)])
    seen, steep = [], []
    for bar in bars.tolist():
        peak = math.erf(bar / math.sqrt(8))
        low, high = 0.0, bar / 2 + 3
        for _ in range(40):
            at = (low + high) / 2
            dark = (math.erf((at + bar / 2) / math.sqrt(2)) - math.erf((at - bar / 2) / math.sqrt(2))) / 2
            low, high = (at, high) if dark > peak / 2 else (low, at)
        slope = (math.exp(-((low - bar / 2) ** 2) / 2) - math.exp(-((low + bar / 2) ** 2) / 2)) / math.sqrt(2 * math.pi)
        seen.append(2 * low)
        steep.append(2 * low * slope / peak)
    return bars, np.array(seen), np.array(steep)
