"""Millimetres by printed markers: on a wall seen from aside, where every crack's width and length are known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.inference.cracks import measure
from model.inference.findings import properties, summary
from model.inference.markers import SINGLE, Markers, find
from model.inference.plane import MAX_UNCERTAINTY_RATIO
from tests.walls import Crack, Marker, board, camera, photograph

SIZE_HW = (900, 1200)
MM_PER_PX = 0.25
MARKER_MM = 45.0  # 180 px
MARKER = Marker(SINGLE, (-75, -25), MARKER_MM, turn_deg=20)
Image = NDArray[np.uint8]


def bent(start: tuple[float, float], end: tuple[float, float], width_mm: float, seed: int = 0) -> Crack:
    path = np.linspace(start, end, 12)
    path[1:-1] += 0.8 * np.random.default_rng(seed).standard_normal((10, 2))
    return Crack(path, width_mm)


CRACKS = [
    bent((-120, -70), (60, -85), 1.3),
    bent((-110, 70), (110, 85), 2.0, seed=1),
    bent((40, -45), (100, 40), 1.5, seed=2),
]


def told(image: Image, coverage: NDArray[np.float32], size_mm: float = MARKER_MM) -> list[dict[str, Any]]:
    markers = find(image, size_mm)
    assert markers is not None
    prob = np.where(coverage >= 0.5, 255, 0).astype(np.uint8)
    markers.clear(prob)
    return [properties(crack, markers, image.shape[1]) for crack in measure(prob, image, 128)]


@pytest.mark.parametrize("towards_deg", [0, 90, 215])
@pytest.mark.parametrize("tilt_deg", [0, 30, 45])
def test_widths_are_right_within_a_tenth_and_lengths_within_three_percent(tilt_deg: float, towards_deg: float) -> None:
    to_px = camera(SIZE_HW, MM_PER_PX, tilt_deg, towards_deg)
    found = told(*photograph(SIZE_HW, to_px, CRACKS, [MARKER]))
    assert len(found) == len(CRACKS)
    for crack, figures in zip(
        sorted(CRACKS, key=lambda crack: crack.length_mm), sorted(found, key=lambda figures: figures["length_mm"]), strict=True
    ):
        allowed_mm = max(0.1, 0.1 * crack.width_mm)
        assert figures["width_median_mm"] == pytest.approx(crack.width_mm, abs=allowed_mm)
        assert figures["width_mean_mm"] == pytest.approx(crack.width_mm, abs=allowed_mm)
        assert figures["length_mm"] == pytest.approx(crack.length_mm, rel=0.03)
        assert figures["area_mm2"] == pytest.approx(crack.length_mm * crack.width_mm, rel=0.05)
        assert figures["scale_uncertainty_ratio"] < MAX_UNCERTAINTY_RATIO


def test_a_width_without_its_view_would_be_wrong() -> None:
    """So that the test above tests the view: the same crack is seen half as wide at the far side."""
    near, far = bent((-80, 60), (-40, 75), 2.0), bent((40, -60), (80, -75), 2.0, seed=1)
    view = camera(SIZE_HW, MM_PER_PX, 45, 0)
    found = told(*photograph(SIZE_HW, view, [near, far], [Marker(SINGLE, (-40, -22), MARKER_MM)]))
    seen_px = sorted(figures["width_median_px"] for figures in found)
    assert seen_px[0] < 0.8 * seen_px[1]
    assert [figures["width_median_mm"] for figures in found] == pytest.approx([2, 2], abs=0.2)


def test_far_from_the_marker_the_scale_is_less_sure_and_in_the_end_nothing_is_told_in_millimetres() -> None:
    cracks = [bent((x, -60), (x + 20, 60), 1.5, seed=i) for i, x in enumerate((-80, -20, 50, 120))]
    image, coverage = photograph(SIZE_HW, camera(SIZE_HW, MM_PER_PX, 20, 0), cracks, [Marker(SINGLE, (-110, -8), 15)])
    found = sorted(told(image, coverage, 15), key=lambda figures: figures["bbox_px"])
    unsure = [figures["scale_uncertainty_ratio"] for figures in found]
    assert unsure == sorted(unsure)
    assert unsure[0] < MAX_UNCERTAINTY_RATIO < unsure[-1]
    for figures in found:
        has_mm = figures["scale_uncertainty_ratio"] <= MAX_UNCERTAINTY_RATIO
        assert (
            {"length_mm", "width_median_mm", "mm_per_px"} <= figures.keys()
            if has_mm
            else not any("mm" in key for key in figures)
        )
    markers = find(image, 15)
    answer = summary(found, markers)
    assert 0 < answer["n_without_mm"] < len(cracks)
    assert answer["length_total_mm"] == pytest.approx(sum(figures.get("length_mm", 0) for figures in found), abs=0.01)


def test_a_marker_of_150_pixels_is_enough_for_cracks_five_sides_away() -> None:
    side_mm = 150 * MM_PER_PX / 2
    size_hw = (420, 2000)
    reach_mm = 5 * side_mm
    crack = bent((reach_mm - 10, -20), (reach_mm, 20), 1.5)
    for tilt_deg in (0, 30):
        image, coverage = photograph(
            size_hw, camera(size_hw, MM_PER_PX / 2, tilt_deg, 180), [crack], [Marker(SINGLE, (-side_mm, 0), side_mm)]
        )
        (figures,) = told(image, coverage, side_mm)
        assert figures["width_median_mm"] == pytest.approx(1.5, abs=0.15)
        assert figures["length_mm"] == pytest.approx(crack.length_mm, rel=0.03)


def test_a_sheet_of_four_is_surer_than_one_of_its_markers() -> None:
    crack = bent((60, -90), (110, 60), 1.5)
    to_px = camera(SIZE_HW, MM_PER_PX, 30, 0)
    four = board((-110, -75), 30)
    (by_four,) = told(*photograph(SIZE_HW, to_px, [crack], four), 30)
    (by_one,) = told(*photograph(SIZE_HW, to_px, [crack], four[:1]), 30)
    assert by_four["scale_uncertainty_ratio"] < by_one["scale_uncertainty_ratio"] / 2
    assert by_four["length_mm"] == pytest.approx(crack.length_mm, rel=0.02)
    assert by_four["width_median_mm"] == pytest.approx(1.5, abs=0.1)


def test_a_sheet_of_four_that_is_not_flat_says_so_by_its_uncertainty() -> None:
    crack = bent((60, -90), (110, 60), 1.5)
    to_px = camera(SIZE_HW, MM_PER_PX, 30, 0)
    four = board((-110, -75), 30)
    bent_up = [*four[:3], Marker(four[3].number, (four[3].place_mm[0] + 3, four[3].place_mm[1] - 3), 30)]
    (flat,) = told(*photograph(SIZE_HW, to_px, [crack], four), 30)
    (uneven,) = told(*photograph(SIZE_HW, to_px, [crack], bent_up), 30)
    assert uneven["scale_uncertainty_ratio"] > 3 * flat["scale_uncertainty_ratio"]


def test_of_two_single_markers_the_surer_one_counts_for_each_crack() -> None:
    cracks = [bent((-110, -60), (-70, -90), 1.5), bent((70, 60), (110, 90), 1.5, seed=1)]
    markers = [Marker(SINGLE, (-120, -40), 25), Marker(SINGLE, (80, 10), 25, turn_deg=70)]
    to_px = camera(SIZE_HW, MM_PER_PX, 30, 45)
    one = [told(*photograph(SIZE_HW, to_px, cracks, [marker]), 25) for marker in markers]
    both = told(*photograph(SIZE_HW, to_px, cracks, markers), 25)
    for figures, *alone in zip(both, *one, strict=True):
        best = min(each["scale_uncertainty_ratio"] for each in alone)
        assert figures["scale_uncertainty_ratio"] == pytest.approx(best, rel=0.05)
        assert figures["width_median_mm"] == pytest.approx(1.5, abs=0.15)


def test_nothing_on_the_marker_is_crack_and_what_is_beside_it_stays() -> None:
    image, _ = photograph(SIZE_HW, camera(SIZE_HW, MM_PER_PX, 30, 30), [], [MARKER])
    markers = find(image, MARKER_MM)
    assert markers is not None
    prob = np.full(SIZE_HW, 255, np.uint8)
    markers.clear(prob)
    assert not prob[image[..., 1] > 200].any()  # the white paper
    assert not prob[image[..., 1] < 30].any()
    assert 0.8 < (prob == 255).mean() < 0.95


@pytest.mark.parametrize("material", ["concrete", "asphalt", "masonry"])
def test_a_wall_without_a_marker_has_none(material: str) -> None:
    image, _ = photograph(SIZE_HW, camera(SIZE_HW, MM_PER_PX), CRACKS, material=material)
    assert find(image, MARKER_MM) is None


@pytest.mark.parametrize("size_hw", [(16, 16), (16, 3000), (1, 1)])
def test_a_picture_of_any_size_may_be_looked_at(size_hw: tuple[int, int]) -> None:
    assert find(np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8), 50) is None


def test_another_marker_is_none_of_ours() -> None:
    image, _ = photograph(SIZE_HW, camera(SIZE_HW, MM_PER_PX), [], [Marker(17, (-75, -25), MARKER_MM)])
    assert find(image, MARKER_MM) is None


def test_a_mirrored_marker_is_none() -> None:
    image, _ = photograph(SIZE_HW, camera(SIZE_HW, MM_PER_PX), [], [MARKER])
    assert isinstance(find(image, MARKER_MM), Markers)
    assert find(np.ascontiguousarray(image[:, ::-1]), MARKER_MM) is None


def test_the_scale_at_the_marker_is_the_cameras() -> None:
    image, _ = photograph(SIZE_HW, camera(SIZE_HW, MM_PER_PX), [], [MARKER])
    markers = find(image, MARKER_MM)
    assert markers is not None
    assert markers.mm_per_px == pytest.approx(MM_PER_PX, rel=0.005)
