"""Folders of photographs and crack masks: reading them, cutting them by group, drawing training crops from them.

A folder holds `images/`, `masks/` (one channel, 0 or 255, the image's size) and `split.csv` with the columns
`image,mask,split,group`. What shares a group shows one wall or comes from one photograph, and stays on one side of any cut.
"""

import argparse
import csv
import hashlib
import multiprocessing
import os
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from model.augmentation import change_look, cut, transplant
from model.inference.card import ModelCard
from model.inference.errors import RequestError
from model.inference.photograph import decode
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter, threshold_level
from model.params import AugmentationParams, DataParams, TrainingParams
from model.synthetic import draw_surface

# The publishers' terms for the data sets that this project knows; they go into the card of each model trained on them.
TERMS = {
    "deepcrack": "non-commercial research and education",
    "crack500": "none stated",
    "cracksc": "MIT",
    "sut130": "unclear",
    "uav75": "GPL-3.0",
    "negatives": "none stated",
    "uavkaggle": "CC0, as its publisher says",
    "riss": "none stated",
    "volker": "none stated",
    "masonry": "GPL-3.0",
    "cracktile": "MIT",
    "cracktree": "none stated",
    "neg_brick": "none stated",
}

ALARM_WEIGHT = 3.0  # how often a crack-free photograph with a false alarm is drawn, compared with one without
Pixels = NDArray[np.intp]
"""Flat indices of some of a photograph's pixels."""
_NOWHERE: Pixels = np.zeros(0, np.intp)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


