"""Writes a mosaic's results for a GIS: the mask as a Cloud Optimized GeoTIFF, the cracks as GeoPackage and as GeoJSON.

The GeoPackage is in the mosaic's own coordinates. The GeoJSON is in longitude and latitude (WGS84), as RFC 7946 wants it; of a
mosaic in local coordinates there is none.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.windows import Window

from survey.changes import Change, Kind, Part
from survey.mosaic.blocks import MosaicCrack
from survey.mosaic.layers import as_errors_of_the_system, write_layer
from survey.mosaic.raster import Raster

MASK, PACKAGE, GEOJSON, LAYER = "mask.tif", "cracks.gpkg", "cracks.geojson", "cracks"
CHANGES = "changes"  # as the layer, with the same two endings
_BLOCK_PX = 512
_OVERVIEWS = "RMS"  # a line of one pixel is still seen where the mean would have faded it
_M_PLACES = 6
_NONE = MosaicCrack([], np.empty(0), 0.0, 0.0, 0, 0.0)


def results(raster: Raster) -> tuple[str, ...]:
    """The names of the files that a survey writes."""
    return (MASK, PACKAGE) if raster.is_local else (MASK, PACKAGE, GEOJSON)


class Mask:
    """The mask, written strip by strip: 255 is crack, 0 is not; pixels without data in the mosaic have none here either."""

    def __init__(self, raster: Raster, path: Path) -> None:
        height, width = raster.size_hw
        self._path = path
        self._environment = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True)
        self._environment.__enter__()
        self._file = rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=1,
            dtype="uint8",
            crs=raster.crs,
            transform=raster.transform,
            tiled=True,
            blockxsize=_BLOCK_PX,
            blockysize=_BLOCK_PX,
            compress="deflate",
            bigtiff="IF_SAFER",
        )

    def __enter__(self) -> Self:
        return self

    def write(self, top: int, mask_hw: NDArray[np.bool_], is_valid: NDArray[np.bool_]) -> None:
        window = Window(0, top, *mask_hw.shape[::-1])
        self._file.write(mask_hw.astype(np.uint8) * 255, 1, window=window)
        self._file.write_mask(is_valid, window=window)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._environment.__exit__(kind, error, trace)


@as_errors_of_the_system()
def write_overviews(plain: Path, path: Path) -> None:
    """The same mask with overviews, laid out so that a part can be read over a network. Raises OSError."""
    options = {"compress": "DEFLATE", "overview_resampling": _OVERVIEWS, "bigtiff": "IF_SAFER", "num_threads": "1"}
    rasterio.shutil.copy(plain, path, driver="COG", **options)


def properties(crack: MosaicCrack, raster: Raster) -> dict[str, Any]:
    """A crack's figures, in metres on the ground; its widths are None if it is too narrow to measure."""
    metre = raster.m_per_px
    length_m = sum(
        float(np.hypot(*np.diff(raster.map_xy(line_xy), axis=0).T).sum()) * raster.m_per_unit for line_xy in crack.lines_xy
    )
    widths = crack.width_px
    figures: dict[str, float | None] = dict.fromkeys(
        ("width_mean_m", "width_median_m", "width_p95_m", "width_max_m", "width_uncertainty_m")
    )
    if not crack.is_below_limit:
        values_px = (widths.mean(), np.median(widths), np.percentile(widths, 95), widths.max(), crack.uncertainty_px)
        figures = {name: round(float(value) * metre, _M_PLACES) for name, value in zip(figures, values_px, strict=True)}
    return {
        "length_m": round(length_m, _M_PLACES),
        **figures,
        "width_limit_m": round(crack.limit_px * metre, _M_PLACES),
        "is_width_below_limit": crack.is_below_limit,
        "area_m2": round(crack.area_px * metre**2, _M_PLACES),
        "n_lines": len(crack.lines_xy),
        "probability_mean": round(crack.probability, 3),
    }


@as_errors_of_the_system()
def write_cracks(cracks: Sequence[MosaicCrack], raster: Raster, model_version: str, folder: Path) -> list[dict[str, Any]]:
    """Write the files of vectors into `folder`; returns the properties of each crack. Raises OSError."""
    told_of = [{"id": number, **properties(crack, raster)} for number, crack in enumerate(cracks, 1)]
    kinds = {"id": "int32", **dict.fromkeys(properties(_NONE, raster), "float64"), "model_version": "object"}
    kinds |= {"is_width_below_limit": "bool", "n_lines": "int32"}
    rows = [{**row, "model_version": model_version} for row in told_of]
    write_layer(rows, [crack.lines_xy for crack in cracks], kinds, raster, LAYER, folder)
    return told_of


@as_errors_of_the_system()
def write_changes(changes: Sequence[Change], raster: Raster, folder: Path) -> None:
    """Write what became of each crack as vectors, a feature for each crack and each `Part` of it. Raises OSError."""
    kinds = {"id": "int32", "earlier_ids": "object", "change": "object", "part": "object", "reason": "object"}
    kinds |= dict.fromkeys(("part_m", "length_m", "changed_m", "unknown_m", "width_before_m", "width_m"), "float64")
    rows: list[dict[str, Any]] = []
    lines: list[list[NDArray[np.float64]]] = []
    for change in changes:
        lengths_px = change.length_px, change.changed_px, change.unknown_px, change.width_before_px, change.width_px
        lengths_m = (None if px is None else round(px * raster.m_per_px, _M_PLACES) for px in lengths_px)
        fields = {
            "id": None if change.kind is Kind.GONE else change.id,
            "earlier_ids": " ".join(str(number) for _, number in change.earlier),
            "change": change.kind.value,
            "reason": change.reason and change.reason.value,
            **dict(zip([*kinds][-5:], lengths_m, strict=True)),
        }
        for part in Part:
            parts_xy = [
                xy
                for xy, of in change.parts
                if of is part and len(xy) > 1 and (change.kind is not Kind.GONE or part is Part.CHANGED)
            ]
            if parts_xy:
                part_px = sum(float(np.hypot(*np.diff(line_xy, axis=0).T).sum()) for line_xy in parts_xy)
                rows.append({**fields, "part": part.value, "part_m": round(part_px * raster.m_per_px, _M_PLACES)})
                lines.append(parts_xy)
    write_layer(rows, lines, kinds, raster, CHANGES, folder)
