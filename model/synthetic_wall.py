"""The walls of synthetic surfaces: colour and relief of a material, and what looks like a crack on it but is none.

Lengths are in pixels. The cracks themselves are cut by `model.synthetic_cracks`, light and camera are in `model.synthetic`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
    block_hw: tuple[float, float] | None = None  # masonry: height of a course and length of a block, in px

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
    """Running bond; the joints waver a little and each block has its own tone."""
    course_px = float(rng.uniform(24, 44)) * wall.zoom**0.5
    block_px, joint_px = course_px * float(rng.uniform(2.0, 3.3)), course_px * float(rng.uniform(0.08, 0.16))
    wall.block_hw = course_px, block_px
    y, x = np.mgrid[: wall.size_hw[0], : wall.size_hw[1]].astype(np.float32)
    y, x = (grid + 0.7 * fractal(rng, wall.size_hw, 60, 3) for grid in (y, x))
    row = np.floor(y / course_px).astype(int)
    x += (row % 2) * np.float32(block_px / 2)
    column = np.floor(x / block_px).astype(int)
    edge_y = course_px / 2 - np.abs(y % course_px - course_px / 2)
    edge_x = block_px / 2 - np.abs(x % block_px - block_px / 2)
    edge_px = 6 - np.hypot(np.maximum(6 - edge_y, 0), np.maximum(6 - edge_x, 0))  # corners are worn round
    inside_hw = ramp(edge_px - joint_px / 2 + 0.4 * noise(rng, wall.size_hw, 2.5), -0.7, 0.9)
    tone = rng.normal(1, rng.uniform(0.03, 0.12), (97, 1)) + rng.normal(0, 0.03, (97, 1)) * (1, 0.1, -0.6)
    wall.albedo_hwc *= tone.astype(np.float32)[(row * 31 + column * 17) % 97]
    mortar_hw = rng.uniform(0.42, 0.62) * (1 + 0.12 * fractal(rng, wall.size_hw, 20, 1))
    wall.cover(1 - inside_hw, mortar_hw[..., None] * np.array([1.03, 1, 0.95], np.float32))
    wall.darken(0.15 * ramp(fractal(rng, wall.size_hw, 3 * wall.zoom, 1), 1, 2.5) * inside_hw)
    wall.relief_hw += rng.uniform(1, 2.5) * blur(inside_hw, 0.7)


# --- look-alikes: never a part of the mask


def add_look_alikes(rng: Rng, wall: Wall) -> None:
    size_hw, side, material = wall.size_hw, min(wall.size_hw), wall.material
    if material == "concrete":
        _add_pores(rng, wall)
        if rng.random() < 0.5:  # formwork: board lines at one spacing, faint ridges or open, dark seams
            is_upright, spacing = bool(rng.random() < 0.6), float(rng.uniform(0.25, 0.6))
            is_open = rng.random() < 0.5
            for at in np.arange(rng.uniform(0, spacing), 1, spacing):
                line_hw = _line_distance(rng, size_hw, is_upright, at)
                width_px, depth = (
                    (rng.uniform(1, 6), rng.uniform(0.5, 0.95)) if is_open else (rng.uniform(0.8, 2), rng.uniform(0.1, 0.5))
                )
                _cut_groove(rng, wall, line_hw, width_px, depth)
    if rng.random() < 0.25:
        _mount_objects(rng, wall)
    if material != "masonry" and rng.random() < 0.35:  # construction joint
        line_hw = _line_distance(rng, size_hw, bool(rng.random() < 0.5), rng.uniform(0.1, 0.9))
        _cut_groove(rng, wall, line_hw, rng.uniform(2, 9), rng.uniform(0.35, 0.85))
    if material == "asphalt" and rng.random() < 0.3:  # lane paint, worn off the stones' tops first
        line_hw = np.abs(_line_distance(rng, size_hw, bool(rng.random() < 0.5), rng.uniform(0, 1)))
        band_hw = ramp(side * rng.uniform(0.06, 0.16) - line_hw + 0.6 * fractal(rng, size_hw, 6, 1), -1, 1)
        stones_hw, wear = wall.relief_hw - wall.relief_hw.mean(), rng.choice([-1.5, -0.9, 0])
        kept_hw = ramp(fractal(rng, size_hw, 50, 1) - 0.25 * stones_hw, wear, wear + 1)
        is_yellow = rng.random() < 0.25
        wall.cover(0.85 * band_hw * kept_hw, (0.83, 0.66, 0.24) if is_yellow else (0.86, 0.86, 0.84))
    if material != "asphalt" and rng.random() < 0.4:  # water, lime or rust that ran down
        run_hw = ramp(noise(rng, size_hw, rng.uniform(4, 25), stretch=30), 0.6, 2.2)
        run_hw *= ramp(fractal(rng, size_hw, side / 2, 6), -0.5, 1)
        tint = rng.choice([(0.65, 0.65, 0.66), (0.76, 0.76, 0.75), (1.25, 1.25, 1.25), (0.75, 0.58, 0.42)])
        wall.cover(rng.uniform(0.4, 0.9) * run_hw, wall.albedo_hwc * tint)
    if rng.random() < 0.3:  # damp or oil: a darker patch with a darker rim
        field_hw = fractal(rng, size_hw, side / 2, 3)
        rim_hw = 1.2 - 0.5 * ramp(field_hw, 1.2, 1.5)
        wall.darken(rng.uniform(0.06, 0.25) * ramp(field_hw, 1, 1.25) * rim_hw)


def _mount_objects(rng: Rng, wall: Wall) -> None:
    """Plates, beams, pipes and openings: flat tones whose straight, shadowed edges are no cracks."""
    side = min(wall.size_hw)
    for _ in range(int(rng.integers(1, 4))):
        size_px = side * rng.uniform(0.05, 0.35), side * rng.uniform(0.1, 2)
        middle_xy = rng.uniform(0, 1, 2) * wall.size_hw[::-1]
        corners_xy = cv2.boxPoints((middle_xy.tolist(), size_px, float(rng.choice([0, 90, rng.uniform(0, 180)]))))
        shape_u8 = np.zeros(wall.size_hw, np.uint8)
        cv2.fillConvexPoly(shape_u8, (corners_xy * 16).round().astype(np.int32), 255, cv2.LINE_AA, 4)
        shape_hw = shape_u8 / np.float32(255)
        shift = np.array([[1, 0, rng.uniform(-8, 8)], [0, 1, rng.uniform(-8, 8)]])
        shadow_hw = blur(np.asarray(cv2.warpAffine(shape_hw, shift, wall.size_hw[::-1]), np.float32), rng.uniform(0.7, 4))
        wall.darken(rng.uniform(0, 0.7) * shadow_hw)
        tone = (
            rng.uniform(0.05, 0.9)
            * (1 + rng.normal(0, 0.06, 3))
            * (1 + 0.05 * fractal(rng, wall.size_hw, side / 3, 4)[..., None])
        )
        wall.cover(shape_hw, tone.astype(np.float32))
        wall.relief_hw *= 1 - 0.9 * shape_hw
        wall.covered_hw = np.maximum(wall.covered_hw, shape_hw)


def _line_distance(rng: Rng, size_hw: Size, is_upright: bool, at: float) -> Float:
    """Signed distance, in px, to a nearly upright or level line at a ratio of the picture's side."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    across, along, side = (x, y, size_hw[1]) if is_upright else (y, x, size_hw[0])
    return np.asarray(across + np.float32(rng.normal(0, 0.025)) * along - np.float32(at * side))


