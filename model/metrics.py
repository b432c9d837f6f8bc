"""Score crack probability maps against true masks over a set of photographs, without torch.

Running the network, quantising its output, choosing the threshold and storing the figures are left to others.

Each photograph is reduced once, by `count_levels`, to two histograms of its 256 probability levels. Stacked,
they are `levels_n_2_256` (int64; axis 1: 0 = background, 1 = crack pixels), and every figure at any threshold
is a pure function of that array; clDice needs shapes as well, see `count_skeletons`. A pixel is called crack
when its level >= `threshold_u8`, 1 to 255. Matching is strict: no boundary tolerance.

Where a ratio is 0/0:
- Precision with nothing called crack and recall with no crack in truth are 1: nothing was wrong or missed.
  F1, IoU and clDice are 1 when both are empty. So a network that finds nothing has precision 1, though F1 0:
  never read precision alone. And one wrong pixel on a crack-free photograph takes its F1 from 1 to 0.
- What would mean nothing raises ValueError: ODS, OIS, average precision and the curve when no photograph
  holds a crack, false alarms when every photograph holds one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import isotropic_dilation, skeletonize

Counts: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
Curve: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]

N_LEVELS = 256
CONFIDENCE = 0.95
N_RESAMPLES = 1000


@dataclass(frozen=True)
class Scores:
    """Pixel scores of the crack class, each from 0 to 1."""

    precision: float
    recall: float
    f1: float
    iou: float


@dataclass(frozen=True)
class FalseAlarms:
    """What was called crack on photographs that show none; `area_ratio` is its share of all their pixels."""

    n_photographs: int
    n_with_alarm: int
    area_ratio: float


@dataclass(frozen=True)
class Report:
    """The figures of one set of photographs; thresholds are levels / 255, intervals (low, high) at 95 %."""

    n_photographs: int
    threshold: float
    f1: float
    f1_interval: Interval
    iou: float
    iou_interval: Interval
    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    ods_f1: float
    ods_threshold: float
    ois_f1: float
    average_precision: float
    cl_dice: float

    def to_dict(self) -> dict[str, int | float | Interval]:
        """Return the fields by name, ready for `json.dumps`, which writes an interval as a list."""
        return asdict(self)

    def rows(self) -> list[tuple[str, float, Interval | None]]:
        """Return name, value and interval of each figure."""
        return [
            ("F1", self.f1, self.f1_interval),
            ("crack IoU", self.iou, self.iou_interval),
            ("precision", self.precision, self.precision_interval),
            ("recall", self.recall, self.recall_interval),
            (f"F1 at the best threshold, {self.ods_threshold:.3f} (ODS)", self.ods_f1, None),
            ("mean F1 at each photograph's best threshold (OIS)", self.ois_f1, None),
            ("average precision", self.average_precision, None),
            ("clDice", self.cl_dice, None),
        ]

    def to_markdown(self) -> str:
        """Return a table of the figures and, below it, the conditions that they were measured under."""
        lines = [f"| figure | value | {CONFIDENCE:.0%} interval |", "|---|---|---|"]
        for name, value, interval in self.rows():
            spread = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
            lines.append(f"| {name} | {value:.3f} | {spread} |")
        conditions = f"{self.n_photographs} photographs, threshold {self.threshold:.3f}"
        return "\n".join([*lines, "", f"{conditions}, counts pooled, no boundary tolerance."]) + "\n"


def count_levels(prob_hw_u8: NDArray[np.uint8], mask_hw: Mask) -> Counts:
    """Count one photograph's pixels by truth and level; returns int64 of shape (2, 256), background first.

    `prob_hw_u8` is uint8, 255 = certain crack; `mask_hw` is boolean, True = crack, and of the same shape.
    Raises ValueError when types or shapes are others.
    """
    _require_pair(prob_hw_u8, mask_hw, np.uint8)
    of_all = np.bincount(prob_hw_u8.ravel(), minlength=N_LEVELS)
    of_crack = np.bincount(prob_hw_u8[mask_hw], minlength=N_LEVELS)
    return np.stack([of_all - of_crack, of_crack]).astype(np.int64)


def counts_at(levels_n_2_256: Counts, threshold_u8: int) -> Counts:
    """Count true positive, false positive and missed pixels per photograph; returns int64 of shape (n, 3).

    Raises ValueError for levels of another shape or a threshold outside 1..255.
    """
    _require_levels(levels_n_2_256)
    if not 1 <= threshold_u8 < N_LEVELS:
        raise ValueError(f"threshold_u8 is {threshold_u8!r}, expected a level from 1 to 255.")
    called = levels_n_2_256[:, :, threshold_u8:].sum(axis=2)
    missed = levels_n_2_256[:, 1, :threshold_u8].sum(axis=1)
    return np.stack([called[:, 1], called[:, 0], missed], axis=1)


def pooled_scores(counts_n_3: Counts) -> Scores:
    """Score counts from `counts_at`, added over photographs first: every pixel weighs the same."""
    hits, false, missed = counts_n_3.sum(axis=0)
    precision, recall, f1 = _precision_recall_f1(hits, false, missed)
    return Scores(float(precision), float(recall), float(f1), float(_ratio(hits, hits + false + missed)))


def scores_at(levels_n_2_256: Counts, threshold_u8: int) -> Scores:
    """Score all photographs together at one threshold; raises as `counts_at` does."""
    return pooled_scores(counts_at(levels_n_2_256, threshold_u8))


def ods(levels_n_2_256: Counts) -> tuple[Scores, int]:
    """Return the pooled scores at the single threshold with the best pooled F1, and that `threshold_u8`.

    Optimal dataset scale (Arbelaez et al., PAMI 2011), here without tolerance. Of the thresholds that share
    the best F1 it is the middle one (of two, the lower), away from where F1 drops. Raises ValueError without
    crack.
    """
    _require_levels(levels_n_2_256, needs_crack=True)
    _, _, f1 = _curves(levels_n_2_256.sum(axis=0))
    best = np.flatnonzero(f1[1:] == f1[1:].max()) + 1
    threshold_u8 = int(best[(len(best) - 1) // 2])
    return scores_at(levels_n_2_256, threshold_u8), threshold_u8


def ois(levels_n_2_256: Counts) -> float:
    """Return the mean over photographs of each one's F1 at its own best threshold.

    Optimal image scale (Arbelaez et al., PAMI 2011), as the mean of F1 that crack papers report (Yang et al.,
    FPHBN, 2019); Arbelaez et al. pool counts. Short cracks weigh as much as long ones: it can be below ODS.
    Crack-free photographs are left out, as recall means nothing there. Raises ValueError if none remains.
    """
    _require_levels(levels_n_2_256, needs_crack=True)
    has_crack = levels_n_2_256[:, 1].any(axis=1)
    _, _, f1 = _curves(levels_n_2_256[has_crack])
    return float(f1[:, 1:].max(axis=1).mean())


def precision_recall_curve(levels_n_2_256: Counts) -> tuple[Counts, Curve, Curve]:
    """Return thresholds 255 down to 0 with pooled precision and recall at each, of shape (256,).

    Threshold 0 closes the curve: all is called crack, recall 1. Raises ValueError without crack.
    """
    _require_levels(levels_n_2_256, needs_crack=True)
    precision, recall, _ = _curves(levels_n_2_256.sum(axis=0))
    return np.arange(N_LEVELS, dtype=np.int64)[::-1], precision[::-1], recall[::-1]


def average_precision(levels_n_2_256: Counts) -> float:
    """Return the sum of (R_k - R_(k-1)) P_k over falling thresholds k, pooled, without interpolation.

    Zhu, "Recall, precision and average precision", 2004. A map of one level scores the share of crack pixels.
    Raises ValueError without crack.
    """
    _, precision, recall = precision_recall_curve(levels_n_2_256)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def count_skeletons(predicted_hw: Mask, true_hw: Mask) -> tuple[int, int, int, int]:
    """Count skeleton pixels of one photograph for clDice, from two boolean masks of one shape.

    Returns the prediction's skeleton inside the truth, all of it, the truth's skeleton inside the prediction,
    all of it. Raises ValueError when types or shapes are others.
    """
    _require_pair(predicted_hw, true_hw, np.bool_)
    predicted_line: Mask = skeletonize(predicted_hw)  # type: ignore[no-untyped-call]  # scikit-image 0.26
    true_line: Mask = skeletonize(true_hw)  # type: ignore[no-untyped-call]  # types only a part of itself
    kept, found = np.count_nonzero(predicted_line & true_hw), np.count_nonzero(true_line & predicted_hw)
    return int(kept), int(np.count_nonzero(predicted_line)), int(found), int(np.count_nonzero(true_line))


def cl_dice(skeletons_n_4: Counts) -> float:
    """Return clDice of `count_skeletons` rows, added over photographs first: long cracks weigh more.

    2 Tprec Tsens / (Tprec + Tsens), Tprec = |S_P in V_L| / |S_P|, Tsens = |S_L in V_P| / |S_L| (Shit et al.,
    CVPR 2021, who average over images). Raises ValueError for another shape.
    """
    if skeletons_n_4.ndim != 2 or skeletons_n_4.shape[0] == 0 or skeletons_n_4.shape[1] != 4:
        raise ValueError(f"Skeleton counts have shape {skeletons_n_4.shape}, expected (n, 4) with n >= 1.")
    return _harmonic_mean(skeletons_n_4)


def count_near(predicted_hw: Mask, true_hw: Mask, tolerance_px: float) -> tuple[int, int, int, int]:
    """Count pixels of one photograph for an F1 that forgives a line drawn beside the crack.

    Returns predicted pixels within `tolerance_px` of the truth, all predicted ones, those of the truth within it of the
    prediction, all of the truth. Raises ValueError when types or shapes are others.
    """
    _require_pair(predicted_hw, true_hw, np.bool_)
    kept = np.count_nonzero(predicted_hw & isotropic_dilation(true_hw, tolerance_px))  # type: ignore[no-untyped-call]
    found = np.count_nonzero(true_hw & isotropic_dilation(predicted_hw, tolerance_px))  # type: ignore[no-untyped-call]
    return int(kept), int(np.count_nonzero(predicted_hw)), int(found), int(np.count_nonzero(true_hw))


def near_f1(near_n_4: Counts) -> float:
    """Return the F1 of `count_near` rows, added over photographs first. It isn't comparable with the strict figures."""
    return _harmonic_mean(near_n_4)


