"""Seeded drawings of cracked concrete, asphalt, masonry and plaster, each with its exact pixel mask.

They are test fixtures, the samples that ship with the repository, and data to pre-train on. Needs NumPy,
OpenCV and Pillow; reads no file. Reading a data set back and training on it are left to other modules.

`draw_surface` draws one surface, `write_data_set` a folder of them; `python -m model.synthetic --out FOLDER`
does the latter from a shell. A side under 16 px, an unknown material, a negative seed or no surfaces at all
raise `ValueError`; a folder that already holds a `split.csv` raises `FileExistsError` and keeps what it has.

How a picture comes about: a material gives colour and relief, look-alikes (joints, streaks, paint ...) change
both, cracks are cut into them, light falls on the relief, a camera takes it. Lengths are in pixels.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

MIN_SIDE_PX = 16
JPEG_QUALITY = 92
N_SUBPIXELS = 4  # per side of a pixel: a crack's coverage is counted in sixteenths
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
Strand = tuple[Float, float, tuple[float, float]]  # path_xy, width, ratio of the width left at either end


@dataclass(frozen=True)
class Surface:
    """image_hwc_u8: RGB, 0 to 255. mask_hw: True where the crack covers at least half of the pixel.

    A crack's centre line, one pixel wide and 8-connected, counts as half covered and is drawn so: hairlines
    narrower than a pixel stay connected in the mask and visible in the image.
    """

    image_hwc_u8: NDArray[np.uint8]
    mask_hw: NDArray[np.bool_]
    material: str


def draw_surface(
    seed: int,
    size_hw: Size = (384, 544),
    *,
    is_cracked: bool = True,
    material: str | None = None,
) -> Surface:
    """Draw one surface; equal arguments give equal pixels, and `material=None` lets the seed choose.

    `is_cracked=False` leaves out the crack alone: material, look-alikes, light and noise stay as they are.
    """
    if len(size_hw) != 2 or min(size_hw) < MIN_SIDE_PX:
        raise ValueError(f"size_hw is {size_hw!r}, expected 2 sides of {MIN_SIDE_PX} px or more. Enlarge it.")
    if material is not None and material not in MATERIALS:
        raise ValueError(f"material is {material!r}, expected one of {MATERIALS} or None. Choose one.")
    if seed < 0:
        raise ValueError(f"seed is {seed!r}, expected 0 or more. Choose a seed that is not negative.")
    wall_rng, crack_rng, light_rng, camera_rng = np.random.default_rng(seed).spawn(4)
    drawn_material = str(wall_rng.choice(MATERIALS))  # even if one is given, so that later draws agree
    wall = _build_wall(wall_rng, size_hw, material or drawn_material)
    _add_look_alikes(wall_rng, wall)
    mask_hw = np.zeros(size_hw, np.bool_)
    if is_cracked:
        coverage_hw = _trace_cracks(crack_rng, wall)
        mask_hw = coverage_hw >= 0.5
        _cut_cracks(crack_rng, wall, coverage_hw)
    return Surface(_photograph(camera_rng, _light(light_rng, wall)), mask_hw, wall.material)


def write_data_set(folder: Path, n_surfaces: int, seed: int, size_hw: Size) -> None:
    """Write `images/*.jpg`, `masks/*.png` (0 or 255) and `split.csv`; every fifth pair is for test.

    One surface in five has no crack, at another place in each five so that both splits get some.
    """
    if n_surfaces < 1 or seed < 0:
        raise ValueError(f"n_surfaces is {n_surfaces!r} and seed {seed!r}, expected at least 1 and 0.")
    split_csv = folder / "split.csv"
    if split_csv.exists():
        raise FileExistsError(f"{split_csv}: found a data set, expected a new folder. Name another.")
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = [("image", "mask", "split", "group")]
    seeds = np.random.default_rng(seed).integers(2**62, size=n_surfaces)
    for i in tqdm(range(n_surfaces), desc="drawing", unit="surface", disable=None):
        surface = draw_surface(int(seeds[i]), size_hw, is_cracked=i % 5 != (i // 5 + 3) % 5)
        group = f"synthetic-{i:05d}"
        Image.fromarray(surface.image_hwc_u8).save(folder / "images" / f"{group}.jpg", quality=JPEG_QUALITY)
        Image.fromarray(surface.mask_hw.astype(np.uint8) * 255).save(folder / "masks" / f"{group}.png")
        rows.append((f"{group}.jpg", f"{group}.png", "test" if i % 5 == 4 else "train", group))
    with split_csv.open("w", newline="") as file:  # last, so that an interrupted folder is no data set
        csv.writer(file, lineterminator="\n").writerows(rows)


# --- noise


def _noise(rng: Rng, size_hw: Size, cell_px: float, stretch: float = 1.0) -> Float:
    """Smooth noise of unit spread, its blobs `cell_px` wide and `stretch` times as tall.

    White noise is blurred on a coarser grid, then enlarged: left unblurred, that grid shows as a weave.
    """
    shrink_yx = min(1, 3 / cell_px / stretch), min(1, 3 / cell_px)
    grid_hw = max(2, round(size_hw[0] * shrink_yx[0])), max(2, round(size_hw[1] * shrink_yx[1]))
    grid = _blur(rng.standard_normal(grid_hw, np.float32), max(0.25, cell_px * shrink_yx[1] / 3))
    grid = (grid - grid.mean()) / (grid.std() + np.float32(1e-6))
    return np.asarray(cv2.resize(grid, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _fractal(rng: Rng, size_hw: Size, coarse_px: float, fine_px: float, stretch: float = 1) -> Float:
    """Noise of every octave from coarse to fine, each with 0.65 times the strength of the one before."""
    strengths = 0.65 ** np.arange(1 + int(np.log2(max(coarse_px / fine_px, 1))))
    total = np.zeros(size_hw, np.float32)
    for octave, strength in enumerate(strengths / np.linalg.norm(strengths)):
        total += np.float32(strength) * _noise(rng, size_hw, max(1, coarse_px / 2**octave), stretch)
    return total


def _ramp(values: Float, low: float, high: float) -> Float:
    """0 below low, 1 above high, linear between."""
    ramp: Float = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return ramp


def _blur(values: Float, sigma_px: float) -> Float:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px))


# --- materials


@dataclass
class _Wall:
    material: str
    albedo_hwc: Float  # RGB reflectance, 0 to 1
    relief_hw: Float  # height in px: light from the side shows it
    zoom: float  # px per unit of grain: how near the camera is
    block_hw: tuple[float, float] | None = None  # masonry: height of a course and length of a block, in px

    @property
    def size_hw(self) -> Size:
        return self.relief_hw.shape[0], self.relief_hw.shape[1]

    def darken(self, ratio_hw: Float) -> None:
        self.albedo_hwc *= 1 - ratio_hw[..., None].astype(np.float32)

    def cover(self, alpha_hw: Float, colour: Float | Sequence[float]) -> None:
        self.albedo_hwc += alpha_hw[..., None] * (np.asarray(colour, np.float32) - self.albedo_hwc)


def _build_wall(rng: Rng, size_hw: Size, material: str) -> _Wall:
    zoom, side = float(rng.uniform(0.8, 2.2)), min(size_hw)
    base = rng.choice(TONES_BY_MATERIAL[material]) * rng.uniform(0.92, 1.08)
    relief_hw = rng.uniform(0.1, 0.4) * _fractal(rng, size_hw, 4 * zoom, 0.6)
    wall = _Wall(material, np.full((*size_hw, 3), base, np.float32), relief_hw, zoom)
    if material == "asphalt":
        _lay_stones(rng, wall, 2.2 * zoom, 0.8)
        _lay_stones(rng, wall, 5.5 * zoom, rng.uniform(0.2, 0.8))
    elif material == "concrete":
        finish = rng.choice(["cast", "broomed", "exposed"], p=[0.55, 0.2, 0.25])
        if finish == "exposed":
            _lay_stones(rng, wall, 4 * zoom, 0.5)
        elif finish == "broomed":
            wall.relief_hw += 0.4 * _fractal(rng, size_hw[::-1], 3 * zoom, 1, stretch=60).T
        splash_hw = _ramp(_fractal(rng, size_hw, rng.uniform(12, 40), 2, stretch=1.5), 0.9, 1.5)
        wall.darken(rng.uniform(0, 0.22) * splash_hw)
    elif material == "plaster":
        wall.relief_hw += rng.uniform(0.3, 2) * _fractal(rng, size_hw, 30 * zoom, 4)
        if rng.random() < 0.35:  # flaked paint: its lit edges look like cracks
            bare_hw = _ramp(_fractal(rng, size_hw, side / 3, 2), 1.15, 1.22)
            wall.cover(bare_hw, base * 0.55 + 0.2)
            wall.relief_hw -= 1.2 * bare_hw
    else:
        _lay_blocks(rng, wall)
    wall.darken(rng.uniform(0.01, 0.05) * _fractal(rng, size_hw, side / 2, 8))
    wall.darken(rng.uniform(0.02, 0.05) * _fractal(rng, size_hw, 12 * zoom, 0.6))
    return wall


def _lay_stones(rng: Rng, wall: _Wall, spacing_px: float, present_ratio: float) -> None:
    """Packed aggregate: a pixel belongs to the stone whose seed is nearest, or to the binder in between."""
    is_bare_u8 = (rng.random(wall.size_hw, np.float32) > 1 / spacing_px**2).astype(np.uint8)
    is_bare_u8[0, 0] = 0  # so that even a tiny picture has a seed
    per_seed = cv2.DIST_LABEL_PIXEL
    distance_hw, label_hw = cv2.distanceTransformWithLabels(is_bare_u8, cv2.DIST_L2, 5, labelType=per_seed)
    n = int(label_hw.max()) + 1
    radius_px = spacing_px * rng.uniform(0.35, 0.8, n) * (rng.random(n) < present_ratio) + 1e-3
    ragged_hw = distance_hw * (1 + 0.25 * _noise(rng, wall.size_hw, max(1, spacing_px / 4)))
    dome_hw = np.clip(1 - (ragged_hw / radius_px.astype(np.float32)[label_hw]) ** 2, 0, 1)
    lightness = 1.1 + 0.2 * rng.standard_t(4, (n, 1)).clip(-2, 4)  # Student's t: a few stones are very light
    tone = (lightness + 0.03 * rng.normal(0, 1, (n, 1)) * (1, 0.2, -0.9)) * wall.albedo_hwc.mean(axis=(0, 1))
    wall.cover(0.8 * _ramp(dome_hw, 0, 0.35), tone.astype(np.float32)[label_hw])
    wall.relief_hw += 0.3 * spacing_px * np.sqrt(dome_hw)


def _lay_blocks(rng: Rng, wall: _Wall) -> None:
    """Running bond; the joints waver a little and each block has its own tone."""
    course_px = float(rng.uniform(24, 44)) * wall.zoom**0.5
    block_px, joint_px = course_px * float(rng.uniform(2.0, 3.3)), course_px * float(rng.uniform(0.08, 0.16))
    wall.block_hw = course_px, block_px
    y, x = np.mgrid[: wall.size_hw[0], : wall.size_hw[1]].astype(np.float32)
    y, x = (grid + 0.7 * _fractal(rng, wall.size_hw, 60, 3) for grid in (y, x))
    row = np.floor(y / course_px).astype(int)
    x += (row % 2) * np.float32(block_px / 2)
    column = np.floor(x / block_px).astype(int)
    edge_y = course_px / 2 - np.abs(y % course_px - course_px / 2)
    edge_x = block_px / 2 - np.abs(x % block_px - block_px / 2)
    edge_px = 6 - np.hypot(np.maximum(6 - edge_y, 0), np.maximum(6 - edge_x, 0))  # corners are worn round
    inside_hw = _ramp(edge_px - joint_px / 2 + 0.4 * _noise(rng, wall.size_hw, 2.5), -0.7, 0.9)
    tone = rng.normal(1, rng.uniform(0.03, 0.12), (97, 1)) + rng.normal(0, 0.03, (97, 1)) * (1, 0.1, -0.6)
    wall.albedo_hwc *= tone.astype(np.float32)[(row * 31 + column * 17) % 97]
    mortar_hw = rng.uniform(0.42, 0.62) * (1 + 0.12 * _fractal(rng, wall.size_hw, 20, 1))
    wall.cover(1 - inside_hw, mortar_hw[..., None] * np.array([1.03, 1, 0.95], np.float32))
    wall.darken(0.15 * _ramp(_fractal(rng, wall.size_hw, 3 * wall.zoom, 1), 1, 2.5) * inside_hw)
    wall.relief_hw += rng.uniform(1, 2.5) * _blur(inside_hw, 0.7)


# --- look-alikes: never a part of the mask


def _add_look_alikes(rng: Rng, wall: _Wall) -> None:
    size_hw, side, material = wall.size_hw, min(wall.size_hw), wall.material
    if material == "concrete":
        _add_pores(rng, wall)
        if rng.random() < 0.4:  # formwork: board lines at one spacing
            is_upright, spacing = bool(rng.random() < 0.6), float(rng.uniform(0.25, 0.6))
            for at in np.arange(rng.uniform(0, spacing), 1, spacing):
                line_hw = _line_distance(rng, size_hw, is_upright, at)
                _cut_groove(rng, wall, line_hw, rng.uniform(0.8, 2), rng.uniform(0.1, 0.5))
    if material != "masonry" and rng.random() < 0.35:  # construction joint
        line_hw = _line_distance(rng, size_hw, bool(rng.random() < 0.5), rng.uniform(0.1, 0.9))
        _cut_groove(rng, wall, line_hw, rng.uniform(2, 9), rng.uniform(0.35, 0.85))
    if material == "asphalt" and rng.random() < 0.3:  # lane paint, worn off the stones' tops first
        line_hw = np.abs(_line_distance(rng, size_hw, bool(rng.random() < 0.5), rng.uniform(0, 1)))
        band_hw = _ramp(side * rng.uniform(0.06, 0.16) - line_hw + 0.6 * _fractal(rng, size_hw, 6, 1), -1, 1)
        stones_hw, wear = wall.relief_hw - wall.relief_hw.mean(), rng.choice([-1.5, -0.9, 0])
        kept_hw = _ramp(_fractal(rng, size_hw, 50, 1) - 0.25 * stones_hw, wear, wear + 1)
        is_yellow = rng.random() < 0.25
        wall.cover(0.85 * band_hw * kept_hw, (0.83, 0.66, 0.24) if is_yellow else (0.86, 0.86, 0.84))
    if material != "asphalt" and rng.random() < 0.4:  # water, lime or rust that ran down
        run_hw = _ramp(_noise(rng, size_hw, rng.uniform(4, 25), stretch=30), 0.6, 2.2)
        run_hw *= _ramp(_fractal(rng, size_hw, side / 2, 6), -0.5, 1)
        tint = rng.choice([(0.65, 0.65, 0.66), (0.76, 0.76, 0.75), (1.25, 1.25, 1.25), (0.75, 0.58, 0.42)])
        wall.cover(rng.uniform(0.4, 0.9) * run_hw, wall.albedo_hwc * tint)
    if rng.random() < 0.3:  # damp or oil: a darker patch with a darker rim
        field_hw = _fractal(rng, size_hw, side / 2, 3)
        rim_hw = 1.2 - 0.5 * _ramp(field_hw, 1.2, 1.5)
        wall.darken(rng.uniform(0.06, 0.25) * _ramp(field_hw, 1, 1.25) * rim_hw)


def _line_distance(rng: Rng, size_hw: Size, is_upright: bool, at: float) -> Float:
    """Signed distance, in px, to a nearly upright or level line at a ratio of the picture's side."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    across, along, side = (x, y, size_hw[1]) if is_upright else (y, x, size_hw[0])
    return np.asarray(across + np.float32(rng.normal(0, 0.025)) * along - np.float32(at * side))


