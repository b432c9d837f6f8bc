"""What photographs that are laid over each other show along each other's cracks: a crack, traces of one, none, or too little to
tell.

Left to others: what became of each crack (`changes`), and laying photographs over each other (`laying`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.rows import Line
from survey.detail import Detail
from survey.laying import Float, Picture, inside, moved, px_at

_POSSIBLE = 26  # of 255: where the model gives less, it sees nothing
MAYBE, HIDDEN, APART = -1, -2, -3  # instead of a crack's number
STEP_PX = 2.0  # between the points of a line that are looked at
COARSER = 1.5  # times as much of the surface in a pixel, or more: a fine crack may be lost
_LEAST_WIDTH_PX = 2.0  # of the coarser photograph's pixels: nearly all cracks that it lost were narrower
_LEAST_DETAIL = 0.5  # of the contrast in the photograph that shows a crack: with less the other one may be unable to


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
class Traced:
    """A crack's lines with a point every `STEP_PX`, in the later photograph's pixels, and its length and width there.

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
        scale = sum(map(length, lines_xy)) / max(sum(map(length, own)), 1e-9)
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


Sight = list[tuple[NDArray[np.int32], NDArray[np.intp]]]
"""What other photographs show along a crack. For each of its lines, and there for each point: the number of the crack that is
there, 0 for none, `MAYBE`, `HIDDEN` or `APART`; and the index of the photograph that tells so, -1 if none shows the place."""


class Beside:
    """A later photograph, or a part of a mosaic, with earlier ones laid over it.

    Args:
        formers: the earlier ones, with the homographies from their pixels to the later one's.
        before, after: the cracks of all of them, in the later one's pixels.
        reach_px: what is nearer than this to a crack is that crack.
    """

    def __init__(
        self,
        formers: Sequence[tuple[View, Float]],
        later: View,
        before: Sequence[Traced],
        after: Sequence[Traced],
        reach_px: float,
    ) -> None:
        stays = np.eye(3)
        size_hw = later.prob_hw_u8.shape
        new = _Nearest(after, later, stays, size_hw, reach_px)
        self._old, self._now = [], []  # each earlier photograph for the later cracks, the later one for those of each earlier
        for index, (former, to_later) in enumerate(formers):
            cracks = [crack for crack in before if crack.photograph == index]
            nearest = _Nearest(cracks, former, to_later, size_hw, reach_px)
            from_later = np.asarray(np.linalg.inv(to_later), np.float64)
            self._old.append(_Other(nearest, _Shown(later, former, to_later, stays)))
            self._now.append(_Other(new, _Shown(former, later, from_later, from_later)))

    def sight_of_later(self, crack: Traced) -> Sight:
        return [_look(line, crack, self._old) for line in crack.lines_xy]

    def sight_of_earlier(self, crack: Traced) -> Sight:
        """Without the places that the earlier photographs before its own have told of already."""
        sight = []
        for line in crack.lines_xy:
            ids, by = _look(line, crack, [self._now[crack.photograph]])
            for other in self._old[: crack.photograph]:
                by[other.nearest.look(line)[1]] = -1
            sight.append((ids, by))
        return sight

    def is_clear(self, crack: Traced) -> list[NDArray[np.bool_]]:
        """Of the points of an earlier crack's lines: whether the later photograph could show it there."""
        return [self._now[crack.photograph].shown.at(line, crack) for line in crack.lines_xy]


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
        height, width = (int(side / STEP_PX) + 1 for side in size_hw)
        is_free, ids = np.ones((height, width), np.uint8), np.zeros((height, width), np.int32)
        for crack in cracks:
            for line_xy in crack.lines_xy:
                x, y = self._cells(line_xy[inside(line_xy, size_hw)])
                is_free[y, x], ids[y, x] = 0, crack.id
        distance, labels = cv2.distanceTransformWithLabels(is_free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        id_of_label = np.zeros(labels.max() + 1, np.int32)
        id_of_label[labels[is_free == 0]] = ids[is_free == 0]
        to_cells = np.diag([1 / STEP_PX, 1 / STEP_PX, 1.0]) @ to_later
        likely = cv2.warpPerspective(cv2.dilate(view.prob_hw_u8, np.ones((3, 3), np.uint8)), to_cells, (width, height))
        side = 2 * round(reach_px / STEP_PX) + 1
        is_possible = cv2.dilate(likely, np.ones((side, side), np.uint8)) >= _POSSIBLE
        self._ids = np.where(is_possible, MAYBE, 0)
        if cracks:
            self._ids = np.where(distance * STEP_PX <= reach_px, id_of_label[labels], self._ids)
        has_data = np.ones(view.prob_hw_u8.shape, np.bool_) if view.has_data_hw is None else view.has_data_hw
        shown = cv2.warpPerspective(has_data.astype(np.uint8), to_cells, (width, height), flags=cv2.INTER_NEAREST)
        self._is_shown, self._size_hw = shown.astype(bool), size_hw

    def look(self, points_xy: Float) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Of (n, 2) points: the crack's number, `MAYBE` where there may be one, or 0; and whether both photographs show it."""
        is_inside = inside(points_xy, self._size_hw)
        x, y = self._cells(np.where(is_inside[:, None], points_xy, 0))
        is_shown = is_inside & self._is_shown[y, x]
        return np.where(is_shown, self._ids[y, x], 0), is_shown

    @staticmethod
    def _cells(points_xy: Float) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        x, y = (points_xy / STEP_PX).astype(np.int32).T
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
        """As `_Nearest.look`, at points of the crack; `HIDDEN` where there is none but the photograph could not show it."""
        ids, is_shown = self.nearest.look(points_xy)
        if (is_missing := (ids == 0) & is_shown).any():
            ids[is_missing] = np.where(self.shown.at(points_xy[is_missing], crack), 0, HIDDEN)
        return ids, is_shown


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
    return np.select([ids > 0, ids == MAYBE, ids == 0], [3, 2, 1], 0)


def length(line_xy: Float) -> float:
    return float(np.hypot(*np.diff(line_xy, axis=0).T).sum())


def _dense(line_xy: Float) -> Float:
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line_xy, axis=0).T))])
    at = np.linspace(0, along[-1], max(2, round(along[-1] / STEP_PX) + 1))
    return np.stack([np.interp(at, along, line_xy[:, axis]) for axis in (0, 1)], axis=1)
