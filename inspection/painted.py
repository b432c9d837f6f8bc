"""The mask that a person painted, in place of the one that the model's probability gives at a level."""

import numpy as np
from numpy.typing import NDArray


def as_painted(
    prob_hw_u8: NDArray[np.uint8], level: int, mask_hw: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Move each pixel's probability to the side of `level` that the mask says; all three are (height, width).

    Args:
        prob_hw_u8: 0..255; at `level` or above, a pixel is crack.

    Returns:
        The new probability, and which pixels changed sides.
    """
    sided_hw_u8 = np.where(mask_hw, np.maximum(prob_hw_u8, level), np.minimum(prob_hw_u8, max(level - 1, 0)))
    return sided_hw_u8, mask_hw != (prob_hw_u8 >= level)