def _cut_groove(rng: Rng, wall: _Wall, distance_hw: Float, width_px: float, depth: float) -> None:
    chips_hw = rng.uniform(0.2, 1.8) * _ramp(_fractal(rng, wall.size_hw, 24, 1.5), 0.3, 2.5)
    half_px = width_px / 2 * (1 + 0.12 * _fractal(rng, wall.size_hw, 50, 6))
    groove_hw = _ramp(half_px + chips_hw - np.abs(distance_hw), -0.6, 0.6)
    filled_hw = _ramp(_fractal(rng, wall.size_hw, 60, 3), 0.2, 2.2)  # dirt and paste have filled it in places
    wall.darken(depth * groove_hw * (1 - 0.75 * filled_hw))
    wall.darken(0.2 * depth * _ramp(5 * _noise(rng, wall.size_hw, 15) - np.abs(distance_hw), -14, 0))
    wall.darken(rng.normal(0, 0.03) * (distance_hw > 0))  # two casts differ in tone
    wall.relief_hw -= 2.5 * depth * _blur(groove_hw, 0.6)


def _add_pores(rng: Rng, wall: _Wall) -> None:
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
    wall.darken(rng.uniform(0.35, 0.8) * pore_hw * _ramp(_noise(rng, wall.size_hw, 3), -4, 0))
    wall.relief_hw -= 2.5 * _blur(pore_hw, 0.6)


