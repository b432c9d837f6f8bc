"""Photographs of the original sets, sent as feedback: none of them trains, however it was changed; other photographs may."""

import logging
from pathlib import Path

import numpy as np
import pytest

from benchmarks.near_copies import VARIANTS, Image, read
from crack.copies import LEAST_AGREEING, Description, Index
from model.inference.encoding import mask_png
from model.inference.photograph import Limits, decode
from model.synthetic import draw_surface
from sidecar.labels import Photograph
from sidecar.reserved import Reserved
from tests.photographs import jpeg, png
from tests.sidecars import StartSidecar
from tests.test_save import post

SURFACES = [draw_surface(seed, (192, 256)) for seed in range(8)]
FOREIGN = [draw_surface(seed, (192, 256)) for seed in range(100, 108)]


def write_set(folder: Path, split: str = "train") -> Path:
    """A data folder with one set, `walls`, of the drawn surfaces."""
    for name in ("images", "masks"):
        (folder / "walls" / name).mkdir(parents=True)
    lines = ["image,mask,split,group"]
    for number, surface in enumerate(SURFACES):
        name = f"{number}.png"
        (folder / "walls" / "images" / name).write_bytes(png(surface.image_hwc_u8))
        (folder / "walls" / "masks" / name).write_bytes(mask_png(surface.mask_hw))
        lines.append(f"{name},{name},{split},g{number}")
    (folder / "walls" / "split.csv").write_text("\n".join(lines) + "\n")
    return folder


def found(index: Index, image: Image) -> int | None:
    """The number of the photograph that it is a copy of."""
    match = index.find(Description.of(np.ascontiguousarray(image)))
    return match.photograph if match and match.n_agreeing >= LEAST_AGREEING else None


@pytest.fixture(scope="module")
def index() -> Index:
    return Index.build([Description.of(surface.image_hwc_u8) for surface in SURFACES])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_changed_copy_is_found(index: Index, variant: str) -> None:
    rng = np.random.default_rng(0)
    copies = [VARIANTS[variant](surface.image_hwc_u8, rng) for surface in SURFACES]
    assert [found(index, copy) for copy in copies] == list(range(len(SURFACES)))


def test_other_surfaces_of_the_same_kind_are_no_copies(index: Index) -> None:
    assert [found(index, surface.image_hwc_u8) for surface in FOREIGN] == [None] * len(FOREIGN)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_without_anything_on_it_is_no_copy(index: Index, grey: int) -> None:
    assert found(index, np.full((64, 64, 3), grey, np.uint8)) is None


def test_nothing_is_found_where_nothing_is_known() -> None:
    assert found(Index.build([]), SURFACES[0].image_hwc_u8) is None


def test_copies_of_real_photographs_are_found_and_others_are_not(data_dir: Path) -> None:
    photographs = [path for path, _ in read(data_dir)]
    rng = np.random.default_rng(0)
    chosen = [decode(photographs[number].read_bytes()) for number in rng.choice(len(photographs), 16, replace=False)]
    known, foreign = chosen[:8], chosen[8:]
    index = Index.build([Description.of(image) for image in known])
    for variant in ("mirrored left to right", "turned by 90 degrees", "inverted", "JPEG, quality 50", "half size", "grey"):
        assert [found(index, VARIANTS[variant](image, rng)) for image in known] == list(range(8)), variant
    assert [found(index, image) for image in foreign] == [None] * 8


def test_photographs_that_models_learn_from_are_quarantined_too(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    sidecar = start_sidecar(CRACK_DATA_DIR=str(write_set(tmp_path / "data")), CRACK_REVIEW="automatic")
    surface = SURFACES[3]
    shifted = mask_png(np.roll(surface.mask_hw, 9, axis=1))
    for image in (png(surface.image_hwc_u8), jpeg(255 - surface.image_hwc_u8[::-1], quality=70)):
        saved = post(sidecar, "/save-for-retrain", image=image, mask=shifted).json()
        assert saved["state"] == "quarantined"
        assert saved["reason"].startswith("belongs to walls/train (3.png)")
    other = FOREIGN[0]
    saved = post(sidecar, "/save-for-retrain", image=png(other.image_hwc_u8), mask=mask_png(other.mask_hw)).json()
    assert saved["state"] == "accepted"


def test_the_photographs_are_described_once_and_again_when_a_set_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar.reserved")
    data = write_set(tmp_path / "data")
    described = Description.of(SURFACES[5].image_hwc_u8)
    for split, has_changed in (("train", True), ("train", False), ("test", True)):
        index_path = data / "walls" / "split.csv"
        index = index_path.read_text(encoding="utf-8-sig").replace("train", split)
        index_path.write_text(index, encoding="utf-8-sig")  # as Excel's "CSV UTF-8" is
        caplog.clear()
        assert Reserved(data, tmp_path / "cache")("no file's", "0", described) == f"walls/{split} (5.png)"
        assert ("describing 8 photographs" in caplog.text) == has_changed


def test_a_photograph_without_parts_is_known_by_its_hash(tmp_path: Path) -> None:
    photograph = Photograph.read(jpeg(SURFACES[5].image_hwc_u8, quality=50), Limits())
    reserved = Reserved(write_set(tmp_path / "data"), tmp_path)
    assert reserved("no file's", photograph.perceptual_hash, Description.none()) == "walls/train (5.png)"


def test_a_cache_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    data, described = write_set(tmp_path / "data"), Description.of(SURFACES[5].image_hwc_u8)
    assert Reserved(data, tmp_path)("no file's", "0", described)
    cache = tmp_path / "reserved.npz"
    cache.write_bytes(cache.read_bytes()[:1000])
    assert Reserved(data, tmp_path)("no file's", "0", described)


def test_an_index_is_read_as_a_training_reads_it(tmp_path: Path) -> None:
    data, described = write_set(tmp_path / "data"), Description.of(SURFACES[5].image_hwc_u8)
    index_path = data / "walls" / "split.csv"
    index_path.write_text(index_path.read_text(encoding="utf-8-sig").replace(",", ";"), encoding="utf-16")  # Excel's
    assert Reserved(data, tmp_path)("no file's", "0", described) == "walls/train (5.png)"
    index_path.write_text("photograph\n5.png\n")
    with pytest.raises(ValueError, match=r"split\.csv: columns \['photograph'\], expected image,mask,split,group"):
        Reserved(data, tmp_path)


def test_a_photograph_that_a_set_lacks_is_named(tmp_path: Path) -> None:
    data = write_set(tmp_path / "data")
    (data / "walls" / "images" / "5.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"5\.png"):
        Reserved(data, tmp_path)
