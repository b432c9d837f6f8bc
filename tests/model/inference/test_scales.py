"""Passes over the reduced photograph: what they add, what they leave alone, and when they are made."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.inference.scales import predict_scales
from tests.photographs import noise

Plane = NDArray[np.uint8]


def darkness(image_hwc_u8: Plane) -> Plane:
    return 255 - image_hwc_u8[..., 0]


def with_line(width_px: int) -> Plane:
    image_hwc_u8 = np.full((1024, 1030, 3), 255, np.uint8)
    cv2.line(image_hwc_u8, (100, 80), (900, 950), (0, 0, 0), width_px)
    return image_hwc_u8


def at_full_size_blind_to(least_px: int) -> tuple[list[tuple[int, ...]], Callable[[Plane], Plane]]:
    """A network that sees nothing in photographs with a side of at least so many pixels, and the sizes it was asked for."""
    sizes: list[tuple[int, ...]] = []

    def predict(image_hwc_u8: Plane) -> Plane:
        sizes.append(image_hwc_u8.shape[:2])
        seen = darkness(image_hwc_u8)
        return np.zeros_like(seen) if max(seen.shape) >= least_px else seen

    return sizes, predict


def test_a_wide_crack_that_is_not_seen_at_full_size_is_added_in_its_place() -> None:
    image_hwc_u8 = with_line(60)
    _, predict = at_full_size_blind_to(1000)
    found = predict_scales(image_hwc_u8, predict, (2, 4), least_px=128, wide_px=7, narrow_px=13) >= 128
    truth = darkness(image_hwc_u8) > 0
    assert (found & truth).sum() > 0.97 * truth.sum()
    assert (found & ~truth).sum() < 0.01 * truth.sum()


def test_a_hairline_is_seen_at_full_size_alone() -> None:
    image_hwc_u8 = with_line(3)
    assert np.array_equal(predict_scales(image_hwc_u8, darkness, (2, 4), least_px=128, wide_px=7), darkness(image_hwc_u8))
    _, predict = at_full_size_blind_to(1000)
    assert not predict_scales(image_hwc_u8, predict, (2, 4), least_px=128, wide_px=7).any()


def sees_at_full_size_alone(image_hwc_u8: Plane) -> Plane:
    seen = darkness(image_hwc_u8)
    return seen if max(seen.shape) >= 1000 else np.zeros_like(seen)


def test_what_is_wide_and_not_seen_in_the_reduced_photograph_is_taken_away() -> None:
    """The gap between two large stones: a crack to who sees nothing but the gap."""
    gap = np.maximum(with_line(30), 100)  # seen with a probability of 0.6
    found = predict_scales(gap, sees_at_full_size_alone, (2, 4), least_px=128, wide_px=7, narrow_px=13)
    assert np.count_nonzero(found >= 128) < 0.01 * np.count_nonzero(gap[..., 0] < 255)  # but for its corners


def test_what_is_sure_at_full_size_is_not_taken_away() -> None:
    for darkness_u8, is_kept in ((255, True), (220, False)):
        gap = np.maximum(with_line(30), 255 - darkness_u8)
        found = predict_scales(gap, sees_at_full_size_alone, (2, 4), least_px=128, wide_px=7, narrow_px=13, sure=0.8)
        is_crack = darkness(gap) > 0
        assert (found >= 128)[is_crack].mean() > 0.99 if is_kept else (found >= 128)[is_crack].mean() < 0.01


def test_what_is_narrow_stays_whether_the_reduced_photograph_shows_it_or_not() -> None:
    hairline = with_line(3)
    found = predict_scales(hairline, sees_at_full_size_alone, (2, 4), least_px=128, wide_px=7, narrow_px=13)
    np.testing.assert_array_equal(found, darkness(hairline))


@pytest.mark.parametrize("width_px", [5, 12, 13, 14, 25, 60])
def test_what_all_passes_see_stays(width_px: int) -> None:
    image_hwc_u8 = with_line(width_px)
    found = predict_scales(image_hwc_u8, darkness, (2, 4), least_px=128, wide_px=7, narrow_px=13) >= 128
    truth = darkness(image_hwc_u8) > 0
    assert (found & truth).sum() > 0.97 * truth.sum()
    assert (found & ~truth).sum() < 0.01 * truth.sum()


def test_without_such_a_width_nothing_that_is_seen_at_full_size_is_taken_away() -> None:
    image_hwc_u8 = noise(600, 700)
    assert (predict_scales(image_hwc_u8, darkness, (2, 4, 8), least_px=64, wide_px=3) >= darkness(image_hwc_u8)).all()


@pytest.mark.parametrize(("longer_px", "n_passes"), [(511, 1), (512, 2), (1023, 2), (1024, 3), (2048, 4), (5000, 4)])
def test_the_size_of_the_photograph_decides_how_many_passes_there_are(longer_px: int, n_passes: int) -> None:
    sizes, predict = at_full_size_blind_to(0)
    found = predict_scales(np.zeros((33, longer_px, 3), np.uint8), predict, (2, 4, 8), least_px=256, wide_px=7)
    assert found.shape == (33, longer_px)
    assert sizes == [(-(-33 // factor), -(-longer_px // factor)) for factor in (1, 2, 4, 8)[:n_passes][::-1]]


@pytest.mark.parametrize("size_hw", [(513, 700), (700, 513), (2, 900), (1, 5)])
def test_any_size_keeps_its_size(size_hw: tuple[int, int]) -> None:
    assert predict_scales(noise(*size_hw), darkness, (2, 4), least_px=1, wide_px=3).shape == size_hw