# --- cracks


def _fracture(rng: Rng, corners_xy: Float, roughness: float) -> Float:
    """Split every leg at its displaced middle until legs are about 2 px long.

    Finer legs bend relatively more, and bends are heavy-tailed: mostly straight runs with sudden kinks, as
    cracks have, where normally distributed bends give smooth worms.
    """
    path_xy = np.asarray(corners_xy, np.float32)
    while (leg_px := np.hypot(*np.diff(path_xy, axis=0).T)).mean() > 2.5:
        leg_xy, n = np.diff(path_xy, axis=0), len(leg_px)
        bend = roughness * (leg_px / 200 + 1e-3) ** -0.15 * rng.laplace(0, 0.7, n).clip(-2.2, 2.2)
        side_xy = leg_xy[:, ::-1] * (-1, 1) * bend[:, None]
        middle_xy = path_xy[:-1] + leg_xy * rng.uniform(0.4, 0.6, (n, 1)) + side_xy
        path_xy = np.insert(path_xy, np.arange(1, n + 1), middle_xy.astype(np.float32), axis=0)
    return path_xy


def _plan_strands(rng: Rng, wall: _Wall, roughness: float) -> list[Strand]:
    """One or two cracks across the picture with branches; or a net; or stairs along mortar joints."""
    size_xy, side = np.array(wall.size_hw[::-1]), min(wall.size_hw)
    widest_px = float(np.clip(np.exp(rng.normal(1.05, 0.6)), 1, np.clip(side / 10, 1, 12)))
    if wall.block_hw and size_xy[0] > 2.5 * wall.block_hw[1] and rng.random() < 0.7:
        return [(_fracture(rng, _plan_stairs(rng, wall.size_hw, wall.block_hw), 0.05), widest_px, (1, 1))]
    if side >= 96 and not wall.block_hw and rng.random() < 0.15:
        return _plan_net(rng, wall, widest_px, roughness)
    strands: list[Strand] = []
    for _ in range(1 + (rng.random() < 0.2)):
        middle_xy, way_xy = size_xy * rng.uniform(0.3, 0.7, 2), _direction(rng.uniform(0, np.pi))
        reach_px = np.array([[-rng.uniform(0.35, 0.9)], [0], [rng.uniform(0.35, 0.9)]]) * np.hypot(*size_xy)
        path_xy = _fracture(rng, middle_xy + reach_px * way_xy, roughness)
        inside = np.flatnonzero(((path_xy > 0) & (path_xy < size_xy)).all(axis=1))
        start, end = (0.1 if i in (0, len(path_xy) - 1) else 1.0 for i in inside[[0, -1]])  # thin if it ends
        strands.append((path_xy[max(inside[0] - 5, 0) : inside[-1] + 5], widest_px, (start, end)))
    for parent_xy, parent_px, _ends in list(strands):
        for i in rng.integers(1, len(parent_xy) - 1, rng.poisson(1.5)).tolist():
            ahead_xy = parent_xy[i + 1 :][:15][-1] - parent_xy[:i][-15:][0]
            angle = np.arctan2(ahead_xy[1], ahead_xy[0]) + rng.choice([-1, 1]) * rng.uniform(0.5, 1.5)
            tip_xy = parent_xy[i] + rng.uniform(0.15, 0.6) * side * _direction(angle)
            branch_xy = _fracture(rng, np.array([parent_xy[i], tip_xy]), roughness)
            strands.append((branch_xy, max(0.9, parent_px * rng.uniform(0.3, 0.7)), (1, 0.1)))
    return strands