def auroc(of_cracked: Curve, of_crack_free: Curve) -> float:
    """Return how often a photograph with a crack scores higher than one without; a tie counts half.

    The area under the ROC curve, as the statistic of Mann and Whitney (Hanley and McNeil, Radiology 143, 1982). Raises
    ValueError where either kind is missing.
    """
    if not len(of_cracked) or not len(of_crack_free):
        raise ValueError(f"{len(of_cracked)} photographs with a crack and {len(of_crack_free)} without, expected some of both.")
    difference = np.asarray(of_cracked)[:, None] - np.asarray(of_crack_free)[None]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def alarm_curve(levels_n_2_256: Counts, min_pixels: int = 100) -> tuple[Curve, Curve]:
    """Return for thresholds 1 to 255 the pooled recall, and the share of crack-free photographs with an alarm.

    Raises ValueError where no photograph, or every one, shows a crack.
    """
    _require_levels(levels_n_2_256, needs_crack=True)
    _, recall, _ = _curves(levels_n_2_256.sum(axis=0))
    alarms = [false_alarms(levels_n_2_256, level, min_pixels) for level in range(1, N_LEVELS)]
    return recall[1:], np.array([found.n_with_alarm / found.n_photographs for found in alarms])


def bootstrap_interval(statistic: Callable[[Counts], float], per_image: Counts) -> Interval:
    """Return the percentile interval (low, high) of `statistic` over photographs drawn with replacement: CONFIDENCE of the
    draws are in it. The same photographs give the same interval.

    `per_image` has a row per photograph on axis 0; every resample copies it, so give the smallest that will
    do: `counts_at` rather than levels. Percentile method: Efron & Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 13. It shows the spread over photographs, not over trainings. Raises ValueError
    for no rows.
    """
    n_photographs = len(per_image)
    if n_photographs == 0:
        raise ValueError("No photographs to draw from, expected at least one row on axis 0.")
    rng = np.random.default_rng(0)
    draws = (rng.integers(n_photographs, size=n_photographs) for _ in range(N_RESAMPLES))
    values = [statistic(per_image[draw]) for draw in draws]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def false_alarms(levels_n_2_256: Counts, threshold_u8: int, min_pixels: int = 100) -> FalseAlarms:
    """Count crack-free photographs with at least `min_pixels` pixels called crack, connected or not.

    Raises ValueError as `counts_at` does, and without a crack-free photograph, lest a check pass on no case.
    """
    called = counts_at(levels_n_2_256, threshold_u8)[:, 1]
    is_crack_free = ~levels_n_2_256[:, 1].any(axis=1)
    if not is_crack_free.any():
        raise ValueError(f"All {len(called)} photographs hold a crack, expected at least one without.")
    called = called[is_crack_free]
    area_ratio = float(called.sum() / levels_n_2_256[is_crack_free].sum())
    return FalseAlarms(len(called), int(np.count_nonzero(called >= min_pixels)), area_ratio)


