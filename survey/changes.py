"""What has changed between a photograph and earlier ones of the same surface that are laid over it, crack by crack.

Left to others: finding the pairs of photographs (`comparing`), what they show along the cracks (`sights`), and what is written
of them (`changes_page`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspection.rows import Row
from survey.laying import Float, moved
from survey.sights import APART, HIDDEN, MAYBE, STEP_PX, Beside, Sight, Traced, View, length

_REACH_RATIO = 0.0075  # of the longer side: what is nearer than this to an earlier crack is that crack
_LEAST_RATIO = 0.025  # of the longer side: shorter changes are not told
_ALL = 0.8  # a crack is new if so much of it is


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


_REASONS = {MAYBE: Reason.TRACES, HIDDEN: Reason.HIDDEN, APART: Reason.APART}


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
    beside = Beside([(each.seen, each.to_later) for each in formers], later, before, after, bounds.reach_px)
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


def judge(
    after: Sequence[tuple[Traced, Sight]],
    before: Sequence[tuple[Traced, Sight]],
    is_clear: Callable[[Traced], bool],
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


def _traced(row: Row, to_later: Float, photograph: int = 0) -> list[Traced]:
    both = zip(row.cracks or (), row.lines or (), strict=True)
    return [Traced.of(crack, lines, partial(moved, to_later), photograph) for crack, lines in both]


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
            length_px = length(line)
            is_changed = (ids == 0) & is_shown
            outside_px += length_px * float((~is_shown).mean())
            for code, reason in _REASONS.items():
                vague_px[reason] += length_px * float((ids == code).mean())
            drawn_px += length_px
            for first, last in _runs(is_changed):
                ends = (first > 0) + (last < len(line))  # where an earlier crack ends, its reach hides the beginning
                run_px = length(line[first:last]) + ends * reach_px
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
            tuple(sorted(each for each, n in told.items() if each[1] > 0 and n * STEP_PX >= least_px / 2)),
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
