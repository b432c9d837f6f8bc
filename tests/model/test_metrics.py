"""The figures of `model.metrics`, against cases counted by hand and against direct boolean arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from model.metrics import (
    Counts,
    FalseAlarms,
    Report,
    Scores,
    alarm_curve,
    auroc,
    average_precision,
    bootstrap_interval,
    cl_dice,
    count_levels,
    count_near,
    count_skeletons,
    counts_at,
    false_alarms,
    near_f1,
    ods,
    ois,
    pooled_scores,
    precision_recall_curve,
    report,
    scores_at,
)


def levels_of(*photographs: tuple[object, object]) -> Counts:
    """Stack the levels of photographs given as one-row lists: probabilities in 0..255, truth in 0 and 1."""
    return np.stack([count_levels(np.array([p], np.uint8), np.array([t], np.bool_)) for p, t in photographs])


def random_photographs(n: int, seed: int) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Draw noise photographs of 24x32 with brighter crack pixels, each with its own share of cracks."""
    rng = np.random.default_rng(seed)
    photographs = []
    for _ in range(n):
        mask_hw = rng.random((24, 32)) < rng.uniform(0.05, 0.4)
        prob_hw = rng.normal(90 + 80 * mask_hw, rng.uniform(20, 70))
        photographs.append((np.clip(prob_hw, 0, 255).astype(np.uint8), mask_hw))
    return photographs


@pytest.fixture(scope="module")
def noisy_levels() -> Counts:
    return np.stack([count_levels(*photograph) for photograph in random_photographs(20, seed=1)])


def line_mask(top: int, thickness: int = 1) -> NDArray[np.bool_]:
    mask_hw = np.zeros((40, 80), np.bool_)
    mask_hw[top : top + thickness, 10:70] = True
    return mask_hw


def skeletons_of(*pairs: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> Counts:
    return np.array([count_skeletons(predicted, true) for predicted, true in pairs], np.int64)


def test_levels_hold_every_pixel_once_by_truth_and_level() -> None:
    levels_2_256 = count_levels(np.array([[0, 7], [255, 7]], np.uint8), np.array([[0, 1], [1, 0]], np.bool_))
    expected = np.zeros((2, 256), np.int64)
    expected[0, [0, 7]] = 1
    expected[1, [255, 7]] = 1
    assert levels_2_256.dtype == np.int64
    np.testing.assert_array_equal(levels_2_256, expected)


def test_counting_names_both_shapes_when_they_differ() -> None:
    with pytest.raises(ValueError, match=r"\(4, 6\).*\(6, 4\)"):
        count_levels(np.zeros((4, 6), np.uint8), np.zeros((6, 4), np.bool_))


def test_counting_refuses_a_mask_of_0_and_255() -> None:
    with pytest.raises(ValueError, match=r"uint8 \(truth\), expected uint8 and bool"):
        count_levels(np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8))


def test_counting_refuses_probabilities_from_0_to_1() -> None:
    with pytest.raises(ValueError, match=r"float32 \(prediction\) .* expected uint8"):
        count_levels(np.zeros((4, 6), np.float32), np.zeros((4, 6), np.bool_))


def test_scores_of_a_small_case_are_those_counted_by_hand() -> None:
    levels = levels_of(([200, 200, 200, 10, 10, 10], [1, 1, 0, 1, 1, 0]))  # 2 hits, 1 false, 2 missed
    assert scores_at(levels, 128) == Scores(precision=2 / 3, recall=2 / 4, f1=4 / 7, iou=2 / 5)


def test_a_level_equal_to_the_threshold_is_called_crack() -> None:
    assert counts_at(levels_of(([100, 100], [1, 0])), 100).tolist() == [[1, 1, 0]]


def test_a_level_just_below_the_threshold_is_not_called_crack() -> None:
    assert counts_at(levels_of(([100, 100], [1, 0])), 101).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("threshold_u8", [-1, 0, 0.5, 256])
