"""Cracks as objects: a mask's connected parts, joined over small gaps, with length, width and place, in pixels and millimetres.

Left to others: parts and centre lines (`centre_lines`), widths (`widths`), what is told of them in an answer (`findings`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inference.centre_lines import (
    Edge,
    Float,
    Index,
    Parts,
    bridge,
    components,
    degrees,
    find_parts,
    half_widths,
    length_of,
    simplify,
    smooth,
    thin,
    trace,
)
from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import MEGAPIXEL
from model.inference.widths import Line, look_across, resolve

MAX_CRACK_MEGAPIXELS = 8  # of a mask: each takes some 100 bytes while it is measured
MAX_LENGTH_PX = 500_000  # of all centre lines: 125 cracks across a photograph of 12 megapixels are as long
MAX_LINES = 5000  # between ends and junctions: each takes about 2 ms
_ROUNDED = 3  # places of what is told
FIGURES = (
    "id",
    "length_px",
    "width_mean_px",
    "width_median_px",
    "width_p95_px",
    "width_max_px",
    "width_max_at",
    "width_uncertainty_px",
    "width_limit_px",
    "is_width_below_limit",
    "area_px",
    "orientation_deg",
    "bbox_px",
    "n_branches",
    "touches_edge",
    "probability_mean",
)
_WIDTHS = ("width_mean_px", "width_median_px", "width_p95_px", "width_max_px", "width_uncertainty_px")


class ScaleSource(StrEnum):
    """Where a photograph's scale comes from."""

    GIVEN = "given"
    CAMERA = "camera"
    MARKER = "marker"


@dataclass(frozen=True)
class Scale:
    """How large a pixel is on the surface."""

    mm_per_px: float
    source: ScaleSource


@dataclass(frozen=True)
class Crack:
    """One crack of one photograph, all lengths in pixels; (0, 0) is the top-left corner of the top-left pixel.

    Attributes:
        lines_xy: centre lines between ends and junctions, each (n, 2), x right and y down.
        at_xy, along_xy: (n, 2), where its width was looked at, and the line's direction there.
        width_px: (n,), across that direction.
        pixels: flat indices of what is crack.
        figures: what is told of it, under the names of the answer's properties.
    """

    lines_xy: list[Float]
    at_xy: Float
    along_xy: Float
    width_px: Float
    pixels: Index
    figures: dict[str, Any]


def measure(prob_hw_u8: NDArray[np.uint8], image_hwc_u8: NDArray[np.uint8], level: int) -> list[Crack]:
    """The cracks of a photograph, the longest first.

    Args:
        prob_hw_u8: crack probability, 255 = certain.
        image_hwc_u8: the photograph, of the same height and width.
        level: probability, of 255, from which a pixel is crack.

    Raises:
        RequestError: IMAGE_TOO_LARGE, more is crack than can be measured while a client waits.
    """
    mask_hw = prob_hw_u8 >= level
    megapixels = int(np.count_nonzero(mask_hw)) / MEGAPIXEL
    if megapixels > MAX_CRACK_MEGAPIXELS:
        raise _too_much(f"{megapixels:.1f} megapixels are called crack", f"{MAX_CRACK_MEGAPIXELS}")
    parts = find_parts(mask_hw)
    skeleton = thin(parts, mask_hw.shape[0])
    if not len(skeleton):
        return []
    if len(skeleton) > MAX_LENGTH_PX:
        raise _too_much(f"What is called crack is {len(skeleton):,} pixels long", f"{MAX_LENGTH_PX:,}")
    edges = trace(skeleton, half_widths(mask_hw, skeleton), parts)
    n_parts = len(parts.area_px)
    part_length_px = np.bincount([edge.part for edge in edges], [edge.length_px for edge in edges], n_parts)
    width_px = parts.area_px / np.maximum(part_length_px, 1)
    edges = bridge(simplify(edges))
    if len(edges) > MAX_LINES:
        raise _too_much(f"What is called crack has {len(edges):,} lines between ends and junctions", f"{MAX_LINES:,}")
    n_at = degrees(edges)
    together = components(edges)
    photograph = _Photograph(prob_hw_u8, image_hwc_u8, level)
    cracks = [
        _crack(group, [n_at[end] == 1 for edge in group for end in edge.ends], width_px, region, photograph)
        for group, region in zip(together, _regions(parts, together, prob_hw_u8), strict=True)
    ]
    cracks.sort(key=lambda crack: (-crack.figures["length_px"], crack.figures["bbox_px"]))
    return [replace(crack, figures={"id": number, **crack.figures}) for number, crack in enumerate(cracks, start=1)]


def _too_much(found: str, most: str) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"{found}, at most {most} can be measured. Raise the threshold, or cut the photograph into parts.",
    )


@dataclass(frozen=True)
class _Photograph:
    prob_hw_u8: NDArray[np.uint8]
    image_hwc_u8: NDArray[np.uint8]
    level: int


@dataclass(frozen=True)
class _Region:
    """A crack's pixels (flat indices), their box (left, top, right, bottom), their mean probability."""

    pixels: Index
    box_px: list[int]
    probability: float


