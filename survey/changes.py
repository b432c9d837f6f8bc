"""What has changed between a photograph and earlier ones of the same surface that are laid over it, crack by crack.

Left to others: finding the pairs of photographs (`compare`), laying them over each other (`laying`), and what is written of
them (`changes_page`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.rows import Line, Row
from survey.detail import Detail
from survey.laying import Float, Picture, inside, moved, px_at

_REACH_RATIO = 0.0075  # of the longer side: what is nearer than this to an earlier crack is that crack
_LEAST_RATIO = 0.025  # of the longer side: shorter changes are not told
_POSSIBLE = 26  # of 255: where the model gives less, it sees nothing
_MAYBE, _HIDDEN, APART = -1, -2, -3  # instead of a crack's number
_STEP_PX = 2.0  # between the points of a line that are looked at
_ALL = 0.8  # a crack is new if so much of it is
COARSER = 1.5  # times as much of the surface in a pixel, or more: a fine crack may be lost
_LEAST_WIDTH_PX = 2.0  # of the coarser photograph's pixels: nearly all cracks that it lost were narrower
_LEAST_DETAIL = 0.5  # of the contrast in the photograph that shows a crack: with less the other one may be unable to


class Kind(StrEnum):
    NEW = "new"
    GROWN = "longer"
    WIDER = "wider"
    SAME = "unchanged"
    GONE = "no longer found"
    OUTSIDE = "not on the earlier photograph"
    UNCERTAIN = "uncertain"


class Reason(StrEnum):
    """Why a crack is uncertain."""

    TRACES = "The model saw traces of it in the earlier photograph."
    HIDDEN = "The earlier photograph is too blurred, bright, dark or coarse here to show it."
    APART = "The two could not be laid over each other here."


_REASONS = {_MAYBE: Reason.TRACES, _HIDDEN: Reason.HIDDEN, APART: Reason.APART}


class Part(StrEnum):
    """Of a crack's line, beside the other photograph."""

    FOUND = "found in both"
    CHANGED = "new, or no longer found"
    UNKNOWN = "not shown by the other photograph, or not clearly"


@dataclass(frozen=True)
class Change:
    """What became of a crack; lengths and widths in pixels of the later photograph.

    Attributes:
        id: its number in the later survey; of one that is no longer found, in the earlier survey.
        photographs: which of the earlier photographs tell of it, by their indices; none if it is beside all of them.
        earlier: the earlier cracks that it runs along, each by its photograph's index and its number there; or the one that is
            no longer found.
        length_px: of all of it, as the survey measured it.
        changed_px: the length that is new, or that is no longer found.
        unknown_px: the length that the other photograph doesn't show, or doesn't show clearly.
        width_before_px, width_px: the medians of a crack that is not new; None where one could not be resolved.
        parts: its lines in pieces: the points (n, 2) in the later photograph, and what became of them.
        reason: if it is uncertain.
    """

    id: int
    kind: Kind
    photographs: tuple[int, ...]
    earlier: tuple[tuple[int, int], ...]
    length_px: float
    changed_px: float
    unknown_px: float
    width_before_px: float | None
    width_px: float | None
    parts: tuple[tuple[Float, Part], ...]
    reason: Reason | None = None


@dataclass(frozen=True)
class View:
    """A photograph, or a part of a mosaic, and its crack probability, uint8 (height, width), 255 = certain.

    Attributes:
        has_data_hw: where it shows the surface, bool; None if it does everywhere.
    """

    prob_hw_u8: Picture
    image_hwc_u8: Picture
    has_data_hw: NDArray[np.bool_] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Seen(View):
    """A photograph, and its row with its cracks and lines."""

    row: Row


@dataclass(frozen=True)
class Former:
    """An earlier photograph, and the homography from its pixels to the later one's, as `lay_over` gives it."""

    seen: Seen
    to_later: Float


