"""What measuring cracks costs, beside what it may: 0.3 s and 2 ms per crack at 12 megapixels, on one core.

Processor seconds, the best of several runs. The masks are drawn, or labels of real photographs; with `--archive` the real ones
are the network's. Left to others: how right the figures are (`widths`, `measured_masks`).
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.archive import unpack
from model.dataset import add_data_option, read_pairs
from model.inference import runtime
from model.inference.card import threshold_level
from model.inference.cracks import measure
from model.inference.errors import RequestError
from model.inference.segmenter import Segmenter

SIZE_HW = (3000, 4000)
MOSAIC = (7, 8)  # photographs of 384 by 544 pixels side by side
N_MOSAICS = 4
N_SINGLE = 200
EVEN = 128
Photo = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # a photograph, and its crack probability


def drawn() -> Iterator[tuple[str, Photo]]:
    rng = np.random.default_rng(0)
    height, width = SIZE_HW

    def shown(mask_hw_u8: NDArray[np.uint8]) -> Photo:
        grey = cv2.GaussianBlur(np.where(mask_hw_u8 > 0, 60, 160).astype(np.uint8), (0, 0), 0.8)
        grey = np.clip(grey + rng.normal(0, 3, SIZE_HW), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2), mask_hw_u8

    def strokes(n: int, longest_px: float, thickest_px: int) -> NDArray[np.uint8]:
        mask = np.zeros(SIZE_HW, np.uint8)
        for _ in range(n):
            start = rng.uniform((0, 0), (width, height))
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1) * longest_px
            steps = np.cumsum(rng.normal(0, 0.15, max(2, int(length / 8)))) + angle
            way = np.cumsum(8 * np.stack([np.cos(steps), np.sin(steps)], axis=1), axis=0) + start
            cv2.polylines(mask, [np.rint(way).astype(np.int32)], False, 255, int(rng.integers(2, thickest_px + 1)))
        return mask

    def across(n: int) -> NDArray[np.uint8]:
        mask = np.zeros(SIZE_HW, np.uint8)
        for number in range(n):
            one, other = rng.uniform(0, 1, 2)
            ends = [(0, one * height), (width, other * height)] if number % 2 else [(one * width, 0), (other * width, height)]
            way = np.linspace(*ends, 400) + np.cumsum(rng.normal(0, 1.5, (400, 2)), axis=0)
            cv2.polylines(mask, [np.rint(way).astype(np.int32)], False, 255, int(rng.integers(3, 10)))
        return mask

    specks = np.zeros(SIZE_HW, np.uint8)
    for x, y, radius in rng.integers((10, 10, 1), (width - 10, height - 10, 6), (5000, 3)).tolist():
        cv2.circle(specks, (x, y), radius, 255, -1)
    yield "5,000 round specks, drawn", shown(specks)
    yield "1,000 short cracks, drawn", shown(strokes(1000, 60, 6))
    yield "3 cracks across, drawn", shown(across(3))
    yield "40 cracks across that cross each other, drawn", shown(across(40))
    yield "5,000 long grains, drawn", shown(strokes(5000, 40, 5))


def spent(photo: Photo, level: int, n_repeats: int) -> tuple[float, str]:
    """Processor seconds, and what was found: cracks and pixels of their centre lines."""
    image_hwc_u8, prob_hw_u8 = photo
    best, found = np.inf, ""
    for _ in range(n_repeats):
        begin = time.process_time()
        try:
            cracks = measure(prob_hw_u8, image_hwc_u8, level)
            found = f"{len(cracks)} | {sum(crack.figures['length_px'] for crack in cracks):,.0f}"
        except RequestError:
            found = "refused | -"
        best = min(best, time.process_time() - begin)
    return best, found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measuring", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--archive", type=Path, help="whose masks are taken instead of the labels")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    print("| 12 megapixels | cracks | centre lines, px | s |\n|---|---|---|---|")
    for name, photo in drawn():
        seconds, found = spent(photo, EVEN, chosen.repeats)
        print(f"| {name} | {found} | {seconds:.2f} |", flush=True)
    level, photographs = real(chosen.data, chosen.archive)
    step = MOSAIC[0] * MOSAIC[1]
    usual = [photo for photo in photographs if photo[1].shape == (384, 544)]
    for first in range(0, min(N_MOSAICS * step, len(usual) - step + 1), step):
        rows = [usual[first + row * MOSAIC[1] : first + (row + 1) * MOSAIC[1]] for row in range(MOSAIC[0])]
        mosaic = tuple(np.concatenate([np.concatenate([photo[i] for photo in row], axis=1) for row in rows]) for i in (0, 1))
        seconds, found = spent((mosaic[0], mosaic[1]), level, chosen.repeats)
        print(f"| {step} photographs of DeepCrack side by side | {found} | {seconds:.2f} |", flush=True)
    each = [spent(photo, level, chosen.repeats)[0] for photo in photographs[:N_SINGLE]]
    print(f"\n{len(each)} photographs by themselves: median {np.median(each):.3f} s, worst {max(each):.3f} s")


def real(data: Path, archive: Path | None) -> tuple[int, list[Photo]]:
    """The threshold's level, and photographs of DeepCrack's test with their masks."""
    read = [pair.read() for pair in read_pairs(data, ["deepcrack"], "test")[: max(N_SINGLE, N_MOSAICS * MOSAIC[0] * MOSAIC[1])]]
    if archive is None:
        return EVEN, [(each.image_hwc_u8, 255 * each.mask_hw.astype(np.uint8)) for each in read]
    with tempfile.TemporaryDirectory() as folder:
        card = unpack(archive, Path(folder))
        segmenter = Segmenter(card, runtime.load(Path(folder), card.backends[0], 1))
    return threshold_level(card.threshold), [(each.image_hwc_u8, segmenter.probability(each.image_hwc_u8)) for each in read]


if __name__ == "__main__":
    main()
