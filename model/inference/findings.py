"""What is told of a photograph's cracks: their figures, in millimetres where there is a scale, as GeoJSON and in sum.

Left to others: how cracks are measured (`cracks`), the answer around them (`answer`).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model.inference import cracks
from model.inference.cracks import Crack, Scale, in_mm
from model.inference.markers import Markers
from model.inference.plane import MAX_UNCERTAINTY_RATIO
from model.inference.standards import Standard

_POINT_EVERY_PX = 4  # of the centre lines that are told
_MM_PLACES = 4


def properties(crack: Crack, scale: Scale | Markers | None, width_px: int) -> dict[str, Any]:
    """A crack's figures, and with a scale those in millimetres.

    With markers also how sure the scale is at the crack; beyond `MAX_UNCERTAINTY_RATIO` nothing is told in millimetres.

    Args:
        width_px: of the photograph.
    """
    if isinstance(scale, Markers):
        return {**crack.figures, **_on_surface(crack, scale, width_px)}
    return cracks.properties(crack.figures, scale)


def lines(crack: Crack) -> list[list[list[float]]]:
    """The crack's centre lines as they are told: x and y in pixels, a point every `_POINT_EVERY_PX`."""
    return [np.round(np.concatenate([line[:-1:_POINT_EVERY_PX], line[-1:]]), 1).tolist() for line in crack.lines_xy]


def feature(crack: Crack, told: dict[str, Any]) -> dict[str, Any]:
    """The crack as a GeoJSON feature.

    Args:
        told: its properties.
    """
    coordinates = lines(crack)
    geometry = {"type": "LineString", "coordinates": coordinates[0]}
    if len(coordinates) > 1:
        geometry = {"type": "MultiLineString", "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": told}


def summary(told: Sequence[dict[str, Any]], scale: Scale | Markers | None, standard: Standard | None = None) -> dict[str, Any]:
    """How many there are, how long together, and the widest; its width is none where none can be resolved.

    With markers also how many of them have no figures in millimetres, and have no part in those; with a standard also how many
    there are by band.

    Args:
        told: the properties of each crack.
    """
    answer: dict[str, Any] = {"n_cracks": len(told)}
    if isinstance(scale, Markers):
        answer["n_without_mm"] = sum("length_mm" not in crack for crack in told)
    units = ["px"] if scale is None else ["px", "mm"]
    answer |= {f"length_total_{unit}": round(sum(_all(told, f"length_{unit}")), 3) for unit in units}
    answer |= {f"width_max_{unit}": max(_all(told, f"width_max_{unit}"), default=None) for unit in units}
    return answer | {"n_by_band": standard.counted(told)} if standard else answer


def _all(told: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [crack[name] for crack in told if crack.get(name) is not None]


def _on_surface(crack: Crack, markers: Markers, width_px: int) -> dict[str, Any]:
    plane, uncertainty_ratio = markers.best_plane(crack.lines_xy)
    told = {"scale_uncertainty_ratio": round(uncertainty_ratio, _MM_PLACES) if math.isfinite(uncertainty_ratio) else None}
    if uncertainty_ratio > MAX_UNCERTAINTY_RATIO:
        return told
    y, x = np.divmod(crack.pixels, width_px)
    area_mm2 = float(plane.mm2_per_px2(np.stack([x, y], axis=1) + 0.5).sum())
    figures = {
        "mm_per_px": math.sqrt(area_mm2 / len(crack.pixels)),
        "length_mm": sum(float(np.hypot(*np.diff(plane.place(line), axis=0).T).sum()) for line in crack.lines_xy),
        "area_mm2": area_mm2,
    }
    along, across = plane.along_and_across(crack.at_xy, crack.along_xy)
    mm_per_px = float(np.median(across)) if len(across) else figures["mm_per_px"]
    figures["width_limit_mm"] = crack.figures["width_limit_px"] * mm_per_px
    if not crack.figures["is_width_below_limit"]:
        # Places are as far apart in the photograph, not on the surface: each counts for as much line as it has there.
        width_mm = crack.width_px * across
        median, p95 = np.quantile(width_mm, [0.5, 0.95], weights=along, method="inverted_cdf").tolist()
        own_mm = crack.figures["width_uncertainty_px"] * mm_per_px
        figures |= {
            "width_mean_mm": float(np.average(width_mm, weights=along)),
            "width_median_mm": median,
            "width_p95_mm": p95,
            "width_max_mm": float(width_mm.max()),
            "width_uncertainty_mm": math.hypot(own_mm, uncertainty_ratio * median),
        }
    names = ("mm_per_px", *in_mm(crack.figures))
    return told | {name: round(figures[name], _MM_PLACES) if name in figures else None for name in names}
