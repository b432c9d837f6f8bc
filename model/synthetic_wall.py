"""The walls of synthetic surfaces: colour and relief of each material, with the joints of bricks and tiles.

Lengths are in pixels. `model.synthetic_look_alikes` adds what looks like a crack, `model.synthetic_view` looks at the
wall in perspective, `model.synthetic_cracks` cuts the cracks; light and camera are in `model.synthetic`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TONES_BY_MATERIAL = {  # RGB reflectance
    "asphalt": [(0.40, 0.40, 0.41), (0.46, 0.44, 0.42), (0.33, 0.33, 0.34), (0.55, 0.54, 0.53)],
    "concrete": [(0.62, 0.62, 0.60), (0.70, 0.67, 0.62), (0.55, 0.57, 0.57), (0.75, 0.72, 0.67)],
    "masonry": [(0.50, 0.31, 0.25), (0.62, 0.47, 0.35), (0.60, 0.60, 0.58), (0.68, 0.64, 0.56)],
    "plaster": [(0.82, 0.78, 0.69), (0.80, 0.80, 0.78), (0.74, 0.65, 0.50), (0.66, 0.69, 0.71)],
}
MATERIALS = tuple(TONES_BY_MATERIAL)
TILE_TONES = [(0.80, 0.80, 0.78), (0.72, 0.66, 0.56), (0.45, 0.46, 0.47), (0.60, 0.42, 0.32), (0.48, 0.58, 0.60)]

Float = NDArray[np.floating[Any]]
Rng = np.random.Generator
Size = tuple[int, int]


# --- noise


def noise(rng: Rng, size_hw: Size, cell_px: float, stretch: float = 1.0) -> Float:
    """Smooth noise of unit spread, its blobs `cell_px` wide and `stretch` times as tall.

    White noise is blurred on a coarser grid, then enlarged: left unblurred, that grid shows as a weave.
    """
    shrink_yx = min(1, 3 / cell_px / stretch), min(1, 3 / cell_px)
    grid_hw = max(2, round(size_hw[0] * shrink_yx[0])), max(2, round(size_hw[1] * shrink_yx[1]))
    grid = blur(rng.standard_normal(grid_hw, np.float32), max(0.25, cell_px * shrink_yx[1] / 3))
    grid = (grid - grid.mean()) / (grid.std() + np.float32(1e-6))
    return np.asarray(cv2.resize(grid, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def fractal(rng: Rng, size_hw: Size, coarse_px: float, fine_px: float, stretch: float = 1) -> Float:
    """Noise of every octave from coarse to fine, each with 0.65 times the strength of the one before."""
    strengths = 0.65 ** np.arange(1 + int(np.log2(max(coarse_px / fine_px, 1))))
    total = np.zeros(size_hw, np.float32)
    for octave, strength in enumerate(strengths / np.linalg.norm(strengths)):
        total += np.float32(strength) * noise(rng, size_hw, max(1, coarse_px / 2**octave), stretch)
    return total


def ramp(values: Float, low: float, high: float) -> Float:
    """0 below low, 1 above high, linear between."""
    ramp: Float = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return ramp


def blur(values: Float, sigma_px: float) -> Float:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px))


# --- materials


@dataclass
class Wall:
    material: str
    albedo_hwc: Float  # RGB reflectance, 0 to 1
    relief_hw: Float  # height in px: light from the side shows it
    zoom: float  # px per unit of grain: how near the camera is
    covered_hw: Float  # 1 where something hides the surface and its cracks
    block_hw: tuple[float, float] | None = None  # masonry: a course's height, and twice the step between upright joints
    flat_hw: Size = field(init=False)  # size of the wall as it was drawn, before anybody looked at it in perspective
    to_picture: Float = field(default_factory=lambda: np.eye(3))  # homography from the flat wall to the picture

    def __post_init__(self) -> None:
        self.flat_hw = self.size_hw

    @property
    def size_hw(self) -> Size:
        return self.relief_hw.shape[0], self.relief_hw.shape[1]

    def darken(self, ratio_hw: Float) -> None:
        self.albedo_hwc *= 1 - ratio_hw[..., None].astype(np.float32)

    def cover(self, alpha_hw: Float, colour: Float | Sequence[float]) -> None:
        self.albedo_hwc += alpha_hw[..., None] * (np.asarray(colour, np.float32) - self.albedo_hwc)


def build_wall(rng: Rng, size_hw: Size, material: str) -> Wall:
    zoom, side = float(rng.uniform(0.8, 2.2)), min(size_hw)
    base = rng.choice(TONES_BY_MATERIAL[material]) * rng.uniform(0.92, 1.08)
    relief_hw = rng.uniform(0.1, 0.4) * fractal(rng, size_hw, 4 * zoom, 0.6)
    wall = Wall(material, np.full((*size_hw, 3), base, np.float32), relief_hw, zoom, np.zeros(size_hw, np.float32))
    if material == "asphalt":
        _lay_stones(rng, wall, 2.2 * zoom, 0.8)
        _lay_stones(rng, wall, 5.5 * zoom, rng.uniform(0.2, 0.8))
    elif material == "concrete":
        finish = rng.choice(["cast", "broomed", "exposed"], p=[0.55, 0.2, 0.25])
        if finish == "exposed":
            _lay_stones(rng, wall, 4 * zoom, 0.5)
        elif finish == "broomed":
            wall.relief_hw += 0.4 * fractal(rng, size_hw[::-1], 3 * zoom, 1, stretch=60).T
        splash_hw = ramp(fractal(rng, size_hw, rng.uniform(12, 40), 2, stretch=1.5), 0.9, 1.5)
        wall.darken(rng.uniform(0, 0.22) * splash_hw)
    elif material == "plaster":
        wall.relief_hw += rng.uniform(0.3, 2) * fractal(rng, size_hw, 30 * zoom, 4)
        if rng.random() < 0.35:  # flaked paint: its lit edges look like cracks
            bare_hw = ramp(fractal(rng, size_hw, side / 3, 2), 1.15, 1.22)
            wall.cover(bare_hw, base * 0.55 + 0.2)
            wall.relief_hw -= 1.2 * bare_hw
    else:
        _lay_blocks(rng, wall)
    wall.darken(rng.uniform(0.01, 0.05) * fractal(rng, size_hw, side / 2, 8))
    wall.darken(rng.uniform(0.02, 0.05) * fractal(rng, size_hw, 12 * zoom, 0.6))
    return wall


def _lay_stones(rng: Rng, wall: Wall, spacing_px: float, present_ratio: float) -> None:
    """Packed aggregate: a pixel belongs to the stone whose seed is nearest, or to the binder in between."""
    is_bare_u8 = (rng.random(wall.size_hw, np.float32) > 1 / spacing_px**2).astype(np.uint8)
    is_bare_u8[0, 0] = 0  # so that even a tiny picture has a seed
    per_seed = cv2.DIST_LABEL_PIXEL
    distance_hw, label_hw = cv2.distanceTransformWithLabels(is_bare_u8, cv2.DIST_L2, 5, labelType=per_seed)
    n = int(label_hw.max()) + 1
    radius_px = spacing_px * rng.uniform(0.35, 0.8, n) * (rng.random(n) < present_ratio) + 1e-3
    ragged_hw = distance_hw * (1 + 0.25 * noise(rng, wall.size_hw, max(1, spacing_px / 4)))
    dome_hw = np.clip(1 - (ragged_hw / radius_px.astype(np.float32)[label_hw]) ** 2, 0, 1)
    lightness = 1.1 + 0.2 * rng.standard_t(4, (n, 1)).clip(-2, 4)  # Student's t: a few stones are very light
    tone = (lightness + 0.03 * rng.normal(0, 1, (n, 1)) * (1, 0.2, -0.9)) * wall.albedo_hwc.mean(axis=(0, 1))
    wall.cover(0.8 * ramp(dome_hw, 0, 0.35), tone.astype(np.float32)[label_hw])
    wall.relief_hw += 0.3 * spacing_px * np.sqrt(dome_hw)


def _lay_blocks(rng: Rng, wall: Wall) -> None:
    """Bricks, blocks or tiles in running or stacked bond; the joints waver a little and each block has its own tone."""
    kind = rng.choice(["brick", "block", "tile"], p=[0.5, 0.15, 0.35])
    is_tile, is_running = kind == "tile", bool(rng.random() < {"brick": 0.9, "block": 0.4, "tile": 0.3}[kind])
    course_px = float(rng.uniform(30, 90) if is_tile else rng.uniform(24, 44)) * wall.zoom**0.5
    block_px = course_px * float(rng.choice([1, 1, 2]) if is_tile else rng.uniform(2.0, 3.3))
    joint_px = float(rng.uniform(1.5, 5)) if is_tile else course_px * float(rng.uniform(0.08, 0.16))
    if is_tile:
        wall.albedo_hwc[:] = rng.choice(TILE_TONES) * rng.uniform(0.92, 1.08)
        wall.relief_hw *= rng.uniform(0.1, 0.6)
    else:  # a crack can step along the joints; tiles it crosses
        wall.block_hw = course_px, block_px if is_running else 2 * block_px
    y, x = np.mgrid[: wall.size_hw[0], : wall.size_hw[1]].astype(np.float32)
    waver_px, round_px = (0.25, 2.5 + joint_px / 2) if is_tile else (0.7, 6)
    y, x = (grid + waver_px * fractal(rng, wall.size_hw, 60, 3) for grid in (y, x))
    row = np.floor(y / course_px).astype(int)
    x += (row % 2) * np.float32(block_px / 2 * is_running)
    column = np.floor(x / block_px).astype(int)
    edge_y = course_px / 2 - np.abs(y % course_px - course_px / 2)
    edge_x = block_px / 2 - np.abs(x % block_px - block_px / 2)
    edge_px = round_px - np.hypot(np.maximum(round_px - edge_y, 0), np.maximum(round_px - edge_x, 0))  # worn corners
    inside_hw = ramp(edge_px - joint_px / 2 + (0.15 if is_tile else 0.4) * noise(rng, wall.size_hw, 2.5), -0.7, 0.9)
    spread = rng.uniform(0, 0.05) if is_tile else rng.uniform(0.03, 0.12)
    tone = rng.normal(1, spread, (97, 1)) + spread / 3 * rng.normal(0, 1, (97, 1)) * (1, 0.1, -0.6)
    wall.albedo_hwc *= tone.astype(np.float32)[(row * 31 + column * 17) % 97]
    lightness = rng.choice([rng.uniform(0.12, 0.35), rng.uniform(0.42, 0.62), rng.uniform(0.65, 0.85)], p=[0.25, 0.5, 0.25])
    mortar_hw = lightness * (1 + 0.12 * fractal(rng, wall.size_hw, 20, 1))
    wall.cover(1 - inside_hw, mortar_hw[..., None] * np.array([1.03, 1, 0.95], np.float32))
    wall.darken((0.04 if is_tile else 0.15) * ramp(fractal(rng, wall.size_hw, 3 * wall.zoom, 1), 1, 2.5) * inside_hw)
    wall.relief_hw += rng.uniform(0.3, 1.2 if is_tile else 2.5) * blur(inside_hw, 0.7)
