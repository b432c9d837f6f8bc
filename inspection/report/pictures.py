"""The two pictures of a finding: the photograph with its cracks numbered, and a close-up of the crack's widest point."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from inspection.left_out import Box
from inspection.report.ranking import width
from inspection.rows import Line
from model.inference.encoding import jpeg
from model.inference.width_overlay import round_length

_OVERVIEW_WH = (1200, 820)  # it fits into this: 180 dots per inch where the PDF's page has room for it
_CLOSE_UP_PX = 720
_OVERVIEW_BYTES, _CLOSE_UP_BYTES = 100_000, 50_000  # at most: a report of 30 findings goes into a mail, with 5 MB
_QUALITIES = (82, 74, 66, 58, 50, 42)  # of a JPEG: coarse asphalt needs the lowest, a wall the first
_FOUND, _OTHER, _CASING = (255, 0, 64), (255, 214, 0), (16, 20, 26)
_LEFT_OUT = (16, 20, 26, 150)
_Box = tuple[float, float, float, float]


def close_up_box(size_wh: tuple[int, int], crack: Mapping[str, Any], lines: Sequence[Line]) -> _Box:
    """A square around the widest place, or the middle of the longest line, in pixels: left, top, right, bottom."""
    x, y = crack.get("width_max_at") or max(lines, key=len)[len(max(lines, key=len)) // 2]
    side = min(max(8 * (crack.get("width_max_px") or 0.0), 150.0), *size_wh)
    left = min(max(x - side / 2, 0.0), size_wh[0] - side)
    top = min(max(y - side / 2, 0.0), size_wh[1] - side)
    return left, top, left + side, top + side


class Overview:
    """A photograph with all its cracks, drawn once for all its findings; it fits into `_OVERVIEW_WH`, as on the page, so that
    lines and numbers have the same size on paper for any photograph.

    Args:
        cracks: centre lines of all of the photograph.
        zones: what counts in no figure; darkened.
    """

    def __init__(self, image_hwc_u8: NDArray[np.uint8], cracks: Sequence[Sequence[Line]], zones: Sequence[Box] = ()) -> None:
        height, width_px = image_hwc_u8.shape[:2]
        self._cracks, self._factor = cracks, min(_OVERVIEW_WH[0] / width_px, _OVERVIEW_WH[1] / height)
        size_wh = (max(1, round(self._factor * width_px)), max(1, round(self._factor * height)))
        self._picture = Image.fromarray(image_hwc_u8).resize(size_wh, Image.Resampling.BICUBIC, reducing_gap=2.0)
        dark = ImageDraw.Draw(self._picture, "RGBA")
        for zone in zones:
            dark.rectangle([self._factor * side for side in zone], fill=_LEFT_OUT, outline="white", width=2)
        draw = ImageDraw.Draw(self._picture)
        for lines in cracks:
            _draw_lines(draw, lines, self._factor, _OTHER, 2)

    def of(self, found: int, box: _Box, mm_per_px: float | None) -> bytes:
        """JPEG with one finding marked.

        Args:
            found: which of the cracks it is; its line is thicker and covers the one that all have.
            box: of the close-up.
        """
        picture, factor = self._picture.copy(), self._factor
        draw = ImageDraw.Draw(picture)
        _draw_lines(draw, self._cracks[found], factor, _FOUND, 3)
        left, top, right, bottom = (factor * side for side in box)
        right, bottom = max(right, left + 12), max(bottom, top + 12)  # in a panorama the box would be too small to see
        draw.rectangle((left, top, right, bottom), outline=_CASING, width=6)
        draw.rectangle((left + 2, top + 2, right - 2, bottom - 2), outline="white", width=2)
        font = ImageFont.load_default(21)
        _draw_scale_bar(draw, picture.size, factor, mm_per_px, font)
        others = [number for number in range(len(self._cracks)) if number != found][:30]
        for number in [*others, found]:
            _draw_number(draw, self._cracks[number], factor, str(number + 1), font, _FOUND if number == found else _OTHER)
        return _small(picture, _OVERVIEW_BYTES)


def close_up(
    image_hwc_u8: NDArray[np.uint8], crack: Mapping[str, Any], lines: Sequence[Line], box: _Box, mm_per_px: float | None
) -> bytes:
    """JPEG, square: nothing is drawn on the crack, but two arrows point at both sides of its widest place."""
    left, top = (math.floor(side) for side in box[:2])
    seen = np.ascontiguousarray(image_hwc_u8[top : math.ceil(box[3]), left : math.ceil(box[2])])  # a copy of all would be large
    part = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    picture = Image.fromarray(seen).resize((_CLOSE_UP_PX, _CLOSE_UP_PX), Image.Resampling.BICUBIC, box=part)
    factor = _CLOSE_UP_PX / (box[2] - box[0])
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(26)
    if crack.get("width_max_at") is not None and crack.get("width_max_px") is not None:
        at = np.array(crack["width_max_at"])
        across = _across(at, lines)
        for side in (-1, 1):
            tip = (at + side * across * crack["width_max_px"] / 2 - box[:2]) * factor
            _draw_arrow(draw, tip, side * across)
        _draw_box(draw, (12, 12), f"widest: {width(crack, 'max')}", font)
    _draw_scale_bar(draw, picture.size, factor, mm_per_px, font)
    return _small(picture, _CLOSE_UP_BYTES)


def _small(picture: Image.Image, n_bytes: int) -> bytes:
    """As a JPEG of the best quality that takes at most so many bytes, or of the lowest one."""
    tried = (jpeg(np.asarray(picture), quality) for quality in _QUALITIES)
    return next((content for content in tried if len(content) <= n_bytes), jpeg(np.asarray(picture), _QUALITIES[-1]))


def _across(at_xy: NDArray[np.float64], lines: Sequence[Line]) -> NDArray[np.float64]:
    """The unit vector (x, y) across the nearest line at a place."""
    nearest, best = None, np.inf
    for line in lines:
        points = np.asarray(line)
        distance = np.hypot(*(points - at_xy).T)
        place = int(np.argmin(distance))
        if distance[place] < best:
            best = float(distance[place])
            nearest = points[max(place - 2, 0) : place + 3]
    along = nearest[-1] - nearest[0] if nearest is not None else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    return np.asarray(across / max(float(np.hypot(*across)), 1e-9))


def _draw_lines(draw: ImageDraw.ImageDraw, lines: Sequence[Line], factor: float, colour: tuple[int, ...], wide: int) -> None:
    for extra, shade in ((2, _CASING), (0, colour)):
        for line in lines:
            points = [(factor * x, factor * y) for x, y in line]
            draw.line(points, fill=shade, width=wide + extra, joint="curve")


def _draw_number(
    draw: ImageDraw.ImageDraw, lines: Sequence[Line], factor: float, text: str, font: Any, colour: tuple[int, ...]
) -> None:
    """Before the start of the crack, so that a short crack isn't hidden."""
    start = np.array(lines[0][0])
    away = start - np.concatenate([np.asarray(line) for line in lines]).mean(axis=0)
    at = factor * start + 22 * away / max(float(np.hypot(*away)), 1e-9)
    x, y = np.clip(at, 17, np.array(draw.im.size) - 17).tolist()
    draw.circle((x, y), 15, fill=_CASING, outline=colour, width=2)
    draw.text((x, y), text, font=font, fill="white", anchor="mm")


