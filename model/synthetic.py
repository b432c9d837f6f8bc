"""Seeded drawings of cracked concrete, asphalt, masonry and plaster, each with its exact pixel mask.

They are test fixtures, the samples that ship with the repository, and data to pre-train on. Needs NumPy,
OpenCV and Pillow; reads no file. Reading a data set back and training on it are left to other modules.

`draw_surface` draws one surface, `write_data_set` a folder of them; `crack draw --out FOLDER`
does the latter from a shell. A side under 16 px, an unknown material, a negative seed or no surfaces at all
raise `ValueError`; a folder that already holds a `split.csv` raises `FileExistsError` and keeps what it has.

How a picture comes about: a material gives colour and relief, look-alikes (joints, kerbs, paint, cables ...) change
both, every third surface is then seen in perspective, cracks are cut into it, light falls on the relief, a camera
takes it. Lengths are in pixels.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model.synthetic_cracks import cut_cracks, direction, fracture, trace_cracks
from model.synthetic_look_alikes import add_look_alikes
from model.synthetic_view import choose_view, look_at
from model.synthetic_wall import MATERIALS, Float, Rng, Size, Wall, blur, build_wall, fractal, ramp

MIN_SIDE_PX = 16
PERSPECTIVE_RATIO = 1 / 3
JPEG_QUALITY = 92


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
    wall_rng, crack_rng, light_rng, camera_rng, view_rng = np.random.default_rng(seed).spawn(5)
    drawn_material = str(wall_rng.choice(MATERIALS))  # even if one is given, so that later draws agree
    material = material or drawn_material
    view = choose_view(view_rng, size_hw, material) if view_rng.random() < PERSPECTIVE_RATIO else None
    wall = build_wall(wall_rng, view.flat_hw if view else size_hw, material)
    add_look_alikes(wall_rng, wall)
    if view:
        look_at(wall, view)
    mask_hw = np.zeros(size_hw, np.bool_)
    if is_cracked:
        coverage_hw = trace_cracks(crack_rng, wall)
        mask_hw = coverage_hw >= 0.5
        cut_cracks(crack_rng, wall, coverage_hw)
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
    with split_csv.open("w", newline="", encoding="utf-8") as file:  # last, so that an interrupted folder is no data set
        csv.writer(file, lineterminator="\n").writerows(rows)


# --- light and camera


def _light(rng: Rng, wall: Wall) -> Float:
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
    """0 in the light, 1 in the shadow of leaves, of a straight edge, of twigs, of hanging cables, of a railing or of poles."""
    kind = rng.choice(["leaves", "edge", "twigs", "cables", "railing", "poles"], p=[0.2, 0.15, 0.15, 0.15, 0.2, 0.15])
    if kind in ("railing", "poles"):
        return _cast_bars(rng, size_hw, n_bars=0 if kind == "railing" else int(rng.integers(1, 4)))
    if kind == "leaves":
        leaves_hw = fractal(rng, size_hw, min(size_hw) / 3, 12)
        return blur(ramp(leaves_hw, rng.uniform(-0.3, 0.3), 0.8), rng.uniform(1.5, 6))
    if kind == "edge":
        return blur((away_hw > rng.uniform(-0.6, 0.6)).astype(np.float32), rng.uniform(0.5, 10))
    canvas_u8 = np.zeros(size_hw, np.uint8)
    for _ in range(int(rng.integers(1, 4))):  # smoother and softer than a crack, so that the mask is no guess
        middle_xy, way_xy = rng.random(2) * size_hw[::-1], direction(rng.uniform(0, np.pi))
        t = np.linspace(-1, 1, 41)[:, None]  # both ends lie outside the picture
        bow_xy = middle_xy + np.hypot(*size_hw) * t * way_xy - (0, size_hw[0] * rng.uniform(0, 0.4)) * t * t
        path_xy = fracture(rng, bow_xy[::4], 0.03) if kind == "twigs" else bow_xy
        points, width_px = (path_xy * 16).round().astype(np.int32), int(rng.integers(2, 7))
        cv2.polylines(canvas_u8, [points], False, 255, width_px, cv2.LINE_AA, 4)
    return blur(canvas_u8 / np.float32(255), rng.uniform(1.2, 2.5))


def _cast_bars(rng: Rng, size_hw: Size, n_bars: int) -> Float:
    """The soft shadow of `n_bars` poles, or for 0 of a railing: as many bars as fit, often with a rail across them."""
    side, turn = min(size_hw), rng.uniform(0, np.pi)
    y, x = (np.arange(n, dtype=np.float32) - np.float32(n / 2) for n in size_hw)
    across_hw = x * np.float32(np.cos(turn)) + y[:, None] * np.float32(np.sin(turn))
    along_hw = y[:, None] * np.float32(np.cos(turn)) - x * np.float32(np.sin(turn))
    across_hw = across_hw / (1 + rng.uniform(0, 0.5) * along_hw / np.hypot(*size_hw))  # bars draw apart with the distance
    soft_px = rng.uniform(0.6, 3)
    if n_bars:
        edges_px = side * rng.uniform(-0.5, 0.5, n_bars), side * rng.uniform(0.01, 0.05, n_bars)
        bars = [ramp(half_px - np.abs(across_hw - at_px), -soft_px, soft_px) for at_px, half_px in zip(*edges_px, strict=True)]
        return np.asarray(np.max(bars, axis=0))
    pitch_px = max(6, side * rng.uniform(0.05, 0.2))
    half_px = pitch_px * rng.uniform(0.08, 0.25)
    from_bar_hw = np.abs((across_hw + rng.uniform(0, pitch_px)) % pitch_px - pitch_px / 2)
    if rng.random() < 0.6:  # the rail
        from_rail_hw = np.abs(along_hw - side * rng.uniform(-0.4, 0.4)) - rng.uniform(0.5, 2) * half_px
        from_bar_hw = np.minimum(from_bar_hw, from_rail_hw + half_px)
    return ramp(half_px - from_bar_hw, -soft_px, soft_px)


def _photograph(rng: Rng, light_hwc: Float) -> NDArray[np.uint8]:
    """Exposure, colour cast, lens blur, sensor noise and the sharpening that telephones do."""
    exposure = (rng.uniform(0.45, 0.68) / light_hwc.mean()) ** 0.6
    gain = exposure * (1 + rng.normal(0, 0.02) * np.array([1, 0.2, -1]))  # daylight is warm or cool
    image_hwc = blur(light_hwc * gain.astype(np.float32), rng.uniform(0.35, 0.95))
    image_hwc += rng.uniform(0.004, 0.018) * rng.standard_normal((*light_hwc.shape[:2], 1), np.float32)
    image_hwc += rng.uniform(0.002, 0.008) * rng.standard_normal(light_hwc.shape, np.float32)
    image_hwc += rng.uniform(0, 0.7) * (image_hwc - blur(image_hwc, 1.2))
    return (255 * np.clip(image_hwc, 0, 1) + 0.5).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="crack draw",
        description="Draw synthetic cracked surfaces with exact masks into a data folder.",
        epilog="examples:\n  crack draw --out data/synthetic --n 20 --size 384 544 --seed 0",
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
    from crack.console import by_former_name

    sys.exit(by_former_name("draw"))