def _direction(angle: float) -> Float:
    return np.array([np.cos(angle), np.sin(angle)])


def _plan_stairs(rng: Rng, size_hw: Size, block_hw: tuple[float, float]) -> Float:
    """Corners of a crack that steps along the joints, half a block aside with each course."""
    course_px, half_block_px = block_hw[0], block_hw[1] / 2
    sides = rng.choice([-1, 1], int(size_hw[0] / course_px) + 2, p=[0.15, 0.85]) * rng.choice([-1, 1])
    column = np.cumsum(sides)
    column += 1 + 2 * round((rng.uniform(0.45, 0.55) * size_hw[1] / half_block_px - column.mean()) / 2)
    corner_y = np.arange(len(column) + 1).repeat(2)[1:-1] * course_px
    return np.stack([column.repeat(2) * half_block_px, corner_y], -1)


def _plan_net(rng: Rng, wall: _Wall, widest_px: float, roughness: float) -> list[Strand]:
    """Alligator cracking: a shaken and turned honeycomb, where three cracks meet, with missing edges."""
    cell_px, reach_px = rng.uniform(40, 80) * wall.zoom**0.5, 0.75 * max(wall.size_hw)
    y, x = np.mgrid[-reach_px:reach_px:cell_px, -reach_px : reach_px : 0.75 * cell_px]
    turn = rng.uniform(0, np.pi)
    turned_xy = x[..., None] * _direction(turn) + y[..., None] * _direction(turn + np.pi / 2)
    node_xy = turned_xy + rng.normal(0, 0.2 * cell_px, turned_xy.shape) + np.array(wall.size_hw[::-1]) / 2
    strands: list[Strand] = []
    for i, j in np.ndindex(len(y) - 1, len(x[0]) - 1):
        for end_xy in [node_xy[i, j + 1]] + [node_xy[i + 1, j]] * ((i + j) % 2):
            if rng.random() < 0.85:
                edge_px = float(np.clip(widest_px * rng.lognormal(-0.8, 0.35), 0.9, 3.5))
                edge_xy = _fracture(rng, np.array([node_xy[i, j], end_xy]), roughness)
                strands.append((edge_xy, edge_px, (0.7, 0.7)))
    return strands


