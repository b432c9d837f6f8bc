"""What answers say about a photograph's cracks: their figures, in millimetres if there is a scale, as GeoJSON and as a summary.

Left to others: how cracks are measured (`cracks`), the answer around them (`answer`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model.inference.cracks import Crack
from model.inference.millimetres import SurfaceScale
from model.inference.standards import Standard

_POINT_EVERY_PX = 4  # of the centre lines in answers


def properties(crack: Crack, scale: SurfaceScale | None, width_px: int) -> dict[str, Any]:
    """A crack's figures, and with a scale those in millimetres.

    Args:
        width_px: of the photograph.
    """
    return crack.figures | scale.figures_mm(crack, width_px) if scale else dict(crack.figures)


def lines(crack: Crack) -> list[list[list[float]]]:
    """The crack's centre lines as answers have them: x and y in pixels, a point every `_POINT_EVERY_PX`.

    Without those that are a point by that, as a ring shorter than the distance is: GIS call such a line invalid.
    """
    told = [np.round(np.concatenate([line[:-1:_POINT_EVERY_PX], line[-1:]]), 1).tolist() for line in crack.lines_xy]
    return [line for line in told if min(line) != max(line)] or told


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


def summary(told: Sequence[dict[str, Any]], scale: SurfaceScale | None, standard: Standard | None = None) -> dict[str, Any]:
    """How many there are, how long together, and the widest; its width is none where none can be resolved.

    Where the scale isn't the same everywhere, also how many of them have no figures in millimetres, and have no part in those;
    with a standard also how many there are by band.

    Args:
        told: the properties of each crack.
    """
    answer: dict[str, Any] = {"n_cracks": len(told)}
    if scale and not scale.is_even:
        answer["n_without_mm"] = sum("length_mm" not in crack for crack in told)
    units = ["px"] if scale is None else ["px", "mm"]
    answer |= {f"length_total_{unit}": round(sum(_all(told, f"length_{unit}")), 3) for unit in units}
    answer |= {f"width_max_{unit}": max(_all(told, f"width_max_{unit}"), default=None) for unit in units}
    return answer | {"n_by_band": standard.counted(told)} if standard else answer


def _all(told: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [crack[name] for crack in told if crack.get(name) is not None]
