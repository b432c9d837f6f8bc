"""From a photograph and its crack probability to what is kept of it: mask, cracks, scale and thumbnail.

Left to others: the model (`segmenter`), and storing the results.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.inference.card import threshold_level
from model.inference.cracks import measure
from model.inference.encoding import jpeg
from model.inference.errors import RequestError
from model.inference.findings import lines, properties
from model.inference.overlay import draw_overlay
from model.inference.surface import Surface

THUMBNAIL_PX = 192


@dataclass(frozen=True)
class Examined:
    """`facts`: fields of an `inspection.rows.Row`. If the cracks could not be measured, `error` says why, and `cracks` is
    None.
    """

    image_hwc_u8: NDArray[np.uint8]
    mask_hw: NDArray[np.bool_]
    facts: dict[str, Any]


def examine_pixels(
    image_hwc_u8: NDArray[np.uint8],
    prob_hw_u8: NDArray[np.uint8],
    threshold: float,
    surface: Surface,
    repainted_hw: NDArray[np.bool_] | None = None,
) -> Examined:
    """
    Args:
        prob_hw_u8: crack probability, 255 = certain, of the photograph's height and width.
        surface: its scale.
        repainted_hw: where a person painted another mask than the model's; see `cracks.measure`.
    """
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
    for axis, length in ((1, small.width), (0, small.height)):  # along the rows first: six times as fast
        mask_hw = np.logical_or.reduceat(mask_hw, np.arange(length) * mask_hw.shape[axis] // length, axis=axis)
    return jpeg(draw_overlay(np.asarray(small), mask_hw), 60)