def changes(formers: Sequence[Former], later: Seen) -> list[Change]:
    """Each crack of the later photograph, then those of the earlier ones that are no longer found. Where several earlier
    photographs show a place, a crack was there if it is found in one of them.
    """
    bounds = Bounds.of(max(later.prob_hw_u8.shape))
    after = _traced(later.row, np.eye(3))
    before = [crack for index, each in enumerate(formers) for crack in _traced(each.seen.row, each.to_later, index)]
    beside = Beside([(each.seen, each.to_later) for each in formers], later, before, after, bounds)
    return judge(
        [(crack, beside.sight_of_later(crack)) for crack in after],
        [(crack, beside.sight_of_earlier(crack)) for crack in before],
        lambda crack: bool(np.concatenate(beside.is_clear(crack)).mean() >= 0.5),
        bounds,
    )


class Bounds(NamedTuple):
    """
    Attributes:
        reach_px: what is nearer than this to an earlier crack is that crack.
        least_px: shorter changes are not told.
    """

    reach_px: float
    least_px: float

    @classmethod
    def of(cls, side_px: float) -> "Bounds":
        """For photographs with this longer side."""
        return cls(_REACH_RATIO * side_px, _LEAST_RATIO * side_px)


Sight = list[tuple[NDArray[np.int32], NDArray[np.intp]]]
"""What other photographs show along a crack. For each of its lines, and there for each point: the number of the crack that is
there, 0 for none, or one of `_REASONS`; and the index of the photograph that tells so, -1 if none shows the place."""


class Beside:
    """A later photograph, or a part of a mosaic, with earlier ones laid over it.

    Args:
        formers: the earlier ones, with the homographies from their pixels to the later one's.
        before, after: the cracks of all of them, in the later one's pixels.
    """

    def __init__(
        self,
        formers: Sequence[tuple[View, Float]],
        later: View,
        before: Sequence["Traced"],
        after: Sequence["Traced"],
        bounds: Bounds,
    ) -> None:
        stays = np.eye(3)
        size_hw = later.prob_hw_u8.shape
        new = _Nearest(after, later, stays, size_hw, bounds.reach_px)
        self._old, self._now = [], []  # each earlier photograph for the later cracks, the later one for those of each earlier
        for index, (former, to_later) in enumerate(formers):
            cracks = [crack for crack in before if crack.photograph == index]
            nearest = _Nearest(cracks, former, to_later, size_hw, bounds.reach_px)
            from_later = np.asarray(np.linalg.inv(to_later), np.float64)
            self._old.append(_Other(nearest, _Shown(later, former, to_later, stays)))
            self._now.append(_Other(new, _Shown(former, later, from_later, from_later)))

    def sight_of_later(self, crack: "Traced") -> Sight:
        return [_look(line, crack, self._old) for line in crack.lines_xy]

    def sight_of_earlier(self, crack: "Traced") -> Sight:
        """Without the places that the earlier photographs before its own have told of already."""
        sight = []
        for line in crack.lines_xy:
            ids, by = _look(line, crack, [self._now[crack.photograph]])
            for other in self._old[: crack.photograph]:
                by[other.nearest.look(line)[1]] = -1
            sight.append((ids, by))
        return sight

    def is_clear(self, crack: "Traced") -> list[NDArray[np.bool_]]:
        """Of the points of an earlier crack's lines: whether the later photograph could show it there."""
        return [self._now[crack.photograph].shown.at(line, crack) for line in crack.lines_xy]


def judge(
    after: Sequence[tuple["Traced", Sight]],
    before: Sequence[tuple["Traced", Sight]],
    is_clear: Callable[["Traced"], bool],
    bounds: Bounds,
) -> list[Change]:
    """What became of each later crack, and which earlier ones are no longer found.

    The ends of a fine crack are marked in one photograph and not in the next, so a part is new only where the model sees next
    to nothing in the earlier photograph, and gone only where it sees next to nothing in the later one. A photograph that shows
    little of the other one's detail, as it is blurred, too bright or from further away, may not show the crack either.

    Args:
        is_clear: whether the later photograph could show most of an earlier crack.
    """
    told = []
    known = {(crack.photograph, crack.id): crack for crack, _ in before}
    for crack, sight in after:
        found = _Compared.of(crack, sight, bounds)
        same = [known[each] for each in found.near]
        widths = (_width(same), crack.width_px) if same else (None, None)
        kind = _kind(found, crack, same, bounds.least_px)
        if kind is Kind.WIDER and not all(map(is_clear, same)):
            kind = Kind.SAME  # what is blurred looks wider
        told.append(found.change(crack, kind, *widths))
    for crack, sight in before:
        found = _Compared.of(crack, sight, bounds)
        if found.changed_px >= bounds.least_px:
            told.append(found.change(crack, Kind.GONE, None, None))
    return told


