"""Cracks of every width: passes over the photograph at its own size and reduced, joined by how wide a crack is.

A network sees some hundred pixels around each pixel. A crack wider than a tenth of that looks to it like a dark surface with
two edges; in the photograph reduced by 2, 4 or 8 it is a crack again. Hairlines can be seen at full size alone, and a reduced
pass that sees one paints it too wide. So a reduced pass adds what is at least some of its own pixels wide, and nothing finer.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]

cv2.setNumThreads(1)  # other workers need the other cores


def predict_scales(
    image_hwc_u8: Plane, predict: Callable[[Plane], Plane], factors: tuple[int, ...], least_px: int, wide_px: int
) -> Plane:
    """Crack probability at the photograph's own size, uint8 (height, width), 255 = certain.

    Args:
        image_hwc_u8: any height and width.
        predict: from a photograph to its probability, of the same height and width; called once for each pass.
        factors: by how much the photograph is reduced for the passes after the one at its own size, smallest first.
        least_px: a pass whose longer side would be shorter is left out.
        wide_px: how wide, in its own pixels, what a reduced pass adds must be; odd.
    """
    prob_hw_u8 = predict(image_hwc_u8)
    image = Image.fromarray(image_hwc_u8)
    for factor in passes(prob_hw_u8.shape, factors, least_px):
        reduced = predict(np.asarray(image.reduce(factor)))
        prob_hw_u8 = np.maximum(prob_hw_u8, what_is_wide(reduced, factor, prob_hw_u8.shape, wide_px))
    return prob_hw_u8


def passes(size_hw: tuple[int, ...], factors: tuple[int, ...], least_px: int) -> tuple[int, ...]:
    """Those of `factors` by which a photograph of that height and width is reduced."""
    return tuple(factor for factor in factors if max(size_hw) >= factor * least_px)


def what_is_wide(reduced_hw_u8: Plane, factor: int, size_hw: tuple[int, ...], wide_px: int) -> Plane:
    """What a pass over the photograph reduced by `factor` adds at its own size, `size_hw`: what is wide in the reduced one.

    A grey opening by a square (Serra 1982) takes away what is narrower than `wide_px` and keeps the shape of what is wider.
    """
    wide = cv2.morphologyEx(reduced_hw_u8, cv2.MORPH_OPEN, np.ones((wide_px, wide_px), np.uint8))
    height, width = wide.shape
    enlarged = cv2.resize(wide, (width * factor, height * factor), interpolation=cv2.INTER_LINEAR_EXACT)
    return np.asarray(enlarged[: size_hw[0], : size_hw[1]], np.uint8)
