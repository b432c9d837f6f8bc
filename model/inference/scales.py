"""Cracks of every width: passes over the photograph at its own size and reduced, each deciding about what it sees best.

A network sees some hundred pixels around each pixel. A crack wider than a tenth of that looks to it like a dark surface with
two edges, and the gap between two large stones like a crack; in the photograph reduced by 2, 4 or 8 both are what they are.
Hairlines can be seen at full size alone, and a reduced pass that sees one paints it too wide. So from the smallest pass to the
photograph's own size, what is wide is as the smaller one sees it, and what is narrow as the larger one does.
"""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]

cv2.setNumThreads(1)  # other workers need the other cores


def predict_scales(
    image_hwc_u8: Plane,
    predict: Callable[[Plane], Plane],
    factors: tuple[int, ...],
    *,
    least_px: int,
    wide_px: int,
    narrow_px: int = 0,
    sure: float = 0.78,
) -> Plane:
    """Crack probability at the photograph's own size, uint8 (height, width), 255 = certain.

    Args:
        image_hwc_u8: any height and width.
        predict: from a photograph to its probability, of the same height and width; called once for each pass.
        factors: by how much the photograph is reduced for the passes after the one at its own size, smallest first; each a
            multiple of the one before.
        least_px: a pass whose longer side would be shorter is left out.
        wide_px, narrow_px, sure: as in `join`.
    """
    image = Image.fromarray(image_hwc_u8)

    def predict_reduced(factor: int) -> Plane:
        return predict(image_hwc_u8 if factor == 1 else np.asarray(image.reduce(factor)))

    made = passes(image_hwc_u8.shape, factors, least_px)[::-1]
    prob_hw_u8 = predict_reduced(made[0])
    for former, factor in pairwise(made):
        prob_hw_u8 = join(predict_reduced(factor), prob_hw_u8, former // factor, wide_px, narrow_px, sure)
    return prob_hw_u8


def passes(size_hw: tuple[int, ...], factors: tuple[int, ...], least_px: int) -> tuple[int, ...]:
    """1, and those of `factors` by which a photograph of that height and width is reduced."""
    return (1, *(factor for factor in factors if max(size_hw[:2]) >= factor * least_px))


def join(own_hw_u8: Plane, reduced_hw_u8: Plane, factor: int, wide_px: int, narrow_px: int = 0, sure: float = 0.78) -> Plane:
    """What a pass sees, joined with what is seen in the photograph reduced by `factor`; of the size of `own_hw_u8`.

    A grey opening by a square takes away what is narrower than the square; a top-hat leaves nothing but that (Serra 1982).

    Args:
        own_hw_u8, reduced_hw_u8: crack probability; the second with as many rows and columns as reducing gives, or more.
        wide_px: what is at least this wide in the reduced picture is added; odd.
        narrow_px: what is at least this wide in the other is taken away unless the reduced one sees it; odd. 0: nothing is.
        sure: a higher probability is taken away in part only, the less, the nearer it is to 1.
    """
    added = _enlarged(_without_narrow(reduced_hw_u8, wide_px), factor, own_hw_u8.shape)
    if not narrow_px:
        return np.maximum(own_hw_u8, added)
    narrow = cv2.subtract(own_hw_u8, _without_narrow(own_hw_u8, narrow_px))
    alone = cv2.LUT(own_hw_u8, np.interp(np.arange(256), (sure * 255, 255), (0, 255)).astype(np.uint8))
    agreed = cv2.add(_enlarged(reduced_hw_u8, factor, own_hw_u8.shape), alone)
    return np.maximum(np.maximum(np.minimum(own_hw_u8, agreed), narrow), added)


def _without_narrow(prob_hw_u8: Plane, px: int) -> Plane:
    return np.asarray(cv2.morphologyEx(prob_hw_u8, cv2.MORPH_OPEN, np.ones((px, px), np.uint8)), np.uint8)


def _enlarged(reduced_hw_u8: Plane, factor: int, size_hw: tuple[int, ...]) -> Plane:
    height, width = reduced_hw_u8.shape
    enlarged = cv2.resize(reduced_hw_u8, (width * factor, height * factor), interpolation=cv2.INTER_LINEAR_EXACT)
    return np.asarray(enlarged[: size_hw[0], : size_hw[1]], np.uint8)
