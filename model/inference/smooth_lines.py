"""From the graph's centre lines to smooth ones that go on to the mask's end.

Left to others: the graph (`centre_lines`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.inference.centre_lines import Edge
from model.inference.skeleton import Float, Index, expand

_SMOOTH_PX = 5  # and at least the crack's width: longer windows cut bends, shorter ones leave the outline's stairs


@dataclass(frozen=True)
class Lines:
    """Smooth centre lines, points some pixel apart, one line after the other.

    Attributes:
        points_xy: (n, 2), (0, 0) the top-left corner of the top-left pixel.
        half_px: (n,), from there to the nearest pixel that is no crack.
        first: (lines + 1,), the first point of each, and n.
        width_px: (lines,), of the mask there, roughly.
        is_free: (lines, 2), of its start and its end, whether no other line begins there.
        crack: (lines,), whose it is; rising.
    """

    points_xy: Float
    half_px: Float
    first: Index
    width_px: Float
    is_free: NDArray[np.bool_]
    crack: Index


def smooth_lines(together: list[list[Edge]], n_at: Mapping[int, int], part_width_px: Float) -> Lines:
    """
    Args:
        together: the lines of each crack.
        n_at: how many lines end at each node.
        part_width_px: roughly, of each part of the mask.
    """
    edges = [edge for group in together for edge in group]
    points_xy = np.concatenate([edge.points_xy for edge in edges])
    first = np.cumsum([0, *(len(edge.points_xy) for edge in edges)])
    width_px = part_width_px[[edge.part for edge in edges]]
    return Lines(
        _smooth(points_xy, first, width_px),
        np.concatenate([edge.half_px for edge in edges]),
        first,
        width_px,
        np.array([[n_at[end] == 1 for end in edge.ends] for edge in edges]),
        np.repeat(np.arange(len(together)), [len(group) for group in together]),
    )


def _smooth(points_xy: Float, first: Index, width_px: Float) -> Float:
    """Lines without the stairs of pixels, whose length is up to 8% too long; both ends stay where they are.

    Args:
        points_xy: (n, 2), one line after the other.
        first: (lines + 1,), the first point of each, and n.
        width_px: (lines,), of the crack, roughly.
    """
    n = np.diff(first)
    reach = np.minimum(np.maximum(_SMOOTH_PX, np.rint(width_px).astype(np.int64)) // 2, n - 1)
    smoothed_xy = points_xy.copy()
    for each in np.unique(reach[reach > 0]).tolist():
        (chosen,) = np.nonzero(reach == each)
        line, place = expand(np.full(len(chosen), -each), n[chosen] + 2 * each)
        last = n[chosen][line] - 1
        start, end = first[chosen][line], first[chosen][line] + last
        inner = start + np.clip(place, 0, last)
        mirrored = start + np.clip(np.where(place < 0, -place, 2 * last - place), 0, last)
        is_beyond = (place < 0) | (place > last)
        padded = points_xy[inner]
        ends_xy = points_xy[np.where(place < 0, start, end)[is_beyond]]
        padded[is_beyond] = 2 * ends_xy - points_xy[mirrored[is_beyond]]
        box = np.full(each + 1, 1 / (each + 1))
        kernel = np.convolve(box, box)
        within = place[each:-each]
        is_kept = (within >= 0) & (within <= last[each:-each])
        for axis in (0, 1):
            blurred = np.convolve(padded[:, axis], kernel, mode="valid")
            smoothed_xy[inner[each:-each][is_kept], axis] = blurred[is_kept]
    return smoothed_xy


def to_the_ends(lines: Lines, prob_hw_u8: NDArray[np.uint8], level: int) -> list[list[Float]]:
    """The lines of each crack; those that end by themselves go on straight to the mask's end: the thinning stops half a width
    before it, and bends to a corner where there is one.
    """
    first = lines.first.tolist()
    halves = np.rint(lines.width_px / 2).astype(np.int64).tolist()
    backs = np.maximum(8, np.rint(lines.width_px)).astype(np.int64).tolist()
    kept, tips_xy, behind_xy, ends = [], [], [], []
    for i, (half, back, (starts_free, ends_free)) in enumerate(zip(halves, backs, lines.is_free.tolist(), strict=True)):
        n = first[i + 1] - first[i]
        begin = min(half, n // 3) if starts_free else 0
        end = n - min(half, (n - begin) // 3) if ends_free else n
        line_xy = lines.points_xy[first[i] + begin : first[i] + end]
        kept.append(line_xy)
        reach = min(back, len(line_xy)) - 1
        if starts_free:
            ends.append((i, 0))
            tips_xy.append(line_xy[0])
            behind_xy.append(line_xy[reach])
        if ends_free:
            ends.append((i, 1))
            tips_xy.append(line_xy[-1])
            behind_xy.append(line_xy[-1 - reach])
    beyond: dict[tuple[int, int], Float] = {}
    if ends:
        tip_xy, way_xy = np.array(tips_xy), np.array(tips_xy) - np.array(behind_xy)
        way_xy /= np.maximum(np.hypot(*way_xy.T), 1e-9)[:, None]
        n_most = np.ceil(4 * lines.width_px[[line for line, _ in ends]]).astype(np.int64) + 7
        n_on = _steps_on(tip_xy, way_xy, n_most, prob_hw_u8, level)
        reached_xy = tip_xy + n_on[:, None] / 2 * way_xy
        beyond = {ends[i]: reached_xy[i : i + 1] for i in np.flatnonzero(n_on).tolist()}
    none_xy = np.empty((0, 2))
    carried = [np.concatenate([beyond.get((i, 0), none_xy), line, beyond.get((i, 1), none_xy)]) for i, line in enumerate(kept)]
    of_crack = np.searchsorted(lines.crack, np.arange(int(lines.crack[-1]) + 2)).tolist()
    return [carried[low:high] for low, high in pairwise(of_crack)]


def _steps_on(tip_xy: Float, way_xy: Float, n_most: Index, prob_hw_u8: NDArray[np.uint8], level: int) -> Index:
    """How many steps of half a pixel each end can go on and is on the mask all the way."""
    height, width = prob_hw_u8.shape
    n_on = np.zeros(len(tip_xy), np.int64)
    going, step = np.arange(len(tip_xy)), 1
    while len(going):
        x, y = np.floor(tip_xy[going] + step / 2 * way_xy[going]).astype(np.int64).T
        is_on = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (n_most[going] >= step)
        is_on &= prob_hw_u8[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] >= level
        going = going[is_on]
        n_on[going] = step
        step += 1
    return n_on
