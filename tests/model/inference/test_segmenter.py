"""The segmenter: what the network is given, what quality=high averages over, and which level a threshold means."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.inference.card import threshold_level
from model.inference.segmenter import Segmenter
from tests.cards import CARD
from tests.photographs import noise


def red(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
    return batch_nchw[:, :1]


def red_towards_the_lower_right(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
    """A network that none of the eight symmetries leaves as it is."""
    height, width = batch_nchw.shape[2:]
    ramp = np.linspace(0.1, 1, width) * np.linspace(0.5, 1, height)[:, None] ** 2
    return (batch_nchw[:, :1] * ramp).astype(np.float32)


def transposed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image.swapaxes(0, 1)


# --- one pass


@pytest.mark.parametrize("size_hw", [(16, 16), (17, 31), (48, 48), (49, 150)])
def test_a_network_that_answers_with_the_red_channel_gives_the_red_channel(size_hw: tuple[int, int]) -> None:
    image_hwc_u8 = noise(*size_hw)
    prob_hw_u8 = Segmenter(CARD, red).probability(image_hwc_u8)
    assert prob_hw_u8.dtype == np.uint8
    np.testing.assert_array_equal(prob_hw_u8, image_hwc_u8[..., 0])


def test_the_network_sees_pixels_less_mean_over_deviation() -> None:
    batches: list[NDArray[np.float32]] = []

    def capture(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        batches.append(batch_nchw.copy())
        return np.zeros_like(batch_nchw[:, :1])

    card = replace(CARD, mean=(120.0, 110.5, 99.25), deviation=(50.0, 45.5, 61.0))
    image_hwc_u8 = noise(20, 32)
    Segmenter(card, capture).probability(image_hwc_u8)
    (batch_nchw,) = batches
    assert batch_nchw.dtype == np.float32
    assert batch_nchw.shape == (1, 3, 20, 32)
    expected_hwc = (image_hwc_u8.astype(np.float64) - card.mean) / card.deviation
    np.testing.assert_allclose(batch_nchw[0].transpose(1, 2, 0), expected_hwc, atol=1e-5)


def test_what_the_network_gets_lies_in_one_block_of_memory() -> None:
    seen: list[NDArray[np.float32]] = []

    def run(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(batch_nchw)
        return red(batch_nchw)

    Segmenter(CARD, run).probability(noise(60, 80)[::-1, 10:50])
    assert all(batch_nchw.flags.c_contiguous for batch_nchw in seen)


def test_the_cards_tiles_are_what_the_network_is_given() -> None:
    shapes = []

    def capture(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        shapes.append(batch_nchw.shape)
        return red(batch_nchw)

    Segmenter(replace(CARD, tile_px=80, overlap_px=16, stride=5), capture).probability(noise(20, 140))
    assert shapes == [(1, 3, 20, 80)] * 2


# --- high quality


def test_high_quality_is_the_mean_over_eight_mirror_images_and_quarter_turns() -> None:
    segmenter = Segmenter(CARD, red_towards_the_lower_right)
    image_hwc_u8 = noise(32, 40)
    passes = []
    for step in (1, -1):  # upside down or not
        for side in (1, -1):  # left to right or not
            mirrored = image_hwc_u8[::step, ::side]
            passes.append(segmenter.probability(mirrored)[::step, ::side])
            passes.append(transposed(segmenter.probability(transposed(mirrored)))[::step, ::side])
    assert len({single.tobytes() for single in passes}) == 8
    prob_hw_u8 = segmenter.probability(image_hwc_u8, is_high_quality=True)
    assert prob_hw_u8.dtype == np.uint8
    np.testing.assert_allclose(prob_hw_u8, np.mean(passes, axis=0), atol=0.5)


@pytest.mark.parametrize("size_hw", [(16, 16), (17, 31), (49, 150)])
def test_high_quality_changes_nothing_for_a_network_that_sees_one_pixel_at_a_time(size_hw: tuple[int, int]) -> None:
    image_hwc_u8 = noise(*size_hw)
    prob_hw_u8 = Segmenter(CARD, red).probability(image_hwc_u8, is_high_quality=True)
    np.testing.assert_array_equal(prob_hw_u8, image_hwc_u8[..., 0])


def test_high_quality_keeps_certainty_certain() -> None:
    white = np.full((20, 30, 3), 255, np.uint8)
    assert (Segmenter(CARD, red).probability(white, is_high_quality=True) == 255).all()


# --- threshold


@pytest.mark.parametrize("level", range(1, 256))
def test_a_threshold_of_a_level_over_255_means_that_level(level: int) -> None:
    assert threshold_level(level / 255) == level


@pytest.mark.parametrize("level", range(1, 256))
def test_a_level_over_255_that_was_rounded_when_it_was_written_means_the_same_level(level: int) -> None:
    assert threshold_level(float(f"{level / 255:.10f}")) == level


@given(threshold=st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_level_counts_as_crack_where_its_probability_is_at_least_the_threshold(threshold: float) -> None:
    levels = np.arange(256)
    is_clear = np.abs(levels - threshold * 255) > 1e-5  # a level this close may be rounding
    is_crack = levels >= threshold_level(threshold)
    np.testing.assert_array_equal(is_crack[is_clear], (levels / 255 >= threshold)[is_clear])


@pytest.mark.parametrize("threshold", [1e-12, 1e-9, 1e-6, 5e-324])
def test_however_low_the_threshold_probability_0_is_no_crack(threshold: float) -> None:
    assert threshold_level(threshold) == 1


@pytest.mark.parametrize("threshold", [0.997, 1 - 1e-9, 1 - 1e-16])
def test_however_high_the_threshold_certainty_is_crack(threshold: float) -> None:
    assert threshold_level(threshold) == 255


@given(pair=st.tuples(st.floats(0.0, 1), st.floats(0.0, 1)))
def test_a_higher_threshold_never_means_a_lower_level(pair: tuple[float, float]) -> None:
    lower, higher = sorted(pair)
    assert threshold_level(lower) <= threshold_level(higher)
