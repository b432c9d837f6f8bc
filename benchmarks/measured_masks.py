"""What is measured from a network's masks beside what is measured from the true ones, by the same code, on DeepCrack's test.

Each line is one photograph: the length of all its cracks together, and the mean of their widths, weighted by their lengths.
Then come the medians of the relative differences, and the photographs that differ most. Left to others: drawn cracks, whose
widths are known exactly (`widths`).
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.archive import unpack
from model.dataset import add_data_option, read_pairs
from model.inference import runtime
from model.inference.card import threshold_level
from model.inference.cracks import measure
from model.inference.segmenter import Segmenter

SET = "deepcrack"
N_WORST = 5
EVEN = 128  # between 0 and 255, as values between pixels are


class Measured(NamedTuple):
    """Of one photograph, in pixels; no width where none can be told."""

    length_px: float
    width_px: float


def in_all(prob_hw_u8: NDArray[np.uint8], image_hwc_u8: NDArray[np.uint8], level: int) -> Measured:
    figures = [crack.figures for crack in measure(prob_hw_u8, image_hwc_u8, level)]
    told = [(each["width_mean_px"], each["length_px"]) for each in figures if each["width_mean_px"] is not None]
    widths, lengths = np.transpose(told) if told else (np.array([np.nan]), np.ones(1))
    width_px = float(np.average(widths, weights=lengths))
    return Measured(sum(each["length_px"] for each in figures), width_px)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measured_masks", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--archive", type=Path, default=Path("model_store/crack.mar"))
    parser.add_argument("--every", type=int, default=1, help="take every n-th photograph (default: all)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        card = unpack(chosen.archive, Path(folder))
        segmenter = Segmenter(card, runtime.load(Path(folder), card.backends[0], 1))
    level = threshold_level(card.threshold)
    names, found = [], []
    print("| photograph | length, true mask | predicted | width, true mask | predicted |\n|---|---|---|---|---|")
    for pair in read_pairs(chosen.data, [SET], "test")[:: chosen.every]:
        photograph = pair.read()
        true = in_all(255 * photograph.mask_hw.astype(np.uint8), photograph.image_hwc_u8, EVEN)
        predicted = in_all(segmenter.probability(photograph.image_hwc_u8), photograph.image_hwc_u8, level)
        names.append(pair.image_path.name)
        found.append((true, predicted))
        lengths, widths = (f"{one:.1f} | {other:.1f}" for one, other in zip(true, predicted, strict=True))
        print(f"| {names[-1]} | {lengths} | {widths} |", flush=True)
    values = np.array(found)  # photographs, true and predicted, length and width
    for column, name in enumerate(Measured._fields):
        true_px, predicted_px = values[:, :, column].T
        is_told = (true_px > 0) & np.isfinite(predicted_px)
        off = (predicted_px / np.where(is_told, true_px, 1) - 1)[is_told]
        print(
            f"\n{name}, {is_told.sum()} of {len(names)} photographs: median {np.median(off):+.1%}, median without sign "
            f"{np.median(np.abs(off)):.1%}, 90% within {np.quantile(np.abs(off), 0.9):.1%}"
        )
        for place in np.argsort(-np.abs(off))[:N_WORST]:
            at = np.flatnonzero(is_told)[place]
            print(f"- {names[at]}: {true_px[at]:.1f} by the true mask, {predicted_px[at]:.1f} by the predicted one")


if __name__ == "__main__":
    main()
