"""Reading data folders, cutting them by group, drawing crops."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from model.augmentation import change_look, cut, transplant
from model.dataset import (
    ALARM_WEIGHT,
    CropDataset,
    LabelledPhotograph,
    Pair,
    Parts,
    cut_by_group,
    find_alarms,
    learned_by,
    read_pairs,
    read_parts,
)
from model.inference.photograph import decode
from model.inference.segmenter import Segmenter
from model.params import AugmentationParams, DataParams, Params, read_params
from model.synthetic import draw_surface, write_data_set
from tests.cards import CARD
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


def cut_of(**changes: object) -> DataParams:
    """The settings of a cut of walls: a fifth judges, and the model is chosen on three tenths."""
    values = {
        "sets": {"walls": 1},
        "held_out_folds": {},
        "synthetic_share": 0,
        "n_synthetic": 0,
        "validation_ratio": 0.3,
        "judging_ratio": 0.2,
        "largest_group": 8,
        "seed": 0,
    }
    return DataParams.model_validate({**values, **changes})


def part_of_each(parts: Parts) -> dict[str, set[str]]:
    """By group, the parts that it is in."""
    found: dict[str, set[str]] = {}
    for name, members in (("learning", parts.learning), ("choosing", parts.choosing), ("judging", parts.judging)):
        for member in members:
            found.setdefault(member.group, set()).add(name)
    return found


def test_each_group_is_whole_in_one_of_three_parts() -> None:
    pairs = [pair(f"wall{group}", number) for group in range(200) for number in range(group % 5 + 1)]
    parts = cut_by_group(pairs, cut_of())
    assert sorted(parts.learning + parts.choosing + parts.judging, key=str) == sorted(pairs, key=str)
    assert {len(of_a_group) for of_a_group in part_of_each(parts).values()} == {1}
    assert len(parts.choosing) / len(pairs) == pytest.approx(0.3, abs=0.1)
    assert len(parts.judging) / len(pairs) == pytest.approx(0.2, abs=0.1)


def test_a_groups_part_does_not_depend_on_the_other_groups() -> None:
    pairs = [pair(f"wall{group}", 0) for group in range(60)]
    of_all, of_half = (part_of_each(cut_by_group(given, cut_of())) for given in (pairs, pairs[:30]))
    assert of_half == {group: part for group, part in of_all.items() if int(group.removeprefix("wall")) < 30}


def test_a_groups_part_depends_on_the_seed() -> None:
    pairs = [pair(f"wall{group}", 0) for group in range(60)]
    first, second = (part_of_each(cut_by_group(pairs, cut_of(seed=seed))) for seed in (0, 1))
    assert first != second


def test_more_to_choose_on_takes_nothing_from_what_judges() -> None:
    pairs = [pair(f"wall{group}", 0) for group in range(60)]
    few, many = (cut_by_group(pairs, cut_of(validation_ratio=ratio)) for ratio in (0.1, 0.5))
    assert few.judging == many.judging
    assert set(few.choosing) < set(many.choosing)


@pytest.mark.parametrize("n_photographs", [8, 9])
def test_a_group_that_would_decide_alone_is_learned_from(n_photographs: int) -> None:
    large = [pair("large", number) for number in range(n_photographs)]
    pairs = large + [pair(f"wall{group}", 0) for group in range(40)]
    parts = [cut_by_group(pairs, cut_of(largest_group=8, seed=seed)) for seed in range(20)]
    assert all(set(large) <= set(part.learning) for part in parts) == (n_photographs > 8)


def test_nothing_of_a_set_that_is_judged_elsewhere_judges() -> None:
    pairs = [pair(f"wall{group}", 0) for group in range(60)]
    roads = [replace(member, set_name="roads") for member in pairs]
    usual = cut_by_group(pairs + roads, cut_of(sets={"walls": 1, "roads": 1}))
    elsewhere = cut_by_group(pairs + roads, cut_of(sets={"walls": 1, "roads": 1}, judged_elsewhere=["roads"]))
    assert {member.set_name for member in usual.judging} == {"walls", "roads"}
    assert elsewhere.judging == [member for member in usual.judging if member.set_name == "walls"]
    assert elsewhere.choosing == usual.choosing
    assert set(elsewhere.learning) == {*usual.learning, *(member for member in usual.judging if member.set_name == "roads")}


@pytest.mark.parametrize("ratios", [{}, {"judging_ratio": 0}])
def test_a_cut_that_leaves_a_part_empty_is_refused(ratios: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^1 groups cannot be cut with data\.validation_ratio=0\.3, .* a part stays empty"):
        cut_by_group([pair("only", 0)], cut_of(**ratios))


def test_without_a_judging_ratio_nothing_judges() -> None:
    parts = cut_by_group([pair(f"wall{group}", 0) for group in range(20)], cut_of(judging_ratio=0))
    assert parts.judging == []


def test_what_is_held_out_is_in_no_part(data_folder: Path) -> None:
    data = cut_of(sets={"synthetic": 1}, held_out_folds={"synthetic": [0, 2]}, judging_ratio=0)
    parts = read_parts(data_folder, data)
    assert 0 < len(parts.learning) + len(parts.choosing) < 8


def test_a_training_learns_from_its_first_part_alone() -> None:
    pairs = [pair(f"wall{group}", 0) for group in range(60)]
    strangers = [replace(member, set_name="roads") for member in pairs]
    model_card = replace(CARD, version="1", training={"params": {"data": cut_of().model_dump()}, "parent": None})
    assert learned_by(model_card, pairs + strangers) == {"1": set(cut_by_group(pairs, cut_of()).learning)}


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


def test_false_alarms_are_looked_for_where_there_is_no_crack() -> None:
    dark, crack = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.bool_)
    dark[5, 7] = 255
    crack[0] = True
    segmenter = Segmenter(CARD, lambda batch_nchw: batch_nchw[:, :1])
    clean, cracked = LabelledPhotograph(dark, np.zeros_like(crack)), LabelledPhotograph(dark, crack)
    found = find_alarms(segmenter, {"walls": [clean, cracked], "roads": [cracked]})
    assert {name: [pixels.tolist() for pixels in of_set] for name, of_set in found.items()} == {"walls": [[5 * 60 + 7], []]}


def test_an_enlarged_pair_is_read_and_sent_enlarged(data_folder: Path) -> None:
    pair = read_pairs(data_folder, ["synthetic"], "train")[0]
    small, large = pair.read(), replace(pair, enlargement=3).read()
    assert large.image_hwc_u8.shape == (3 * 48, 3 * 64, 3)
    assert np.array_equal(large.mask_hw[1::3, 1::3], small.mask_hw)
    assert np.array_equal(decode(replace(pair, enlargement=3).encoded()), large.image_hwc_u8)
    assert pair.encoded() == pair.image_path.read_bytes()


def test_labels_that_are_too_thin_are_learned_from_a_pixel_wider_and_stay_the_same_pairs(data_folder: Path) -> None:
    data = read_params(
        ROOT / "params.yaml", {"data.sets": "{synthetic: 1}", "data.validation_ratio": "0.3", "data.judging_ratio": "0"}
    ).data
    thin = read_parts(data_folder, data)
    wide = read_parts(data_folder, data.model_copy(update={"widened": ("synthetic",)}))
    assert wide == thin
    for one, other in zip(thin.learning, wide.learning, strict=True):
        mask_hw = np.pad(one.read().mask_hw, 1)
        inner, before, after = slice(1, -1), slice(None, -2), slice(2, None)
        neighbours = ((inner, inner), (before, inner), (after, inner), (inner, before), (inner, after))
        expected = np.logical_or.reduce([mask_hw[part] for part in neighbours])
        assert np.array_equal(other.read().mask_hw, expected)
