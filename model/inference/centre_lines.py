"""From skeletons to centre lines: a graph of polylines between ends and junctions, without spurs and joined over small gaps.

Left to others: the skeletons (`skeleton`), lines without the stairs of pixels (`smooth_lines`).
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inference.skeleton import Float, Index, Parts, expand

GAP_PX = 24  # between the ends of two centre lines that point at each other
_COS_GAP = np.cos(np.radians(35))
_DIRECTION_PX = 16  # of a line: they give the direction of its end
_SPUR_HALVES = 2.4  # of the crack's half width where a spur begins
MAX_HALF_PX = 200  # of a crack's width
_MOST_HALF_PX = 32  # of most cracks
_ROWS = 1024


@dataclass(frozen=True)
class Edge:
    """A centre line between two nodes, (n, 2), x and y; (0, 0) is the top-left corner of the top-left pixel.

    Attributes:
        half_px: (n,), from each point to the nearest pixel that is no crack.
        ends: the nodes' numbers.
        parts: of the mask, those it goes through; more than one where it bridges a gap.
        length_px: from pixel to pixel.
    """

    points_xy: Float
    half_px: Float
    ends: tuple[int, int]
    parts: tuple[int, ...]
    length_px: float

    @property
    def part(self) -> int:
        return self.parts[0]


def half_widths(mask_hw: NDArray[np.bool_], at: Index) -> Float:
    """Of the pixels with these flat indices, rising, how far it is to the nearest one that is no crack; `MAX_HALF_PX` at most.

    Beyond the picture's edge the crack goes on. Some rows at a time: a distance takes four bytes.
    """
    height, width = mask_hw.shape
    half_px = np.empty(len(at))
    for top in range(0, height, _ROWS):
        first, last = np.searchsorted(at, (top * width, (top + _ROWS) * width))
        if last == first:
            continue
        for margin in (_MOST_HALF_PX, MAX_HALF_PX):
            above = min(top, margin)
            rows = np.ascontiguousarray(mask_hw[top - above : top + _ROWS + margin]).view(np.uint8)
            away = cv2.distanceTransform(rows, cv2.DIST_L2, 5).ravel()
            half_px[first:last] = away[at[first:last] - (top - above) * width]
            if half_px[first:last].max() <= margin:  # otherwise the nearest one may be beyond these rows
                break
    return np.minimum(half_px, MAX_HALF_PX)


def trace(skeleton: Index, half_px: Float, parts: Parts) -> list[Edge]:
    """Lines between ends and junctions, through the middles of pixels; a ring is a line from one of its pixels to itself.

    Args:
        half_px: of each of the skeleton's pixels.
    """
    neighbour = _neighbours(skeleton, parts.width)
    degree = np.count_nonzero(neighbour >= 0, axis=0)
    both = (neighbour.sum(axis=0) + len(neighbour) - degree).tolist()  # within a line: where it comes from, and goes to
    is_passed = degree != 2
    is_end = is_passed.tolist()
    order = array("q")  # the pixels of one line after the other
    pass_by = order.append
    begins: list[int] = []

    def walk(start: int, first: int) -> tuple[int, int]:
        """The last step of a line, seen from its end."""
        begins.append(len(order))
        pass_by(start)
        previous, current = start, first
        while not is_end[current]:
            pass_by(current)
            previous, current = current, both[current] - previous
        pass_by(current)
        return current, previous

    last_steps: set[tuple[int, int]] = set()  # a line is walked once, from one of its ends
    (nodes,) = np.nonzero(is_passed)
    for node, beside in zip(nodes.tolist(), neighbour.T[nodes].tolist(), strict=True):
        for first in beside:
            if first >= 0 and ((node < first) if is_end[first] else (node, first) not in last_steps):
                last_steps.add(walk(node, first))
    is_passed[np.array(order, np.int64)] = True
    for start in np.flatnonzero(~is_passed).tolist():
        if not is_passed[start]:
            is_end[start] = True
            walk(start, int(neighbour[:, start].max()))
            is_passed[order[begins[-1] :]] = True
    return _edges(np.frombuffer(order, np.int64), np.array(begins, np.int64), skeleton, half_px, parts)


def _neighbours(skeleton: Index, width: int) -> Index:
    """(8, n), each pixel's neighbours: above, right, below, left, then those at the corners, above right first; -1 for none.

    Where one can go round a corner by straight steps there is none at the corner.
    """
    neighbour, x = np.full((8, len(skeleton)), -1), skeleton % width
    below = np.searchsorted(skeleton, skeleton + width - 1)  # from the corner below left on
    for column, opposite, dx in ((6, 4, -1), (2, 0, 0), (5, 7, 1)):
        is_there = skeleton.take(below, mode="clip") == skeleton + width + dx
        (upper,) = np.nonzero(is_there & (x + dx >= 0) & (x + dx < width))
        lower = below[upper]
        neighbour[column, upper], neighbour[opposite, lower] = lower, upper
        below += is_there
    (left,) = np.nonzero((np.diff(skeleton) == 1) & (x[1:] > 0))
    neighbour[1, left], neighbour[3, left + 1] = left + 1, left
    is_straight = neighbour[:4] >= 0
    neighbour[4:][is_straight | np.roll(is_straight, -1, axis=0)] = -1
    return neighbour


def _edges(order: Index, begins: Index, skeleton: Index, half_px: Float, parts: Parts) -> list[Edge]:
    """
    Args:
        order: of the skeleton's pixels, one line after the other.
        begins: of each line in `order`.
        half_px: of each of the skeleton's pixels.
    """
    at, half_px, ends = skeleton[order], half_px[order], np.append(begins[1:], len(order))
    points_xy = np.stack([at % parts.width + 0.5, at // parts.width + 0.5], axis=1).astype(np.float64, copy=False)
    step = np.abs(np.diff(at))
    n_aslant = np.append(0, np.cumsum((step != 1) & (step != parts.width)))
    lengths_px = ends - begins - 1 + (math.sqrt(2) - 1) * (n_aslant[ends - 1] - n_aslant[begins])
    part = parts.part[np.searchsorted(parts.first, at[begins], side="right") - 1]
    values = (each.tolist() for each in (begins, ends, order[begins], order[ends - 1], part, lengths_px))
    return [
        Edge(points_xy[begin:end], half_px[begin:end], (first, last), (of_line,), length_px)
        for begin, end, first, last, of_line, length_px in zip(*values, strict=True)
    ]


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
    ends = np.array([[_root(node, end) for end in edge.ends] for edge in kept], np.int64).reshape(-1, 2)
    tips_xy = np.concatenate([np.empty((0, 2)), *(edge.points_xy[:: len(edge.points_xy) - 1] for edge in kept)])
    _, number, n_tips = np.unique(ends, return_inverse=True, return_counts=True)
    middle_xy = np.stack([np.bincount(number.ravel(), axis) / n_tips for axis in tips_xy.T], axis=1)[number.reshape(-1, 2)]
    moved: list[Edge] = []
    for edge, (one, other), their_middles_xy in zip(kept, ends.tolist(), middle_xy, strict=True):
        points_xy = edge.points_xy.copy()
        points_xy[:: len(points_xy) - 1] = their_middles_xy
        moved.append(Edge(points_xy, edge.half_px, (one, other), edge.parts, edge.length_px))
    return _joined(moved)


def _without_spurs(edges: list[Edge]) -> list[Edge]:
    degree = degrees(edges)
    lengths = [edge.length_px for edge in edges]
    is_spur = [False] * len(edges)
    for i, edge in enumerate(edges):
        is_fork = [degree[end] > 2 for end in edge.ends]
        if is_fork[0] != is_fork[1]:
            is_spur[i] = lengths[i] <= max(3.0, _SPUR_HALVES * edge.half_px[0 if is_fork[0] else -1])
    n_left = dict(degree)  # if two spurs are all that is left at a fork, the longer one is the line's end
    for i in sorted(range(len(edges)), key=lambda i: lengths[i]):
        if is_spur[i]:
            fork = max(edges[i].ends, key=lambda end: degree[end])
            if n_left[fork] > 2:
                n_left[fork] -= 1
            else:
                is_spur[i] = False
    return [edge for edge, is_gone in zip(edges, is_spur, strict=True) if not is_gone]


def bridge(edges: list[Edge], repainted_hw: NDArray[np.bool_] | None = None) -> list[Edge]:
    """Join lines of different parts whose ends point at each other over at most `GAP_PX`; nearest first, each end once.

    Args:
        repainted_hw: where a person decided otherwise than the model. Nothing is joined there: they meant the gap.
    """
    degree = degrees(edges)
    ends = [(edge, side) for edge in edges for side in (0, 1) if degree[edge.ends[side]] == 1 and edge.length_px > 1]
    if len(ends) < 2:
        return edges
    tip_xy = np.array([edge.points_xy[-side] for edge, side in ends])
    tip_px = [edge.half_px[-side] for edge, side in ends]
    inward = [edge.points_xy[:: -1 if side else 1][:_DIRECTION_PX] for edge, side in ends]
    out_xy = np.array([points[len(points) // 4] - points[-1] for points in inward])  # the tip itself bends into a corner
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
            n_steps = max(2, round(float(gap_px[pair])) + 1)
            across_xy = np.linspace(tip_xy[one], tip_xy[other], n_steps)
            if repainted_hw is not None and repainted_hw[tuple(across_xy.astype(int).T[::-1])].any():
                continue
            taken |= {one, other}
            nodes = (ends[one][0].ends[ends[one][1]], ends[other][0].ends[ends[other][1]])
            half_px = np.linspace(tip_px[one], tip_px[other], n_steps)
            bridges.append(Edge(across_xy, half_px, nodes, (int(part[one]),), float(gap_px[pair])))
    return _joined([*edges, *bridges])


def _joined(edges: list[Edge]) -> list[Edge]:
    """Join two lines that meet where no other line does."""
    at_node: defaultdict[int, list[int]] = defaultdict(list)
    for i, edge in enumerate(edges):
        for end in edge.ends:
            at_node[end].append(i)
    joined: list[Edge | None] = list(edges)
    for node, (one, *others) in at_node.items():
        if len(others) != 1 or others[0] == one:
            continue
        first, second = joined[one], joined[others[0]]
        if first is None or second is None:  # never: a line is listed only at the nodes of its ends
            continue
        onward = slice(None, None, 1 if first.ends[1] == node else -1), slice(None, None, 1 if second.ends[0] == node else -1)
        far = [edge.ends[0] if edge.ends[1] == node else edge.ends[1] for edge in (first, second)]
        points_xy = np.concatenate([first.points_xy[onward[0]], second.points_xy[onward[1]][1:]])
        half_px = np.concatenate([first.half_px[onward[0]], second.half_px[onward[1]][1:]])
        length_px = first.length_px + second.length_px
        joined[one] = Edge(points_xy, half_px, (far[0], far[1]), first.parts + second.parts, length_px)
        joined[others[0]] = None
        at_node[far[1]] = [one if i == others[0] else i for i in at_node[far[1]]]
    return [edge for edge in joined if edge is not None]


def components(edges: list[Edge]) -> list[list[Edge]]:
    """Group lines that are connected."""
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
