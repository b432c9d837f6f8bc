"""Losses for crack segmentation: pure mathematics on logits and truths of the same shape N, 1, H, W."""

from torch import Tensor
from torch.nn import functional


def dice_loss(logits: Tensor, truth: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice, pooled over the batch (Milletari et al. 2016, V-Net, with plain sums in the denominator).

    Pooling over the batch keeps crack-free crops from dominating: alone, a crop without crack has a Dice of nearly 0
    for any prediction but the empty one. `smooth`, in pixels, is the Dice's numerator and denominator of an empty batch.
    """
    probability = logits.sigmoid()
    overlap = (probability * truth).sum()
    return 1 - (2 * overlap + smooth) / (probability.sum() + truth.sum() + smooth)


def segmentation_loss(logits: Tensor, truth: Tensor, dice_weight: float = 0.5) -> Tensor:
    """(1 - dice_weight) * binary cross-entropy + dice_weight * Dice loss; a scalar in float32.

    Args:
        logits: any float type, N, 1, H, W.
        truth: the same shape, 0 where there is no crack, 1 where there is.
    """
    logits, truth = logits.float(), truth.float()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    return (1 - dice_weight) * cross_entropy + dice_weight * dice_loss(logits, truth)