def report(levels_n_2_256: Counts, skeletons_n_4: Counts, threshold_u8: int) -> Report:
    """Collect the figures at a threshold chosen elsewhere; both arrays have one row per photograph.

    `skeletons_n_4` must come from masks cut at the same threshold. Raises ValueError when the lengths differ,
    when no photograph holds a crack, and as `counts_at` does. False alarms are no part of it.
    """
    counts = counts_at(levels_n_2_256, threshold_u8)
    if len(skeletons_n_4) != len(counts):
        raise ValueError(f"Got levels of {len(counts)} photographs and skeletons of {len(skeletons_n_4)}.")
    interval = partial(bootstrap_interval, per_image=counts)
    scores = pooled_scores(counts)
    best_scores, best_threshold_u8 = ods(levels_n_2_256)
    return Report(
        n_photographs=len(counts),
        threshold=threshold_u8 / 255,
        f1=scores.f1,
        f1_interval=interval(lambda drawn: pooled_scores(drawn).f1),
        iou=scores.iou,
        iou_interval=interval(lambda drawn: pooled_scores(drawn).iou),
        precision=scores.precision,
        precision_interval=interval(lambda drawn: pooled_scores(drawn).precision),
        recall=scores.recall,
        recall_interval=interval(lambda drawn: pooled_scores(drawn).recall),
        ods_f1=best_scores.f1,
        ods_threshold=best_threshold_u8 / 255,
        ois_f1=ois(levels_n_2_256),
        average_precision=average_precision(levels_n_2_256),
        cl_dice=cl_dice(skeletons_n_4),
    )


