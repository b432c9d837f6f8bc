"""From a crack mask to parts and their centre lines: a graph of polylines between ends and junctions.

NumPy alone, on the list of crack pixels instead of the picture: scikit-image's skeleton looks through 12 megapixels once for
each pixel of the widest crack (0.2 to 0.8 s), this takes time by the pixels that are crack, and no image needs another package.
Left to others: how wide a crack is (`widths`), what is told of it (`cracks`).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]

MIN_LENGTH_PX = 16  # a part whose bounding box has a shorter diagonal is a speck ...
MAX_FILL = 0.25  # ... and so is one that fills more of its diagonal's square: it is less than four times as long as wide
GAP_PX = 24  # between the ends of two centre lines that point at each other
_COS_GAP = np.cos(np.radians(35))
_DIRECTION_PX = 16  # of a line, by which its end's direction is told
_SMOOTH_PX = 7
_SPUR_HALVES = 2.4  # of the crack's half width where a spur begins
MAX_HALF_PX = 200  # of a crack's width
_ROWS = 1024


@dataclass(frozen=True)
class Edge:
    """A centre line between two nodes, (n, 2), x and y; (0, 0) is the top-left corner of the top-left pixel.

    Attributes:
        half_px: (n,), from each point to the nearest pixel that is no crack.
        ends: the nodes' numbers.
        parts: of the mask, those it goes through; more than one where it bridges a gap.
    """

    points_xy: Float
    half_px: Float
    ends: tuple[int, int]
    parts: tuple[int, ...]

    @property
    def part(self) -> int:
        return self.parts[0]

    @cached_property
    def length_px(self) -> float:
        return length_of(self.points_xy)


@dataclass(frozen=True)
class Parts:
    """The mask's connected parts that are no specks.

    Attributes:
        at: flat indices of their pixels, rising, in a picture of `width` pixels a row.
        part: of each of them, 0 to n - 1.
        area_px: of each part.
    """

    at: Index
    part: Index
    area_px: Index
    width: int


def find_parts(mask_hw: NDArray[np.bool_]) -> Parts:
    """Pixels that touch, by side or corner, are one part; specks are left out (`MIN_LENGTH_PX`, `MAX_FILL`)."""
    height, width = mask_hw.shape
    at = np.flatnonzero(mask_hw)
    if not len(at):
        return Parts(at, at, at, width)
    y, x = np.divmod(at, width)
    is_start = np.ones(len(at), np.bool_)
    is_start[1:] = (np.diff(at) != 1) | (x[1:] == 0)
    first = np.flatnonzero(is_start)
    last = np.append(first[1:], len(at)) - 1
    # Rows with one empty pixel between them, so that a run's neighbours are those of the rows above and below alone.
    begin, end = y[first] * (width + 1) + x[first], y[last] * (width + 1) + x[last]
    low = np.searchsorted(end, begin + width)  # the first run of the next row that reaches this one or its corners
    high = np.searchsorted(begin, end + width + 2, side="right")
    upper, lower = expand(low, np.maximum(high - low, 0))
    root = _connected(len(first), upper, lower)
    _, run_part = np.unique(root, return_inverse=True)
    part = np.repeat(run_part, last - first + 1)
    n_parts = int(run_part.max()) + 1
    area_px = np.bincount(part, minlength=n_parts)
    diagonal2 = np.zeros(n_parts)
    for values in (x, y):
        lowest, highest = np.full(n_parts, max(height, width)), np.zeros(n_parts, np.int64)
        np.minimum.at(lowest, part, values)
        np.maximum.at(highest, part, values)
        diagonal2 += (highest - lowest + 1.0) ** 2
    is_kept = (diagonal2 >= MIN_LENGTH_PX**2) & (area_px <= MAX_FILL * diagonal2)
    number = np.cumsum(is_kept) - 1
    chosen = is_kept[part]
    return Parts(at[chosen], number[part[chosen]], area_px[is_kept], width)


def expand(first: Index, count: Index) -> tuple[Index, Index]:
    """For each i the pairs (i, first[i]) to (i, first[i] + count[i] - 1)."""
    left = np.repeat(np.arange(len(first)), count)
    offset = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    return left, first[left] + offset


def _connected(n: int, left: Index, right: Index) -> Index:
    """The smallest number that each of 0 to n - 1 is connected with by the pairs."""
    root = np.arange(n)
    while True:
        pair_low = np.minimum(root[left], root[right])
        pair_high = np.maximum(root[left], root[right])
        if (pair_low == pair_high).all():
            return root
        np.minimum.at(root, pair_high, pair_low)
        while (root != root[root]).any():
            root = root[root]


# --- thinning


def thin(parts: Parts, height: int) -> Index:
    """The skeleton's pixels: lines of one pixel, connected as the parts are (Zhang and Suen 1984, with Lü
    and Wang's change of 1986, without which lines at 45 degrees vanish).

    After the first pass only the pixels beside what was taken away are looked at.
    """
    padded = parts.width + 2
    plane = np.zeros((height + 2) * padded, np.uint8)
    pixels = (parts.at // parts.width + 1) * padded + parts.at % parts.width + 1
    plane[pixels] = 1
    around = np.array([-padded, -padded + 1, 1, padded + 1, padded, padded - 1, -1, -padded - 1])  # clockwise from above
    tables = _thinning_tables()
    # What becomes of a pixel depends on its neighbours alone: once they have changed, it is looked at once by each table.
    changed, unchanged, step = pixels, pixels[:0], 0
    while len(changed) or len(unchanged):
        active = np.concatenate([changed, unchanged])
        code = np.zeros(len(active), np.uint8)
        for bit, offset in enumerate(around):
            code |= plane[active + offset] << np.uint8(bit)
        taken = active[tables[step][code]]
        plane[taken] = 0
        found = []
        for offset in around:
            beside = taken + offset
            beside = beside[plane[beside] == 1]
            plane[beside] = 3  # found: none is there twice
            found.append(beside)
        unchanged = changed[plane[changed] == 1]
        changed = np.concatenate(found)
        plane[changed] = 1
        step = 1 - step
    remaining = pixels[plane[pixels] == 1]
    return np.asarray((remaining // padded - 1) * parts.width + remaining % padded - 1)


def _thinning_tables() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether a pixel goes, by its eight neighbours as bits, in the first and in the second half of a pass."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    count = bits.sum(axis=1)
    n_rises = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    above, right, below, left = (bits[:, i] == 1 for i in (0, 2, 4, 6))
    goes = (count >= 3) & (count <= 6) & (n_rises == 1)
    return (
        goes & ~(above & right & below) & ~(right & below & left),
        goes & ~(above & right & left) & ~(above & below & left),
    )


# --- from pixels to a graph


def half_widths(mask_hw: NDArray[np.bool_], at: Index) -> Float:
    """Of the pixels with these flat indices, rising, how far it is to the nearest one that is no crack; `MAX_HALF_PX` at most.

    Beyond the picture's edge the crack goes on. Some rows at a time: a distance takes four bytes.
    """
    height, width = mask_hw.shape
    half_px = np.empty(len(at))
    for top in range(0, height, _ROWS):
        above = min(top, MAX_HALF_PX)
        rows = np.ascontiguousarray(mask_hw[top - above : top + _ROWS + MAX_HALF_PX]).view(np.uint8)
        first, last = np.searchsorted(at, (top * width, (top + _ROWS) * width))
        if last > first:
            away = cv2.distanceTransform(rows, cv2.DIST_L2, 5).ravel()
            half_px[first:last] = away[at[first:last] - (top - above) * width]
    return np.minimum(half_px, MAX_HALF_PX)


def trace(skeleton: Index, half_px: Float, parts: Parts) -> list[Edge]:
    """Lines between ends and junctions, through the middles of pixels; a ring is a line from one of its pixels to itself.

    Args:
        half_px: of each of the skeleton's pixels.
    """
    width = parts.width
    part = parts.part[np.searchsorted(parts.at, skeleton)]
    y, x = np.divmod(skeleton, width)
    steps = [(0, -1), (1, 0), (0, 1), (-1, 0), (1, -1), (1, 1), (-1, 1), (-1, -1)]  # x, y; straight, then diagonal
    neighbour = np.full((len(skeleton), 8), -1)
    for column, (dx, dy) in enumerate(steps):
        wanted = skeleton + dy * width + dx
        found = np.minimum(np.searchsorted(skeleton, wanted), len(skeleton) - 1)
        is_there = (skeleton[found] == wanted) & (x + dx >= 0) & (x + dx < width)
        neighbour[is_there, column] = found[is_there]
    for column in range(4, 8):  # a corner that can be walked round by a straight step is no step of its own
        one, other = column - 4, (column - 3) % 4
        neighbour[(neighbour[:, one] >= 0) | (neighbour[:, other] >= 0), column] = -1
    degree = (neighbour >= 0).sum(axis=1)
    both = np.where(neighbour >= 0, neighbour, 0).sum(axis=1).tolist()  # within a line: where it comes from, and goes to
    is_node = (degree != 2).tolist()
    xy = np.stack([x, y], axis=1) + 0.5
    edges: list[Edge] = []
    is_passed = [False] * len(skeleton)

    def walk(start: int, first: int) -> None:
        path, previous, current = [start], start, first
        while not is_node[current] and current != start:
            is_passed[current] = True
            path.append(current)
            previous, current = current, both[current] - previous
        path.append(current)
        edges.append(Edge(xy[path], half_px[path], (start, current), (int(part[start]),)))

    for node in np.flatnonzero(degree != 2).tolist():
        for first in neighbour[node][neighbour[node] >= 0].tolist():
            if (is_node[first] and node < first) or (not is_node[first] and not is_passed[first]):
                walk(node, first)
    for pixel in np.flatnonzero(degree == 2).tolist():
        if not is_passed[pixel]:
            is_passed[pixel] = True
            walk(pixel, int(neighbour[pixel].max()))
    return edges


def length_of(points_xy: Float) -> float:
    return float(np.hypot(*np.diff(points_xy, axis=0).T).sum())


def simplify(edges: Iterable[Edge]) -> list[Edge]:
    """Without what the thinning makes: spurs as short as the crack is wide, crossings that come out as two junctions."""
    edges = _without_spurs(list(edges))
    degree = degrees(edges)
    node = {end: end for edge in edges for end in edge.ends}
    kept: list[Edge] = []
    for edge in edges:
        one, other = edge.ends
        is_short = edge.length_px <= max(2.0, edge.half_px[0] + edge.half_px[-1])
        if one != other and is_short and degree[one] > 2 and degree[other] > 2:
            one, other = _root(node, one), _root(node, other)
            node[max(one, other)] = min(one, other)
        else:
            kept.append(edge)
    place: defaultdict[int, list[Float]] = defaultdict(list)
    for edge in kept:
        for end, point in zip(edge.ends, edge.points_xy[[0, -1]], strict=True):
            place[_root(node, end)].append(point)
    moved: list[Edge] = []
    for edge in kept:
        one, other = (_root(node, end) for end in edge.ends)
        points = edge.points_xy.copy()
        points[0], points[-1] = np.mean(place[one], axis=0), np.mean(place[other], axis=0)
        moved.append(replace(edge, points_xy=points, ends=(one, other)))
    return _joined(moved)


def _without_spurs(edges: list[Edge]) -> list[Edge]:
    degree = degrees(edges)
    lengths = [edge.length_px for edge in edges]
    is_spur = [False] * len(edges)
    for i, edge in enumerate(edges):
        is_fork = [degree[end] > 2 for end in edge.ends]
        if is_fork[0] != is_fork[1]:
            is_spur[i] = lengths[i] <= max(3.0, _SPUR_HALVES * edge.half_px[0 if is_fork[0] else -1])
    n_left = dict(degree)  # of two spurs that are all that is left at a fork, the longer one is the line's end
    for i in sorted(range(len(edges)), key=lambda i: lengths[i]):
        if is_spur[i]:
            fork = max(edges[i].ends, key=lambda end: degree[end])
            if n_left[fork] > 2:
                n_left[fork] -= 1
            else:
                is_spur[i] = False
    return [edge for edge, is_gone in zip(edges, is_spur, strict=True) if not is_gone]


def bridge(edges: list[Edge]) -> list[Edge]:
    """Join lines of different parts whose ends point at each other over at most `GAP_PX`; nearest first, each end once."""
    degree = degrees(edges)
    ends = [(edge, side) for edge in edges for side in (0, 1) if degree[edge.ends[side]] == 1 and edge.length_px > 1]
    if len(ends) < 2:
        return edges
    tip_xy = np.array([edge.points_xy[-side] for edge, side in ends])
    tip_px = [edge.half_px[-side] for edge, side in ends]
    inward = [edge.points_xy[:: -1 if side else 1][:_DIRECTION_PX] for edge, side in ends]
    out_xy = np.array([points[len(points) // 4] - points[-1] for points in inward])  # the tip itself bends to a corner
    out_xy /= np.maximum(np.hypot(*out_xy.T), 1e-9)[:, None]
    order = np.argsort(tip_xy[:, 0])
    sorted_x = tip_xy[order, 0]
    begin = np.arange(1, len(order) + 1)
    left, right = expand(begin, np.maximum(np.searchsorted(sorted_x, sorted_x + GAP_PX, side="right") - begin, 0))
    left, right = order[left], order[right]
    way_xy = tip_xy[right] - tip_xy[left]
    gap_px = np.hypot(*way_xy.T)
    way_xy /= np.maximum(gap_px, 1e-9)[:, None]
    part = np.array([edge.part for edge, _ in ends])
    faces = (out_xy[left] * way_xy).sum(axis=1) >= _COS_GAP
    faces &= -(out_xy[right] * way_xy).sum(axis=1) >= _COS_GAP
    is_near = (gap_px <= GAP_PX) & faces & (part[left] != part[right])
    taken: set[int] = set()
    bridges: list[Edge] = []
    for pair in np.flatnonzero(is_near)[np.argsort(gap_px[is_near], kind="stable")].tolist():
        one, other = int(left[pair]), int(right[pair])
        if one not in taken and other not in taken:
            taken |= {one, other}
            nodes = (ends[one][0].ends[ends[one][1]], ends[other][0].ends[ends[other][1]])
            n_steps = max(2, round(float(gap_px[pair])) + 1)
            half_px = np.linspace(tip_px[one], tip_px[other], n_steps)
            bridges.append(Edge(np.linspace(tip_xy[one], tip_xy[other], n_steps), half_px, nodes, (int(part[one]),)))
    return _joined([*edges, *bridges])


def _joined(edges: list[Edge]) -> list[Edge]:
    """Two lines that meet where nothing else does are one."""
    at_node: defaultdict[int, list[int]] = defaultdict(list)
    for i, edge in enumerate(edges):
        for end in edge.ends:
            at_node[end].append(i)
    joined: list[Edge | None] = list(edges)
    for node, (one, *others) in at_node.items():
        if len(others) != 1 or others[0] == one:
            continue
        first, second = joined[one], joined[others[0]]
        if first is None or second is None:  # never: a line is listed at the nodes of its ends alone
            continue
        onward = slice(None, None, 1 if first.ends[1] == node else -1), slice(None, None, 1 if second.ends[0] == node else -1)
        far = [edge.ends[0] if edge.ends[1] == node else edge.ends[1] for edge in (first, second)]
        points_xy = np.concatenate([first.points_xy[onward[0]], second.points_xy[onward[1]][1:]])
        half_px = np.concatenate([first.half_px[onward[0]], second.half_px[onward[1]][1:]])
        joined[one], joined[others[0]] = Edge(points_xy, half_px, (far[0], far[1]), first.parts + second.parts), None
        at_node[far[1]] = [one if i == others[0] else i for i in at_node[far[1]]]
    return [edge for edge in joined if edge is not None]


def smooth(points_xy: Float, width_px: float) -> Float:
    """Without the stairs of pixels, whose length is up to 8% too long; both ends stay where they are."""
    reach = min(max(_SMOOTH_PX, round(width_px)) // 2, len(points_xy) - 1)
    if reach < 1:
        return points_xy
    box = np.full(reach + 1, 1 / (reach + 1))
    kernel = np.convolve(box, box)
    before = 2 * points_xy[0] - points_xy[reach:0:-1]
    after = 2 * points_xy[-1] - points_xy[-2 : -reach - 2 : -1]
    padded = np.concatenate([before, points_xy, after])
    return np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in (0, 1)], axis=1)


def components(edges: list[Edge]) -> list[list[Edge]]:
    """Lines that are connected, together."""
    node = {end: end for edge in edges for end in edge.ends}
    for one, other in (edge.ends for edge in edges):
        one, other = _root(node, one), _root(node, other)
        node[max(one, other)] = min(one, other)
    together: defaultdict[int, list[Edge]] = defaultdict(list)
    for edge in edges:
        together[_root(node, edge.ends[0])].append(edge)
    return list(together.values())


def _root(node: dict[int, int], end: int) -> int:
    while node[end] != end:
        node[end] = node[node[end]]
        end = node[end]
    return end


def degrees(edges: list[Edge]) -> defaultdict[int, int]:
    """How many lines end at each node."""
    degree: defaultdict[int, int] = defaultdict(int)
    for edge in edges:
        for end in edge.ends:
            degree[end] += 1
    return degree
