"""Cracks of known width, length and place, drawn as dark bands with exact shares of each pixel."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.inference import cracks
from model.inference.cracks import Crack, measure
from model.inference.errors import ErrorCode, RequestError
from model.inference.millimetres import Scale, ScaleSource

SIZE_HW = (240, 320)
Point = tuple[float, float]


def band(start: Point, end: Point, width_px: float, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.float32]:
    """The share of each pixel that a straight band with square ends covers."""
    fine = 6
    y, x = (np.indices((size_hw[0] * fine, size_hw[1] * fine), np.float32) + 0.5) / fine
    way = np.array(end, np.float32) - np.array(start, np.float32)
    length = np.float32(np.hypot(*way))
    along = ((x - start[0]) * way[0] + (y - start[1]) * way[1]) / length
    across = ((y - start[1]) * way[0] - (x - start[0]) * way[1]) / length
    covered = (np.abs(across) <= width_px / 2) & (along >= 0) & (along <= length)
    return np.asarray(covered.reshape(size_hw[0], fine, size_hw[1], fine).mean(axis=(1, 3)), np.float32)


def found(*bands: NDArray[np.float32], blur_px: float = 0.7, noise: float = 3.0) -> list[Crack]:
    """Of a photograph of these bands, and their exact mask."""
    coverage = np.max(bands, axis=0)
    wall = cv2.GaussianBlur(170 * (1 - 0.7 * coverage), (0, 0), blur_px)
    wall = wall + noise * np.random.default_rng(0).standard_normal(coverage.shape)
    image = np.repeat(np.clip(np.rint(wall), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return measure(np.where(coverage >= 0.5, 255, 0).astype(np.uint8), image, 128)


def the_one(cracks_found: list[Crack]) -> dict[str, object]:
    assert len(cracks_found) == 1
    return cracks_found[0].figures


@pytest.mark.parametrize("angle_deg", [0, 17, 45, 71, 90, 130])
@pytest.mark.parametrize("width_px", [3, 5, 9, 16, 30])
def test_width_is_right_within_a_quarter_of_a_pixel_and_length_within_two_percent(width_px: float, angle_deg: float) -> None:
    half = 90 * np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])
    middle = np.array([160.3, 120.7])
    figures = the_one(found(band(tuple(middle - half), tuple(middle + half), width_px)))
    assert figures["is_width_below_limit"] is False
    assert figures["width_median_px"] == pytest.approx(width_px, abs=0.25)
    assert figures["width_mean_px"] == pytest.approx(width_px, abs=0.25)
    assert figures["length_px"] == pytest.approx(180, rel=0.02, abs=2)
    assert figures["orientation_deg"] == pytest.approx((180 - angle_deg) % 180, abs=1)
    assert figures["touches_edge"] is False


@pytest.mark.parametrize("width_px", [5, 30])
@pytest.mark.parametrize("angle_deg", [35, 60, 90])
def test_a_wide_crack_that_leaves_the_picture_aslant_is_as_long_as_its_middle(width_px: float, angle_deg: float) -> None:
    way = np.array([np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))])
    middle = np.array([160.3, 120.7])
    figures = the_one(found(band(tuple(middle - 300 * way), tuple(middle + 300 * way), width_px)))
    assert figures["length_px"] == pytest.approx(min(SIZE_HW[::-1] / way), rel=0.02)


def test_a_crack_far_from_the_start_of_a_very_wide_picture_is_as_wide_as_elsewhere() -> None:
    coverage = band((40, 20), (200, 44), 8, (64, 240))
    grey = np.full((64, 40_000), 170, np.float32)
    grey[:, -240:] = cv2.GaussianBlur(170 * (1 - 0.7 * coverage), (0, 0), 0.7)
    mask = np.zeros(grey.shape, np.uint8)
    mask[:, -240:] = np.where(coverage >= 0.5, 255, 0)
    figures = the_one(measure(mask, np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), 128))
    assert figures["width_median_px"] == pytest.approx(8, abs=0.25)


@pytest.mark.parametrize("width_px", [1, 1.5])
def test_of_a_crack_narrower_than_the_blur_no_width_is_told_but_a_limit(width_px: float) -> None:
    figures = the_one(found(band((40, 60), (280, 150), width_px), blur_px=0.9))
    assert figures["is_width_below_limit"] is True
    assert width_px < figures["width_limit_px"] < 4
    assert {figures[name] for name in figures if name.startswith("width_") and name != "width_limit_px"} == {None}
    told = Scale(0.1, ScaleSource.GIVEN).to_mm(figures)
    assert told["width_max_mm"] is None
    assert told["width_limit_mm"] == pytest.approx(figures["width_limit_px"] / 10, abs=1e-4)


def test_a_sharp_crack_of_two_pixels_is_told_within_a_quarter_of_a_pixel() -> None:
    figures = the_one(found(band((40, 60), (250, 210), 2), blur_px=0.4))
    assert figures["is_width_below_limit"] is False
    assert figures["width_median_px"] == pytest.approx(2, abs=0.25)


@pytest.mark.parametrize("level", [1, 128, 255])
def test_a_mask_of_two_values_is_as_wide_at_every_threshold(level: int) -> None:
    mask = np.where(band((40, 60), (280, 150), 9) >= 0.5, 255, 0).astype(np.uint8)
    figures = the_one(measure(mask, np.full((*SIZE_HW, 3), 128, np.uint8), level))
    assert figures["width_median_px"] == pytest.approx(9, abs=1)


def test_a_mask_wider_than_the_crack_changes_its_width_little() -> None:
    coverage = band((40, 60), (280, 150), 5)
    image = np.repeat((170 * (1 - 0.7 * cv2.GaussianBlur(coverage, (0, 0), 0.7))).astype(np.uint8)[..., None], 3, axis=2)
    wide = cv2.dilate((coverage >= 0.5).astype(np.uint8) * 255, np.ones((5, 5), np.uint8))
    assert the_one(measure(wide, image, 128))["width_median_px"] == pytest.approx(5, abs=0.25)


def test_where_the_photograph_shows_nothing_the_mask_tells_the_width_and_is_trusted_less() -> None:
    mask = np.where(band((40, 60), (280, 150), 9) >= 0.5, 255, 0).astype(np.uint8)
    figures = the_one(measure(mask, np.full((*SIZE_HW, 3), 128, np.uint8), 128))
    assert figures["width_median_px"] == pytest.approx(9, abs=1.5)
    assert figures["width_uncertainty_px"] >= 1


def test_the_widest_place_is_where_it_is_widest() -> None:
    figures = the_one(found(band((30, 120), (290, 120), 5), band((200, 120), (240, 120), 11)))
    assert figures["width_max_px"] == pytest.approx(11, abs=1)
    assert 200 <= figures["width_max_at"][0] <= 240
    assert figures["width_median_px"] == pytest.approx(5, abs=0.3)


def test_a_gap_that_the_model_leaves_is_joined_and_one_that_a_person_wiped_is_not() -> None:
    whole_hw = band((40, 60), (280, 150), 6) >= 0.5
    wiped_hw = band((155, 115), (165, 95), 2) >= 0.5
    prob_hw_u8 = np.where(whole_hw & ~wiped_hw, 255, 0).astype(np.uint8)
    image_hwc_u8 = np.full((*SIZE_HW, 3), 128, np.uint8)
    assert len(measure(prob_hw_u8, image_hwc_u8, 128)) == 1
    assert len(measure(prob_hw_u8, image_hwc_u8, 128, repainted_hw=whole_hw & wiped_hw)) == 2


CROSSING = (band((20, 120), (300, 120), 7), band((60, 20), (260, 220), 7))
FORK = (band((20, 120), (300, 120), 7), band((150, 120), (270, 60), 7))
OUT_OF_THE_PICTURE = (band((40, -30), (290, 120), 7), band((290, 120), (350, 260), 7))


@pytest.mark.parametrize("bands", [CROSSING, FORK, OUT_OF_THE_PICTURE], ids=["crossing", "fork", "out of the picture"])
def test_where_lines_meet_or_leave_the_picture_a_crack_is_not_wider(bands: tuple[NDArray[np.float32], ...]) -> None:
    figures = the_one(found(*bands))
    assert figures["width_max_px"] == pytest.approx(7, abs=1)
    x, y = figures["width_max_at"]
    assert 0 <= x <= SIZE_HW[1]
    assert 0 <= y <= SIZE_HW[0]


def test_teeth_of_the_outline_are_no_branches_to_look_along() -> None:
    wide = band((120, 120), (200, 120), 16)
    teeth = [band((x, 108), (x, 120), 4) for x in (135, 152, 169, 186)]
    figures = the_one(found(band((20, 120), (300, 120), 4), wide, *teeth))
    assert figures["n_branches"] == 1
    assert figures["width_max_px"] == pytest.approx(16 + 1, abs=1)  # over 16 px of line a tooth of 4 x 4 counts for one


def test_dark_specks_beside_a_crack_are_no_part_of_its_width() -> None:
    line = band((30, 120), (290, 120), 5)
    specks = np.max([band((x, 113.5), (x, 117), 20) for x in range(60, 280, 50)], axis=0)
    shown = 170 * (1 - 0.7 * cv2.GaussianBlur(np.maximum(line, specks), (0, 0), 0.7))
    image = np.repeat(np.rint(shown).astype(np.uint8)[..., None], 3, axis=2)
    assert the_one(measure(np.where(line >= 0.5, 255, 0).astype(np.uint8), image, 128))["width_max_px"] < 6.5


def test_a_fork_is_one_crack_of_three_branches() -> None:
    figures = the_one(found(band((20, 120), (300, 120), 5), band((150, 120), (260, 30), 4)))
    assert figures["n_branches"] == 3
    assert figures["length_px"] == pytest.approx(280 + np.hypot(110, 90), rel=0.03)


def test_a_small_gap_in_its_direction_is_joined_and_one_aside_is_not() -> None:
    in_line = found(band((20, 120), (140, 120), 4), band((155, 122), (300, 122), 4))
    assert the_one(in_line)["length_px"] == pytest.approx(280, rel=0.02)
    assert the_one(in_line)["n_branches"] == 1
    assert len(found(band((20, 120), (140, 120), 4), band((20, 150), (140, 150), 4))) == 2
    assert len(found(band((20, 120), (140, 120), 4), band((180, 120), (300, 120), 4))) == 2


def test_a_crack_across_the_picture_touches_its_edge_and_ends_there() -> None:
    figures = the_one(found(band((-20, 100), (340, 140), 6)))
    assert figures["touches_edge"] is True
    assert figures["length_px"] == pytest.approx(320 * np.hypot(360, 40) / 360, rel=0.02)
    assert figures["bbox_px"][::2] == [0, 320]


def test_a_ring_is_one_crack_without_an_end() -> None:
    y, x = np.indices(SIZE_HW) + 0.5
    ring = np.clip(3 + 0.5 - np.abs(np.hypot(x - 160, y - 120) - 80), 0, 1).astype(np.float32)
    figures = the_one(found(ring))
    assert figures["length_px"] == pytest.approx(2 * np.pi * 80, rel=0.03)
    assert figures["n_branches"] == 1


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_without_a_crack_and_one_that_is_all_crack_have_none(value: int) -> None:
    assert measure(np.full(SIZE_HW, value, np.uint8), np.full((*SIZE_HW, 3), 128, np.uint8), 128) == []


def test_the_longest_comes_first_and_ids_count_from_one() -> None:
    both = found(band((20, 40), (120, 40), 4), band((20, 200), (300, 200), 4))
    assert [crack.figures["id"] for crack in both] == [1, 2]
    assert both[0].figures["length_px"] > both[1].figures["length_px"]
    assert tuple(both[0].figures) == cracks.FIGURES


def test_area_box_and_probability_are_those_of_its_pixels() -> None:
    mask = np.zeros(SIZE_HW, np.uint8)
    mask[100:104, 50:150] = 204
    figures = the_one(measure(mask, np.full((*SIZE_HW, 3), 128, np.uint8), 128))
    assert (figures["area_px"], figures["bbox_px"], figures["probability_mean"]) == (400, [50, 100, 150, 104], 0.8)


def test_five_thousand_specks_are_dropped_quickly() -> None:
    mask = np.zeros((3000, 4000), np.uint8)
    for x, y, radius in np.random.default_rng(0).integers((10, 10, 1), (3990, 2990, 6), (5000, 3)).tolist():
        cv2.circle(mask, (x, y), radius, 255, -1)
    cv2.line(mask, (100, 1500), (3900, 1600), 255, 6)
    image = np.full((3000, 4000, 3), 160, np.uint8)
    longest = measure(mask, image, 128)[0]
    assert longest.figures["length_px"] == pytest.approx(3801, rel=0.02)


def grid(height: int, width: int, every_px: int) -> NDArray[np.uint8]:
    """Lines of two pixels, down and across."""
    mask = np.zeros((height, width), np.uint8)
    for start in (0, 1):
        mask[start::every_px], mask[:, start::every_px] = 255, 255
    return mask


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (np.full((3000, 3000), 255, np.uint8), r"9\.0 megapixels are called crack, at most 8 can"),
        (grid(3000, 4000, 40), r"is 5\d\d,\d\d\d pixels long, at most 500,000 can"),
        (grid(1200, 1200, 20), r"has 7,\d\d\d lines between ends and junctions, at most 5,000 can"),
    ],
    ids=["all of it", "long", "a mesh"],
)
def test_more_crack_than_can_be_measured_is_refused_with_a_sentence(mask: NDArray[np.uint8], found: str) -> None:
    with pytest.raises(RequestError, match=found + r" be measured\. Raise the threshold") as caught:
        measure(mask, np.zeros((*mask.shape, 3), np.uint8), 128)
    assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE


def test_a_scale_adds_millimetres_and_without_one_there_are_none() -> None:
    figures = the_one(found(band((30, 120), (290, 120), 8)))
    assert not any("mm" in name for name in figures)
    told = Scale(0.5, ScaleSource.GIVEN).to_mm(figures)
    assert told["length_mm"] == pytest.approx(figures["length_px"] / 2, abs=1e-3)
    assert told["width_max_mm"] == pytest.approx(figures["width_max_px"] / 2, abs=1e-3)
    assert told["area_mm2"] == figures["area_px"] / 4
    assert not told.keys() & figures.keys()