@dataclass(frozen=True)
class Pair:
    """One photograph, its mask, and where they belong; read as many times larger as `enlargement` says.

    A label that `is_widened` is read one pixel wider to all four sides.
    """

    set_name: str
    image_path: Path
    mask_path: Path
    split: str
    group: str
    enlargement: int = 1
    is_widened: bool = field(default=False, compare=False)  # it is the same pair

    def read(self) -> "LabelledPhotograph":
        """Raises ValueError, naming the file, if it cannot be read or the mask is no mask of this photograph."""
        try:
            image_hwc_u8 = decode(self.image_path.read_bytes())
        except RequestError as error:
            raise ValueError(f"{self.image_path}: {error}") from error
        try:
            with Image.open(self.mask_path) as mask:
                mask_hw_u8 = np.asarray(mask.convert("L"))
        except OSError as error:
            raise ValueError(f"{self.mask_path}: {error}. Expected a PNG file, 0 or 255.") from error
        if mask_hw_u8.shape != image_hwc_u8.shape[:2]:
            raise ValueError(
                f"{self.mask_path}: {mask_hw_u8.shape} pixels, expected the photograph's {image_hwc_u8.shape[:2]}."
            )
        values = np.flatnonzero(np.bincount(mask_hw_u8.ravel(), minlength=256))
        if not set(values) <= {0, 255}:
            raise ValueError(f"{self.mask_path}: values {values[:5].tolist()}..., expected 0 and 255 alone.")
        if self.is_widened:
            mask_hw_u8 = np.asarray(cv2.dilate(mask_hw_u8, _CROSS), np.uint8)
        if self.enlargement > 1:
            size_wh = tuple(side * self.enlargement for side in mask_hw_u8.shape[::-1])
            image_hwc_u8 = np.asarray(cv2.resize(image_hwc_u8, size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)
            mask_hw_u8 = np.asarray(cv2.resize(mask_hw_u8, size_wh, interpolation=cv2.INTER_NEAREST), np.uint8)
        return LabelledPhotograph(image_hwc_u8, mask_hw_u8 > 0)

    def encoded(self) -> bytes:
        """The photograph as a file: its own bytes or, enlarged, a PNG."""
        if self.enlargement == 1:
            return self.image_path.read_bytes()
        return bytes(cv2.imencode(".png", cv2.cvtColor(self.read().image_hwc_u8, cv2.COLOR_RGB2BGR))[1])


@dataclass(frozen=True)
class LabelledPhotograph:
    """`image_hwc_u8`: uint8 (height, width, 3). `mask_hw`: bool (height, width), True on crack."""

    image_hwc_u8: NDArray[np.uint8]
    mask_hw: NDArray[np.bool_]


def read_pairs(data_dir: Path, set_names: Sequence[str], split: str) -> list[Pair]:
    """The pairs of one split (`train`, `val`, `test`) of the named sets.

    Raises:
        FileNotFoundError: a set is not in `data_dir`.
        ValueError: a set's `split.csv` has other columns, or no pair of this split.
    """
    pairs: list[Pair] = []
    for set_name in set_names:
        index_path = data_dir / set_name / "split.csv"
        if not index_path.is_file():
            raise FileNotFoundError(
                f"{index_path} does not exist. Set CRACK_DATA_DIR (or --data) to the folder that holds the set {set_name!r}."
            )
        with index_path.open(newline="") as lines:
            rows = csv.DictReader(lines)
            if rows.fieldnames != ["image", "mask", "split", "group"]:
                raise ValueError(f"{index_path}: columns {rows.fieldnames!r}, expected image,mask,split,group.")
            found = [
                Pair(
                    set_name,
                    index_path.parent / "images" / row["image"],
                    index_path.parent / "masks" / row["mask"],
                    row["split"],
                    row["group"],
                )
                for row in rows
                if row["split"] == split
            ]
        if not found:
            raise ValueError(f"{index_path}: no pair of the split {split!r}.")
        pairs += found
    return pairs


@dataclass(frozen=True)
class Parts:
    """Photographs by what they are for, every group whole in one part: a model learns from some, its checkpoint, threshold and
    mixture are chosen on others, and others again, which have had a say in nothing, judge it.
    """

    learning: list[Pair]
    choosing: list[Pair]
    judging: list[Pair]


def read_parts(data_dir: Path, data: DataParams) -> Parts:
    """What a model learns from, is chosen on and is judged by. Raises as `read_pairs` and `cut_by_group` do."""
    pairs = read_pairs(data_dir, list(data.sets), "train")
    pairs = [replace(pair, is_widened=pair.set_name in data.widened) for pair in pairs]
    return cut_by_group([pair for pair in pairs if not is_held_out(pair, data)], data)


def learned_by(card: ModelCard, pairs: Sequence[Pair]) -> dict[str, set[Pair]]:
    """By version, which of these pairs a model, and each model that it began with, learned from by the cut of its own training.

    Pairs are given by whole groups.
    """
    learned: dict[str, set[Pair]] = {}
    version, training = card.version, card.training
    while True:
        learned[version] = _learned_from(pairs, DataParams.model_validate(training["params"]["data"]))
        parent: dict[str, Any] | None = training["parent"]
        if not parent:
            return learned
        version, training = parent["version"], parent["training"]


def _learned_from(pairs: Sequence[Pair], data: DataParams) -> set[Pair]:
    offered = [pair for pair in pairs if data.sets.get(pair.set_name) and not is_held_out(pair, data)]
    return set(_cut(offered, data).learning)


def is_held_out(pair: Pair, data: DataParams) -> bool:
    """Whether the pair's group belongs to the fold that this model is not to see."""
    if pair.set_name not in data.held_out_folds:
        return False
    fold, n_folds = data.held_out_folds[pair.set_name]
    return int.from_bytes(_digest("fold", pair.set_name, pair.group)[:8], "big") % n_folds == fold


def read_photographs(pairs: Sequence[Pair], what: str) -> dict[str, list[LabelledPhotograph]]:
    """Read pairs into memory, by set, behind a progress bar that says `what` is done. Raises as `Pair.read` does."""
    sets: dict[str, list[LabelledPhotograph]] = {}
    for pair in tqdm(pairs, desc=what, unit="photo", leave=False):
        sets.setdefault(pair.set_name, []).append(pair.read())
    return sets


def draw_photographs(data: DataParams) -> list[LabelledPhotograph]:
    """Draw `data.n_synthetic` surfaces on all cores, every third without a crack."""
    seeds = np.random.default_rng(data.seed).integers(2**62, size=data.n_synthetic)
    with multiprocessing.Pool(n_usable_cores(), initializer=set_up_process) as processes:
        surfaces = processes.imap(_draw_surface, enumerate(seeds.tolist()), chunksize=4)
        return list(tqdm(surfaces, total=data.n_synthetic, desc="drawing surfaces", unit="surface", leave=False))


def _draw_surface(number_and_seed: tuple[int, int]) -> LabelledPhotograph:
    number, seed = number_and_seed
    surface = draw_surface(seed, is_cracked=number % 3 > 0)
    return LabelledPhotograph(surface.image_hwc_u8, surface.mask_hw)


def set_up_process(_: int = 0) -> None:
    """What a process that prepares data begins with."""
    cv2.setNumThreads(0)  # the cores belong to the training
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the training decides when to stop


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """The option `--data`, one for all commands."""
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("CRACK_DATA_DIR", "data"),
        help="folder that holds the data sets (default: $CRACK_DATA_DIR, else data)",
    )


