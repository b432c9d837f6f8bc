"""Reading data folders, cutting them by group, drawing crops."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from model.augmentation import change_look, cut, transplant
from model.dataset import MOST_OF_A_GROUP, CropDataset, LabelledPhotograph, Pair, cut_by_group, read_pairs
from model.params import AugmentationParams, Params, read_params
from model.synthetic import draw_surface, write_data_set
from tests.conftest import ROOT
from tests.photographs import noise


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data_set(folder / "synthetic", n_surfaces=10, seed=0, size_hw=(48, 64))
    return folder


@pytest.fixture(scope="module")
def params() -> Params:
    return read_params(ROOT / "params.yaml", {"training.crop_px": "64"})


def pair(group: str, number: int) -> Pair:
    return Pair("walls", Path(f"{group}-{number}.jpg"), Path(f"{group}-{number}.png"), "train", group)


# Folders


def test_a_folder_is_read_by_split(data_folder: Path) -> None:
    train, test = (read_pairs(data_folder, ["synthetic"], split) for split in ("train", "test"))
    assert (len(train), len(test)) == (8, 2)
    photograph = train[0].read()
    assert photograph.image_hwc_u8.shape == (48, 64, 3)
    assert photograph.mask_hw.shape == (48, 64)
    assert photograph.mask_hw.dtype == np.bool_


def test_a_missing_set_is_named_with_what_to_do(data_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/split\.csv does not exist\. Set CRACK_DATA_DIR"):
        read_pairs(data_folder, ["nowhere"], "train")


def test_a_split_without_pairs_is_named(data_folder: Path) -> None:
    with pytest.raises(ValueError, match="no pair of the split 'val'"):
        read_pairs(data_folder, ["synthetic"], "val")


def test_an_index_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "walls").mkdir()
    (tmp_path / "walls" / "split.csv").write_text("photo,mask\na.jpg,a.png\n")
    with pytest.raises(ValueError, match=r"columns \['photo', 'mask'\], expected image,mask,split,group"):
        read_pairs(tmp_path, ["walls"], "train")


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.zeros((48, 63), np.uint8), r"\(48, 63\) pixels, expected .* \(48, 64\)"),
        (np.full((48, 64), 7, np.uint8), r"values \[7\]"),
    ],
)
def test_a_mask_that_is_none_is_named(data_folder: Path, tmp_path: Path, mask: np.ndarray, sentence: str) -> None:
    good = read_pairs(data_folder, ["synthetic"], "train")[0]
    path = tmp_path / "mask.png"
    Image.fromarray(mask).save(path)
    with pytest.raises(ValueError, match=sentence):
        Pair("synthetic", good.image_path, path, "train", "0").read()


# Cutting by group


def test_no_group_lies_on_both_sides() -> None:
    pairs = [pair(f"wall{group}", number) for group in range(60) for number in range(group % 5 + 1)]
    rest, cut = cut_by_group(pairs, ratio=0.3, seed=0)
    assert {member.group for member in rest}.isdisjoint(member.group for member in cut)
    assert sorted(rest + cut, key=str) == sorted(pairs, key=str)
    assert 0.1 < len(cut) / len(pairs) < 0.5


def test_a_groups_side_does_not_depend_on_the_other_groups() -> None:
    pairs = [pair(f"wall{group}", 0) for group in range(60)]
    _, cut = cut_by_group(pairs, ratio=0.3, seed=0)
    _, cut_of_half = cut_by_group(pairs[:30], ratio=0.3, seed=0)
    assert set(cut_of_half) == set(cut) & set(pairs[:30])


def test_a_group_that_would_decide_alone_is_never_cut_off() -> None:
    pairs = [pair("large", number) for number in range(MOST_OF_A_GROUP + 1)] + [pair(f"wall{group}", 0) for group in range(20)]
    for seed in range(20):
        rest, _ = cut_by_group(pairs, ratio=0.5, seed=seed)
        assert sum(member.group == "large" for member in rest) == MOST_OF_A_GROUP + 1


def test_a_cut_that_leaves_one_side_empty_is_refused() -> None:
    with pytest.raises(ValueError, match="one side stays empty"):
        cut_by_group([pair("only", 0)], ratio=0.5, seed=0)


# Crops


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


def test_image_and_mask_stay_together_under_every_warp() -> None:
    mask_hw = draw_surface(4, (120, 160)).mask_hw
    image_hwc_u8 = np.repeat(mask_hw[..., None], 3, axis=2).astype(np.uint8) * 255
    warped = PLAIN.model_copy(update={"warp_ratio": 1.0, "scale_range": (0.7, 1.4)})
    for seed in range(20):
        image, truth = cut(image_hwc_u8, mask_hw, 64, (60.0, 80.0), warped, np.random.default_rng(seed))
        assert not (~truth & (image[..., 0] > 127)).any()
        assert not (truth & ~np.asarray(cv2.dilate(image[..., 0], np.ones((3, 3), np.uint8)) > 127)).any()


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