def _trace_cracks(rng: Rng, wall: _Wall) -> Float:
    """The share of each pixel that cracks cover."""
    height, width = wall.size_hw
    roughness = rng.uniform(0.07, 0.14) * (1.2 if wall.material == "asphalt" else 1)
    ragged = {"asphalt": 0.55, "concrete": 0.4, "masonry": 0.45, "plaster": 0.3}[wall.material]
    fine_u8 = np.zeros((height * N_SUBPIXELS, width * N_SUBPIXELS), np.uint8)
    centre_u8 = np.zeros((height, width), np.uint8)
    for path_xy, width_px, (start, end) in _plan_strands(rng, wall, roughness):
        n = len(path_xy)
        taper = np.interp(np.linspace(0, 1, n), [0, 0.35, 0.65, 1], [start, 1, 1, end])
        half_px = np.maximum(0.5 * width_px * taper, 0.35)
        along_xy = np.gradient(path_xy, axis=0)
        normal_xy = along_xy[:, ::-1] * (-1, 1) / (np.hypot(*along_xy.T)[:, None] + 1e-6)
        edges = []
        for sign in (-1, 1):
            wobble = np.exp(ragged * _fractal(rng, (1, n), 40, 1)[0].clip(-2, 2))
            edge_xy = path_xy + sign * normal_xy * (half_px * wobble)[:, None]
            # with 4 fractional bits; half a subpixel less because OpenCV counts from pixel centres
            edges.append(((edge_xy * N_SUBPIXELS - 0.5) * 16).round().astype(np.int32))
        for a, b, c, d in zip(edges[0], edges[0][1:], edges[1][1:], edges[1], strict=False):
            # one quadrilateral at a time: a single polygon has holes where it crosses itself
            cv2.fillConvexPoly(fine_u8, np.array([a, b, c, d]), 255, cv2.LINE_8, 4)
        cv2.polylines(centre_u8, [np.floor(path_xy).astype(np.int32)], False, 255)
    coverage_hw = cv2.resize(fine_u8, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)
    return np.where(centre_u8 > 0, np.maximum(coverage_hw, np.float32(0.5)), coverage_hw)


