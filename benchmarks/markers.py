"""How right millimetres by a printed marker are: drawn cracks of known width and length on a wall seen from aside, exact masks.

Each row of the table is one angle between the camera and the straight view, from several directions. Left to others: the same
in pixels (`widths`).
"""

import argparse

import numpy as np

from model.inference.cracks import measure
from model.inference.findings import properties
from model.inference.markers import SINGLE, find
from tests.walls import Crack, Marker, camera, photograph

SIZE_HW = (900, 1200)
MM_PER_PX = 0.25
MARKER_MM = 45.0  # 180 px a side
TILTS_DEG = (0, 15, 30, 45)
TOWARDS_DEG = (0, 60, 120, 180, 240, 300)
WIDTHS_MM = (0.8, 1.2, 2.0, 3.0)
COLUMNS = (
    "angle",
    "cracks",
    "told in mm",
    "width within 10% or 0.1 mm",
    "width off, worst",
    "length off, median",
    "length off, worst",
    "scale uncertain by, worst",
)


def wall(rng: np.random.Generator) -> list[Crack]:
    """A crack of each width, all about level and apart from each other, two above a marker and two below."""
    cracks = []
    for width_mm, y in zip(rng.permutation(WIDTHS_MM).tolist(), (-85, -60, 60, 85), strict=True):
        path = np.linspace((-100 * rng.uniform(0.7, 1), y), (100 * rng.uniform(0.7, 1), y + rng.uniform(-6, 6)), 14)
        path[1:-1] += 0.8 * rng.standard_normal((12, 2))
        cracks.append(Crack(path, width_mm))
    return cracks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.markers", description=__doc__)
    parser.add_argument("--seed", type=int, default=2)
    rng = np.random.default_rng(parser.parse_args().seed)
    print(f"| {' | '.join(COLUMNS)} |\n{len(COLUMNS) * '|---'}|")
    for tilt_deg in TILTS_DEG:
        off_mm, off_ratio, lengths, unsure, n = [], [], [], [], 0
        for towards_deg in TOWARDS_DEG:
            cracks = wall(rng)
            to_px = camera(SIZE_HW, MM_PER_PX, tilt_deg, towards_deg)
            marker = Marker(SINGLE, (-60, -22), MARKER_MM, turn_deg=float(rng.uniform(-10, 10)))
            image_hwc_u8, coverage_hw = photograph(SIZE_HW, to_px, cracks, [marker])
            markers = find(image_hwc_u8, MARKER_MM)
            if markers is None:
                raise RuntimeError(f"The marker wasn't found at {tilt_deg} degrees towards {towards_deg}.")
            prob_hw_u8 = np.where(coverage_hw >= 0.5, 255, 0).astype(np.uint8)
            markers.clear(prob_hw_u8)
            told = [properties(crack, markers, SIZE_HW[1]) for crack in measure(prob_hw_u8, image_hwc_u8, 128)]
            middles_xy = np.array([np.reshape(each["bbox_px"], (2, 2)).mean(axis=0) for each in told])
            for crack in cracks:
                n += 1
                outline = np.column_stack([crack.path_mm, np.ones(len(crack.path_mm))]) @ to_px.T
                seen_xy = outline[:, :2] / outline[:, 2:]
                middle_xy = (seen_xy.min(axis=0) + seen_xy.max(axis=0)) / 2
                found = told[int(np.hypot(*(middles_xy - middle_xy).T).argmin())]
                if found.get("width_median_mm") is None:
                    continue
                off_mm.append(found["width_median_mm"] - crack.width_mm)
                off_ratio.append(off_mm[-1] / crack.width_mm)
                lengths.append(found["length_mm"] / crack.length_mm - 1)
                unsure.append(found["scale_uncertainty_ratio"])
        n_right = sum(abs(mm) <= 0.1 or abs(ratio) <= 0.1 for mm, ratio in zip(off_mm, off_ratio, strict=True))
        print(
            f"| {tilt_deg} | {n} | {len(off_mm)} | {n_right} | {max(map(abs, off_mm)):.2f} mm, {max(map(abs, off_ratio)):.0%} "
            f"| {np.median(np.abs(lengths)):.1%} | {max(map(abs, lengths)):.1%} | {max(unsure):.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
