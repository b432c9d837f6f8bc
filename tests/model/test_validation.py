"""Choosing a threshold over several sets."""

import numpy as np
import pytest

from model.metrics import Counts, count_levels
from model.validation import choose_threshold


def levels_of(probability: list[int], truth: list[int]) -> Counts:
    return count_levels(np.array([probability], np.uint8), np.array([truth], np.bool_))[None]


def test_the_threshold_is_best_for_the_mean_over_the_sets_and_not_for_the_largest() -> None:
    thick = levels_of([100] * 900 + [0] * 100, [1] * 900 + [0] * 100)  # any threshold up to 100
    thin = levels_of([200, 150, 0, 0], [1, 0, 0, 0])  # 151 to 200 for a perfect F1, .67 below
    choice = choose_threshold({"thick": thick, "thin": thin})
    assert choice.threshold * 255 <= 100
    assert choice.by_set == {"thick": 1, "thin": pytest.approx(2 / 3)}
    assert choice.score == pytest.approx((1 + 2 / 3) / 2)


def test_a_false_alarm_moves_the_threshold_above_it() -> None:
    cracked = levels_of([200] * 8 + [100, 0], [1] * 9 + [0])  # up to 100 for a perfect F1, .94 above
    quiet, loud = levels_of([0] * 500, [0] * 500), levels_of([120] * 500, [0] * 500)
    choice = choose_threshold({"cracked": cracked, "walls": np.concatenate([quiet, loud])})
    assert 120 < choice.threshold * 255 <= 200
    assert choice.by_set == {"cracked": pytest.approx(16 / 17), "walls": 1}


def test_only_thresholds_with_few_enough_false_alarms_are_considered() -> None:
    cracked = levels_of([200] * 100 + [140] * 5000 + [100] * 4900, [1] * 10000)
    walls = [levels_of([level] * 100 + [0] * 9900, [0] * 10000) for level in (120, 150)]
    levels = {"cracked": np.concatenate([cracked, *walls])}
    assert choose_threshold(levels).threshold * 255 <= 100
    assert 120 < choose_threshold(levels, 1).threshold * 255 <= 140
    assert 150 < choose_threshold(levels, 0).threshold * 255 <= 200


def test_without_any_crack_nothing_can_be_chosen() -> None:
    with pytest.raises(ValueError, match="No validation photograph of wall shows a crack"):
        choose_threshold({"wall": levels_of([3, 4], [0, 0])})
