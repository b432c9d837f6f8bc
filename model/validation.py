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
    """A threshold, each set's figure there, and their mean, which is what a network and its threshold are chosen by.

    A set's figure is the F1 pooled over its photographs, or, in a set without any crack, the share of its photographs without a
    false alarm. The mean keeps the set with the widest cracks from deciding alone, and makes a false alarm cost.
    """

    threshold: float
    score: float
    by_set: dict[str, float]

    def __str__(self) -> str:
        sets = ", ".join(f"{name} {value:.4f}" for name, value in self.by_set.items())
        return f"{self.score:.4f} at threshold {self.threshold:.3f} ({sets})"


def validate(
    segmenter: Segmenter, photographs: Mapping[str, Sequence[LabelledPhotograph]], most_alarms: int | None = None
) -> Choice:
    """Predict the photographs of each set and choose the threshold as `choose_threshold` does."""
    progress = tqdm(total=sum(map(len, photographs.values())), desc="validating", unit="photo", leave=False)
    levels: dict[str, list[Counts]] = {name: [] for name in photographs}
    with progress:
        for name, members in photographs.items():
            for photograph in members:
                levels[name].append(count_levels(segmenter.probability(photograph.image_hwc_u8), photograph.mask_hw))
                progress.update()
    return choose_threshold({name: np.stack(counted) for name, counted in levels.items()}, most_alarms)


def choose_threshold(levels: Mapping[str, Counts], most_alarms: int | None = None) -> Choice:
    """Choose the threshold with the best mean figure by what `count_levels` counted, stacked by set.

    Args:
        most_alarms: crack-free photographs that may have a false alarm, in all sets together; where no threshold has so few,
            those with the fewest are considered.

    Raises:
        ValueError: no set has a crack.
    """
    if not any(counted[:, 1].any() for counted in levels.values()):
        raise ValueError(f"No validation photograph of {', '.join(levels)} shows a crack, expected at least one.")
    figures = np.array([[_figure(counted, level) for counted in levels.values()] for level in range(1, 255)])
    mean = figures.mean(axis=1)
    if most_alarms is not None:
        alarms = np.array([sum(_n_alarms(counted, level) for counted in levels.values()) for level in range(1, 255)])
        mean[alarms > max(most_alarms, alarms.min())] = -1
    equals = np.flatnonzero(mean == mean.max())
    best = int(equals[(len(equals) - 1) // 2])  # the middle one, away from where the mean drops
    return Choice((best + 1) / 255, float(mean[best]), dict(zip(levels, figures[best].tolist(), strict=True)))


def _figure(levels_n_2_256: Counts, threshold_u8: int) -> float:
    if levels_n_2_256[:, 1].any():
        return pooled_scores(counts_at(levels_n_2_256, threshold_u8)).f1
    alarms = false_alarms(levels_n_2_256, threshold_u8)
    return 1 - alarms.n_with_alarm / alarms.n_photographs


def _n_alarms(levels_n_2_256: Counts, threshold_u8: int) -> int:
    is_crack_free = ~levels_n_2_256[:, 1].any(axis=1)
    return false_alarms(levels_n_2_256, threshold_u8).n_with_alarm if is_crack_free.any() else 0