def _harmonic_mean(counts_n_4: Counts) -> float:
    kept, n_predicted, found, n_true = counts_n_4.sum(axis=0)
    precision, recall = float(_ratio(kept, n_predicted)), float(_ratio(found, n_true))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _curves(levels_2_256: Counts) -> tuple[Curve, Curve, Curve]:
    """Return precision, recall and F1 at thresholds 0..255, last axis, of levels (2, 256) or (n, 2, 256)."""
    n_called = np.cumsum(levels_2_256[..., ::-1], axis=-1)[..., ::-1]
    hits, false = n_called[..., 1, :], n_called[..., 0, :]
    return _precision_recall_f1(hits, false, hits[..., :1] - hits)


def _precision_recall_f1(hits: Counts, false: Counts, missed: Counts) -> tuple[Curve, Curve, Curve]:
    f1 = _ratio(2 * hits, 2 * hits + false + missed)
    return _ratio(hits, hits + false), _ratio(hits, hits + missed), f1


def _ratio(part: Counts, whole: Counts) -> Curve:
    return np.divide(part, whole, out=np.ones(np.shape(whole)), where=np.greater(whole, 0))  # 0/0 is 1


def _require_pair(found_hw: NDArray[np.generic], true_hw: Mask, dtype: type[np.generic]) -> None:
    if found_hw.dtype != dtype or true_hw.dtype != np.bool_:
        expected = f"expected {dtype.__name__} and bool"
        raise ValueError(f"Types are {found_hw.dtype} (prediction) and {true_hw.dtype} (truth), {expected}.")
    if found_hw.ndim != 2 or found_hw.shape != true_hw.shape:
        expected = "expected one (height, width)"
        raise ValueError(f"Shapes are {found_hw.shape} (prediction) and {true_hw.shape} (truth), {expected}.")


def _require_levels(levels_n_2_256: Counts, *, needs_crack: bool = False) -> None:
    shape = levels_n_2_256.shape
    if len(shape) != 3 or shape[0] == 0 or shape[1:] != (2, N_LEVELS):
        raise ValueError(f"Levels have shape {shape}, expected (n, 2, {N_LEVELS}) with n >= 1.")
    if needs_crack and not levels_n_2_256[:, 1].any():
        raise ValueError(f"None of {shape[0]} photographs holds a crack, expected at least one that does.")
