"""Drawing training crops, cutting and changing them."""

import cv2
import numpy as np
import pytest
import torch

from model.augmentation import change_look, cut, transplant
from model.crops import ALARM_WEIGHT, LOOK_ALIKE_RATIO, CropDataset, find_alarms
from model.dataset import LabelledPhotograph
from model.inference.segmenter import Segmenter
from model.params import AugmentationParams, Params, read_params
from model.synthetic import draw_surface
from tests.cards import CARD
from tests.conftest import ROOT
from tests.photographs import noise


@pytest.fixture(scope="module")
def params() -> Params:
    return read_params(ROOT / "params.yaml", {"training.crop_px": "64"})


def crops(params: Params, n_photographs: int = 3) -> CropDataset:
    surfaces = [draw_surface(seed, (90, 120)) for seed in range(n_photographs)]
    photographs = [LabelledPhotograph(surface.image_hwc_u8, surface.mask_hw) for surface in surfaces]
    return CropDataset({"drawn": photographs}, {"drawn": 1}, params.training, params.augmentation)


def test_a_draw_is_a_function_of_its_number(params: Params) -> None:
    first, second = crops(params), crops(params)
    for draw in (0, 7, 1000):
        for one, other in zip(first[draw], second[draw], strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(first[0][0], first[1][0])


def test_sets_are_drawn_from_by_their_shares(params: Params) -> None:
    black, white = (
        LabelledPhotograph(np.full((64, 64, 3), tone, np.uint8), np.full((64, 64), tone > 0, np.bool_)) for tone in (0, 255)
    )
    sets, shares = {"black": [black] * 50, "white": [white], "left out": [white]}, {"black": 3, "white": 1, "left out": 0}
    dataset = CropDataset(sets, shares, params.training, PLAIN)
    assert 0.17 < np.mean([bool(dataset[draw][1].any()) for draw in range(400)]) < 0.33


def test_a_crop_has_the_networks_layout(params: Params) -> None:
    image, truth = crops(params)[0]
    assert (image.shape, image.dtype) == ((3, 64, 64), torch.uint8)
    assert (truth.shape, truth.dtype) == ((1, 64, 64), torch.bool)


def test_most_crops_hold_crack(params: Params) -> None:
    dataset = crops(params)
    assert sum(bool(dataset[draw][1].any()) for draw in range(60)) > 0.6 * 60


PLAIN = AugmentationParams(
    warp_ratio=0,
    scale_range=(1, 1),
    transplant_ratio=0,
    tone=0,
    negative_ratio=0,
    shadow_ratio=0,
    blur_ratio=0,
    noise_ratio=0,
    grey_ratio=0,
)


def test_a_quarter_turned_crop_holds_the_photographs_own_pixels() -> None:
    surface = draw_surface(3, (100, 100))
    windows = {
        np.rot90(turned, turns).tobytes()
        for turned in (surface.image_hwc_u8, surface.image_hwc_u8[:, ::-1])
        for turns in range(4)
    }
    seen = {
        cut(surface.image_hwc_u8, surface.mask_hw, 100, (50.0, 50.0), PLAIN, np.random.default_rng(seed))[0].tobytes()
        for seed in range(40)
    }
    assert seen <= windows
    assert len(seen) == 8


@pytest.mark.parametrize(("scale_range", "most_missed"), [((1.0, 1.4), 0), ((0.7, 1.0), 0.01)])
def test_image_and_mask_stay_together_under_every_warp(scale_range: tuple[float, float], most_missed: float) -> None:
    """Shrunk, the photograph is averaged and its mask is not, so single pixels of the edge may differ."""
    mask_hw = draw_surface(5, (120, 160)).mask_hw  # a wide crack: of hairlines the mask keeps more than the photograph shows
    image_hwc_u8 = np.repeat(mask_hw[..., None], 3, axis=2).astype(np.uint8) * 255
    warped = PLAIN.model_copy(update={"warp_ratio": 1.0, "scale_range": scale_range})
    for seed in range(20):
        image, truth = cut(image_hwc_u8, mask_hw, 64, (60.0, 80.0), warped, np.random.default_rng(seed))
        is_bright = image[..., 0] > 127
        assert (~truth & is_bright).sum() <= most_missed * truth.sum()
        assert not (truth & ~widened(is_bright)).any()
        assert not (is_bright & ~widened(truth)).any()


def widened(mask_hw: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.dilate(mask_hw.astype(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)


def test_what_becomes_finer_than_a_pixel_is_averaged() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = PLAIN.model_copy(update={"warp_ratio": 1.0, "scale_range": (0.45, 0.45)})
    for seed in range(10):
        image, _ = cut(stripes, np.zeros((400, 400), np.bool_), 64, (200.0, 200.0), shrunk, np.random.default_rng(seed))
        assert image.std() < 10  # without: 74, in stripes that nobody painted
        assert image.mean() == pytest.approx(127, abs=3)


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.5])
def test_a_turned_hairline_stays_whole_and_a_wide_crack_as_wide(scale: float) -> None:
    turned = PLAIN.model_copy(update={"warp_ratio": 1.0, "scale_range": (scale, scale)})
    hairline, wide = np.zeros((600, 600), np.uint8), np.zeros((600, 600), np.uint8)
    cv2.polylines(hairline, [np.array([[0, 140], [300, 300], [599, 350]])], False, 1)
    wide[293:308] = 1
    for seed in range(20):
        truths = [
            cut(
                np.repeat(mask_hw[..., None] * np.uint8(255), 3, axis=2),
                mask_hw > 0,
                128,
                (300.0, 300.0),
                turned,
                np.random.default_rng(seed),
            )
            for mask_hw in (hairline, wide)
        ]
        n_pieces = cv2.connectedComponents(truths[0][1].astype(np.uint8))[0] - 1
        assert n_pieces <= 3  # cut at half coverage: dozens
        assert truths[1][1].sum() == pytest.approx((truths[1][0][..., 0] > 127).sum(), rel=0.01)


def test_the_wanted_pixel_is_in_the_crop() -> None:
    mask_hw = np.zeros((200, 300), np.bool_)
    mask_hw[150, 20] = True
    image_hwc_u8 = np.zeros((200, 300, 3), np.uint8)
    for seed in range(50):
        _, truth = cut(image_hwc_u8, mask_hw, 64, (150.0, 20.0), PLAIN, np.random.default_rng(seed))
        assert truth.any()


@pytest.mark.parametrize("size_hw", [(40, 300), (90, 100), (700, 500)])
def test_a_crop_is_of_the_photograph_up_to_its_last_pixel(size_hw: tuple[int, int]) -> None:
    image_hwc_u8, mask_hw = np.full((*size_hw, 3), 200, np.uint8), np.ones(size_hw, np.bool_)
    turned = PLAIN.model_copy(update={"warp_ratio": 0.8, "scale_range": (0.3, 5.0)})
    for seed in range(50):
        rng = np.random.default_rng(seed)
        centre = rng.uniform(0, size_hw[0] - 1), rng.uniform(0, size_hw[1] - 1)
        crop_hwc_u8, truth = cut(image_hwc_u8, mask_hw, 96, centre, turned, rng)
        assert (crop_hwc_u8 == 200).all()
        assert truth.all()


def test_noise_of_a_crop_has_the_wanted_deviation_and_differs_from_the_next() -> None:
    grey, noisy = np.full((384, 384, 3), 128, np.uint8), PLAIN.model_copy(update={"noise_ratio": 1.0})
    first, second = (change_look(grey, noisy, np.random.default_rng(seed)).astype(float) - 128 for seed in (0, 1))
    assert 0.01 * 255 < first.std() < 0.05 * 255
    assert 0.01 * 255 < second.std() < 0.05 * 255
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_the_look_changes_and_the_size_stays() -> None:
    surface = draw_surface(3, (100, 100))
    strong = PLAIN.model_copy(
        update={"tone": 0.3, "shadow_ratio": 1.0, "blur_ratio": 1.0, "noise_ratio": 1.0, "grey_ratio": 1.0}
    )
    assert np.array_equal(change_look(surface.image_hwc_u8, PLAIN, np.random.default_rng(0)), surface.image_hwc_u8)
    for seed in range(10):
        image = change_look(surface.image_hwc_u8, strong, np.random.default_rng(seed))
        assert image.shape == surface.image_hwc_u8.shape
        assert not np.array_equal(image, surface.image_hwc_u8)


def test_a_transplanted_crack_darkens_the_other_surface_as_it_does_its_own() -> None:
    mask_hw = np.zeros((128, 128), np.bool_)
    mask_hw[:, 60:64] = True
    crack_hwc_u8 = np.where(mask_hw[..., None], 50, 200).repeat(3, axis=2).astype(np.uint8)
    surface_hwc_u8 = noise(128, 128) // 2 + 100
    image = transplant(crack_hwc_u8, mask_hw, surface_hwc_u8)
    np.testing.assert_allclose(image[mask_hw].mean() / surface_hwc_u8[mask_hw].mean(), 50 / 200, atol=0.06)
    far = ~np.asarray(cv2.dilate(mask_hw.astype(np.uint8), np.ones((11, 11), np.uint8)), np.bool_)
    assert np.array_equal(image[far], surface_hwc_u8[far])


def test_a_crack_wider_than_its_surroundings_leaves_the_surface_whole() -> None:
    mask_hw = np.ones((64, 64), np.bool_)
    assert np.abs(transplant(noise(64, 64), mask_hw, noise(64, 64, 1)).astype(int) - noise(64, 64, 1)).max() <= 1


def test_walls_get_the_cracks_of_other_photographs_by_the_ratio(params: Params) -> None:
    wall = LabelledPhotograph(np.full((80, 80, 3), 180, np.uint8), np.zeros((80, 80), np.bool_))
    surface = draw_surface(1, (90, 120))
    cracked = LabelledPhotograph(surface.image_hwc_u8, surface.mask_hw)
    moved = PLAIN.model_copy(update={"transplant_ratio": 0.5})
    dataset = CropDataset({"walls": [wall], "drawn": [cracked]}, {"walls": 1000, "drawn": 1}, params.training, moved)
    assert 0.3 < np.mean([bool(dataset[draw][1].any()) for draw in range(100)]) < 0.7
    alone = CropDataset({"walls": [wall]}, {"walls": 1}, params.training, moved)
    assert not alone[0][1].any()


def test_crops_of_a_crack_free_photograph_are_placed_on_its_false_alarms(params: Params) -> None:
    """Each photograph is grey but for its alarm, which is white: in the upper left of the first, nowhere in the others."""
    photographs = [LabelledPhotograph(np.full((400, 400, 3), 90, np.uint8), np.zeros((400, 400), np.bool_)) for _ in range(4)]
    photographs[0].image_hwc_u8[20:30, 20:30] = 255
    alarms = [np.flatnonzero(photo.image_hwc_u8[..., 0] == 255) for photo in photographs]
    plain = params.training.model_copy(update={"on_crack_ratio": 1.0})
    dataset = CropDataset({"walls": photographs}, {"walls": 1}, plain, PLAIN, {"walls": alarms})
    n_on_alarm = sum(bool((dataset[draw][0] == 255).any()) for draw in range(200))
    assert n_on_alarm == pytest.approx(200 * ALARM_WEIGHT / (ALARM_WEIGHT + 3), rel=0.2)


@pytest.mark.parametrize("is_cracked", [False, True])
def test_crops_are_placed_on_look_alikes_more_often_than_not(params: Params, is_cracked: bool) -> None:
    """The look-alike is white; the crack, far from it, is black."""
    image_hwc_u8, mask_hw = np.full((400, 400, 3), 90, np.uint8), np.zeros((400, 400), np.bool_)
    image_hwc_u8[20:30, 20:30] = 255
    mask_hw[300:310, 300:310] = is_cracked
    walls = [LabelledPhotograph(image_hwc_u8, mask_hw, ((20, 20, 30, 30),))]
    plain = params.training.model_copy(update={"on_crack_ratio": 1.0})
    dataset = CropDataset({"walls": walls}, {"walls": 1}, plain, PLAIN)
    n_on_joint = sum(bool((dataset[draw][0] == 255).any()) for draw in range(200))
    assert n_on_joint == pytest.approx(200 * (LOOK_ALIKE_RATIO if is_cracked else 1), rel=0.2)


def test_photographs_with_look_alikes_are_drawn_more_often(params: Params) -> None:
    shades = [LabelledPhotograph(np.full((64, 64, 3), tone, np.uint8), np.zeros((64, 64), np.bool_)) for tone in range(4)]
    shades[0] = LabelledPhotograph(shades[0].image_hwc_u8, shades[0].mask_hw, ((0, 0, 8, 8),))
    dataset = CropDataset({"walls": shades}, {"walls": 1}, params.training, PLAIN)
    n_marked = sum(not dataset[draw][0].any() for draw in range(200))
    assert n_marked == pytest.approx(200 * ALARM_WEIGHT / (ALARM_WEIGHT + 3), rel=0.2)


def test_false_alarms_are_looked_for_where_there_is_no_crack() -> None:
    dark, crack = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.bool_)
    dark[5, 7] = 255
    crack[0] = True
    segmenter = Segmenter(CARD, lambda batch_nchw: batch_nchw[:, :1])
    clean, cracked = LabelledPhotograph(dark, np.zeros_like(crack)), LabelledPhotograph(dark, crack)
    found = find_alarms(segmenter, {"walls": [clean, cracked], "roads": [cracked]})
    assert {name: [pixels.tolist() for pixels in of_set] for name, of_set in found.items()} == {"walls": [[5 * 60 + 7], []]}
