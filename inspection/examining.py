"""As `model.inference.examining`, but from files: the photograph, its probability, and what a person corrected.

Left to others: asking the model, and storing the results.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspection.left_out import Box, covered
from inspection.painted import as_painted
from model.inference.card import threshold_level
from model.inference.examining import Examined, examine_pixels
from model.inference.options import Options
from model.inference.photograph import NO_LIMITS, Limits, decode
from model.inference.surface import look_at


def examine(
    photograph: bytes,
    probability_png: bytes,
    threshold: float,
    scales: Options,
    mask_hw: NDArray[np.bool_] | None = None,
    limits: Limits = NO_LIMITS,
    zones: Sequence[Box] = (),
) -> Examined:
    """
    Args:
        probability_png: one channel, 0..255, of the upright photograph's size.
        scales: how the photograph's own scale is found.
        mask_hw: painted by a person in place of the mask at the threshold.
        zones: boxes in which nothing counts as crack.

    Raises:
        RequestError: as `photograph.decode` does.
        ValueError: photograph and probability differ in size.
    """
    image_hwc_u8 = decode(photograph, limits)
    prob_hw_u8 = np.ascontiguousarray(decode(probability_png, limits)[..., 0])
    level = threshold_level(threshold)
    if prob_hw_u8.shape != image_hwc_u8.shape[:2]:
        found = f"The mask has {prob_hw_u8.shape} pixels (height, width), the photograph {image_hwc_u8.shape[:2]}."
        raise ValueError(f"{found} Report this with the photograph.")
    repainted_hw = None
    if mask_hw is not None:
        prob_hw_u8, repainted_hw = as_painted(prob_hw_u8, level, mask_hw)
    if zones:
        prob_hw_u8 = np.where(covered(zones, prob_hw_u8.shape), np.uint8(0), prob_hw_u8)
    return examine_pixels(image_hwc_u8, prob_hw_u8, threshold, look_at(photograph, image_hwc_u8, scales), repainted_hw)