def test_a_threshold_outside_1_to_255_is_refused(threshold_u8: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 255"):
        scores_at(levels_of(([100], [1])), threshold_u8)


def test_levels_of_a_single_photograph_must_be_stacked_first() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 256\), expected \(n, 2, 256\)"):
        scores_at(np.zeros((2, 256), np.int64), 128)


def test_scores_of_no_photographs_are_refused() -> None:
    with pytest.raises(ValueError, match="n >= 1"):
        scores_at(np.zeros((0, 2, 256), np.int64), 128)


def test_pooled_f1_weighs_pixels_and_not_photographs() -> None:
    found, lost = ([255] * 9, [1] * 9), ([0], [1])  # F1 of 1 and of 0, nine pixels and one
    assert scores_at(levels_of(found, lost), 128).f1 == pytest.approx(18 / 19)


@pytest.mark.parametrize("threshold_u8", [1, 64, 128, 129, 255])
def test_scores_agree_with_boolean_arithmetic_on_the_pixels(threshold_u8: int) -> None:
    photographs = random_photographs(6, seed=2)
    called = np.concatenate([prob.ravel() >= threshold_u8 for prob, _ in photographs])
    true = np.concatenate([mask.ravel() for _, mask in photographs])
    precision, recall = true[called].mean(), called[true].mean()
    scores = scores_at(np.stack([count_levels(*photograph) for photograph in photographs]), threshold_u8)
    assert (scores.precision, scores.recall) == pytest.approx((precision, recall))
    assert scores.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert scores.iou == pytest.approx((called & true).sum() / (called | true).sum())


def test_nothing_true_and_nothing_called_scores_1() -> None:
    assert scores_at(levels_of(([0, 0], [0, 0])), 128) == Scores(1.0, 1.0, 1.0, 1.0)


def test_a_network_that_finds_nothing_has_precision_1_and_f1_0() -> None:
    assert scores_at(levels_of(([0, 0], [1, 0])), 128) == Scores(precision=1.0, recall=0.0, f1=0.0, iou=0.0)


def test_one_wrong_pixel_on_a_crack_free_photograph_makes_f1_0() -> None:
    assert scores_at(levels_of(([255, 0], [0, 0])), 128) == Scores(precision=0.0, recall=1.0, f1=0.0, iou=0.0)


def test_ods_is_the_highest_pooled_f1_of_all_thresholds(noisy_levels: Counts) -> None:
    best, _ = ods(noisy_levels)
    assert best.f1 == max(scores_at(noisy_levels, threshold_u8).f1 for threshold_u8 in range(1, 256))


def test_ods_scores_are_those_at_its_threshold(noisy_levels: Counts) -> None:
    best, threshold_u8 = ods(noisy_levels)
    assert best == scores_at(noisy_levels, threshold_u8)


def test_ods_takes_the_middle_of_equally_good_thresholds() -> None:
    _, threshold_u8 = ods(levels_of(([100, 201], [0, 1])))  # 101 to 201 are perfect
    assert threshold_u8 == 151


def test_ods_takes_the_lower_of_two_equally_good_thresholds() -> None:
    _, threshold_u8 = ods(levels_of(([100, 102], [0, 1])))
    assert threshold_u8 == 101


def test_ods_of_an_all_black_map_is_0_since_threshold_0_is_no_choice() -> None:
    best, threshold_u8 = ods(levels_of(([0, 0], [1, 0])))
    assert (best.f1, threshold_u8) == (0.0, 128)


def test_ois_lets_every_photograph_choose_its_threshold() -> None:
    levels = levels_of(([50, 40], [1, 0]), ([200, 190], [1, 0]))  # no one threshold suits both
    assert ods(levels)[0].f1 < 1
    assert ois(levels) == 1.0


def test_ois_is_the_mean_of_each_photographs_best_f1(noisy_levels: Counts) -> None:
    assert ois(noisy_levels) == pytest.approx(np.mean([ods(one[np.newaxis])[0].f1 for one in noisy_levels]))


