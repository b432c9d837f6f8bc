"""Writes a mosaic's results for a GIS: the mask as a Cloud Optimized GeoTIFF, the cracks as GeoPackage and as GeoJSON.

The GeoPackage is in the mosaic's own coordinates. The GeoJSON is in longitude and latitude (WGS84), as RFC 7946 wants it; of a
mosaic in local coordinates there is none.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyogrio.raw
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio._err import CPLE_BaseError
from rasterio.windows import Window

from survey.mosaic.blocks import MosaicCrack, told
from survey.mosaic.raster import Raster

MASK, PACKAGE, GEOJSON, LAYER = "mask.tif", "cracks.gpkg", "cracks.geojson", "cracks"
_BLOCK_PX = 512
_OVERVIEWS = "RMS"  # a line of one pixel is still seen where the mean would have faded it
_M_PLACES = 6


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


@contextmanager
def _as_errors_of_the_system() -> Iterator[None]:
    """GDAL has its own exceptions for a full disk or a share that is gone; callers expect OSError."""
    try:
        yield
    except (CPLE_BaseError, DataSourceError, DataLayerError) as error:
        advice = "Free some space there, then run the same command again."
        raise OSError(f"The results cannot be written ({error}). {advice}") from error


@_as_errors_of_the_system()
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


@_as_errors_of_the_system()
def write_cracks(cracks: Sequence[MosaicCrack], raster: Raster, model_version: str, folder: Path) -> list[dict[str, Any]]:
    """Write the files of vectors into `folder`; returns the properties of each crack. Raises OSError."""
    told_of = [{"id": number, **properties(crack, raster)} for number, crack in enumerate(cracks, 1)]
    columns = {"id": "int32", "is_width_below_limit": "bool", "n_lines": "int32"}
    empty = MosaicCrack([], np.empty(0), 0.0, 0.0, 0, 0.0)
    names = ["id", *properties(empty, raster), "model_version"]
    data, missing = [], []
    for name in names:
        values = [model_version if name == "model_version" else row[name] for row in told_of]
        missing.append(np.array([value is None for value in values], np.bool_))
        kind = "object" if name == "model_version" else columns.get(name, "float64")
        data.append(np.array([0.0 if value is None else value for value in values], kind))
    geometry = np.array(
        [_wkb([raster.map_xy(line) for line in map(told, crack.lines_xy) if _is_long(line)]) for crack in cracks], object
    )
    common = {"fields": np.array(names, object), "field_mask": missing, "geometry_type": "MultiLineString"}
    common |= {"crs": raster.crs.to_wkt(), "layer": LAYER}
    version = {"VERSION": "1.2"}  # QGIS of 2023 (GDAL 3.6) warns that it may not understand 1.4 completely
    pyogrio.raw.write(folder / PACKAGE, geometry, data, driver="GPKG", dataset_options=version, **common)
    if not raster.is_local:
        pyogrio.raw.write(
            folder / GEOJSON,
            geometry,
            data,
            driver="GeoJSON",
            layer_options={"RFC7946": "YES", "COORDINATE_PRECISION": "9"},
            **common,
        )
    return told_of


def _is_long(line_xy: NDArray[np.float64]) -> bool:
    """Of a ring shorter than the distance between two points only its end is left, twice: GIS call that invalid. The two differ
    by rounding, if at all; on the map, and in degrees, they are one.
    """
    return bool(np.ptp(line_xy, axis=0).max() > 0.1)


def _wkb(lines_xy: Sequence[NDArray[np.float64]]) -> bytes:
    """A MultiLineString (OGC 06-103r4, 8.2)."""
    parts = [struct.pack("<BII", 1, 2, len(line)) + line.astype("<f8").tobytes() for line in lines_xy]
    return struct.pack("<BII", 1, 5, len(parts)) + b"".join(parts)
