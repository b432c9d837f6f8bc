"""Chooses training crops from photographs and their masks: where, how often, how changed.

Left to others: the photographs (`model.dataset`), and how a crop is cut and changed (`model.augmentation`).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from model.augmentation import change_look, cut, transplant
from model.dataset import LabelledPhotograph
from model.inference.card import threshold_level
from model.inference.segmenter import Segmenter
from model.params import AugmentationParams, TrainingParams

ALARM_WEIGHT = 3.0  # how often a photograph with a false alarm or a look-alike is chosen, compared with one without
LOOK_ALIKE_RATIO = 0.5  # share of the crops that are placed on look-alikes, where a photograph shows both them and cracks
Pixels = NDArray[np.intp]
"""Flat indices of some of a photograph's pixels."""
_NOWHERE: Pixels = np.zeros(0, np.intp)


class CropDataset(Dataset[tuple[Tensor, Tensor]]):
    """An endless, seeded sequence of augmented training crops.

    Draw number i is a function of i, the seed and the photographs alone: a training resumed at draw i goes on with the
    very crops that it would have seen, whatever the number of loader processes.

    Args:
        sets: the photographs of each set.
        shares: how often a set is drawn from, by its name and in proportion to the others' shares.
        alarms: for each set some of whose photographs show no crack, as `find_alarms` gives them: where the network that the
            training begins with is wrong. Those photographs are drawn `ALARM_WEIGHT` times as often, and there. So are those in
            which a person marked look-alikes; where these show cracks as well, half of the crops are placed on either.
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
        centre = _centre(rng, photograph, is_on_crack, alarms)
        return cut(photograph.image_hwc_u8, photograph.mask_hw, self._training.crop_px, centre, self._augmentation, rng)


def _normalised(shares: Sequence[float]) -> NDArray[np.float64]:
    return np.array(shares) / sum(shares)


def _centre(rng: np.random.Generator, photograph: LabelledPhotograph, is_on_crack: bool, alarms: Pixels) -> tuple[float, float]:
    """Row and column to place a crop around: if asked for, on a crack or a look-alike or, without any, on a false alarm."""
    height, width = photograph.mask_hw.shape
    if is_on_crack:
        pixels = np.flatnonzero(photograph.mask_hw)
        if photograph.look_alikes and (not len(pixels) or rng.random() < LOOK_ALIKE_RATIO):
            left, top, right, bottom = photograph.look_alikes[rng.integers(len(photograph.look_alikes))]
            return rng.uniform(top, bottom - 1), rng.uniform(left, right - 1)
        pixels = pixels if len(pixels) else alarms
        if len(pixels):
            row, column = divmod(int(rng.choice(pixels)), width)
            return float(row), float(column)
    return rng.uniform(0, height - 1), rng.uniform(0, width - 1)


class _Set:
    """The photographs of one set, those with a false alarm or a look-alike drawn more often."""

    def __init__(self, photographs: Sequence[LabelledPhotograph], alarms: Sequence[Pixels]) -> None:
        self._photographs = photographs
        self._alarms = alarms or [_NOWHERE] * len(photographs)
        marked = zip(photographs, self._alarms, strict=True)
        self._chances = _normalised([ALARM_WEIGHT if len(pixels) or photo.look_alikes else 1 for photo, pixels in marked])

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