def test_ois_is_at_least_the_mean_f1_at_the_ods_threshold(noisy_levels: Counts) -> None:
    _, threshold_u8 = ods(noisy_levels)
    assert ois(noisy_levels) >= np.mean([scores_at(one[np.newaxis], threshold_u8).f1 for one in noisy_levels])


def test_ois_leaves_crack_free_photographs_out() -> None:
    cracked, crack_free = ([200, 200, 0], [1, 0, 0]), ([0, 0, 0], [0, 0, 0])
    assert ois(levels_of(cracked, crack_free)) == ois(levels_of(cracked)) == pytest.approx(2 / 3)


def test_ois_of_an_all_black_map_is_0_since_threshold_0_is_no_choice() -> None:
    assert ois(levels_of(([0, 0], [1, 0]))) == 0.0


def test_the_curve_holds_precision_and_recall_at_every_threshold(noisy_levels: Counts) -> None:
    thresholds, precision, recall = precision_recall_curve(noisy_levels)
    expected = [scores_at(noisy_levels, int(threshold_u8)) for threshold_u8 in thresholds[:-1]]
    np.testing.assert_allclose(precision[:-1], [scores.precision for scores in expected])
    np.testing.assert_allclose(recall[:-1], [scores.recall for scores in expected])


def test_the_curve_ends_where_all_is_called_crack(noisy_levels: Counts) -> None:
    thresholds, precision, recall = precision_recall_curve(noisy_levels)
    prevalence = noisy_levels[:, 1].sum() / noisy_levels.sum()
    assert (thresholds[0], thresholds[-1], recall[-1]) == (255, 0, 1.0)
    assert precision[-1] == pytest.approx(prevalence)


def test_average_precision_of_a_perfect_map_is_1() -> None:
    assert average_precision(levels_of(([255, 130, 129, 0], [1, 1, 0, 0]))) == 1.0


def test_average_precision_of_a_small_case_is_that_counted_by_hand() -> None:
    levels = levels_of(([240, 180, 120, 60], [1, 0, 1, 0]))  # half the recall at precision 1, half at 2/3
    assert average_precision(levels) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_average_precision_of_a_random_map_is_about_the_share_of_cracks() -> None:
    rng = np.random.default_rng(3)
    prob_hw_u8 = rng.integers(256, size=(400, 400), dtype=np.uint8)
    mask_hw = rng.random((400, 400)) < 0.1
    levels = count_levels(prob_hw_u8, mask_hw)[np.newaxis]
    assert average_precision(levels) == pytest.approx(mask_hw.mean(), rel=0.05)


def test_average_precision_of_an_all_black_map_is_the_share_of_cracks() -> None:
    assert average_precision(levels_of(([0, 0, 0, 0], [1, 0, 0, 0]))) == 1 / 4


@pytest.mark.parametrize("figure", [ods, ois, average_precision, precision_recall_curve])
def test_figures_that_need_a_crack_refuse_a_set_without(figure: Callable[[Counts], object]) -> None:
    with pytest.raises(ValueError, match="None of 2 photographs holds a crack"):
        figure(levels_of(([0, 9], [0, 0]), ([200, 9], [0, 0])))


def test_cl_dice_of_identical_lines_is_1() -> None:
    assert cl_dice(skeletons_of((line_mask(20), line_mask(20)))) == 1.0


def test_cl_dice_of_lines_far_apart_is_0() -> None:
    assert cl_dice(skeletons_of((line_mask(5), line_mask(30)))) == 0.0


def test_cl_dice_forgives_a_thicker_prediction_that_f1_does_not() -> None:
    thick, thin = line_mask(18, thickness=5), line_mask(20)
    f1 = scores_at(count_levels(thick.astype(np.uint8) * 255, thin)[np.newaxis], 128).f1
    assert f1 < 0.5
    assert cl_dice(skeletons_of((thick, thin))) > 0.95


