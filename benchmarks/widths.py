"""How well widths and lengths are measured: drawn cracks of exact width, from exact masks and through a network.

A crack is a dark band of one width on a drawn wall, turned, blurred and noisy. Each row of the table is one width and blur: by
how much the median width of the longest crack found is off, its length over the true one, and how often it was said to be too
narrow to tell. `limit` counts as right where the true width is below it.
"""

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.archive import unpack
from model.inference import runtime
from model.inference.card import threshold_level
from model.inference.cracks import measure
from model.inference.segmenter import Segmenter
from model.synthetic_cracks import direction, fracture
from model.synthetic_wall import Float, Rng, blur, build_wall

SIZE_HW = (320, 400)
WIDTHS_PX = (1, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 20, 30)
BLURS_PX = (0.5, 0.8, 1.1)
MATERIALS = ("concrete", "plaster", "asphalt")
DARKNESS = 0.75
N_SUBPIXELS = 8
STEP_PX = 0.5  # along a path
OF_EACH = ("width off (spread)", "length", "below limit")
COLUMNS = ("width", "blur", *(f"exact mask: {name}" for name in OF_EACH), *(f"network: {name}" for name in OF_EACH))
COLUMNS += ("missed", "its mask too wide by")


def draw(rng: Rng, width_px: float, blur_px: float, material: str, roughness: float) -> tuple[NDArray[np.uint8], Float, float]:
    """A photograph, the share of each pixel that its crack covers, and the crack's length in the picture.

    The crack's faces are rough and fit each other, as where it opened: they are as far apart everywhere, square to its middle.
    """
    height, width = SIZE_HW
    wall = build_wall(rng, SIZE_HW, material)
    through_xy = np.array([width, height]) * rng.uniform(0.4, 0.6, 2)
    reach_xy = 0.45 * np.hypot(*SIZE_HW) * direction(rng.uniform(0, np.pi))
    rough_xy = evenly(fracture(rng, np.array([through_xy - reach_xy, through_xy, through_xy + reach_xy]), roughness))
    middle_xy = smoothed(rough_xy, width_px)
    along_xy = np.gradient(middle_xy, axis=0)
    normal_xy = along_xy[:, ::-1] * (-1, 1) / np.hypot(*along_xy.T)[:, None]
    to_face_xy = (width_px - 1 / N_SUBPIXELS) / 2 * normal_xy  # OpenCV fills the outline's pixels, too
    faces = np.rint((np.stack([rough_xy - to_face_xy, rough_xy + to_face_xy]) * N_SUBPIXELS - 0.5) * 16).astype(np.int32)
    fine_u8 = np.zeros((height * N_SUBPIXELS, width * N_SUBPIXELS), np.uint8)
    for one, other in pairwise(faces.transpose(1, 0, 2)):
        cv2.fillConvexPoly(fine_u8, np.concatenate([one, other[::-1]]), 1, cv2.LINE_8, 4)
    band = fine_u8.astype(np.float32)
    coverage_hw = np.asarray(cv2.resize(band, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    light_hwc = wall.albedo_hwc * (1 - DARKNESS * coverage_hw)[..., None]
    light_hwc = blur((light_hwc * 0.6 / light_hwc.mean()).astype(np.float32), blur_px)
    light_hwc = light_hwc + rng.uniform(0.005, 0.025) * rng.standard_normal(light_hwc.shape)
    inside = ((middle_xy > 0) & (middle_xy < (width, height))).all(axis=1)
    length_px = float(np.hypot(*np.diff(middle_xy[inside], axis=0).T).sum())
    return (255 * np.clip(light_hwc, 0, 1) + 0.5).astype(np.uint8), coverage_hw, length_px


def evenly(path_xy: Float) -> Float:
    """The same path with a point every `STEP_PX`."""
    along_px = np.cumsum(np.append(0, np.hypot(*np.diff(path_xy, axis=0).T)))
    return np.stack([np.interp(np.arange(0, along_px[-1], STEP_PX), along_px, values) for values in path_xy.T], axis=1)


def smoothed(path_xy: Float, width_px: float) -> Float:
    """Without the bends that a crack of this width doesn't follow as a whole: a Gaussian of half the width along the path."""
    reach = round(2 * width_px / STEP_PX)
    before_xy, after_xy = 2 * path_xy[0] - path_xy[reach:0:-1], 2 * path_xy[-1] - path_xy[-2 : -reach - 2 : -1]
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_PX / (width_px / 2)) ** 2)
    padded_xy = np.concatenate([before_xy, path_xy, after_xy])
    return np.stack([np.convolve(values, kernel / kernel.sum(), "valid") for values in padded_xy.T], axis=1)


