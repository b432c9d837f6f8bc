"""Samples of any depth as 8 bits: scaled by the number of bits that are used, because cameras write 10 to 14 bits into 16."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WHITES = [(1 << depth) - 1 for depth in (8, 10, 12, 14, 16)]


def used_white(most: int) -> int:
    """The white of 16-bit samples of which the highest is `most`: of the fewest bits, as cameras have them, that hold it."""
    return min(white for white in _WHITES if most <= white)


def stretched(samples: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """0 to `white` as 0 to 255, rounded; what is above is white."""
    if white == 255 and samples.dtype == np.uint8:
        return samples
    levels = (samples.astype(np.uint32) * 255 + white // 2) // white
    return np.minimum(levels, 255).astype(np.uint8)