def _cut_cracks(rng: Rng, wall: _Wall, coverage_hw: Float) -> None:
    size_hw = wall.size_hw
    halo_hw = _blur(coverage_hw, 3.5) * _ramp(_noise(rng, size_hw, 25), -0.5, 1.5)
    wall.darken(rng.uniform(-0.2, 0.5) * halo_hw)  # dirt, or wear that bares lighter stone
    near_hw = _blur(coverage_hw, 2) * (1 - coverage_hw)
    chipped_hw = _ramp(near_hw + 0.08 * _fractal(rng, size_hw, 10, 1.5), 0.32, 0.4) * (near_hw > 0.02)
    broken = wall.albedo_hwc * (rng.uniform(0.7, 1.15) + 0.1 * _noise(rng, size_hw, 1.5))[..., None]
    wall.cover(0.7 * chipped_hw, broken)
    depth_hw = np.clip(rng.uniform(0.6, 0.95) + 0.12 * _noise(rng, size_hw, 30), 0.4, 0.97)
    core_hw = _ramp(_blur(coverage_hw, 1.2), 0.1, 0.9)  # light reaches the bottom near an edge
    sand_hw = 0.6 * _ramp(_fractal(rng, size_hw, 60, 2), 0.2, 1.2) * (rng.random() < 0.15)  # in places
    wall.darken(coverage_hw * depth_hw * (0.55 + 0.45 * core_hw) * (1 - sand_hw))
    wall.relief_hw -= 0.8 * chipped_hw + rng.uniform(0.3, 1.2) * _blur(coverage_hw, 0.8)


