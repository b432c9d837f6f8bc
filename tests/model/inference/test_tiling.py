"""Tiling: every pixel is covered, neighbours overlap, and the stitched result shows no seam."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.inference.tiling import Axis, Predict, predict_tiled
from tests.photographs import noise

LARGE_TILES = {"tile_px": 640, "overlap_px": 64, "stride": 16}
SMALL_TILES = {"tile_px": 48, "overlap_px": 8, "stride": 4}
NO_OVERLAP = {"tile_px": 80, "overlap_px": 0, "stride": 16}
Tiles = dict[str, int]

each_tiles = pytest.mark.parametrize("tiles", [LARGE_TILES, SMALL_TILES, NO_OVERLAP], ids=["large", "small", "no overlap"])
each_length = given(length=st.integers(16, 5000) | st.integers(16, 100))


def red(tile_hwc_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A network that sees crack where the photograph is red."""
    return tile_hwc_u8[..., 0] / np.float32(255)


def recording(predict: Predict, tiles_seen: list[NDArray[np.uint8]]) -> Predict:
    def record(tile_hwc_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        tiles_seen.append(tile_hwc_u8.copy())
        return predict(tile_hwc_u8)

    return record


# --- one side


@each_tiles
@each_length
def test_tiles_are_multiples_of_the_stride_and_at_most_as_long_as_wanted(tiles: Tiles, length: int) -> None:
    size = Axis.cut(length, **tiles).size
    assert 0 < size <= tiles["tile_px"]
    assert size % tiles["stride"] == 0


@each_tiles
@each_length
def test_tiles_cover_the_side_from_its_first_to_its_last_pixel(tiles: Tiles, length: int) -> None:
    axis = Axis.cut(length, **tiles)
    covered = np.zeros(max(length, axis.size), np.bool_)
    for start in axis.starts:
        covered[start : start + axis.size] = True
    assert covered.all()


@each_tiles
@each_length
def test_tiles_reach_past_the_side_only_where_one_tile_is_longer(tiles: Tiles, length: int) -> None:
    axis = Axis.cut(length, **tiles)
    if len(axis.starts) == 1:
        assert 0 <= axis.size - length < tiles["stride"]
    else:
        assert axis.starts[-1] + axis.size == length


@each_tiles
@each_length
def test_neighbours_overlap_at_least_as_far_as_wanted(tiles: Tiles, length: int) -> None:
    axis = Axis.cut(length, **tiles)
    assert all(
        start + axis.size - after >= tiles["overlap_px"] for start, after in zip(axis.starts, axis.starts[1:], strict=False)
    )


@each_tiles
@each_length
def test_no_pixel_lies_in_more_than_two_tiles_of_a_side(tiles: Tiles, length: int) -> None:
    axis = Axis.cut(length, **tiles)
    assert all(start + axis.size <= later for start, later in zip(axis.starts, axis.starts[2:], strict=False))


@each_tiles
@each_length
def test_tiles_are_as_few_as_can_cover_the_side(tiles: Tiles, length: int) -> None:
    n_tiles = len(Axis.cut(length, **tiles).starts)
    longest_with_one_less = (n_tiles - 1) * (tiles["tile_px"] - tiles["overlap_px"]) + tiles["overlap_px"]
    assert n_tiles == 1 or longest_with_one_less < length


@each_tiles
@each_length
def test_weights_are_shares_that_add_up_to_one_at_every_pixel(tiles: Tiles, length: int) -> None:
    axis = Axis.cut(length, **tiles)
    weights = axis.weights()
    assert weights.shape == (len(axis.starts), axis.size)
    assert (weights >= 0).all()
    total = np.zeros(max(length, axis.size))
    for start, tile_weights in zip(axis.starts, weights, strict=True):
        total[start : start + axis.size] += tile_weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@each_tiles
@each_length
def test_two_neighbours_fade_alike(tiles: Tiles, length: int) -> None:
    axis = Axis.cut(length, **tiles)
    weights = axis.weights()
    for index, (start, after) in enumerate(zip(axis.starts, axis.starts[1:], strict=False)):
        n_shared = start + axis.size - after
        leaving, entering = weights[index, axis.size - n_shared :], weights[index + 1, :n_shared]
        np.testing.assert_allclose(leaving, entering[::-1], atol=1e-6)


# --- photographs


@pytest.mark.parametrize("size_hw", [(16, 16), (17, 31), (31, 17), (16, 400), (640, 640), (641, 640), (640, 657), (1500, 700)])
def test_a_network_that_sees_one_pixel_at_a_time_gives_its_channel_back(size_hw: tuple[int, int]) -> None:
    image_hwc_u8 = noise(*size_hw)
    prob_hw_u8 = predict_tiled(image_hwc_u8, red, **LARGE_TILES)
    assert prob_hw_u8.dtype == np.uint8
    np.testing.assert_array_equal(prob_hw_u8, image_hwc_u8[..., 0])


@each_tiles
@given(height=st.integers(16, 300), width=st.integers(16, 300))
def test_tiles_of_any_size_are_stitched_without_a_seam(tiles: Tiles, height: int, width: int) -> None:
    image_hwc_u8 = noise(height, width)
    np.testing.assert_array_equal(predict_tiled(image_hwc_u8, red, **tiles), image_hwc_u8[..., 0])


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_blending_keeps_certainty_certain(level: float) -> None:
    prob_hw_u8 = predict_tiled(noise(333, 217), lambda tile: np.full(tile.shape[:2], level, np.float32), **SMALL_TILES)
    assert (prob_hw_u8 == round(level * 255)).all()


@pytest.mark.parametrize("size_hw", [(16, 150), (150, 16)])
def test_neighbours_that_disagree_fade_into_each_other(size_hw: tuple[int, int]) -> None:
    n_calls = 0

    def disagree(tile_hwc_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal n_calls
        n_calls += 1
        return np.full(tile_hwc_u8.shape[:2], n_calls % 2, np.float32)

    prob_hw_u8 = predict_tiled(noise(*size_hw), disagree, **SMALL_TILES)
    profile = prob_hw_u8.max(axis=int(np.argmin(size_hw))).astype(int)
    assert n_calls > 2
    assert {profile.min(), profile.max()} == {0, 255}
    assert np.abs(np.diff(profile)).max() <= 255 / SMALL_TILES["overlap_px"] + 1


@pytest.mark.parametrize("size_hw", [(16, 16), (17, 31), (48, 49), (150, 40), (333, 217)])
def test_all_tiles_of_a_photograph_have_one_size_a_multiple_of_the_stride(size_hw: tuple[int, int]) -> None:
    tiles_seen: list[NDArray[np.uint8]] = []
    predict_tiled(noise(*size_hw), recording(red, tiles_seen), **SMALL_TILES)
    shapes = {tile.shape for tile in tiles_seen}
    assert len(shapes) == 1
    height, width, n_channels = shapes.pop()
    assert (height % SMALL_TILES["stride"], width % SMALL_TILES["stride"], n_channels) == (0, 0, 3)


@pytest.mark.parametrize(
    ("size_hw", "n_tiles"), [((16, 16), 1), ((48, 48), 1), ((48, 49), 2), ((49, 49), 4), ((16, 88), 2), ((16, 89), 3)]
)
def test_the_network_runs_once_for_each_tile(size_hw: tuple[int, int], n_tiles: int) -> None:
    tiles_seen: list[NDArray[np.uint8]] = []
    predict_tiled(noise(*size_hw), recording(red, tiles_seen), **SMALL_TILES)
    assert len(tiles_seen) == n_tiles


def test_a_tile_shows_the_photograph_unscaled() -> None:
    image_hwc_u8 = noise(48, 100)
    tiles_seen: list[NDArray[np.uint8]] = []
    predict_tiled(image_hwc_u8, recording(red, tiles_seen), **SMALL_TILES)
    axis = Axis.cut(100, **SMALL_TILES)
    for start, tile in zip(axis.starts, tiles_seen, strict=True):
        np.testing.assert_array_equal(tile, image_hwc_u8[:, start : start + axis.size])


def test_a_photograph_smaller_than_its_tile_is_continued_by_its_mirror_image() -> None:
    image_hwc_u8 = noise(17, 30)
    tiles_seen: list[NDArray[np.uint8]] = []
    predict_tiled(image_hwc_u8, recording(red, tiles_seen), **SMALL_TILES)
    (tile,) = tiles_seen
    assert tile.shape == (20, 32, 3)
    np.testing.assert_array_equal(tile[17:, :30], image_hwc_u8[15:12:-1])
    np.testing.assert_array_equal(tile[:17, 30:], image_hwc_u8[:, 28:26:-1])


@pytest.mark.parametrize(
    "view", [lambda image: image[::-1], lambda image: image.transpose(1, 0, 2), lambda image: image[::2, 1::2]]
)
def test_a_view_of_a_larger_array_gives_what_its_copy_gives(view: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    image_hwc_u8 = view(noise(120, 90))
    np.testing.assert_array_equal(predict_tiled(image_hwc_u8, red, **SMALL_TILES), image_hwc_u8[..., 0])


def test_the_photograph_itself_is_left_as_it_was() -> None:
    image_hwc_u8 = noise(100, 70)
    image_hwc_u8.flags.writeable = False
    predict_tiled(image_hwc_u8, red, **SMALL_TILES)
    np.testing.assert_array_equal(image_hwc_u8, noise(100, 70))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.01, -0.01])
def test_what_is_no_probability_is_refused_instead_of_wrapping_round(wrong: float) -> None:
    def predict(tile_hwc_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full(tile_hwc_u8.shape[:2], wrong, np.float32)

    with pytest.raises(ValueError, match="expected probabilities from 0 to 1"):
        predict_tiled(np.zeros((32, 32, 3), np.uint8), predict, tile_px=640, overlap_px=64, stride=16)
