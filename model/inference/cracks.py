"""Cracks as objects: a mask's connected parts, joined over small gaps, with length, width and place, in pixels.

Left to others: parts and their lines (`skeleton`, `centre_lines`, `smooth_lines`), widths (`profiles`, `widths`), millimetres
(`millimetres`), what is told of them in an answer (`findings`).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inference.centre_lines import Edge, bridge, components, degrees, half_widths, simplify, trace
from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import MEGAPIXEL
from model.inference.profiles import Profiles, look_across
from model.inference.skeleton import Float, Index, Parts, find_parts, thin
from model.inference.smooth_lines import smooth_lines, to_the_ends
from model.inference.widths import Widths, quantiles, resolve

MAX_CRACK_MEGAPIXELS = 8  # of a mask: each takes some 100 bytes while it is measured
MAX_LENGTH_PX = 500_000  # of all centre lines: as long as 125 cracks across a photograph of 12 megapixels
MAX_LINES = 5000  # between ends and junctions: more is a texture
_ROUNDED = 3  # decimal places of the figures
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


def measure(
    prob_hw_u8: NDArray[np.uint8], image_hwc_u8: NDArray[np.uint8], level: int, repainted_hw: NDArray[np.bool_] | None = None
) -> list[Crack]:
    """The cracks of a photograph, the longest first.

    Args:
        prob_hw_u8: crack probability, 255 = certain.
        image_hwc_u8: the photograph, of the same height and width.
        level: probability, of 255, from which a pixel is crack.
        repainted_hw: where a person decided otherwise than the model; no gap there is joined.

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
    edges = bridge(simplify(edges), repainted_hw)
    if len(edges) > MAX_LINES:
        raise _too_much(f"What is called crack has {len(edges):,} lines between ends and junctions", f"{MAX_LINES:,}")
    together = components(edges)
    regions = _regions(parts, together, prob_hw_u8)
    lines = smooth_lines(together, degrees(edges), width_px)
    profiles, crack = look_across(lines, image_hwc_u8, prob_hw_u8, level)
    widths = resolve(profiles, crack, len(together))
    cracks = _told(to_the_ends(lines, prob_hw_u8, level), profiles, crack, widths, regions, mask_hw.shape)
    cracks.sort(key=lambda crack: (-crack.figures["length_px"], crack.figures["bbox_px"]))
    return [replace(crack, figures={"id": number, **crack.figures}) for number, crack in enumerate(cracks, start=1)]


def _too_much(found: str, most: str) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"{found}, at most {most} can be measured. Raise the threshold, or cut the photograph into parts.",
    )


@dataclass(frozen=True)
class _Region:
    """A crack's pixels (flat indices), their box (left, top, right, bottom), their mean probability."""

    pixels: Index
    box_px: list[int]
    probability: float


def _regions(parts: Parts, together: list[list[Edge]], prob_hw_u8: NDArray[np.uint8]) -> list[_Region]:
    n = len(together)
    crack_of_part = np.full(len(parts.area_px), n)  # none, if thinning left only a point
    for number, group in enumerate(together):
        crack_of_part[[part for edge in group for part in edge.parts]] = number
    boxes_px = np.repeat([[*prob_hw_u8.shape[::-1], 0, 0]], n + 1, axis=0)
    np.minimum.at(boxes_px[:, :2], crack_of_part, parts.boxes_px[:, :2])
    np.maximum.at(boxes_px[:, 2:], crack_of_part, parts.boxes_px[:, 2:])
    pixels = parts.pixels(crack_of_part, n)
    flat_u8 = prob_hw_u8.reshape(-1)
    probability = [float(flat_u8.take(at).mean(dtype=np.float64)) / 255 for at in pixels]
    return [_Region(*values) for values in zip(pixels, boxes_px[:n].tolist(), probability, strict=True)]


def _told(
    lines: list[list[Float]],
    profiles: Profiles,
    crack: Index,
    widths: Widths,
    regions: list[_Region],
    size_hw: tuple[int, ...],
) -> list[Crack]:
    """The cracks with their figures, but for the id.

    Args:
        lines: of each crack.
        crack: (n,), whose each profile is; rising.
    """
    n, width_px = len(lines), widths.width_px
    height, width = size_hw
    first = np.searchsorted(crack, np.arange(n + 1))
    median_px, p95_px = quantiles(width_px, crack, n, 0.5, 0.95)
    mean_px = np.bincount(crack, width_px, n) / np.maximum(np.diff(first), 1)
    figures = np.round(np.stack([mean_px, median_px, p95_px, widths.uncertainty_px, widths.limit_px], axis=1), _ROUNDED)
    length_px, orientation_deg = _extents(lines)
    told = []
    for i, (group, region) in enumerate(zip(lines, regions, strict=True)):
        places = slice(first[i], first[i + 1])
        is_below = not median_px[i] >= widths.limit_px[i]  # none if no place could be measured
        mean, median, p95, uncertainty, limit = figures[i].tolist()
        widest = None if is_below else int(first[i] + width_px[places].argmax())
        left, top, right, bottom = region.box_px
        each = {
            "length_px": round(length_px[i], _ROUNDED),
            "width_mean_px": None if is_below else mean,
            "width_median_px": None if is_below else median,
            "width_p95_px": None if is_below else p95,
            "width_max_px": None if widest is None else round(float(width_px[widest]), _ROUNDED),
            "width_max_at": None if widest is None else np.round(profiles.at_xy[widest], 1).tolist(),
            "width_uncertainty_px": None if is_below else uncertainty,
            "width_limit_px": limit,
            "is_width_below_limit": is_below,
            "area_px": len(region.pixels),
            "orientation_deg": orientation_deg[i],
            "bbox_px": region.box_px,
            "n_branches": len(group),
            "touches_edge": left == 0 or top == 0 or right == width or bottom == height,
            "probability_mean": round(region.probability, _ROUNDED),
        }
        told.append(Crack(group, profiles.at_xy[places], profiles.along_xy[places], width_px[places], region.pixels, each))
    return told


def _extents(lines: list[list[Float]]) -> tuple[list[float], list[float]]:
    """Of each crack the length of all its lines together, and the direction in degrees of the axis along which they reach
    farthest: 0 is level, 90 upright, 45 rises to the right.
    """
    x, y = np.concatenate([line for group in lines for line in group]).T.copy()
    ends = np.cumsum([len(line) for group in lines for line in group])
    n_points = np.array([sum(map(len, group)) for group in lines])
    crack = np.repeat(np.arange(len(lines)), n_points)

    def total(values: Float) -> Float:
        return np.asarray(np.bincount(crack, values, len(lines)), np.float64)

    between_px = np.sqrt(np.diff(x, append=0) ** 2 + np.diff(y, append=0) ** 2)
    between_px[ends - 1] = 0  # from one line to the next
    x -= (total(x) / n_points)[crack]
    y -= (total(y) / n_points)[crack]
    angle = np.degrees(0.5 * np.arctan2(-2 * total(x * y), total(x * x) - total(y * y)))
    return list(total(between_px).tolist()), list((np.round(angle, 1) % 180).tolist())