@dataclass(frozen=True)
class Traced:
    """A crack's lines with a point every `_STEP_PX`, in the later photograph's pixels, and its length and width there.

    Attributes:
        photograph: the index of the earlier photograph that it is from; 0 for the later one.
        px: how many pixels of the later photograph one of the crack's own photograph covers.
    """

    photograph: int
    id: int
    lines_xy: list[Float]
    px: float
    length_px: float
    width_px: float | None
    width_error_px: float

    @classmethod
    def of(
        cls, crack: Mapping[str, Any], lines: Iterable[Line | Float], to_later: Callable[[Float], Float], photograph: int
    ) -> "Traced":
        """
        Args:
            crack: its figures, in its photograph's pixels.
            lines: points (n, 2) there.
            to_later: from there to the later photograph's pixels.
        """
        own = [np.asarray(line, np.float64) for line in lines if len(line) > 1]
        lines_xy = [to_later(line) for line in own]
        scale = sum(map(_length, lines_xy)) / max(sum(map(_length, own)), 1e-9)
        is_resolved = not crack["is_width_below_limit"] and crack["width_median_px"] is not None
        width = crack["width_median_px"] * scale if is_resolved else None
        return cls(
            photograph=photograph,
            id=int(crack["id"]),
            lines_xy=[_dense(line) for line in lines_xy],
            px=scale,
            length_px=crack["length_px"] * scale,
            width_px=width,
            width_error_px=(crack["width_uncertainty_px"] or 0.0) * scale,
        )


def _traced(row: Row, to_later: Float, photograph: int = 0) -> list[Traced]:
    both = zip(row.cracks or (), row.lines or (), strict=True)
    return [Traced.of(crack, lines, partial(moved, to_later), photograph) for crack, lines in both]


