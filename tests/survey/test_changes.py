"""What has changed between a photograph and earlier ones, crack by crack."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from inspection.rows import Row, Status
from model.inference.cracks import measure
from model.inference.findings import lines
from survey.changes import Change, Former, Kind, Part, Reason, Seen, changes
from survey.changes_page import draw

Picture = NDArray[np.uint8]
SIZE_HW = (600, 800)
STAYS = np.eye(3)


def seen(*cracks: tuple[list[tuple[int, int]], int], possible: list[tuple[int, int]] | None = None) -> Seen:
    """Cracks on a grainy wall, each with its points and width, of which the model is certain; and one that it doubts."""
    image = np.random.default_rng(0).normal(180, 8, (*SIZE_HW, 1)).repeat(3, axis=2).astype(np.uint8)
    prob_hw_u8 = np.zeros(SIZE_HW, np.uint8)
    for points, width in cracks:
        cv2.polylines(image, [np.array(points)], False, (40, 40, 40), width)
        cv2.polylines(prob_hw_u8, [np.array(points)], False, 255, width)
    found = measure(prob_hw_u8, image, 128)
    if possible:
        cv2.polylines(prob_hw_u8, [np.array(possible)], False, 60, 3)
    figures, drawn = [crack.figures for crack in found], [lines(crack) for crack in found]
    row = Row("x.jpg", Status.PREDICTED, 1, 1, "", width=SIZE_HW[1], height=SIZE_HW[0], cracks=figures, lines=drawn)
    return Seen(prob_hw_u8, image, row)


def between(earlier: Seen, later: Seen, to_later: NDArray[np.float64]) -> list[Change]:
    return changes([Former(earlier, to_later)], later)


def only(told: list[Change]) -> Change:
    assert len(told) == 1
    return told[0]


LONG, HALF, REST = [(100, 300), (700, 320)], [(100, 300), (400, 310)], [(400, 310), (700, 320)]


@pytest.mark.parametrize(
    ("earlier", "later", "kind", "changed_px"),
    [
        (seen((LONG, 4)), seen((LONG, 4)), Kind.SAME, 0),
        (seen((HALF, 4)), seen((LONG, 4)), Kind.GROWN, 300),
        (seen((HALF, 4), possible=REST), seen((LONG, 4)), Kind.SAME, 0),
        (seen(), seen((LONG, 4)), Kind.NEW, 600),
        (seen(possible=LONG), seen((LONG, 4)), Kind.UNCERTAIN, 0),
        (seen((LONG, 4)), seen((LONG, 9)), Kind.WIDER, 0),
        (seen((LONG, 4)), seen(), Kind.GONE, 600),
    ],
    ids=["unchanged", "longer", "longer where it was doubtful before", "new", "doubtful before", "wider", "no longer found"],
)
def test_what_became_of_a_crack(earlier: Seen, later: Seen, kind: Kind, changed_px: float) -> None:
    change = only(between(earlier, later, STAYS))
    assert change.kind is kind
    assert change.changed_px == pytest.approx(changed_px, abs=10)


def test_lengths_are_those_that_the_survey_tells() -> None:
    later = seen((LONG, 4))
    change, told = only(between(seen(), later, STAYS)), (later.row.cracks or [])[0]["length_px"]
    assert (change.length_px, change.changed_px) == (pytest.approx(told), pytest.approx(told, rel=0.02))


@pytest.mark.parametrize(("width", "kind"), [(3, Kind.UNCERTAIN), (11, Kind.NEW)], ids=["fine", "wide"])
def test_a_crack_is_new_only_if_the_earlier_photograph_is_fine_enough_to_show_it(width: int, kind: Kind) -> None:
    """Laid over four pixels for each of its own."""
    assert only(between(seen(), seen((LONG, width)), np.diag([4.0, 4.0, 1.0]))).kind is kind


def test_a_fine_crack_that_a_coarser_later_photograph_cannot_show_is_not_missed() -> None:
    assert not between(seen((LONG, 3)), seen(), np.diag([0.25, 0.25, 1.0]))
    assert only(between(seen((LONG, 19)), seen(), np.diag([0.25, 0.25, 1.0]))).kind is Kind.GONE


def blurred(image: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8)


def too_bright(image: Picture) -> Picture:
    return np.clip(image.astype(np.int32) * 2, 0, 255).astype(np.uint8)


def too_dark(image: Picture) -> Picture:
    return np.asarray(image // 8, np.uint8)


@pytest.mark.parametrize("spoil", [blurred, too_bright, too_dark])
def test_a_crack_is_not_new_where_the_earlier_photograph_could_not_show_it(spoil: Callable[[Picture], Picture]) -> None:
    earlier, later = seen(), seen((LONG, 3))
    change = only(between(replace(earlier, image_hwc_u8=spoil(earlier.image_hwc_u8)), later, STAYS))
    assert (change.kind, change.reason, change.changed_px) == (Kind.UNCERTAIN, Reason.HIDDEN, 0)
    assert change.unknown_px == pytest.approx(change.length_px, rel=0.02)
    assert not between(later, replace(earlier, image_hwc_u8=spoil(earlier.image_hwc_u8)), STAYS)  # nor is it gone


def test_where_half_of_the_earlier_photograph_is_too_bright_the_other_half_is_compared() -> None:
    earlier = seen()
    half = earlier.image_hwc_u8.copy()
    half[:, 400:] = too_bright(half[:, 400:])
    change = only(between(replace(earlier, image_hwc_u8=half), seen((LONG, 3)), STAYS))
    assert change.kind is Kind.GROWN
    assert change.changed_px == pytest.approx(300, abs=40)
    assert change.unknown_px == pytest.approx(300, abs=40)


def test_a_wide_crack_is_compared_with_a_photograph_that_is_a_little_blurred() -> None:
    earlier = seen()
    soft = np.asarray(cv2.GaussianBlur(earlier.image_hwc_u8, (0, 0), 1.5), np.uint8)
    earlier = replace(earlier, image_hwc_u8=soft)
    assert only(between(earlier, seen((LONG, 3)), STAYS)).kind is Kind.UNCERTAIN
    assert only(between(earlier, seen((LONG, 20)), STAYS)).kind is Kind.NEW


def test_a_crack_that_looks_wider_in_a_blurred_later_photograph_is_not_wider() -> None:
    later = seen((LONG, 9))
    assert only(between(seen((LONG, 4)), replace(later, image_hwc_u8=blurred(later.image_hwc_u8)), STAYS)).kind is Kind.SAME


def test_a_branch_is_as_long_as_it_is() -> None:
    branch = [(400, 310), (400, 110)]
    change = only(between(seen((LONG, 4)), seen((LONG, 4), (branch, 4)), STAYS))
    assert change.kind is Kind.GROWN
    assert change.changed_px == pytest.approx(200, abs=10)


def test_what_the_earlier_photograph_does_not_show_is_not_new() -> None:
    right_half_is_beside_it = np.array([(1.0, 0, -450), (0, 1, 0), (0, 0, 1)])
    change = only(between(seen(), seen((REST, 4)), right_half_is_beside_it))
    assert change.kind is Kind.OUTSIDE
    assert change.unknown_px == pytest.approx(300, abs=10)
    assert {part for _, part in change.parts} == {Part.UNKNOWN}


def beside(right_px: int, *points: list[tuple[int, int]]) -> Former:
    """An earlier photograph that was taken further to the right, of cracks at these points of the later one."""
    own = [([(x - right_px, y) for x, y in crack], 4) for crack in points]
    return Former(seen(*own), np.array([(1.0, 0, right_px), (0, 1, 0), (0, 0, 1)]))


def test_several_earlier_photographs_tell_of_a_crack_each_of_its_part() -> None:
    left, right = beside(-450, HALF), beside(350)
    change = only(changes([left, right], seen((LONG, 4))))
    assert (change.kind, change.photographs, change.earlier) == (Kind.GROWN, (0, 1), ((0, 1),))
    assert change.changed_px == pytest.approx(350, abs=10)
    assert change.unknown_px == 0
    assert only(changes([left], seen((LONG, 4)))).unknown_px == pytest.approx(350, abs=10)
    assert only(changes([left, beside(350, LONG)], seen((LONG, 4)))).kind is Kind.SAME


def test_a_crack_that_one_of_two_earlier_photographs_shows_is_not_new() -> None:
    for formers in ([beside(0), beside(0, LONG)], [beside(0, LONG), beside(0)]):
        change = only(changes(formers, seen((LONG, 4))))
        assert (change.kind, change.changed_px) == (Kind.SAME, 0)


def test_a_crack_that_two_earlier_photographs_show_is_no_longer_found_once() -> None:
    change = only(changes([beside(0, LONG), beside(200, LONG)], seen()))
    assert (change.kind, change.photographs, change.earlier) == (Kind.GONE, (0,), ((0, 1),))


def test_what_one_earlier_photograph_could_not_show_another_one_tells() -> None:
    sharp, later = seen(), seen((LONG, 3))
    dull = Former(replace(sharp, image_hwc_u8=blurred(sharp.image_hwc_u8)), STAYS)
    change = only(changes([dull, Former(sharp, STAYS)], later))
    assert (change.kind, change.unknown_px) == (Kind.NEW, 0)


def test_widths_and_lengths_are_those_of_the_later_photograph() -> None:
    twice_as_near = np.diag([2.0, 2.0, 1.0])
    change = only(between(seen(([(50, 100), (350, 110)], 4)), seen(([(100, 200), (700, 220)], 8)), twice_as_near))
    assert change.kind is Kind.SAME
    assert change.width_px is not None
    assert change.width_before_px == pytest.approx(change.width_px, rel=0.15)


def test_where_two_earlier_photographs_meet_no_dark_line_is_drawn() -> None:
    """It would look like a crack."""
    grey = np.full((300, 400, 3), 150, np.uint8)
    turned = np.vstack([cv2.getRotationMatrix2D((200, 150), 2, 1.0), [0, 0, 1]])
    former, _, _ = draw([(grey[:, :220], turned), (grey, np.eye(3))], grey, [])
    assert former.min() == 150