def _cut_groove(rng: Rng, wall: Wall, distance_hw: Float, width_px: float, depth: float) -> None:
    chips_hw = rng.uniform(0.2, 1.8) * ramp(fractal(rng, wall.size_hw, 24, 1.5), 0.3, 2.5)
    half_px = width_px / 2 * (1 + 0.12 * fractal(rng, wall.size_hw, 50, 6))
    groove_hw = ramp(half_px + chips_hw - np.abs(distance_hw), -0.6, 0.6)
    filled_hw = ramp(fractal(rng, wall.size_hw, 60, 3), 0.2, 2.2)  # dirt and paste have filled it in places
    wall.darken(depth * groove_hw * (1 - 0.75 * filled_hw))
    wall.darken(0.2 * depth * ramp(5 * noise(rng, wall.size_hw, 15) - np.abs(distance_hw), -14, 0))
    wall.darken(rng.normal(0, 0.03) * (distance_hw > 0))  # two casts differ in tone
    wall.relief_hw -= 2.5 * depth * blur(groove_hw, 0.6)


def _add_pores(rng: Rng, wall: Wall) -> None:
    """Air bubbles: many small, few large; sometimes also a row of tie holes."""
    height, width = wall.size_hw
    n = int(height * width * rng.choice([5e-5, 3e-4, 8e-4]))
    radius_px = np.minimum(0.5 * wall.zoom * (1 + rng.pareto(2.5, n)), 3 * wall.zoom)
    xy = rng.uniform(0, 1, (n, 2)) * (width, height)
    if rng.random() < 0.2:
        tie_x = np.arange(rng.uniform(0.05, 0.3), 1, 0.4) * width
        xy = np.append(xy, np.stack([tie_x, np.full_like(tie_x, rng.uniform(0.1, 0.9) * height)], -1), axis=0)
        radius_px = np.append(radius_px, np.full_like(tie_x, rng.uniform(3, 5) * wall.zoom))
    pore_u8 = np.zeros(wall.size_hw, np.uint8)
    for centre, radius in zip((xy * 16).round().astype(int).tolist(), radius_px * 16, strict=True):
        axes, tone = (round(radius), round(radius * rng.uniform(0.6, 1))), int(rng.integers(90, 256))
        cv2.ellipse(pore_u8, centre, axes, rng.uniform(0, 180), 0, 360, tone, -1, cv2.LINE_AA, 4)
    pore_hw = pore_u8 / np.float32(255)
    wall.darken(rng.uniform(0.35, 0.8) * pore_hw * ramp(noise(rng, wall.size_hw, 3), -4, 0))
    wall.relief_hw -= 2.5 * blur(pore_hw, 0.6)
