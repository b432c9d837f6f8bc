"""Decodes, measures and draws for the page, in a separate process, because files from a browser can't be trusted."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspection.left_out import Box, covered
from inspection.painted import as_painted
from model.inference import cracks
from model.inference.encoding import JPEG_MAX_SIDE_PX, jpeg, mask_png, png
from model.inference.findings import feature, properties
from model.inference.overlay import draw_overlay
from model.inference.photograph import Limits, decode

THUMBNAIL_PX = 320


class Found(NamedTuple):
    """A photograph and its results, as files."""

    photograph: bytes
    levels_png: bytes  # crack probability, one channel, 0..255
    level: int  # from which a pixel is crack
    mask_png: bytes | None  # what was painted instead
    zones: tuple[Box, ...] = ()  # what is left out of all figures


def thumbnail(found: Found, limits: Limits) -> tuple[bytes, tuple[int, int]]:
    """A small JPEG of the photograph with its cracks drawn on, however thin; and the photograph's upright width and height.

    Raises:
        RequestError: as `photograph.decode` does; so do the others.
    """
    image_hwc_u8, prob_hw_u8, _ = _decoded(found, limits)
    image = _small(image_hwc_u8)
    share = Image.fromarray((prob_hw_u8 >= found.level).astype(np.uint8) * 255).resize(image.size, Image.Resampling.BOX)
    height, width = prob_hw_u8.shape
    return jpeg(draw_overlay(np.asarray(image), np.asarray(share) > 0), 85), (width, height)


def shrink(photograph: bytes, limits: Limits) -> bytes:
    """A small JPEG of the photograph."""
    return jpeg(np.asarray(_small(decode(photograph, limits))), 85)


def as_browsers_show(photograph: bytes, limits: Limits) -> tuple[bytes, str]:
    """The photograph upright and in its own size, in a format that every browser shows; and that format's suffix."""
    image_hwc_u8 = decode(photograph, limits)
    if max(image_hwc_u8.shape) > JPEG_MAX_SIDE_PX:
        return png(image_hwc_u8), ".png"
    return jpeg(image_hwc_u8, 95), ".jpg"


def find_cracks(found: Found, limits: Limits) -> list[dict[str, Any]]:
    """The photograph's cracks, the longest first, as GeoJSON features in pixels (docs/findings.md).

    Raises:
        RequestError: also as `cracks.measure` does.
    """
    image_hwc_u8, prob_hw_u8, repainted_hw = _decoded(found, limits)
    prob_hw_u8 = np.where(covered(found.zones, prob_hw_u8.shape), np.uint8(0), prob_hw_u8)
    measured = cracks.measure(prob_hw_u8, image_hwc_u8, found.level, repainted_hw)
    return [feature(crack, properties(crack, None, image_hwc_u8.shape[1])) for crack in measured]


def mask_and_overlay(found: Found, limits: Limits) -> tuple[bytes, bytes, float, float]:
    """Returns the mask as a PNG, the photograph with its cracks drawn on as a JPEG, the share of crack among the pixels that
    count, and the share of pixels that are left out.
    """
    image_hwc_u8, prob_hw_u8, _ = _decoded(found, limits)
    mask_hw = prob_hw_u8 >= found.level
    left_out_hw = covered(found.zones, mask_hw.shape)
    counted = mask_hw[~left_out_hw]
    share = float(counted.mean()) if counted.size else 0.0
    return mask_png(mask_hw), jpeg(draw_overlay(image_hwc_u8, mask_hw)), share, float(left_out_hw.mean())


def _small(image_hwc_u8: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(image_hwc_u8)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return image


def _decoded(found: Found, limits: Limits) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_] | None]:
    """The photograph, its crack probability as it was painted, and what was painted, if anything was."""
    prob_hw_u8 = np.ascontiguousarray(decode(found.levels_png, limits)[..., 0])  # the other two channels go
    repainted_hw = None
    if found.mask_png:
        prob_hw_u8, repainted_hw = as_painted(prob_hw_u8, found.level, decode(found.mask_png, limits)[..., 0] > 0)
    return decode(found.photograph, limits), prob_hw_u8, repainted_hw