def cut_by_group(pairs: Sequence[Pair], data: DataParams) -> Parts:
    """Cut pairs in three, about `judging_ratio` and `validation_ratio` of them and the rest.

    A group's part depends on its name, its size and the seed, so it stays where it is when other sets come or go. A group of
    more than `largest_group` photographs is learned from: it alone would decide what is measured elsewhere. Of a set in
    `judged_elsewhere` nothing judges.

    Raises ValueError where a part that is asked for would be empty.
    """
    parts = _cut(pairs, data)
    if not parts.learning or not parts.choosing or (data.judging_ratio and not parts.judging):
        n_groups = len({(pair.set_name, pair.group) for pair in pairs})
        raise ValueError(
            f"{n_groups} groups cannot be cut with data.validation_ratio={data.validation_ratio!r}, "
            f"data.judging_ratio={data.judging_ratio!r}, data.seed={data.seed!r}: a part stays empty. "
            "Use more groups, other ratios or another seed."
        )
    return parts


def _cut(pairs: Sequence[Pair], data: DataParams) -> Parts:
    by_group: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_group[pair.set_name, pair.group].append(pair)
    parts = Parts([], [], [])
    for (set_name, group), members in sorted(by_group.items()):
        share = int.from_bytes(_digest(str(data.seed), set_name, group)[:8], "big") / 2**64
        is_cut = len(members) <= data.largest_group and share < data.judging_ratio + data.validation_ratio
        is_judging = share < data.judging_ratio
        if not is_cut or (is_judging and set_name in data.judged_elsewhere):
            parts.learning.extend(members)
        elif is_judging:
            parts.judging.extend(members)
        else:
            parts.choosing.extend(members)
    return parts


def _digest(*words: str) -> bytes:
    return hashlib.sha256("/".join(words).encode()).digest()


