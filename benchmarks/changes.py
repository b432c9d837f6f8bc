"""How far a comparison of two photographs can be trusted (`survey/changes.py`).

No set has the same wall in two years, so a second photograph is made of each: from another point and distance, in other
light, less sharp, with noise, as JPEG. Nothing has changed then, nor if the first one is spoilt: reduced, as if taken from
further away, blurred, too bright or too dark. In a last run one half of the crack, by the label, is painted over in the first
photograph: that half is new in the second.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.contenders import ARCHIVE
from export.archive import unpack
from inspection.rows import Row, Status
from model.dataset import Pair, add_data_option, read_parts
from model.inference import runtime
from model.inference.card import threshold_level
from model.inference.cracks import measure
from model.inference.findings import lines
from model.inference.photograph import decode
from model.inference.segmenter import Segmenter
from model.params import Params
from survey.changes import Former, Kind, Seen, changes
from survey.laying import Features, lay_over
from tests.photographs import jpeg

Picture = NDArray[np.uint8]
PER_SET = 10
LEAST_PX = 30.0  # of a crack that was painted over


def again(image_hwc_u8: Picture, rng: np.random.Generator) -> tuple[Picture, NDArray[np.float64]]:
    """The same surface in another photograph, and the homography to it."""
    height, width = image_hwc_u8.shape[:2]
    scale, turn = rng.uniform(0.75, 1.3), rng.uniform(-0.15, 0.15)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    aside = corners * scale + rng.uniform(-0.06, 0.06, (4, 2)) * (width, height)
    turned = (aside - aside.mean(axis=0)) @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    shifted = turned + np.array((width, height)) * scale / 2 + rng.uniform(-0.05, 0.05, 2) * (width, height)
    homography = cv2.getPerspectiveTransform(corners.astype(np.float32), shifted.astype(np.float32))
    size = (round(width * scale), round(height * scale))
    taken = cv2.warpPerspective(image_hwc_u8, homography, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT) / 255
    lit = np.clip(taken ** rng.uniform(0.8, 1.25) * rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3), 0, 1)
    blurred = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.3, 0.9)) + rng.normal(0, 0.015, lit.shape)
    return decode(jpeg((np.clip(blurred, 0, 1) * 255).astype(np.uint8), quality=88)), np.asarray(homography, np.float64)


def half_painted_over(image_hwc_u8: Picture, mask_hw: NDArray[np.bool_]) -> tuple[Picture, NDArray[np.bool_]]:
    """The photograph without the right half of its crack, and where that was."""
    columns = np.flatnonzero(mask_hw.any(axis=0))
    is_gone = mask_hw.copy()
    is_gone[:, : (columns[0] + columns[-1]) // 2] = False
    around = cv2.dilate(is_gone.astype(np.uint8), np.ones((9, 9), np.uint8))
    painted = np.asarray(cv2.inpaint(image_hwc_u8, around, 5, cv2.INPAINT_TELEA), np.float64)
    grain = np.random.default_rng(0).normal(0, 6, painted.shape) * around[..., None]
    return np.clip(painted + grain, 0, 255).astype(np.uint8), is_gone


def spoilt(image_hwc_u8: Picture, rng: np.random.Generator) -> dict[str, Picture]:
    """The photograph as a worse one, which fine cracks may be lost in."""
    height, width = image_hwc_u8.shape[:2]
    light = image_hwc_u8.astype(np.float64)
    noise = rng.normal(0, 2, light.shape)
    taken = {
        "blurred": cv2.GaussianBlur(light, (0, 0), 3) + noise,
        "too bright": 2.5 * light + 20,
        "too dark": 0.15 * light + noise,
        "in fog": 0.25 * light + 150 + noise,
    }
    worse = {how: decode(jpeg(np.clip(each, 0, 255).astype(np.uint8), quality=88)) for how, each in taken.items()}
    size = (round(width / 3), round(height / 3))
    return {"reduced to 1/3": np.asarray(cv2.resize(image_hwc_u8, size, interpolation=cv2.INTER_AREA), np.uint8), **worse}


class Comparison:
    """What was found over all pairs of photographs."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.n_not_laid_over = 0
        self.unchanged, self.painted = Counter[Kind](), Counter[Kind]()
        self.spoilt: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.length_px = self.changed_px = 0.0

    def add(self, pair: Pair, rng: np.random.Generator) -> None:
        labelled = pair.read()
        later, homography = again(labelled.image_hwc_u8, rng)
        seen = self._seen(later)
        to_later = lay_over(Features.of(labelled.image_hwc_u8), Features.of(later))
        if to_later is None:
            self.n_not_laid_over += 1
            return
        for change in changes([Former(self._seen(labelled.image_hwc_u8), to_later)], seen):
            self.unchanged[change.kind] += 1
            if change.kind is not Kind.GONE:
                self.length_px += change.length_px
                self.changed_px += change.changed_px
        for how, worse in spoilt(labelled.image_hwc_u8, rng).items():
            to_later = lay_over(Features.of(worse), Features.of(later))
            if to_later is None:
                self.spoilt[how]["not laid over"] += 1
            else:
                self.spoilt[how].update(change.kind for change in changes([Former(self._seen(worse), to_later)], seen))
        if not labelled.mask_hw.any():
            return
        former, is_gone = half_painted_over(labelled.image_hwc_u8, labelled.mask_hw > 0)
        to_later = lay_over(Features.of(former), Features.of(later))
        if to_later is None:
            self.n_not_laid_over += 1
            return
        size = (later.shape[1], later.shape[0])
        is_new = cv2.dilate(cv2.warpPerspective(is_gone.astype(np.uint8), homography, size), np.ones((5, 5), np.uint8))
        for change, crack in zip(changes([Former(self._seen(former), to_later)], seen), seen.row.lines or (), strict=False):
            points = np.concatenate([np.asarray(line) for line in crack]).astype(int)
            x, y = np.clip(points, 0, np.array(size) - 1).T
            if is_new[y, x].mean() * change.length_px >= LEAST_PX:
                self.painted[change.kind] += 1

    def _seen(self, image_hwc_u8: Picture) -> Seen:
        prob_hw_u8 = self._segmenter.probability(image_hwc_u8)
        found = measure(prob_hw_u8, image_hwc_u8, threshold_level(self._segmenter.card.threshold))
        figures, drawn = [crack.figures for crack in found], [lines(crack) for crack in found]
        height, width = prob_hw_u8.shape
        row = Row("", Status.PREDICTED, 0, 0, "", width=width, height=height, cracks=figures, lines=drawn)
        return Seen(prob_hw_u8, image_hwc_u8, row)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.changes",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.changes\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="(default: the released one)")
    parser.add_argument("--part", choices=("choosing", "judging"), default="judging", help="(default: %(default)s)")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="crack-bench-") as work:
        card = unpack(options.archive, Path(work))
        comparison = Comparison(Segmenter(card, runtime.choose(Path(work), card, 2)[1]))
        parts = read_parts(options.data, Params.model_validate(card.training["params"]).data)
        taken: Counter[str] = Counter()
        pairs = []
        for pair in getattr(parts, options.part):
            if not pair.set_name.startswith("neg") and taken[pair.set_name] < PER_SET:
                taken[pair.set_name] += 1
                pairs.append(pair)
        for number, pair in enumerate(tqdm(pairs, unit="pair")):
            comparison.add(pair, np.random.default_rng(number))
    print(f"{len(pairs)} photographs of {len(taken)} sets; {comparison.n_not_laid_over} times not laid over each other.")
    print(
        f"Nothing changed: {told(comparison.unchanged)}; {comparison.changed_px / comparison.length_px:.1%} of the length new."
    )
    for how, counts in comparison.spoilt.items():
        print(f"Nothing changed, the first photograph {how}: {told(counts)}.")
    print(f"Half of it painted over before, cracks of which at least {LEAST_PX:g} px were: {told(comparison.painted)}.")


def told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda each: -each[1]))


if __name__ == "__main__":
    main()