class _Nearest:
    """Which of a photograph's cracks is within reach of a point of the later photograph, and nearest to it.

    Args:
        cracks: in the later photograph's pixels.
        view: the photograph.
        to_later: from its pixels to those of the later photograph, which is `size_hw` large.
    """

    def __init__(
        self, cracks: Sequence[Traced], view: View, to_later: Float, size_hw: tuple[int, ...], reach_px: float
    ) -> None:
        height, width = (int(side / _STEP_PX) + 1 for side in size_hw)
        is_free, ids = np.ones((height, width), np.uint8), np.zeros((height, width), np.int32)
        for crack in cracks:
            for line_xy in crack.lines_xy:
                x, y = self._cells(line_xy[inside(line_xy, size_hw)])
                is_free[y, x], ids[y, x] = 0, crack.id
        distance, labels = cv2.distanceTransformWithLabels(is_free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        id_of_label = np.zeros(labels.max() + 1, np.int32)
        id_of_label[labels[is_free == 0]] = ids[is_free == 0]
        to_cells = np.diag([1 / _STEP_PX, 1 / _STEP_PX, 1.0]) @ to_later
        likely = cv2.warpPerspective(cv2.dilate(view.prob_hw_u8, np.ones((3, 3), np.uint8)), to_cells, (width, height))
        side = 2 * round(reach_px / _STEP_PX) + 1
        is_possible = cv2.dilate(likely, np.ones((side, side), np.uint8)) >= _POSSIBLE
        self._ids = np.where(is_possible, _MAYBE, 0)
        if cracks:
            self._ids = np.where(distance * _STEP_PX <= reach_px, id_of_label[labels], self._ids)
        has_data = np.ones(view.prob_hw_u8.shape, np.bool_) if view.has_data_hw is None else view.has_data_hw
        shown = cv2.warpPerspective(has_data.astype(np.uint8), to_cells, (width, height), flags=cv2.INTER_NEAREST)
        self._is_shown, self._size_hw = shown.astype(bool), size_hw

    def look(self, points_xy: Float) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Of (n, 2) points: the crack's number, `_MAYBE` where there may be one, or 0; and whether both photographs show it."""
        is_inside = inside(points_xy, self._size_hw)
        x, y = self._cells(np.where(is_inside[:, None], points_xy, 0))
        is_shown = is_inside & self._is_shown[y, x]
        return np.where(is_shown, self._ids[y, x], 0), is_shown

    @staticmethod
    def _cells(points_xy: Float) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        x, y = (points_xy / _STEP_PX).astype(np.int32).T
        return x, y


class _Shown:
    """Whether a crack of one photograph could be seen in the other one.

    Args:
        own: the photograph with the crack.
        to_own: from the other one's pixels to its own.
        from_later: from the later photograph's pixels to its own.
    """

    def __init__(self, own: View, other: View, to_own: Float, from_later: Float) -> None:
        height, width = own.prob_hw_u8.shape
        possible = cv2.max(own.prob_hw_u8, cv2.warpPerspective(other.prob_hw_u8, to_own, (width, height)))
        self._detail = Detail(own.image_hwc_u8, other.image_hwc_u8, to_own, possible >= _POSSIBLE)
        self._to_own, self._from_later = to_own, from_later

    def at(self, points_xy: Float, crack: Traced) -> NDArray[np.bool_]:
        """At (n, 2) points of the crack's lines."""
        own_xy, width_px = moved(self._from_later, points_xy), (crack.width_px or 0.0) / crack.px
        px = px_at(own_xy, self._to_own)
        if px >= COARSER and width_px < _LEAST_WIDTH_PX * px:
            return np.zeros(len(points_xy), np.bool_)
        return self._detail.ratio(own_xy, width_px) >= _LEAST_DETAIL


class _Other(NamedTuple):
    """A photograph beside which a crack is held."""

    nearest: _Nearest
    shown: _Shown

    def look(self, points_xy: Float, crack: Traced) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """As `_Nearest.look`, at points of the crack; `_HIDDEN` where there is none but the photograph could not show it."""
        ids, is_shown = self.nearest.look(points_xy)
        if (is_missing := (ids == 0) & is_shown).any():
            ids[is_missing] = np.where(self.shown.at(points_xy[is_missing], crack), 0, _HIDDEN)
        return ids, is_shown


@dataclass(frozen=True)
class _Compared:
    """A crack beside those of the other photographs.

    Attributes:
        photographs: the indices of those that tell of it.
        near: the cracks that it runs along, each by its photograph's index and its number there.
    """

    photographs: tuple[int, ...]
    near: tuple[tuple[int, int], ...]
    changed_px: float
    outside_px: float
    vague_px: dict[Reason, float]
    parts: tuple[tuple[Float, Part], ...]

    @classmethod
    def of(cls, crack: Traced, sight: Sight, bounds: Bounds) -> "_Compared":
        reach_px, least_px = bounds
        told: Counter[tuple[int, int]] = Counter()
        parts: list[tuple[Float, Part]] = []
        vague_px = dict.fromkeys(Reason, 0.0)
        changed_px = outside_px = drawn_px = 0.0
        for line, (ids, by) in zip(crack.lines_xy, sight, strict=True):
            is_shown = by >= 0
            ids = np.where(is_shown, ids, 0)
            told.update(zip(by[is_shown].tolist(), ids[is_shown].tolist(), strict=True))
            length_px = _length(line)
            is_changed = (ids == 0) & is_shown
            outside_px += length_px * float((~is_shown).mean())
            for code, reason in _REASONS.items():
                vague_px[reason] += length_px * float((ids == code).mean())
            drawn_px += length_px
            for first, last in _runs(is_changed):
                ends = (first > 0) + (last < len(line))  # where an earlier crack ends, its reach hides the beginning
                run_px = _length(line[first:last]) + ends * reach_px
                is_changed[first:last] = is_told = run_px >= least_px or not ids.any()
                changed_px += run_px * is_told
            is_unknown = ~is_shown | (ids < 0)
            for part, is_part in (
                (Part.CHANGED, is_changed),
                (Part.UNKNOWN, is_unknown),
                (Part.FOUND, ~is_changed & ~is_unknown),
            ):
                parts += [(line[first : last + 1], part) for first, last in _runs(is_part)]
        as_measured = crack.length_px / max(drawn_px, 1e-9)  # the lines are simplified
        return cls(
            tuple(sorted({photograph for photograph, _ in told})),
            tuple(sorted(each for each, n in told.items() if each[1] > 0 and n * _STEP_PX >= least_px / 2)),
            min(changed_px * as_measured, crack.length_px),
            outside_px * as_measured,
            {reason: px * as_measured for reason, px in vague_px.items()},
            tuple(parts),
        )

    def change(self, crack: Traced, kind: Kind, width_before_px: float | None, width_px: float | None) -> Change:
        photographs, earlier = self.photographs, self.near
        if kind is Kind.GONE:
            photographs, earlier = (crack.photograph,), ((crack.photograph, crack.id),)
        lengths = (crack.length_px, self.changed_px, self.outside_px + sum(self.vague_px.values()))
        reason_if = max(self.vague_px, key=self.vague_px.__getitem__) if kind is Kind.UNCERTAIN else None
        return Change(crack.id, kind, photographs, earlier, *lengths, width_before_px, width_px, self.parts, reason_if)


def _look(line_xy: Float, crack: Traced, others: Sequence[_Other]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Of points of a crack: as `_Other.look`, of the photograph where most is found, and that one's index, -1 for none."""
    ids, by = np.zeros(len(line_xy), np.int32), np.full(len(line_xy), -1)
    for index, other in enumerate(others):
        found, is_shown = other.look(line_xy, crack)
        is_more = is_shown & ((by < 0) | (_how_much(found) > _how_much(ids)))
        ids[is_more], by[is_more] = found[is_more], index
    return ids, by


def _how_much(ids: NDArray[np.int32]) -> NDArray[np.int_]:
    """Of what `_look` compares: a crack, traces of one, surely none, unable to show one."""
    return np.select([ids > 0, ids == _MAYBE, ids == 0], [3, 2, 1], 0)


def _kind(found: _Compared, crack: Traced, same: Sequence[Traced], least_px: float) -> Kind:
    comparable_px = crack.length_px - found.outside_px
    if comparable_px < min(least_px, crack.length_px / 2):
        return Kind.OUTSIDE
    if found.changed_px >= _ALL * comparable_px:
        return Kind.NEW
    if found.changed_px >= least_px:
        return Kind.GROWN
    if not found.near or sum(found.vague_px.values()) > comparable_px / 2:
        return Kind.UNCERTAIN
    before_px = _width(same)
    if before_px is not None and crack.width_px is not None:
        error_px = np.hypot(crack.width_error_px, max(each.width_error_px for each in same))
        if crack.width_px - before_px > max(3 * error_px, 1.0, 0.25 * before_px):
            return Kind.WIDER
    return Kind.SAME


def _width(cracks: Sequence[Traced]) -> float | None:
    """The mean of their medians, by length; None unless all are resolved."""
    widths = [crack.width_px for crack in cracks]
    if not widths or None in widths:
        return None
    return float(np.average(np.array(widths, np.float64), weights=[crack.length_px for crack in cracks]))


def _runs(is_true: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """The first index of each run of true ones, and the one after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_true, [False]]).astype(np.int8)))
    yield from ((int(first), int(last)) for first, last in edges.reshape(-1, 2))


def _length(line_xy: Float) -> float:
    return float(np.hypot(*np.diff(line_xy, axis=0).T).sum())


def _dense(line_xy: Float) -> Float:
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line_xy, axis=0).T))])
    at = np.linspace(0, along[-1], max(2, round(along[-1] / _STEP_PX) + 1))
    return np.stack([np.interp(at, along, line_xy[:, axis]) for axis in (0, 1)], axis=1)