class CropDataset(Dataset[tuple[Tensor, Tensor]]):
    """An endless, seeded sequence of augmented training crops.

    Draw number i is a function of i, the seed and the photographs alone: a training resumed at draw i goes on with the
    very crops that it would have seen, whatever the number of loader processes.

    Args:
        sets: the photographs of each set.
        shares: how often a set is drawn from, by its name and in proportion to the others' shares.
        alarms: for each set some of whose photographs show no crack, as `find_alarms` gives them: where the network that the
            training begins with is wrong. Those photographs are drawn `ALARM_WEIGHT` times as often, and there.
    """

    def __init__(
        self,
        sets: Mapping[str, Sequence[LabelledPhotograph]],
        shares: Mapping[str, float],
        training: TrainingParams,
        augmentation: AugmentationParams,
        alarms: Mapping[str, Sequence[Pixels]] = MappingProxyType({}),
    ) -> None:
        self._sets = [_Set(photographs, alarms.get(name, ())) for name, photographs in sets.items()]
        self._chances = _normalised([shares[name] for name in sets])
        cracked = {name: [photo for photo in sets[name] if photo.mask_hw.any()] for name in sets if shares[name]}
        self._cracked = [_Set(photographs, ()) for photographs in cracked.values() if photographs]
        self._cracked_chances = _normalised([shares[name] for name in cracked if cracked[name]])
        self._training = training
        self._augmentation = augmentation

    def __getitem__(self, draw: int) -> tuple[Tensor, Tensor]:
        """A crop, uint8 (3, crop_px, crop_px), and its truth, bool (1, crop_px, crop_px)."""
        rng = np.random.default_rng((self._training.seed, draw))
        is_on_crack = rng.random() < self._training.on_crack_ratio
        image_hwc_u8, mask_hw = self._cut(rng, self._sets, self._chances, is_on_crack)
        if self._cracked and not mask_hw.any() and rng.random() < self._augmentation.transplant_ratio:
            crack_hwc_u8, mask_hw = self._cut(rng, self._cracked, self._cracked_chances, is_on_crack=True)
            image_hwc_u8 = transplant(crack_hwc_u8, mask_hw, image_hwc_u8)
        image_hwc_u8 = change_look(image_hwc_u8, self._augmentation, rng)
        return torch.from_numpy(image_hwc_u8.transpose(2, 0, 1).copy()), torch.from_numpy(mask_hw[None].copy())

    def _cut(
        self,
        rng: np.random.Generator,
        sets: Sequence["_Set"],
        chances: NDArray[np.float64],
        is_on_crack: bool,
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        photograph, alarms = sets[rng.choice(len(sets), p=chances)].draw(rng)
        centre = _centre(rng, photograph.mask_hw, is_on_crack, alarms)
        return cut(photograph.image_hwc_u8, photograph.mask_hw, self._training.crop_px, centre, self._augmentation, rng)


def _normalised(shares: Sequence[float]) -> NDArray[np.float64]:
    return np.array(shares) / sum(shares)


def _centre(rng: np.random.Generator, mask_hw: NDArray[np.bool_], is_on_crack: bool, alarms: Pixels) -> tuple[float, float]:
    """Row and column to place a crop around: of some crack pixel or, without any, of a false alarm, if it is asked for."""
    height, width = mask_hw.shape
    crack_pixels = np.flatnonzero(mask_hw) if is_on_crack else _NOWHERE
    if is_on_crack and not len(crack_pixels):
        crack_pixels = alarms
    if len(crack_pixels):
        row, column = divmod(int(rng.choice(crack_pixels)), width)
        return float(row), float(column)
    return rng.uniform(0, height - 1), rng.uniform(0, width - 1)


class _Set:
    """The photographs of one set, those with a false alarm drawn more often."""

    def __init__(self, photographs: Sequence[LabelledPhotograph], alarms: Sequence[Pixels]) -> None:
        self._photographs = photographs
        self._alarms = alarms or [_NOWHERE] * len(photographs)
        self._chances = _normalised([ALARM_WEIGHT if len(pixels) else 1 for pixels in self._alarms])

    def draw(self, rng: np.random.Generator) -> tuple[LabelledPhotograph, Pixels]:
        """A photograph, and the pixels of its false alarms."""
        index = int(rng.choice(len(self._photographs), p=self._chances))
        return self._photographs[index], self._alarms[index]


def find_alarms(segmenter: Segmenter, sets: Mapping[str, Sequence[LabelledPhotograph]]) -> dict[str, list[Pixels]]:
    """For each set of which some photographs show no crack, the pixels of each of those that are called crack.

    Left to others: which network to ask. Photographs with cracks have no pixels here: who labels a crack misses some.
    """
    level = threshold_level(segmenter.card.threshold)
    crack_free = {name: [not photo.mask_hw.any() for photo in photographs] for name, photographs in sets.items()}
    found: dict[str, list[Pixels]] = {name: [] for name, are_free in crack_free.items() if any(are_free)}
    with tqdm(total=sum(len(sets[name]) for name in found), desc="looking for false alarms", unit="photo", leave=False) as bar:
        for name, pixels in found.items():
            for photograph, is_free in zip(sets[name], crack_free[name], strict=True):
                is_alarm = segmenter.probability(photograph.image_hwc_u8) >= level if is_free else _NOWHERE
                pixels.append(np.flatnonzero(is_alarm))
                bar.update()
    return found