# --- light and camera


def _light(rng: Rng, wall: _Wall) -> Float:
    """Light from one side on the relief, uneven over the picture, with shadows. RGB from 0 to about 1."""
    angle = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    slope_x, slope_y = (cv2.Sobel(wall.relief_hw, cv2.CV_32F, i, 1 - i, scale=1 / 8) for i in (1, 0))
    shade_hw = np.clip(1 + np.float32(rng.uniform(0.15, 0.5)) * (slope_x * cos + slope_y * sin), 0.35, 1.6)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in wall.size_hw)
    y = y[:, None]
    shade_hw *= 1 + np.float32(rng.uniform(0, 0.12)) * (x * cos + y * sin)
    shade_hw *= 1 - np.float32(rng.uniform(0, 0.08)) * (x * x + y * y)
    if rng.random() < 0.45:
        shadow_hw = _cast_shadow(rng, wall.size_hw, x * cos + y * sin)
        shade_hw *= 1 - np.float32(rng.uniform(0.25, 0.6)) * shadow_hw
    return np.asarray(wall.albedo_hwc * shade_hw[..., None])


def _cast_shadow(rng: Rng, size_hw: Size, away_hw: Float) -> Float:
    """0 in the light, 1 in the shadow of leaves, of a straight edge, of twigs or of hanging cables."""
    kind = rng.choice(["leaves", "edge", "twigs", "cables"])
    if kind == "leaves":
        leaves_hw = _fractal(rng, size_hw, min(size_hw) / 3, 12)
        return _blur(_ramp(leaves_hw, rng.uniform(-0.3, 0.3), 0.8), rng.uniform(1.5, 6))
    if kind == "edge":
        return _blur((away_hw > rng.uniform(-0.6, 0.6)).astype(np.float32), rng.uniform(0.5, 10))
    canvas_u8 = np.zeros(size_hw, np.uint8)
    for _ in range(int(rng.integers(1, 4))):  # smoother and softer than a crack, so that the mask is no guess
        middle_xy, way_xy = rng.random(2) * size_hw[::-1], _direction(rng.uniform(0, np.pi))
        t = np.linspace(-1, 1, 41)[:, None]  # both ends lie outside the picture
        bow_xy = middle_xy + np.hypot(*size_hw) * t * way_xy - (0, size_hw[0] * rng.uniform(0, 0.4)) * t * t
        path_xy = _fracture(rng, bow_xy[::4], 0.03) if kind == "twigs" else bow_xy
        points, width_px = (path_xy * 16).round().astype(np.int32), int(rng.integers(2, 7))
        cv2.polylines(canvas_u8, [points], False, 255, width_px, cv2.LINE_AA, 4)
    return _blur(canvas_u8 / np.float32(255), rng.uniform(1.2, 2.5))


