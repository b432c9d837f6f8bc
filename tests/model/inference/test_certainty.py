"""Groups of pixels that are too unsure to be called crack: what is lowered, what stays, and that strips make no difference."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.inference.certainty import Cells, lower_unsure
from model.inference.segmenter import Segmenter
from tests.cards import CARD
from tests.photographs import noise

RULE = replace(CARD, seen=0.25, sure=0.8, cell_px=8, least_sure_px=48)
SEEN, SURE = 64, 204
Plane = NDArray[np.uint8]


def with_line(level: int, length_px: int = 200, thickness_px: int = 2) -> Plane:
    prob_hw_u8 = np.zeros((240, 320), np.uint8)
    cv2.line(prob_hw_u8, (40, 100), (40 + length_px, 100), level, thickness_px)
    return prob_hw_u8


def test_a_crack_that_is_sure_over_a_part_of_its_way_stays_as_it_is() -> None:
    crack = with_line(130)
    crack[:, 100:130][crack[:, 100:130] > 0] = SURE
    np.testing.assert_array_equal(lower_unsure(crack, RULE), crack)


def test_a_line_that_is_sure_nowhere_is_lowered_to_just_below_what_is_seen() -> None:
    joint = with_line(SURE - 1)
    np.testing.assert_array_equal(lower_unsure(joint, RULE), np.minimum(joint, SEEN - 1))


def test_a_speck_is_lowered_however_sure_it_is() -> None:
    speck = np.zeros((240, 320), np.uint8)
    speck[100:106, 100:108] = 255  # 48 pixels
    np.testing.assert_array_equal(lower_unsure(speck, RULE), speck)
    speck[100, 100] = SURE - 1
    assert lower_unsure(speck, RULE).max() == SEEN - 1


def test_pieces_with_small_gaps_count_together() -> None:
    """A hairline is seen in pieces, each of which would be too small."""
    dashes = np.zeros((240, 320), np.uint8)
    for left in range(8, 300, 18):
        dashes[100, left : left + 12] = 255
    np.testing.assert_array_equal(lower_unsure(dashes, RULE), dashes)


def test_what_lies_elsewhere_in_the_photograph_is_no_help() -> None:
    both = with_line(255)
    both[200:204, 200:212] = 150
    expected = both.copy()
    expected[200:204, 200:212] = SEEN - 1
    np.testing.assert_array_equal(lower_unsure(both, RULE), expected)


def test_what_is_not_seen_is_left_as_it_is() -> None:
    faint = with_line(SEEN - 1)
    faint[200:204, 200:212] = 150
    lowered = lower_unsure(faint, RULE)
    np.testing.assert_array_equal(lowered[:190], faint[:190])


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 300), (8, 8), (100, 9)])
def test_any_size_will_do(size_hw: tuple[int, int]) -> None:
    assert lower_unsure(np.full(size_hw, 255, np.uint8), RULE).shape == size_hw


def test_archives_of_before_have_no_such_rule() -> None:
    joint = with_line(150)
    assert lower_unsure(joint, CARD) is joint


@settings(deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 150), min_size=1, max_size=5))
def test_strips_make_no_difference(seed: int, heights: list[int]) -> None:
    rng = np.random.default_rng(seed)
    blurred = cv2.GaussianBlur(rng.random((240, 160)).astype(np.float32), (0, 0), 3)
    prob_hw_u8 = ((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8)
    rule = replace(RULE, seen=0.55)
    tops = np.cumsum([0, *heights])
    strips = [(int(top), prob_hw_u8[top:bottom]) for top, bottom in zip(tops, [*tops[1:], 240], strict=True) if top < 240]
    cells = Cells(prob_hw_u8.shape, rule)
    for top, strip in strips:
        cells.add(strip, top)
    cells.group()
    joined = np.concatenate([cells.lower(strip, top) for top, strip in strips])
    np.testing.assert_array_equal(joined, lower_unsure(prob_hw_u8, rule))


def test_a_photograph_is_judged_so_at_both_qualities() -> None:
    def unsure(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.full_like(batch_nchw[:, :1], 0.7)

    for is_high_quality in (False, True):
        assert Segmenter(RULE, unsure).probability(noise(60, 70), is_high_quality).max() == SEEN - 1
        assert Segmenter(CARD, unsure).probability(noise(60, 70), is_high_quality).min() == round(0.7 * 255)