def judged(prob_hw_u8: NDArray[np.uint8], image_hwc_u8: NDArray[np.uint8], level: int, width_px: float) -> tuple[float, ...]:
    """Of the longest crack: how far the width is off, its length, whether it is below the limit and rightly so; NaN: missed."""
    found = measure(prob_hw_u8, image_hwc_u8, level)
    if not found:
        return np.nan, np.nan, np.nan, np.nan
    figures = found[0].figures
    if figures["is_width_below_limit"]:
        return np.nan, figures["length_px"], 1.0, float(width_px < figures["width_limit_px"])
    return figures["width_median_px"] - width_px, figures["length_px"], 0.0, 1.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.widths", description=__doc__)
    parser.add_argument("--archive", type=Path, default=Path("model_store/crack.mar"))
    parser.add_argument("--seed", type=int, default=2, help="1 is the one by which the measurement was made (default: 2)")
    parser.add_argument("--cracks", type=int, default=3, help="of each width and blur (default: 3)")
    parser.add_argument(
        "--roughness", type=float, default=0.04, help="0 draws straight lines, which no network takes for cracks"
    )
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        card = unpack(chosen.archive, Path(folder))
        segmenter = Segmenter(card, runtime.load(Path(folder), card.backends[0], 1))
    level = threshold_level(card.threshold)
    print(f"| {' | '.join(COLUMNS)} |\n{len(COLUMNS) * '|---'}|")
    for width_px in WIDTHS_PX:
        for blur_px in BLURS_PX:
            exact, through, too_wide_px, lengths = [], [], [], []
            for number in range(chosen.cracks):
                material = MATERIALS[number % len(MATERIALS)]
                image_hwc_u8, coverage_hw, length_px = draw(rng, width_px, blur_px, material, chosen.roughness)
                prob_hw_u8 = segmenter.probability(image_hwc_u8)
                exact.append(judged((255 * (coverage_hw >= 0.5)).astype(np.uint8), image_hwc_u8, 128, width_px))
                through.append(judged(prob_hw_u8, image_hwc_u8, level, width_px))
                too_wide_px.append(width_px * (np.count_nonzero(prob_hw_u8 >= level) / coverage_hw.sum() - 1))
                lengths.append(length_px)
            cells = [_cells(np.array(values), np.array(lengths)) for values in (exact, through)]
            n_missed = int(np.isnan(np.array(through)[:, 1]).sum())
            mask = f"{np.mean(too_wide_px):+.2f}"
            print(f"| {width_px:g} | {blur_px:g} | {' | '.join(cells)} | {n_missed} of {chosen.cracks} | {mask} |", flush=True)


def _cells(values: NDArray[np.float64], lengths: NDArray[np.float64]) -> str:
    off = values[np.isfinite(values[:, 0]), 0]
    told = f"{off.mean():+.2f} ({off.std():.2f})" if len(off) else "-"
    is_found = np.isfinite(values[:, 1])
    ratio = float(np.median(values[is_found, 1] / lengths[is_found])) if is_found.any() else np.nan
    below = values[values[:, 2] == 1]
    return f"{told} | {ratio:.3f} | {len(below)}" + (f", {int(below[:, 3].sum())} rightly" if len(below) else "")


if __name__ == "__main__":
    main()