def _draw_arrow(draw: ImageDraw.ImageDraw, tip: NDArray[np.float64], away: NDArray[np.float64]) -> None:
    beside = np.array([-away[1], away[0]])
    tail, wings = tip + 70 * away, [tip + 20 * away + side * 9 * beside for side in (-1, 1)]
    for wide, colour in ((9, _CASING), (4, _FOUND)):
        draw.line([tuple(tip + 8 * away), tuple(tail)], fill=colour, width=wide)
    draw.polygon([tuple(tip), *map(tuple, wings)], fill=_FOUND, outline=_CASING)


def _draw_scale_bar(
    draw: ImageDraw.ImageDraw, size_wh: tuple[int, int], factor: float, mm_per_px: float | None, font: Any
) -> None:
    """At the bottom left: a round length of at most a third of the picture."""
    unit_px = factor / mm_per_px if mm_per_px else factor
    long = round_length(size_wh[0] / 3 / unit_px)
    told = f"{long:g} px" if not mm_per_px else f"{long / 1000:g} m" if long >= 1000 else f"{long:g} mm"
    left, right, bottom = 24.0, 24 + long * unit_px, size_wh[1] - 24.0
    draw.rectangle(
        (left - 12, bottom - 50, max(right, left + draw.textlength(told, font=font)) + 12, bottom + 12), fill=_CASING
    )
    draw.line([(left, bottom - 10), (left, bottom), (right, bottom), (right, bottom - 10)], fill="white", width=3)
    draw.text((left, bottom - 14), told, font=font, fill="white", anchor="ls")


def _draw_box(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, font: Any) -> None:
    *_, right, bottom = draw.textbbox((at[0] + 8, at[1] + 6), text, font=font)
    draw.rectangle((at[0], at[1], right + 8, bottom + 8), fill=_CASING)
    draw.text((at[0] + 8, at[1] + 6), text, font=font, fill="white")
