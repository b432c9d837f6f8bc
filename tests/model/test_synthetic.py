"""The generator's promises: repeatable pixels, any size, exact masks, a folder that a data reader can use."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from model.synthetic import MATERIALS, Surface, draw_surface, main, write_data_set

REPOSITORY = Path(__file__).parents[2]
SMALL_HW = (128, 160)


@pytest.fixture(scope="module")
def cracked_surfaces() -> list[Surface]:
    return [draw_surface(seed, (192, 256)) for seed in range(20)]


@pytest.mark.parametrize("material", MATERIALS)
def test_equal_arguments_give_equal_pixels(material: str) -> None:
    first, second = (draw_surface(7, SMALL_HW, material=material) for _ in range(2))
    np.testing.assert_array_equal(first.image_hwc_u8, second.image_hwc_u8)
    np.testing.assert_array_equal(first.mask_hw, second.mask_hw)
    assert first.material == second.material == material


def test_different_seeds_give_different_pictures_and_cracks() -> None:
    first, second = (draw_surface(seed, SMALL_HW, material="concrete") for seed in (1, 2))
    assert (first.image_hwc_u8 != second.image_hwc_u8).any()
    assert (first.mask_hw != second.mask_hw).any()


def test_without_a_material_the_seed_chooses_one_of_all(cracked_surfaces: list[Surface]) -> None:
    assert {surface.material for surface in cracked_surfaces} == set(MATERIALS)


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("size_hw", [(16, 16), (37, 61), (16, 400), (301, 17), (97, 97)])
def test_any_size_keeps_its_shape_and_type_and_has_a_crack(size_hw: tuple[int, int], material: str) -> None:
    surface = draw_surface(3, size_hw, material=material)
    assert surface.image_hwc_u8.shape == (*size_hw, 3)
    assert surface.image_hwc_u8.dtype == np.uint8
    assert surface.mask_hw.shape == size_hw
    assert surface.mask_hw.dtype == np.bool_
    assert surface.mask_hw.any()


@pytest.mark.parametrize("material", MATERIALS)
def test_a_crack_free_surface_has_an_empty_mask_and_a_picture(material: str) -> None:
    surface = draw_surface(5, SMALL_HW, is_cracked=False, material=material)
    assert not surface.mask_hw.any()
    assert surface.image_hwc_u8.std() > 1


def test_leaving_out_the_crack_changes_the_picture_near_it_alone() -> None:
    cracked = draw_surface(11, (256, 320), material="concrete")
    whole = draw_surface(11, (256, 320), material="concrete", is_cracked=False)
    far_hw = cv2.distanceTransform((~cracked.mask_hw).astype(np.uint8), cv2.DIST_L2, 5) > 40
    change_hw = np.abs(cracked.image_hwc_u8.astype(int) - whole.image_hwc_u8).mean(axis=2)
    assert change_hw[far_hw].mean() < 3  # the camera's exposure follows the whole picture a little
    assert change_hw[cracked.mask_hw].mean() > 10


def test_a_crack_covers_a_plausible_share_of_the_picture(cracked_surfaces: list[Surface]) -> None:
    shares = [surface.mask_hw.mean() for surface in cracked_surfaces]
    assert min(shares) >= 0.001
    assert max(shares) <= 0.25


def test_crack_pixels_are_darker_than_their_surroundings(cracked_surfaces: list[Surface]) -> None:
    def is_darker(surface: Surface) -> bool:
        mask_u8 = surface.mask_hw.astype(np.uint8)
        near_hw, far_hw = (cv2.dilate(mask_u8, np.ones((n, n), np.uint8)) > 0 for n in (5, 13))
        grey_hw = surface.image_hwc_u8.mean(axis=2)
        return bool(grey_hw[surface.mask_hw].mean() < grey_hw[far_hw & ~near_hw].mean() - 5)

    assert sum(is_darker(surface) for surface in cracked_surfaces) >= 18


def test_each_crack_is_seen_even_if_something_fills_it(cracked_surfaces: list[Surface]) -> None:
    for seed, cracked in enumerate(cracked_surfaces):
        whole = draw_surface(seed, (192, 256), is_cracked=False)
        change_hw = np.abs(cracked.image_hwc_u8.astype(int) - whole.image_hwc_u8).mean(axis=2)
        assert change_hw[cracked.mask_hw].mean() > 12, seed


def test_hairlines_stay_connected(cracked_surfaces: list[Surface]) -> None:
    n_specks = 0
    for surface in cracked_surfaces:
        _, _, stats, _ = cv2.connectedComponentsWithStats(surface.mask_hw.astype(np.uint8), connectivity=8)
        x, y, width, height, area_px = stats[1:].T  # the first component is the background
        # at the border a crack may come into view for a pixel or two
        is_at_border = (x == 0) | (y == 0) | (x + width == 256) | (y + height == 192)
        n_specks += int(((area_px < 6) & ~is_at_border).sum())
    assert n_specks == 0


def test_a_data_set_has_the_layout_that_the_reader_expects(tmp_path: Path) -> None:
    write_data_set(tmp_path, n_surfaces=10, seed=0, size_hw=(48, 64))
    with (tmp_path / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "mask", "split", "group"]
    assert [row["split"] for row in rows] == (["train"] * 4 + ["test"]) * 2
    assert len({row["group"] for row in rows}) == 10
    for row in rows:
        with Image.open(tmp_path / "images" / row["image"]) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 48))
        with Image.open(tmp_path / "masks" / row["mask"]) as mask:
            assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (64, 48))
            assert set(np.unique(np.asarray(mask))) <= {0, 255}


def test_a_fifth_of_a_data_set_is_crack_free_in_both_splits(tmp_path: Path) -> None:
    write_data_set(tmp_path, n_surfaces=10, seed=0, size_hw=(16, 16))
    with (tmp_path / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    masks_hw = [cv2.imread(str(tmp_path / "masks" / row["mask"]), cv2.IMREAD_GRAYSCALE) for row in rows]
    free_splits = [row["split"] for row, mask_hw in zip(rows, masks_hw, strict=True) if not np.any(mask_hw)]
    assert sorted(free_splits) == ["test", "train"]


def test_a_folder_that_holds_a_data_set_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_text("precious")
    with pytest.raises(FileExistsError, match=r"split\.csv.*expected a new folder"):
        write_data_set(tmp_path, n_surfaces=1, seed=0, size_hw=(16, 16))
    assert [path.name for path in tmp_path.iterdir()] == ["split.csv"]


@pytest.mark.parametrize("size_hw", [(15, 64), (64, 0), (-64, 64)])
def test_a_size_that_is_too_small_is_named(size_hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"size_hw is {size_hw}, expected 2 sides of 16 px")):
        draw_surface(0, size_hw)


def test_an_unknown_material_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"material is 'marble', expected one of .*'asphalt'"):
        draw_surface(0, SMALL_HW, material="marble")


def test_a_negative_seed_is_named() -> None:
    with pytest.raises(ValueError, match="seed is -1, expected 0 or more"):
        draw_surface(-1, SMALL_HW)


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n_surfaces is 0"):
        write_data_set(tmp_path, n_surfaces=0, seed=0, size_hw=SMALL_HW)


def test_the_command_says_where_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "set"), "--n", "2", "--size", "16", "24"]) == 0
    assert f"2 surfaces written to {tmp_path / 'set'}" in capsys.readouterr().out
    assert len(list((tmp_path / "set" / "images").iterdir())) == 2


def test_the_command_reports_a_bad_size_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--size", "8", "8"]) == 2
    assert capsys.readouterr().err.startswith("error: size_hw is (8, 8)")


def test_ctrl_c_exits_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("model.synthetic.write_data_set", interrupt)
    assert main(["--out", str(tmp_path)]) == 130