def test_cl_dice_of_half_a_line_loses_half_the_sensitivity() -> None:
    half = line_mask(20)
    half[:, 40:] = False  # 30 of 60 pixels: precision 1, sensitivity 1/2
    assert cl_dice(skeletons_of((half, line_mask(20)))) == pytest.approx(2 / 3)


def test_cl_dice_pools_skeletons_over_photographs() -> None:
    found = (line_mask(20), line_mask(20))
    short = np.zeros((40, 80), np.bool_)
    short[20, 10:30] = True
    lost = (np.zeros((40, 80), np.bool_), short)  # 60 of 80 true pixels found, all 60 predicted ones right
    assert cl_dice(skeletons_of(found, lost)) == pytest.approx(2 * 0.75 / 1.75)


def test_cl_dice_of_an_empty_prediction_is_0() -> None:
    assert cl_dice(skeletons_of((np.zeros((40, 80), np.bool_), line_mask(20)))) == 0.0


def test_cl_dice_of_nothing_true_and_nothing_predicted_is_1() -> None:
    empty = np.zeros((40, 80), np.bool_)
    assert cl_dice(skeletons_of((empty, empty))) == 1.0


def test_skeleton_counts_come_in_the_order_that_is_stated() -> None:
    half = line_mask(20)
    half[:, 40:] = False
    assert count_skeletons(half, line_mask(20)) == (30, 30, 30, 60)


def test_a_predicted_line_counts_anywhere_inside_the_truth_not_only_on_its_skeleton() -> None:
    at_the_edge, thick = line_mask(18), line_mask(18, thickness=5)
    kept, n_predicted, found, _ = count_skeletons(at_the_edge, thick)
    assert (kept, n_predicted, found) == (60, 60, 0)


def test_skeletons_of_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 6\).*\(6, 4\)"):
        count_skeletons(np.zeros((4, 6), np.bool_), np.zeros((6, 4), np.bool_))


def test_cl_dice_refuses_the_counts_of_a_single_photograph_unstacked() -> None:
    with pytest.raises(ValueError, match=r"expected \(n, 4\)"):
        cl_dice(np.array([1, 1, 1, 1]))


def f1_of(counts_n_3: Counts) -> float:
    return pooled_scores(counts_n_3).f1


def test_the_bootstrap_interval_holds_the_value(noisy_levels: Counts) -> None:
    counts = counts_at(noisy_levels, 128)
    low, high = bootstrap_interval(f1_of, counts)
    assert low < f1_of(counts) < high


def test_the_bootstrap_interval_shrinks_with_more_photographs(noisy_levels: Counts) -> None:
    few = counts_at(noisy_levels, 128)
    low_few, high_few = bootstrap_interval(f1_of, few)
    low_many, high_many = bootstrap_interval(f1_of, np.tile(few, (16, 1)))
    assert high_many - low_many < (high_few - low_few) / 2  # 16 times as many: about a quarter


def test_the_bootstrap_interval_is_the_same_for_the_same_photographs(noisy_levels: Counts) -> None:
    counts = counts_at(noisy_levels, 128)
    assert bootstrap_interval(f1_of, counts) == bootstrap_interval(f1_of, counts)


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(4).integers(0, 1000, size=400)
    error = values.std() / 400**0.5
    low, high = bootstrap_interval(lambda drawn: float(drawn.mean()), values)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_the_bootstrap_refuses_no_photographs() -> None:
    with pytest.raises(ValueError, match="No photographs"):
        bootstrap_interval(f1_of, np.zeros((0, 3), np.int64))


def test_false_alarms_are_counted_on_crack_free_photographs_alone() -> None:
    cracked = ([255] * 9 + [0], [1] + [0] * 9)
    quiet, loud = ([0] * 10, [0] * 10), ([255] * 4 + [0] * 6, [0] * 10)
    alarms = false_alarms(levels_of(cracked, quiet, loud), 128, min_pixels=3)
    assert alarms == FalseAlarms(n_photographs=2, n_with_alarm=1, area_ratio=4 / 20)


