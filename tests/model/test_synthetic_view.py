"""Surfaces in perspective: wall and crack are projected alike, and the generator's promises hold for them too."""

import cv2
import numpy as np
import pytest

from model.synthetic import MATERIALS, Surface, draw_surface
from model.synthetic_view import View, choose_view, look_at, to_flat, to_picture
from model.synthetic_wall import Wall, build_wall

PICTURE_HW = (192, 256)


def view_and_wall(seed: int, material: str = "plaster") -> tuple[View, Wall]:
    view = choose_view(np.random.default_rng(seed), PICTURE_HW, material)
    return view, build_wall(np.random.default_rng(seed), view.flat_hw, material)


@pytest.fixture
def in_perspective(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.synthetic.PERSPECTIVE_RATIO", 1.0)


@pytest.fixture
def surfaces_in_perspective(in_perspective: None) -> list[Surface]:
    return [draw_surface(seed, PICTURE_HW) for seed in range(20)]


def test_about_a_third_of_the_surfaces_are_in_perspective(monkeypatch: pytest.MonkeyPatch) -> None:
    views = []

    def note(rng: np.random.Generator, picture_hw: tuple[int, int], material: str) -> View:
        views.append(choose_view(rng, picture_hw, material))
        return views[-1]

    monkeypatch.setattr("model.synthetic.choose_view", note)
    for seed in range(60):
        draw_surface(seed, (16, 16))
    assert 12 <= len(views) <= 28


@pytest.mark.parametrize("seed", range(6))
def test_a_mark_on_the_wall_is_seen_where_it_is_projected(seed: int) -> None:
    view, wall = view_and_wall(seed)
    mark_xy = np.array(view.flat_hw[::-1]) // 2
    wall.covered_hw[mark_xy[1] - 2 : mark_xy[1] + 3, mark_xy[0] - 2 : mark_xy[0] + 3] = 1
    look_at(wall, view)
    seen_yx = np.argwhere(wall.covered_hw > 0)
    weight = wall.covered_hw[wall.covered_hw > 0][:, None]
    seen_xy = ((seen_yx + 0.5) * weight).sum(axis=0)[::-1] / weight.sum()
    np.testing.assert_allclose(seen_xy, to_picture(wall, mark_xy + 0.5), atol=0.2)


@pytest.mark.parametrize("seed", range(6))
def test_the_picture_shows_nothing_beside_the_drawn_wall(seed: int) -> None:
    view, wall = view_and_wall(seed)
    look_at(wall, view)
    height, width = PICTURE_HW
    corners_xy = np.array([to_flat(wall, np.array(corner)) for corner in [(0, 0), (width, 0), (width, height), (0, height)]])
    assert (corners_xy > -1e-2).all()
    assert (corners_xy < np.array(view.flat_hw[::-1]) + 1e-2).all()


def test_a_road_looks_smaller_at_the_top_than_at_the_bottom() -> None:
    view, wall = view_and_wall(3, "asphalt")
    look_at(wall, view)
    top_px, bottom_px = (
        np.hypot(*(to_flat(wall, np.array([PICTURE_HW[1], y])) - to_flat(wall, np.array([0, y])))) for y in (0, PICTURE_HW[0])
    )
    assert top_px > 1.25 * bottom_px


@pytest.mark.parametrize("seed", range(6))
def test_points_behind_the_camera_are_outside_the_picture(seed: int) -> None:
    view, wall = view_and_wall(seed, "asphalt")
    look_at(wall, view)
    x = np.linspace(-2, 3, 11) * view.flat_hw[1]
    seen_xy = to_picture(wall, np.stack([x, np.full_like(x, 5 * view.flat_hw[0])], -1))
    assert (((seen_xy < 0) | (seen_xy > PICTURE_HW[::-1])).any(axis=1)).all()


@pytest.mark.parametrize("material", MATERIALS)
def test_equal_arguments_give_equal_pixels(in_perspective: None, material: str) -> None:
    first, second = (draw_surface(7, PICTURE_HW, material=material) for _ in range(2))
    np.testing.assert_array_equal(first.image_hwc_u8, second.image_hwc_u8)
    np.testing.assert_array_equal(first.mask_hw, second.mask_hw)


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("size_hw", [(16, 16), (37, 61), (16, 400), (301, 17)])
def test_any_size_keeps_its_shape_and_has_a_crack(in_perspective: None, size_hw: tuple[int, int], material: str) -> None:
    surface = draw_surface(3, size_hw, material=material)
    assert surface.image_hwc_u8.shape == (*size_hw, 3)
    assert surface.mask_hw.shape == size_hw
    assert surface.mask_hw.any()


def test_leaving_out_the_crack_changes_the_picture_near_it_alone(in_perspective: None) -> None:
    cracked, whole = (draw_surface(11, (256, 320), material="concrete", is_cracked=is_cracked) for is_cracked in (True, False))
    far_hw = cv2.distanceTransform((~cracked.mask_hw).astype(np.uint8), cv2.DIST_L2, 5) > 40
    change_hw = np.abs(cracked.image_hwc_u8.astype(int) - whole.image_hwc_u8).mean(axis=2)
    assert change_hw[far_hw].mean() < 3  # the camera's exposure follows the whole picture a little
    assert change_hw[cracked.mask_hw].mean() > 10


def test_crack_pixels_are_darker_than_their_surroundings(surfaces_in_perspective: list[Surface]) -> None:
    n_darker = 0
    for surface in surfaces_in_perspective:
        mask_u8 = surface.mask_hw.astype(np.uint8)
        near_hw, far_hw = (cv2.dilate(mask_u8, np.ones((n, n), np.uint8)) > 0 for n in (5, 13))
        grey_hw = surface.image_hwc_u8.mean(axis=2)
        n_darker += int(grey_hw[surface.mask_hw].mean() < grey_hw[far_hw & ~near_hw].mean() - 5)
    assert n_darker >= 16  # some are filled with something light


def test_hairlines_stay_connected(surfaces_in_perspective: list[Surface]) -> None:
    n_specks = 0
    for surface in surfaces_in_perspective:
        _, _, stats, _ = cv2.connectedComponentsWithStats(surface.mask_hw.astype(np.uint8), connectivity=8)
        x, y, width, height, area_px = stats[1:].T  # the first component is the background
        # at the border a crack may come into view for a pixel or two
        is_at_border = (x == 0) | (y == 0) | (x + width == PICTURE_HW[1]) | (y + height == PICTURE_HW[0])
        n_specks += int(((area_px < 6) & ~is_at_border).sum())
    assert n_specks == 0
