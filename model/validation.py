"""Score a network on validation photographs and choose its threshold there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from model.dataset import LabelledPhotograph
from model.inference.segmenter import Segmenter
from model.metrics import Counts, count_levels, counts_at, false_alarms, pooled_scores


@dataclass(frozen=True)
class Choice:
    """A threshold, the mean over the sets of the F1 pooled within each, and each set's figure.

    The mean keeps the set with the widest cracks from deciding alone. A set without any crack has no part in it; its figure is
    the share of its photographs with a false alarm.
    """

    threshold: float
    f1: float
    by_set: dict[str, float]

    def __str__(self) -> str:
        sets = ", ".join(f"{name} {value:.4f}" for name, value in self.by_set.items())
        return f"F1 {self.f1:.4f} at threshold {self.threshold:.3f} ({sets})"


def validate(segmenter: Segmenter, photographs: Mapping[str, Sequence[LabelledPhotograph]]) -> Choice:
    """Predict the photographs of each set and choose the threshold with the best mean F1."""
    progress = tqdm(total=sum(map(len, photographs.values())), desc="validating", unit="photo", leave=False)
    levels: dict[str, list[Counts]] = {name: [] for name in photographs}
    with progress:
        for name, members in photographs.items():
            for photograph in members:
                levels[name].append(count_levels(segmenter.probability(photograph.image_hwc_u8), photograph.mask_hw))
                progress.update()
    return choose_threshold({name: np.stack(counted) for name, counted in levels.items()})


def choose_threshold(levels: Mapping[str, Counts]) -> Choice:
    """Choose by what `count_levels` counted, stacked by set. Raises ValueError if no set has a crack."""
    cracked = [name for name, counted in levels.items() if counted[:, 1].any()]
    if not cracked:
        raise ValueError(f"No validation photograph of {', '.join(levels)} shows a crack, expected one at least.")
    f1 = np.array([[pooled_scores(counts_at(levels[name], level)).f1 for name in cracked] for level in range(1, 255)])
    mean = f1.mean(axis=1)
    equals = np.flatnonzero(mean == mean.max())
    best = int(equals[(len(equals) - 1) // 2])  # the middle one, away from where F1 drops
    by_set = dict(zip(cracked, f1[best].tolist(), strict=True))
    for name in levels.keys() - by_set.keys():
        alarms = false_alarms(levels[name], best + 1)
        by_set[name] = alarms.n_with_alarm / alarms.n_photographs
    return Choice((best + 1) / 255, float(mean[best]), by_set)