def test_a_false_alarm_begins_at_the_least_number_of_pixels() -> None:
    levels = levels_of(([255] * 4 + [0] * 6, [0] * 10))
    alarms = [false_alarms(levels, 128, min_pixels=n).n_with_alarm for n in (4, 5)]
    assert alarms == [1, 0]


def test_false_alarms_refuse_a_set_where_every_photograph_holds_a_crack() -> None:
    with pytest.raises(ValueError, match="All 1 photographs hold a crack"):
        false_alarms(levels_of(([255], [1])), 128)


@pytest.fixture(scope="module")
def noisy_report(noisy_levels: Counts) -> Report:
    skeletons = skeletons_of(*[(prob >= 102, mask) for prob, mask in random_photographs(20, seed=1)])
    return report(noisy_levels, skeletons, 102)


def test_the_report_holds_the_scores_at_its_threshold(noisy_report: Report, noisy_levels: Counts) -> None:
    found = Scores(noisy_report.precision, noisy_report.recall, noisy_report.f1, noisy_report.iou)
    assert found == scores_at(noisy_levels, 102)


def test_the_report_gives_thresholds_as_probabilities(noisy_report: Report, noisy_levels: Counts) -> None:
    assert (noisy_report.threshold, noisy_report.ods_threshold) == (0.4, ods(noisy_levels)[1] / 255)


@pytest.mark.parametrize("name", ["f1", "iou", "precision", "recall"])
def test_the_intervals_of_the_report_hold_their_values(noisy_report: Report, name: str) -> None:
    low, high = getattr(noisy_report, f"{name}_interval")
    assert low < getattr(noisy_report, name) < high


def test_the_report_survives_json(noisy_report: Report) -> None:
    found = json.loads(json.dumps(noisy_report.to_dict(), allow_nan=False))
    assert found["n_photographs"] == 20
    assert found["f1_interval"] == list(noisy_report.f1_interval)


def test_the_report_as_markdown_is_one_table_with_the_conditions_below(noisy_report: Report) -> None:
    table, conditions = noisy_report.to_markdown().strip().split("\n\n")
    assert {line.count("|") for line in table.splitlines()} == {4}
    assert "| figure | value | 95% interval |" in table
    assert f"| F1 | {noisy_report.f1:.3f} | " in table
    assert conditions == "20 photographs, threshold 0.400, counts pooled, no boundary tolerance."


def test_the_report_refuses_skeletons_of_other_photographs(noisy_levels: Counts) -> None:
    with pytest.raises(ValueError, match="levels of 20 photographs and skeletons of 1"):
        report(noisy_levels, np.ones((1, 4), np.int64), 102)


# Beside the strict figures


def test_a_line_beside_the_crack_is_forgiven_within_the_tolerance_alone() -> None:
    truth, beside = np.zeros((40, 40), np.bool_), np.zeros((40, 40), np.bool_)
    truth[20], beside[22] = True, True
    assert near_f1(np.array([count_near(beside, truth, 2)])) == 1
    assert near_f1(np.array([count_near(beside, truth, 1)])) == 0
    assert count_near(beside, truth, 1) == (0, 40, 0, 40)


def test_auroc_is_how_often_a_cracked_photograph_scores_higher() -> None:
    assert auroc(np.array([0.9, 0.5]), np.array([0.1, 0.5])) == (1 + 1 + 1 + 0.5) / 4
    with pytest.raises(ValueError, match="0 photographs with a crack and 1 without"):
        auroc(np.array([]), np.array([0.5]))


def test_the_curve_of_alarms_has_recall_and_alarms_at_every_threshold() -> None:
    levels = np.zeros((2, 2, 256), np.int64)
    levels[0, 1, 200], levels[0, 0, 0] = 50, 950  # a crack seen at level 200
    levels[1, 0, 90], levels[1, 0, 0] = 100, 900  # an alarm up to level 90
    recall, alarms = alarm_curve(levels)
    assert recall.tolist() == [1.0] * 200 + [0.0] * 55
    assert alarms.tolist() == [1.0] * 90 + [0.0] * 165
