"""Folders of photographs and crack masks: reading them, and cutting them by group.

A folder holds `images/`, `masks/` (two colours, as `model.masks` reads them; the image's size) and `split.csv` with the columns
`image,mask,split,group`. What shares a group shows one wall or comes from one photograph, and stays on one side of any cut.
It may hold `look_alikes.csv` with the columns `image,left,top,right,bottom,kind`: boxes in which a person saw what looks like a
crack and is none, in pixels, the right and lower border outside. Left to others: training crops (`model.crops`).
"""

import argparse
import hashlib
import multiprocessing
import os
import signal
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from crack.foreign import SPLIT_COLUMNS, finder, read_rows
from model.inference.card import ModelCard
from model.inference.errors import RequestError
from model.inference.photograph import decode
from model.inference.processors import n_usable_cores
from model.masks import read_mask
from model.params import DataParams
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

LOOK_ALIKES_FILE = "look_alikes.csv"
LOOK_ALIKES_COLUMNS = ("image", "left", "top", "right", "bottom", "kind")
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the right and lower border lie outside."""
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
    is_widened: bool = field(default=False, compare=False)  # widened or not, it is the same pair
    look_alikes: tuple[Box, ...] = field(default=(), compare=False)

    def read(self) -> "LabelledPhotograph":
        """Raises ValueError, naming the file, if it cannot be read or the mask does not fit the photograph."""
        try:
            image_hwc_u8 = decode(self.image_path.read_bytes())
        except RequestError as error:
            raise ValueError(f"{self.image_path}: {error}") from error
        try:
            mask_hw_u8 = read_mask(self.mask_path.read_bytes(), image_hwc_u8.shape[:2]).astype(np.uint8)
        except (RequestError, OSError) as error:
            raise ValueError(f"{self.mask_path}: {error}") from error
        if self.is_widened:
            mask_hw_u8 = np.asarray(cv2.dilate(mask_hw_u8, _CROSS), np.uint8)
        if self.enlargement > 1:
            size_wh = tuple(side * self.enlargement for side in mask_hw_u8.shape[::-1])
            image_hwc_u8 = np.asarray(cv2.resize(image_hwc_u8, size_wh, interpolation=cv2.INTER_CUBIC), np.uint8)
            mask_hw_u8 = np.asarray(cv2.resize(mask_hw_u8, size_wh, interpolation=cv2.INTER_NEAREST), np.uint8)
        boxes = np.array(self.look_alikes, int).reshape(-1, 4) * self.enlargement
        return LabelledPhotograph(image_hwc_u8, mask_hw_u8 > 0, tuple(map(tuple, boxes.tolist())))

    def encoded(self) -> bytes:
        """The photograph as a file: its own bytes or, enlarged, a PNG."""
        if self.enlargement == 1:
            return self.image_path.read_bytes()
        return bytes(cv2.imencode(".png", cv2.cvtColor(self.read().image_hwc_u8, cv2.COLOR_RGB2BGR))[1])


@dataclass(frozen=True)
class LabelledPhotograph:
    """`image_hwc_u8`: uint8 (height, width, 3). `mask_hw`: bool (height, width), True on crack. `look_alikes`: where a person
    saw something that looks like a crack but isn't one.
    """

    image_hwc_u8: NDArray[np.uint8]
    mask_hw: NDArray[np.bool_]
    look_alikes: tuple[Box, ...] = ()


def read_pairs(data_dir: Path, set_names: Sequence[str], split: str) -> list[Pair]:
    """The pairs of one split (`train`, `val`, `test`) of the named sets.

    Raises:
        FileNotFoundError: a set is not in `data_dir`.
        ValueError: a set's `split.csv` or `look_alikes.csv` has other columns, or no pair of this split.
    """
    pairs: list[Pair] = []
    for set_name in set_names:
        index_path = data_dir / set_name / "split.csv"
        if not index_path.is_file():
            raise FileNotFoundError(
                f"{index_path} does not exist. Set CRACK_DATA_DIR (or --data) to the folder that holds the set {set_name!r}."
            )
        image, mask = (finder(index_path.parent / folder) for folder in ("images", "masks"))
        look_alikes: dict[Path, list[Box]] = defaultdict(list)
        if (marked := index_path.with_name(LOOK_ALIKES_FILE)).is_file():
            for row in read_rows(marked, LOOK_ALIKES_COLUMNS):
                box = (int(row["left"]), int(row["top"]), int(row["right"]), int(row["bottom"]))
                look_alikes[image(row["image"])].append(box)
        found = [
            Pair(
                set_name,
                image(row["image"]),
                mask(row["mask"]),
                row["split"],
                row["group"],
                look_alikes=tuple(look_alikes[image(row["image"])]),
            )
            for row in read_rows(index_path, SPLIT_COLUMNS)
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
    """The pairs that a model learns from, is chosen on and is judged by. Raises as `read_pairs` and `cut_by_group` do."""
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
    """Whether the pair's group belongs to the fold that is held out from this model."""
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
    """Set up a process that prepares data."""
    cv2.setNumThreads(0)  # the cores belong to the training
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the training decides when to stop


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--data`, the same for all commands."""
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
