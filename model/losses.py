"""Losses for crack segmentation: pure mathematics on logits and truths of the same shape N, 1, H, W."""

from torch import Tensor
from torch.nn import functional


def dice_loss(logits: Tensor, truth: Tensor, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice (Milletari et al. 2016, V-Net, with plain sums in the denominator), the mean over crops that hold crack.

    Each crop weighs the same, so that a hairline counts as much as a gap: pooled over the batch, hairlines were missed. Crops
    without crack are left out, as their Dice is nearly 0 for any prediction but the empty one; without any, the loss is 0.
    `smooth`, in pixels, is added to numerator and denominator.
    """
    probability, pixels = logits.sigmoid(), (1, 2, 3)
    overlap, n_crack = (probability * truth).sum(pixels), truth.sum(pixels)  # N
    loss = 1 - (2 * overlap + smooth) / (probability.sum(pixels) + n_crack + smooth)
    has_crack = n_crack > 0
    return (loss * has_crack).sum() / has_crack.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, truth: Tensor, dice_weight: float = 0.5) -> Tensor:
    """(1 - dice_weight) * binary cross-entropy + dice_weight * Dice loss; a scalar in float32.

    Args:
        logits: any float type, N, 1, H, W.
        truth: the same shape, 0 where there is no crack, 1 where there is.
    """
    logits, truth = logits.float(), truth.float()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    return (1 - dice_weight) * cross_entropy + dice_weight * dice_loss(logits, truth)