def _photograph(rng: Rng, light_hwc: Float) -> NDArray[np.uint8]:
    """Exposure, colour cast, lens blur, sensor noise and the sharpening that telephones do."""
    exposure = (rng.uniform(0.45, 0.68) / light_hwc.mean()) ** 0.6
    gain = exposure * (1 + rng.normal(0, 0.02) * np.array([1, 0.2, -1]))  # daylight is warm or cool
    image_hwc = _blur(light_hwc * gain.astype(np.float32), rng.uniform(0.35, 0.95))
    image_hwc += rng.uniform(0.004, 0.018) * rng.standard_normal((*light_hwc.shape[:2], 1), np.float32)
    image_hwc += rng.uniform(0.002, 0.008) * rng.standard_normal(light_hwc.shape, np.float32)
    image_hwc += rng.uniform(0, 0.7) * (image_hwc - _blur(image_hwc, 1.2))
    return (255 * np.clip(image_hwc, 0, 1) + 0.5).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.synthetic",
        description="Draw synthetic cracked surfaces with exact masks into a data folder.",
        epilog="example:\n  python -m model.synthetic --out data/synthetic --n 20 --size 384 544 --seed 0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument("--n", type=int, default=20, help="number of surfaces (default: 20)")
    parser.add_argument("--size", type=int, nargs=2, default=(384, 544), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal pictures (default: 0)")
    options = parser.parse_args(arguments)
    try:
        write_data_set(options.out, options.n, options.seed, (options.size[0], options.size[1]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.n} surfaces written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
