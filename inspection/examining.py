"""From a photograph and its crack probability to the result: mask, cracks, scale and thumbnail.

Left to others: asking the model, and storing the results.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspection.left_out import Box, covered
from inspection.painted import as_painted
from model.inference.cracks import measure
from model.inference.encoding import jpeg
from model.inference.errors import RequestError
from model.inference.findings import lines, properties
from model.inference.options import Options
from model.inference.overlay import draw_overlay
from model.inference.photograph import NO_LIMITS, Limits, decode
from model.inference.segmenter import threshold_level
from model.inference.surface import Surface, look_at

THUMBNAIL_PX = 192


@dataclass(frozen=True)
class Examined:
    """`facts`: fields of a `Row`. If the cracks could not be measured, `error` says why and `cracks` is None."""

    image_hwc_u8: NDArray[np.uint8]
    mask_hw: NDArray[np.bool_]
    facts: dict[str, Any]


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
        ValueError: the sizes differ.
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


def examine_pixels(
    image_hwc_u8: NDArray[np.uint8],
    prob_hw_u8: NDArray[np.uint8],
    threshold: float,
    surface: Surface,
    repainted_hw: NDArray[np.bool_] | None = None,
) -> Examined:
    """The same for a decoded photograph and its probability, both of one height and width."""
    level = threshold_level(threshold)
    mask_hw = prob_hw_u8 >= level
    cracks, drawn, unmeasured = None, None, ""
    try:
        measured = measure(prob_hw_u8, image_hwc_u8, level, repainted_hw)
        cracks = [properties(crack, surface.scale, mask_hw.shape[1]) for crack in measured]
        drawn = [lines(crack) for crack in measured]
    except RequestError as error:
        unmeasured = error.message
    facts = {
        "width": mask_hw.shape[1],
        "height": mask_hw.shape[0],
        "threshold": threshold,
        "thumbnail": base64.b64encode(thumbnail(image_hwc_u8, mask_hw)).decode(),
        "error": unmeasured,
        "cracks": cracks,
        "scale": surface.told() if surface.scale or surface.note else None,
        "lines": drawn,
    }
    return Examined(image_hwc_u8, mask_hw, facts)


def thumbnail(image_hwc_u8: NDArray[np.uint8], mask_hw: NDArray[np.bool_]) -> bytes:
    """The photograph as a small JPEG; each of its pixels that contains crack, however thin, is marked."""
    small = Image.fromarray(image_hwc_u8)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), reducing_gap=2.0)
    for axis, length in enumerate((small.height, small.width)):
        mask_hw = np.logical_or.reduceat(mask_hw, np.arange(length) * mask_hw.shape[axis] // length, axis=axis)
    return jpeg(draw_overlay(np.asarray(small), mask_hw), 60)
