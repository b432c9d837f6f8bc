"""Reading data folders, cutting them by group, drawing crops."""

import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from model.dataset import (
    Pair,
    Parts,
    cut_by_group,
    learned_by,
    read_pairs,
    read_parts,
)
from model.inference.photograph import decode
from model.params import DataParams, Params, read_params
from model.synthetic import write_data_set
from tests.cards import CARD
from tests.conftest import ROOT


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


@pytest.mark.parametrize(
    ("delimiter", "encoding", "end"),
    [(",", "utf-8-sig", ""), (";", "utf-8-sig", ";;;\r\n"), ("\t", "utf-16", "")],
    ids=["CSV UTF-8", "CSV UTF-8 in German", "Unicode Text"],
)
def test_an_index_that_excel_saved_is_read(data_folder: Path, tmp_path: Path, delimiter: str, encoding: str, end: str) -> None:
    shutil.copytree(data_folder, tmp_path, dirs_exist_ok=True)
    index = tmp_path / "synthetic/split.csv"
    saved = index.read_text().replace(",", delimiter).replace("\n", "\r\n") + end
    index.write_bytes(saved.encode(encoding))
    assert len(read_pairs(tmp_path, ["synthetic"], "test")) == 2


def test_an_index_in_another_encoding_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "walls").mkdir()
    (tmp_path / "walls" / "split.csv").write_bytes("image,mask,split,group\nBrücke.jpg,a.png,test,a\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"split.csv: .*expected UTF-8. In Excel, save it as 'CSV UTF-8'"):
        read_pairs(tmp_path, ["walls"], "test")


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_may_be_spelled_otherwise_than_the_files(tmp_path: Path, forms: tuple[Literal["NFC", "NFD"], ...]) -> None:
    in_index, on_disk = (unicodedata.normalize(form, "Brücke") for form in forms)
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / "walls" / folder).mkdir(parents=True)
        (tmp_path / "walls" / folder / f"{on_disk}.{suffix}").touch()
    index = f"image,mask,split,group\n{in_index}.jpg,{in_index}.png,test,a\n"
    (tmp_path / "walls" / "split.csv").write_text(index, encoding="utf-8")
    look_alikes = f"image,left,top,right,bottom,kind\n{on_disk}.jpg,1,2,3,4,joint\n"
    (tmp_path / "walls" / "look_alikes.csv").write_text(look_alikes, encoding="utf-8")
    (pair,) = read_pairs(tmp_path, ["walls"], "test")
    assert (pair.image_path.is_file(), pair.mask_path.is_file(), pair.look_alikes) == (True, True, ((1, 2, 3, 4),))


def test_an_index_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "walls").mkdir()
    (tmp_path / "walls" / "split.csv").write_text("photo,mask\na.jpg,a.png\n")
    with pytest.raises(ValueError, match=r"columns \['photo', 'mask'\], expected image,mask,split,group"):
        read_pairs(tmp_path, ["walls"], "train")


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.zeros((48, 63), np.uint8), r"mask\.png: .*63 x 48 pixels, expected the upright photograph's 64 x 48"),
        (np.full((48, 64), 7, np.uint8), r"mask\.png: .*has 7, which can mean more than one thing"),
    ],
)
def test_a_mask_that_is_none_is_named(data_folder: Path, tmp_path: Path, mask: np.ndarray, sentence: str) -> None:
    good = read_pairs(data_folder, ["synthetic"], "train")[0]
    path = tmp_path / "mask.png"
    Image.fromarray(mask).save(path)
    with pytest.raises(ValueError, match=sentence):
        Pair("synthetic", good.image_path, path, "train", "0").read()


@pytest.mark.parametrize("crack", [1, 255])
def test_a_mask_of_a_label_tool_is_read(data_folder: Path, tmp_path: Path, crack: int) -> None:
    good = read_pairs(data_folder, ["synthetic"], "train")[0]
    mask_hw = np.eye(48, 64, dtype=np.uint8) * crack
    Image.fromarray(np.repeat(mask_hw[..., None], 3, 2)).save(tmp_path / "mask.png")
    read = Pair("synthetic", good.image_path, tmp_path / "mask.png", "train", "0").read()
    assert np.array_equal(read.mask_hw, mask_hw > 0)


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


def test_boxes_of_look_alikes_come_with_their_photograph_and_grow_with_it(data_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "marked"
    shutil.copytree(data_folder / "synthetic", folder)
    first, second = read_pairs(tmp_path, ["marked"], "train")[:2]
    lines = ["image,left,top,right,bottom,kind", *(f"{first.image_path.name},{box},joint" for box in ("1,2,30,9", "0,0,5,40"))]
    (folder / "look_alikes.csv").write_text("\n".join(lines) + "\n")
    first, second = read_pairs(tmp_path, ["marked"], "train")[:2]
    assert first.read().look_alikes == ((1, 2, 30, 9), (0, 0, 5, 40))
    assert replace(first, enlargement=2).read().look_alikes == ((2, 4, 60, 18), (0, 0, 10, 80))
    assert second.read().look_alikes == ()


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
