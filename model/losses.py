"""Losses for crack segmentation: pure mathematics on logits and truths of the same shape N, 1, H, W."""

from torch import Tensor
from torch.nn import functional


def dice_loss(logits: Tensor, truth: Tensor, smooth: float = 100.0) -> Tensor:
    """1 - soft Dice with squares in the denominator (Milletari et al. 2016, V-Net), the mean over crops.

    Each crop weighs the same, so that a hairline counts as much as a gap: pooled over the batch, hairlines were missed.
    `smooth`, in pixels, is added to numerator and denominator. Without crack, the loss grows from 0 to a half at `smooth`
    pixels falsely called crack, which the cross-entropy, a mean over all pixels, hardly notices. The squares keep the many
    pixels of nearly no probability from adding up to the same.
    """
    probability, pixels = logits.sigmoid(), (1, 2, 3)
    overlap = (probability * truth).sum(pixels)  # N
    sizes = probability.square().sum(pixels) + truth.square().sum(pixels)
    return (1 - (2 * overlap + smooth) / (sizes + smooth)).mean()


def segmentation_loss(logits: Tensor, truth: Tensor, dice_weight: float = 0.5) -> Tensor:
    """(1 - dice_weight) * binary cross-entropy + dice_weight * Dice loss; a scalar in float32.

    Args:
        logits: any float type, N, 1, H, W.
        truth: the same shape, 0 where there is no crack, 1 where there is.
    """
    logits, truth = logits.float(), truth.float()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    return (1 - dice_weight) * cross_entropy + dice_weight * dice_loss(logits, truth)
