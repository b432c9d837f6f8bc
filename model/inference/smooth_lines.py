"""From the graph's centre lines to smooth ones that continue straight to the mask's end.

Left to others: the graph (`centre_lines`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.inference.centre_lines import Edge
from model.inference.skeleton import Float, Index, expand

_SMOOTH_PX = 5  # and at least the crack's width: longer windows cut bends, shorter ones keep the outline's steps
_IN_FULL = 0.85  # of how far the crack's edge is half a width on: a line before its bend


@dataclass(frozen=True)
class Lines:
    """Smooth centre lines, points some pixel apart, one line after the other; a free end is as far before the mask's as that
    has to do with it.

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
    width_px = part_width_px[[edge.part for edge in edges]]
    is_free = [[n_at[end] == 1 for end in edge.ends] for edge in edges]
    kept = [
        _without_ends(edge.half_px, wide, *free) for edge, wide, free in zip(edges, width_px.tolist(), is_free, strict=True)
    ]
    points_xy = np.concatenate([edge.points_xy[of_it] for edge, of_it in zip(edges, kept, strict=True)])
    half_px = np.concatenate([edge.half_px[of_it] for edge, of_it in zip(edges, kept, strict=True)])
    first = np.cumsum([0, *(of_it.stop - of_it.start for of_it in kept)])
    crack = np.repeat(np.arange(len(together)), [len(group) for group in together])
    return Lines(_smooth(points_xy, first, width_px), half_px, first, width_px, np.array(is_free), crack)


def _without_ends(half_px: Float, width_px: float, starts_free: bool, ends_free: bool) -> slice:
    """Which of a line's points to keep: at the mask's end it bends to a corner, as it does at the photograph's edge.

    There it comes nearer to what is no crack, and faster than cracks taper. It begins to at most two widths before the end,
    where the crack meets the edge at 30 degrees.
    """
    n = len(half_px)
    start = _bend(half_px, width_px, n // 3) if starts_free else 0
    return slice(start, n - (_bend(half_px[::-1], width_px, (n - start) // 3) if ends_free else 0))


def _bend(half_px: Float, width_px: float, most: int) -> int:
    """How many points at a line's start belong to its bend; at least half a width, where the outline is round."""
    least, ahead = round(width_px / 2), max(1, round(width_px / 2))
    for i in range(least, min(most, round(2 * width_px))):
        if half_px[i] >= _IN_FULL * half_px[i : i + ahead + 1].max():
            return i
    return min(most, max(least, round(2 * width_px)))


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
    """The lines of each crack; those that end by themselves go on straight to the mask's end."""
    first = lines.first.tolist()
    kept = [lines.points_xy[low:high] for low, high in pairwise(first)]
    backs = np.maximum(8, np.rint(lines.width_px)).astype(np.int64).tolist()
    ends = [(int(line), int(side)) for line, side in np.argwhere(lines.is_free)]
    beyond: dict[tuple[int, int], Float] = {}
    if ends:
        outward = [kept[line][:: 1 if side == 0 else -1] for line, side in ends]
        tip_xy = np.array([points_xy[0] for points_xy in outward])
        way_xy = tip_xy - [
            points_xy[min(backs[line], len(points_xy)) - 1] for (line, _), points_xy in zip(ends, outward, strict=True)
        ]
        way_xy /= np.maximum(np.hypot(*way_xy.T), 1e-9)[:, None]
        n_most = np.ceil(8 * lines.width_px[[line for line, _ in ends]]).astype(np.int64) + 7
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
