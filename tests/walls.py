"""A wall with cracks of exact millimetres and printed markers on it, photographed from aside."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inference.markers import BOARD, DICTIONARY, MARGIN_SIDES, N_MODULES
from model.synthetic_wall import blur, build_wall

Float = NDArray[np.float64]
N_SUBPIXELS = 6
DARKNESS = 0.75


@dataclass(frozen=True)
class Crack:
    """A band along a line, (n, 2), in mm on the wall."""

    path_mm: Float
    width_mm: float

    @property
    def length_mm(self) -> float:
        return float(np.hypot(*np.diff(self.path_mm, axis=0).T).sum())


@dataclass(frozen=True)
class Marker:
    """A printed one: where its top left corner is, how far it is turned."""

    number: int
    place_mm: tuple[float, float]
    size_mm: float
    turn_deg: float = 0.0


def board(place_mm: tuple[float, float], size_mm: float) -> list[Marker]:
    """A sheet of four."""
    return [
        Marker(number, (place_mm[0] + right * size_mm, place_mm[1] + down * size_mm), size_mm)
        for number, (right, down) in BOARD.items()
    ]


def camera(size_hw: tuple[int, int], mm_per_px: float, tilt_deg: float = 0.0, towards_deg: float = 0.0) -> Float:
    """The homography from the wall's mm to pixels: the wall's (0, 0) is in the picture's middle, at that scale.

    Args:
        tilt_deg: between the camera's axis and what is square to the wall.
        towards_deg: of what is farther away; 0 is to the right, 90 is down.
    """
    height, width = size_hw
    focal_px = 1.1 * max(size_hw)
    along = np.array([np.cos(np.radians(towards_deg)), np.sin(np.radians(towards_deg))])
    cos, sin = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
    seen = np.eye(3)[:, :2]
    seen[:2] += (cos - 1) * np.outer(along, along)
    seen[2] = sin * along
    to_camera = np.column_stack([seen, (0, 0, focal_px * mm_per_px)])
    lens = np.array([(focal_px, 0, width / 2), (0, focal_px, height / 2), (0, 0, 1)])
    return np.asarray(lens @ to_camera, np.float64)


def photograph(
    size_hw: tuple[int, int],
    to_px: Float,
    cracks: Sequence[Crack],
    markers: Sequence[Marker] = (),
    *,
    seed: int = 0,
    material: str = "concrete",
    blur_px: float = 0.7,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What the camera sees, RGB, and the share of each pixel that is crack."""
    rng = np.random.default_rng(seed)
    crack_hw = _cover(size_hw, to_px, [band for crack in cracks for band in _bands(crack)])
    paper_hw = _cover(
        size_hw, to_px, [_square(marker, -MARGIN_SIDES, -MARGIN_SIDES, 1 + 2 * MARGIN_SIDES) for marker in markers]
    )
    ink_hw = _cover(size_hw, to_px, [module for marker in markers for module in _modules(marker)])
    light_hwc = _wall(size_hw, material) * (1 - DARKNESS * crack_hw)[..., None]
    light_hwc += (paper_hw * (0.9 - 0.85 * ink_hw))[..., None] - light_hwc * paper_hw[..., None]
    light_hwc = blur(light_hwc.astype(np.float32), blur_px)
    light_hwc = light_hwc + 0.012 * rng.standard_normal(light_hwc.shape)
    return (255 * np.clip(light_hwc, 0, 1) + 0.5).astype(np.uint8), crack_hw * (1 - paper_hw)


@cache
def _wall(size_hw: tuple[int, int], material: str) -> NDArray[np.float32]:
    albedo_hwc = build_wall(np.random.default_rng(0), size_hw, material).albedo_hwc
    return np.asarray(albedo_hwc * (0.55 / albedo_hwc.mean()), np.float32)


def _bands(crack: Crack) -> list[Float]:
    """Its outline by parts, each with four corners."""
    begin, end = crack.path_mm[:-1], crack.path_mm[1:]
    along = (end - begin) / np.hypot(*(end - begin).T)[:, None]
    aside = along[:, ::-1] * (-1, 1) * crack.width_mm / 2
    return list(np.stack([begin + aside, end + aside, end - aside, begin - aside], axis=1))


def _square(marker: Marker, left: float, top: float, side: float) -> Float:
    """Of a marker, in its sides; on the wall, in mm."""
    corners = np.array([(left, top), (left + side, top), (left + side, top + side), (left, top + side)]) * marker.size_mm
    cos, sin = np.cos(np.radians(marker.turn_deg)), np.sin(np.radians(marker.turn_deg))
    return np.asarray(corners @ np.array([(cos, sin), (-sin, cos)]) + marker.place_mm)


def _modules(marker: Marker) -> list[Float]:
    picture = cv2.aruco.generateImageMarker(DICTIONARY, marker.number, N_MODULES)
    return [_square(marker, x / N_MODULES, y / N_MODULES, 1 / N_MODULES) for y, x in np.argwhere(picture == 0).tolist()]


def _cover(size_hw: tuple[int, int], to_px: Float, areas_mm: Sequence[Float]) -> NDArray[np.float32]:
    """The share of each pixel that convex areas of four corners on the wall, clockwise or not, cover together."""
    fine = np.zeros((size_hw[0] * N_SUBPIXELS, size_hw[1] * N_SUBPIXELS), np.bool_)
    for area_mm in areas_mm:
        area_xy = cv2.perspectiveTransform(area_mm[None], to_px)[0]
        left, top = np.clip(np.floor(area_xy.min(axis=0)), 0, size_hw[::-1]).astype(int) * N_SUBPIXELS
        right, bottom = np.clip(np.ceil(area_xy.max(axis=0)), 0, size_hw[::-1]).astype(int) * N_SUBPIXELS
        x = (np.arange(left, right) + 0.5) / N_SUBPIXELS
        y = (np.arange(top, bottom)[:, None] + 0.5) / N_SUBPIXELS
        sides = [
            (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)
            for (x0, y0), (x1, y1) in zip(area_xy, np.roll(area_xy, -1, axis=0), strict=True)
        ]
        fine[top:bottom, left:right] |= (np.min(sides, axis=0) >= 0) | (np.max(sides, axis=0) <= 0)
    return cv2.resize(fine.astype(np.uint8) * 255, size_hw[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
