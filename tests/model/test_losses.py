"""The losses, against values worked out by hand."""

import math

import pytest
import torch

from model.losses import dice_loss, segmentation_loss

TRUTH = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])


def test_dice_loss_of_even_odds() -> None:
    # overlap 0.5, sums of squares 4 * 0.25 and 1: 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert dice_loss(torch.zeros(1, 1, 2, 2), TRUTH, smooth=1).item() == pytest.approx(1 / 3)


def test_a_certain_and_right_prediction_costs_nothing() -> None:
    logits = (TRUTH * 2 - 1) * 50
    assert segmentation_loss(logits, TRUTH).item() == pytest.approx(0, abs=1e-6)


def test_a_certain_and_wrong_prediction_costs_most() -> None:
    logits = (1 - TRUTH * 2) * 50
    assert dice_loss(logits, TRUTH, smooth=1).item() == pytest.approx(1 - 1 / 5)
    assert segmentation_loss(logits, TRUTH).item() > 20


def test_a_false_alarm_costs_a_half_at_so_many_pixels_and_faint_doubt_next_to_nothing() -> None:
    clean = torch.zeros(1, 1, 100, 100)
    alarm = clean - 50
    alarm[..., :10, :10] = 50
    assert dice_loss(alarm, clean).item() == pytest.approx(0.5)
    assert dice_loss(clean - 6, clean).item() < 0.001  # a probability of 0.0025 everywhere


def test_a_thin_crack_weighs_as_much_as_a_wide_one() -> None:
    thin, wide = torch.zeros(2, 1, 200, 200).split(1)
    thin[..., :10], wide[..., :100] = 1, 1
    truth, missed = torch.cat([thin, wide]), torch.full((1, 1, 200, 200), -50.0)
    without_thin = dice_loss(torch.cat([missed, wide * 100 - 50]), truth)
    without_wide = dice_loss(torch.cat([thin * 100 - 50, missed]), truth)
    assert without_thin.item() == pytest.approx(without_wide.item(), abs=0.05)


@pytest.mark.parametrize(("dice_weight", "expected"), [(0.0, math.log(2)), (1.0, 1 / 102), (0.5, (math.log(2) + 1 / 102) / 2)])
def test_the_two_parts_are_weighed(dice_weight: float, expected: float) -> None:
    assert segmentation_loss(torch.zeros(1, 1, 2, 2), TRUTH, dice_weight).item() == pytest.approx(expected, rel=1e-4)


def test_half_precision_logits_and_boolean_truth_give_a_float32_loss() -> None:
    loss = segmentation_loss(torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16), TRUTH.bool())
    assert loss.dtype == torch.float32
