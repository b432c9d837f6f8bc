"""Cracks of a mosaic: measured block by block, each with a margin around it, and joined where a line goes on in the next block.

Two blocks see the same pixels on either side of the border between them, so each finds the line at the same place there; what
each finds beyond its border is cut off. Left to others: the measuring itself (`model.inference.cracks`) and coordinates
(`writing`).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.inference.cracks import measure
from survey.processes import Core

Float = NDArray[np.float64]

BLOCK_PX = 2048
MARGIN_PX = 256  # that are seen around a block: the result for a line at the border depends on fewer
_JOIN_PX = 2.0  # two lines whose ends at a border are closer than this are one
_POINT_EVERY_PX = 4  # between the points of a written line, as in answers


@dataclass(frozen=True)
class Place:
    """A block of the mosaic: its own rows and columns, and (`seen_`) those with its margin."""

    top: int
    left: int
    bottom: int
    right: int
    seen_top: int
    seen_left: int
    seen_bottom: int
    seen_right: int


@dataclass(frozen=True)
class Part:
    """What one block has of a crack; points in the mosaic's pixels, x and y.

    Attributes:
        lines_xy: each (n, 2).
        is_cut: of each line, whether it goes on beyond the block at its first and at its last point.
        width_px: (n,), along the lines.
        limit_px, uncertainty_px: the narrowest measurable width, and the uncertainty of the widths.
        area_px, probability: of its pixels, and their mean.
    """

    lines_xy: list[Float]
    is_cut: list[tuple[bool, bool]]
    width_px: Float
    limit_px: float
    uncertainty_px: float
    area_px: int
    probability: float


@dataclass(frozen=True)
class MosaicCrack:
    """A crack with all of its parts joined: the fields of `Part` without `is_cut`, for the whole crack."""

    lines_xy: list[Float]
    width_px: Float
    limit_px: float
    uncertainty_px: float
    area_px: int
    probability: float

    @property
    def is_below_limit(self) -> bool:
        """Whether it is too narrow to measure."""
        return not len(self.width_px) or float(np.median(self.width_px)) < self.limit_px


def places(size_hw: tuple[int, int], block_px: int = BLOCK_PX) -> Iterator[Place]:
    """All blocks of a mosaic, row by row."""
    height, width = size_hw
    for top in range(0, height, block_px):
        for left in range(0, width, block_px):
            bottom, right = min(top + block_px, height), min(left + block_px, width)
            yield Place(
                top,
                left,
                bottom,
                right,
                max(top - MARGIN_PX, 0),
                max(left - MARGIN_PX, 0),
                min(bottom + MARGIN_PX, height),
                min(right + MARGIN_PX, width),
            )


def measure_block(
    _core: Core, prob_hw_u8: NDArray[np.uint8], image_hwc_u8: NDArray[np.uint8], level: int, place: Place
) -> list[Part]:
    """The parts of all seen cracks that are in the block itself; it runs in one of the processes. Raises RequestError."""
    width = prob_hw_u8.shape[1]
    low = np.array([place.left - place.seen_left, place.top - place.seen_top], np.float64)
    high = np.array([place.right - place.seen_left, place.bottom - place.seen_top], np.float64)
    corner_xy = np.array([place.seen_left, place.seen_top])
    parts: list[Part] = []
    for crack in measure(prob_hw_u8, image_hwc_u8, level):
        lines: list[Float] = []
        is_cut: list[tuple[bool, bool]] = []
        for line_xy in crack.lines_xy:
            for within_xy, ends in _clip(line_xy, low, high):
                lines.append(within_xy + corner_xy)
                is_cut.append(ends)
        if not lines:
            continue
        y, x = np.divmod(crack.pixels, width)
        pixels = crack.pixels[(x >= low[0]) & (x < high[0]) & (y >= low[1]) & (y < high[1])]
        is_within = ((crack.at_xy >= low) & (crack.at_xy < high)).all(axis=1)
        figures = crack.figures
        parts.append(
            Part(
                lines,
                is_cut,
                crack.width_px[is_within],
                figures["width_limit_px"],
                figures["width_uncertainty_px"] or 0.0,
                len(pixels),
                float(prob_hw_u8.ravel()[pixels].mean()) / 255 if len(pixels) else 0.0,
            )
        )
    return parts


def join(parts: list[Part]) -> list[MosaicCrack]:
    """Join parts whose lines go on in each other; returns the cracks of all blocks, the longest first."""
    ends_xy, owners = [], []  # of lines that go on: each end's place, and its part, line and side
    for number, part in enumerate(parts):
        for line, cut in enumerate(part.is_cut):
            for end in (0, 1):
                if cut[end]:
                    ends_xy.append(part.lines_xy[line][-end])
                    owners.append((number, line, end))
    met = _pairs(np.array(ends_xy).reshape(-1, 2), [owner[0] for owner in owners])
    group = list(range(len(parts)))
    for one, other in met:
        first, second = _root(group, owners[one][0]), _root(group, owners[other][0])
        group[max(first, second)] = min(first, second)
    following = {owners[one]: owners[other] for one, other in met} | {owners[other]: owners[one] for one, other in met}
    lines: defaultdict[int, list[Float]] = defaultdict(list)
    for number, line_xy in _chains(parts, following):
        lines[_root(group, number)].append(line_xy)
    together: defaultdict[int, list[Part]] = defaultdict(list)
    for number, part in enumerate(parts):
        together[_root(group, number)].append(part)
    cracks = [_joined(members, lines[root]) for root, members in together.items()]
    return sorted(cracks, key=lambda crack: -sum(map(_length, crack.lines_xy)))


def told(line_xy: Float) -> Float:
    """Fewer points, as answers have them."""
    return np.concatenate([line_xy[:-1:_POINT_EVERY_PX], line_xy[-1:]])


def _joined(parts: list[Part], lines_xy: list[Float]) -> MosaicCrack:
    weights = np.array([max(len(part.width_px), 1) for part in parts], np.float64)
    area_px = sum(part.area_px for part in parts)
    return MosaicCrack(
        lines_xy,
        np.concatenate([part.width_px for part in parts]),
        float(np.average([part.limit_px for part in parts], weights=weights)),
        float(np.average([part.uncertainty_px for part in parts], weights=weights)),
        area_px,
        sum(part.probability * part.area_px for part in parts) / max(area_px, 1),
    )


def _clip(line_xy: Float, low: Float, high: Float) -> Iterator[tuple[Float, tuple[bool, bool]]]:
    """The stretches of a line within a rectangle, and whether they were cut at their first and at their last point."""
    is_within: NDArray[np.bool_] = np.all((line_xy >= low) & (line_xy < high), axis=1)
    steps = np.flatnonzero(np.diff(is_within.astype(np.int8)))
    for begin, end in zip([0, *(steps + 1)], [*(steps + 1), len(line_xy)], strict=True):
        if not is_within[begin]:
            continue
        before = [_border(line_xy[begin], line_xy[begin - 1], low, high)] if begin else []
        after = [_border(line_xy[end - 1], line_xy[end], low, high)] if end < len(line_xy) else []
        if end - begin + len(before) + len(after) > 1:
            yield np.concatenate([*before, line_xy[begin:end], *after]), (bool(before), bool(after))


def _border(inside: Float, outside: Float, low: Float, high: Float) -> Float:
    """The point (1, 2) at which the way from `inside` to `outside` leaves the rectangle."""
    way = outside - inside
    bound = np.where(way > 0, high, low)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(way != 0, (bound - inside) / way, np.inf)
    return np.asarray((inside + way * float(np.clip(shares.min(), 0, 1)))[None])


def _pairs(ends_xy: Float, part: Iterable[int]) -> list[tuple[int, int]]:
    """Ends of different parts that are at one place, the nearest first, each once."""
    if not len(ends_xy):
        return []
    number = np.array(list(part))
    order = np.argsort(ends_xy[:, 0])
    x = ends_xy[order, 0]
    last = np.searchsorted(x, x + _JOIN_PX, side="right")
    near: list[tuple[float, int, int]] = []
    for i, (one, stop) in enumerate(zip(order.tolist(), last.tolist(), strict=True)):
        for other in order[i + 1 : stop].tolist():
            distance = math.dist(ends_xy[one], ends_xy[other])
            if distance <= _JOIN_PX and number[one] != number[other]:
                near.append((distance, one, other))
    taken: set[int] = set()
    pairs = []
    for _, one, other in sorted(near):
        if not {one, other} & taken:
            taken |= {one, other}
            pairs.append((one, other))
    return pairs


_End = tuple[int, int, int]  # a part, one of its lines, and which end of it: 0 or 1


def _chains(parts: list[Part], following: dict[_End, _End]) -> Iterator[tuple[int, Float]]:
    """Chain lines that go on in each other; yields each whole line, and a part that it goes through."""
    passed: set[tuple[int, int]] = set()
    lines = [(number, line) for number, part in enumerate(parts) for line in range(len(part.lines_xy))]
    # Chains begin at open ends; the lines that remain are rings over several blocks.
    open_ends = [(number, line, end) for number, line in lines for end in (0, 1) if (number, line, end) not in following]
    for number, line, end in [*open_ends, *((number, line, 0) for number, line in lines)]:
        pieces: list[Float] = []
        while (number, line) not in passed:
            passed.add((number, line))
            line_xy = parts[number].lines_xy[line][:: -1 if end else 1]
            pieces.append(line_xy[1:] if pieces else line_xy)
            onward = following.get((number, line, 1 - end))
            if onward is None:
                break
            number, line, end = onward
        if pieces:
            yield number, np.concatenate(pieces)


def _length(line_xy: Float) -> float:
    return float(np.hypot(*np.diff(line_xy, axis=0).T).sum())


def _root(group: list[int], number: int) -> int:
    while group[number] != number:
        group[number] = group[group[number]]
        number = group[number]
    return number
