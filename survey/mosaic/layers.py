"""Lines with fields, written and read as files of a GIS: a GeoPackage in the mosaic's coordinates, and a GeoJSON in longitude
and latitude. Left to others: which lines and fields (`writing`, `surveyed`).
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio._err import CPLE_BaseError

from survey.mosaic.blocks import told
from survey.mosaic.raster import Raster


@contextmanager
def as_errors_of_the_system() -> Iterator[None]:
    """GDAL has its own exceptions for a full disk or a share that is gone; callers expect OSError."""
    try:
        yield
    except (CPLE_BaseError, DataSourceError, DataLayerError) as error:
        advice = "Free some space there, then run the same command again."
        raise OSError(f"The results cannot be written ({error}). {advice}") from error


def write_layer(
    rows: Sequence[Mapping[str, Any]],
    lines_xy: Sequence[Sequence[NDArray[np.float64]]],
    kinds: Mapping[str, str],
    raster: Raster,
    layer: str,
    folder: Path,
) -> None:
    """Write a GeoPackage and, unless the mosaic is in local coordinates, a GeoJSON, both named as the layer.

    Args:
        rows: the fields of each feature.
        lines_xy: of each feature, in the mosaic's pixels.
        kinds: numpy's, of each field.
    """
    data, missing = [], []
    for name, kind in kinds.items():
        values = [row[name] for row in rows]
        missing.append(np.array([value is None for value in values], np.bool_))
        data.append(np.array([("" if kind == "object" else 0.0) if value is None else value for value in values], kind))
    geometry = np.array(
        [_wkb([raster.map_xy(line) for line in map(told, lines) if _is_long(line)]) for lines in lines_xy], object
    )
    common = {"fields": np.array([*kinds], object), "field_mask": missing, "geometry_type": "MultiLineString"}
    common |= {"crs": raster.crs.to_wkt(), "layer": layer}
    version = {"VERSION": "1.2"}  # QGIS of 2023 (GDAL 3.6) warns that it may not understand 1.4 completely
    pyogrio.raw.write(folder / f"{layer}.gpkg", geometry, data, driver="GPKG", dataset_options=version, **common)
    if not raster.is_local:
        as_rfc7946 = {"RFC7946": "YES", "COORDINATE_PRECISION": "9"}
        pyogrio.raw.write(folder / f"{layer}.geojson", geometry, data, driver="GeoJSON", layer_options=as_rfc7946, **common)


def read_layer(path: Path) -> list[tuple[dict[str, Any], list[NDArray[np.float64]]]]:
    """The fields of each feature, and its lines in the coordinates of the file. Raises OSError."""
    try:
        meta, _, shapes, columns = pyogrio.raw.read(path)
    except (DataSourceError, DataLayerError) as error:
        raise OSError(f"{path} cannot be read ({error}). Survey the mosaic again, with another --out.") from error
    rows = zip(*columns, strict=True) if len(shapes) else ()
    return [(dict(zip(meta["fields"], row, strict=True)), _lines(shape)) for shape, row in zip(shapes, rows, strict=True)]


def _is_long(line_xy: NDArray[np.float64]) -> bool:
    """Of a ring shorter than the distance between two points only its end is left, twice: GIS call that invalid. The two differ
    by rounding, if at all; on the map, and in degrees, they are one.
    """
    return bool(np.ptp(line_xy, axis=0).max() > 0.1)


def _wkb(lines_xy: Sequence[NDArray[np.float64]]) -> bytes:
    """A MultiLineString (OGC 06-103r4, 8.2)."""
    parts = [struct.pack("<BII", 1, 2, len(line)) + line.astype("<f8").tobytes() for line in lines_xy]
    return struct.pack("<BII", 1, 5, len(parts)) + b"".join(parts)


def _lines(wkb: bytes) -> list[NDArray[np.float64]]:
    """Of a MultiLineString (OGC 06-103r4, 8.2), little-endian as GDAL writes it."""
    (n_lines,) = struct.unpack_from("<I", wkb, 5)
    at, lines = 9, []
    for _ in range(n_lines):
        (n_points,) = struct.unpack_from("<I", wkb, at + 5)
        lines.append(np.frombuffer(wkb, "<f8", 2 * n_points, at + 9).reshape(-1, 2))
        at += 9 + 16 * n_points
    return lines