def _regions(parts: Parts, together: list[list[Edge]], prob_hw_u8: NDArray[np.uint8]) -> list[_Region]:
    n = len(together)
    crack_of_part = np.full(len(parts.area_px), n)  # of what the thinning left a point of: none
    for number, group in enumerate(together):
        crack_of_part[[part for edge in group for part in edge.parts]] = number
    crack = crack_of_part[parts.part]
    y, x = np.divmod(parts.at, parts.width)
    low, high = np.full((2, n + 1), max(prob_hw_u8.shape)), np.zeros((2, n + 1), np.int64)
    for axis, values in enumerate((x, y)):
        np.minimum.at(low[axis], crack, values)
        np.maximum.at(high[axis], crack, values + 1)
    area_px = np.bincount(crack, minlength=n + 1)
    probability = np.bincount(crack, prob_hw_u8.ravel()[parts.at], n + 1) / np.maximum(area_px, 1) / 255
    boxes = np.concatenate([low, high]).T.tolist()
    pixels = np.split(parts.at[np.argsort(crack, kind="stable")], np.cumsum(area_px)[:-1])
    return [_Region(*values) for values in zip(pixels[:n], boxes[:n], probability[:n].tolist(), strict=True)]


def _crack(group: list[Edge], is_free: list[bool], part_width_px: Float, region: _Region, photograph: _Photograph) -> Crack:
    """
    Args:
        is_free: of each line's two ends, whether nothing else begins there.
    """
    prob_hw_u8, level = photograph.prob_hw_u8, photograph.level
    height, width = prob_hw_u8.shape
    lines: list[Float] = []
    looked_along: list[Line] = []
    for edge, starts_free, ends_free in zip(group, is_free[::2], is_free[1::2], strict=True):
        wide_px = float(part_width_px[edge.part])
        line_xy = smooth(edge.points_xy, wide_px)
        looked_along.append(Line(line_xy, edge.half_px, (starts_free, ends_free)))
        if starts_free:
            line_xy = _to_the_end(line_xy[::-1], wide_px, prob_hw_u8, level)[::-1]
        if ends_free:
            line_xy = _to_the_end(line_xy, wide_px, prob_hw_u8, level)
        lines.append(line_xy)
    widest_part_px = float(part_width_px[[part for edge in group for part in edge.parts]].max())
    profiles = look_across(looked_along, widest_part_px, photograph.image_hwc_u8, prob_hw_u8, level)
    widths = resolve(profiles)
    left, top, right, bottom = region.box_px
    is_below = not len(widths.width_px) or float(np.median(widths.width_px)) < widths.limit_px
    told: dict[str, Any] = dict.fromkeys(_WIDTHS)
    if not is_below:
        widest = int(np.argmax(widths.width_px))
        values = (
            widths.width_px.mean(),
            np.median(widths.width_px),
            np.percentile(widths.width_px, 95),
            widths.width_px[widest],
            widths.uncertainty_px,
        )
        told = {name: round(float(value), _ROUNDED) for name, value in zip(_WIDTHS, values, strict=True)}
    figures = {
        "length_px": round(sum(length_of(line_xy) for line_xy in lines), _ROUNDED),
        **{name: told[name] for name in _WIDTHS[:-1]},
        "width_max_at": None if is_below else np.round(profiles.at_xy[widest], 1).tolist(),
        "width_uncertainty_px": told["width_uncertainty_px"],
        "width_limit_px": round(widths.limit_px, _ROUNDED),
        "is_width_below_limit": is_below,
        "area_px": len(region.pixels),
        "orientation_deg": _orientation_deg(lines),
        "bbox_px": [left, top, right, bottom],
        "n_branches": len(lines),
        "touches_edge": left == 0 or top == 0 or right == width or bottom == height,
        "probability_mean": round(region.probability, _ROUNDED),
    }
    return Crack(lines, profiles.at_xy, profiles.along_xy, widths.width_px, region.pixels, figures)


def _to_the_end(line_xy: Float, wide_px: float, prob_hw_u8: NDArray[np.uint8], level: int) -> Float:
    """Go on straight to the mask's end: the thinning stops half a width before it, and bends to a corner where there is one."""
    line_xy = line_xy[: len(line_xy) - min(round(wide_px / 2), len(line_xy) // 3)]
    way_xy = line_xy[-1] - line_xy[-min(len(line_xy), max(8, round(wide_px)))]
    way_xy /= max(float(np.hypot(*way_xy)), 1e-9)
    steps = np.arange(1, math.ceil(4 * wide_px) + 8)[:, None] / 2
    beyond_xy = line_xy[-1] + steps * way_xy
    x, y = np.floor(beyond_xy).astype(np.int64).T
    height, width = prob_hw_u8.shape
    is_inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    is_on = is_inside & (prob_hw_u8[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] >= level)
    n_on = int(np.argmin(is_on)) if not is_on.all() else len(is_on)
    return np.concatenate([line_xy, beyond_xy[n_on - 1 : n_on]]) if n_on else line_xy


def _orientation_deg(lines: Iterable[Float]) -> float:
    """Of the axis along which the lines reach farthest: 0 is level, 90 upright, 45 rises to the right."""
    points = np.concatenate(list(lines))
    points = points - points.mean(axis=0)
    (xx, xy), (_, yy) = points.T @ points
    return round(math.degrees(0.5 * math.atan2(-2 * xy, xx - yy)), 1) % 180


# --- what is told


def in_mm(names: Iterable[str]) -> dict[str, str]:
    """Of the figures in pixels those that a scale adds, by the names of the figures that they come from."""
    lengths = (name for name in names if name.endswith("_px") and name.startswith(("length_", "width_")))
    return {name.removesuffix("_px") + "_mm": name for name in lengths} | {"area_mm2": "area_px"}


def properties(figures: Mapping[str, Any], scale: Scale | None) -> dict[str, Any]:
    """A crack's figures; with a scale those in millimetres follow."""
    if scale is None:
        return dict(figures)
    told = dict(figures)
    for name, source in in_mm(figures).items():
        factor = scale.mm_per_px ** (2 if name.endswith("2") else 1)
        told[name] = None if figures[source] is None else round(figures[source] * factor, 4)
    return told
