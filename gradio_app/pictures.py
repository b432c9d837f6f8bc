"""Decodes, measures and draws for the page, in a separate process, because files from a browser can't be trusted."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspection.left_out import Box, covered
from inspection.painted import as_painted
from model.inference.cracks import Crack, measure
from model.inference.encoding import JPEG_MAX_SIDE_PX, jpeg, mask_png, png
from model.inference.errors import RequestError
from model.inference.findings import feature
from model.inference.isolation import Isolation
from model.inference.overlay import draw_overlay
from model.inference.photograph import Limits, decode

THUMBNAIL_PX = 320


_Subject = TypeVar("_Subject")
_Result = TypeVar("_Result")


class Apart:
    """Calls one of the functions below in the other process. Raises what `Isolation.call` does."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._isolation = Isolation.for_photographs(1, limits)

    def __call__(self, function: Callable[[_Subject, Limits], _Result], subject: _Subject) -> _Result:
        return self._isolation.call(function, subject, self._limits)

    def close(self) -> None:
        self._isolation.close()


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
        RequestError: also as `measure` does.
    """
    image_hwc_u8, prob_hw_u8, repainted_hw = _decoded(found, limits)
    return [feature(crack, crack.figures) for crack in _measured(found, image_hwc_u8, prob_hw_u8, repainted_hw)]


class Drawn(NamedTuple):
    """What is handed over of a photograph.

    Attributes:
        mask_png: whole, with what is left out of the figures.
        overlay_jpeg: the photograph with its cracks drawn on.
        size_wh: in pixels.
        crack_ratio: among the pixels that count, 0..1.
        left_out_ratio: the share of pixels that don't.
        cracks: their figures in pixels; None if they could not be measured ...
        unmeasured: ... and why, as a sentence.
    """

    mask_png: bytes
    overlay_jpeg: bytes
    size_wh: tuple[int, int]
    crack_ratio: float
    left_out_ratio: float
    cracks: list[dict[str, Any]] | None
    unmeasured: str = ""


def draw(found: Found, limits: Limits) -> Drawn:
    """What is handed over of a photograph."""
    image_hwc_u8, prob_hw_u8, repainted_hw = _decoded(found, limits)
    mask_hw = prob_hw_u8 >= found.level
    left_out_hw = covered(found.zones, mask_hw.shape)
    counted = mask_hw[~left_out_hw]
    share = float(counted.mean()) if counted.size else 0.0
    pictures = mask_png(mask_hw), jpeg(draw_overlay(image_hwc_u8, mask_hw)), (mask_hw.shape[1], mask_hw.shape[0])
    told = *pictures, share, float(left_out_hw.mean())
    try:
        measured = _measured(found, image_hwc_u8, prob_hw_u8, repainted_hw)
    except RequestError as error:
        return Drawn(*told, None, error.message)
    return Drawn(*told, [crack.figures for crack in measured])


def _measured(
    found: Found,
    image_hwc_u8: NDArray[np.uint8],
    prob_hw_u8: NDArray[np.uint8],
    repainted_hw: NDArray[np.bool_] | None,
) -> list[Crack]:
    counted_hw_u8 = np.where(covered(found.zones, prob_hw_u8.shape), np.uint8(0), prob_hw_u8)
    return measure(counted_hw_u8, image_hwc_u8, found.level, repainted_hw)


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
