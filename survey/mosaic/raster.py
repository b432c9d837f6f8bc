"""A GeoTIFF that is read part by part, and the place and size of its pixels on the ground.

Left to others: what is written (`writing`).
"""

import math
import warnings
from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.warp import transform as to_crs
from rasterio.windows import Window

from survey.engines import SurveyError

CACHE_BYTES = 128 * 2**20  # for GDAL, whose default is a twentieth of the memory
MAX_STRETCH_RATIO = 0.01  # between a pixel's two sides, and between the map's metres and the ground's
_FILL_PX = 2048  # columns whose pixels without data are filled at a time
_WGS84 = CRS.from_epsg(4326)
_EARTH_M, _FLATTENING = 6_378_137.0, 1 / 298.257223563  # WGS84


class Raster:
    """An open mosaic of 8 bits, grey or colour; close it.

    Attributes:
        size_hw: pixels.
        transform: from pixels, (0, 0) the top-left corner of the top-left one, to the map's coordinates.
        m_per_unit: of the map's coordinates.
        is_local: they are of this place alone, such as those of a facade, so nothing of it has a longitude and latitude.
        m_per_px: on the ground, as far as the map tells it.

    Raises:
        SurveyError: it is not such a file, or nothing can be measured on it; the message says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning):  # reported below
                self._file = rasterio.open(path, driver="GTiff")
        except rasterio.errors.RasterioError as error:
            raise SurveyError(
                f"{path} is not a readable GeoTIFF ({error}). Expected one, a photograph, or a folder of photographs."
            ) from error
        self.size_hw = (self._file.height, self._file.width)
        self.transform: Affine = self._file.transform
        self.crs: CRS = self._file.crs
        self.is_local = bool(self.crs) and not (self.crs.is_projected or self.crs.is_geographic)
        try:
            self._bands = self._colours()
            self.m_per_unit = self._check_map()
        except SurveyError:
            self._file.close()
            raise
        self.m_per_px = math.sqrt(abs(self.transform.determinant)) * self.m_per_unit

    def close(self) -> None:
        self._file.close()

    def read(self, top: int, left: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A part: RGB (height, width, 3), and which pixels have data; others have the colour of the nearest one that has."""
        window = Window(left, top, width, height)
        image_hwc_u8 = np.ascontiguousarray(np.moveaxis(self._file.read(self._bands, window=window), 0, -1))
        is_valid = self._file.dataset_mask(window=window) > 0
        for first in range(0, width, _FILL_PX):
            part = slice(first, first + _FILL_PX)
            _fill(image_hwc_u8[:, part], is_valid[:, part])
        return image_hwc_u8, is_valid

    def read_valid(self, top: int, height: int) -> NDArray[np.bool_]:
        """Which pixels of whole rows have data."""
        return np.asarray(self._file.dataset_mask(window=Window(0, top, self.size_hw[1], height)) > 0)

    def map_xy(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) from pixels to the map's coordinates."""
        a, b, c, d, e, f = self.transform[:6]
        return np.asarray(points_xy @ np.array([(a, d), (b, e)]) + (c, f))

    def pixel_xy_of(self, other: "Raster", points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) from another mosaic's pixels to those of this one, by the map alone; infinite where no such place exists."""
        map_xy = other.map_xy(points_xy)
        if self.is_local and other.is_local:
            map_xy = map_xy * (other.m_per_unit / self.m_per_unit)
        elif self.crs != other.crs:
            map_xy = np.stack(to_crs(other.crs, self.crs, *map_xy.T), axis=1)
        return self.pixel_xy(map_xy)

    def pixel_xy(self, map_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) from the map's coordinates to pixels."""
        a, b, c, d, e, f = (~self.transform)[:6]
        return np.asarray(map_xy @ np.array([(a, d), (b, e)]) + (c, f))

    def _colours(self) -> list[int]:
        """The bands that are red, green and blue; a grey one three times."""
        file = self._file
        kinds = dict(zip(file.colorinterp, file.indexes, strict=True))
        colours = [kinds.get(kind) for kind in (ColorInterp.red, ColorInterp.green, ColorInterp.blue)]
        bands = [band for band in colours if band is not None]
        if len(bands) < 3:
            pictures = [band for kind, band in zip(file.colorinterp, file.indexes, strict=True) if kind != ColorInterp.alpha]
            bands = pictures[:3] if len(pictures) >= 3 else pictures[:1] * 3
        types = {file.dtypes[band - 1] for band in bands}
        if types != {"uint8"} or ColorInterp.palette in kinds:
            found = "a palette" if ColorInterp.palette in kinds else " and ".join(sorted(types))
            raise SurveyError(
                f"{self.path} holds {found}, expected 8 bits of grey or of red, green and blue. Convert it: gdal_translate "
                f"{'-expand rgb' if ColorInterp.palette in kinds else '-ot Byte -scale'} IN.tif OUT.tif."
            )
        return bands

    def _check_map(self) -> float:
        """The metres of a unit of the map."""
        path, crs = self.path, self.crs
        if crs is None:
            raise SurveyError(
                f"{path} has no coordinate reference system, so nothing can be measured in metres. Set it: gdal_edit.py -a_srs "
                "EPSG:25832 FILE.tif. If it is a photograph, survey the folder that it is in."
            )
        if self.transform.is_identity:
            raise SurveyError(
                f"{path} does not say how large its pixels are. Set the coordinates of its corners: gdal_edit.py -a_ullr "
                "LEFT TOP RIGHT BOTTOM FILE.tif. If it had a world file (.tfw), put that beside it."
            )
        across, down = (
            math.hypot(*side) for side in ((self.transform.a, self.transform.d), (self.transform.b, self.transform.e))
        )
        if (
            abs(across / down - 1) > MAX_STRETCH_RATIO
            or abs(abs(self.transform.determinant) / (across * down) - 1) > MAX_STRETCH_RATIO
        ):
            raise SurveyError(
                f"{path} has pixels of {across:g} by {down:g}, expected square ones: widths would not compare. "
                f"Resample it: gdalwarp -tr {min(across, down):g} {min(across, down):g} -r cubic IN.tif OUT.tif."
            )
        if self.is_local:
            return _m_per_local_unit(path, crs)
        height, width = self.size_hw
        middle_xy = self.map_xy(
            np.array([(width / 2, height / 2), (width / 2 + 100, height / 2), (width / 2, height / 2 + 100)])
        )
        longitude, latitude = to_crs(crs, _WGS84, *middle_xy.T)
        zone = int((longitude[0] + 180) % 360 // 6) + 1
        advice = f"Reproject it: gdalwarp -t_srs EPSG:{(32600 if latitude[0] >= 0 else 32700) + zone} -r cubic IN.tif OUT.tif."
        if crs.is_geographic:
            raise SurveyError(f"{path} is in degrees ({crs}), which are not lengths. {advice}")
        m_per_unit = float(crs.linear_units_factor[1])
        for corner in (1, 2):
            on_ground = _distance_m(latitude[0], longitude[0], latitude[corner], longitude[corner])
            on_map = math.dist(middle_xy[0], middle_xy[corner]) * m_per_unit
            if abs(on_map / on_ground - 1) > MAX_STRETCH_RATIO:
                raise SurveyError(
                    f"{path} is in {crs}, whose metres are {on_map / on_ground:.2f} times those of the ground there. {advice}"
                )
        return m_per_unit


def _m_per_local_unit(path: Path, crs: CRS) -> float:
    """rasterio tells the unit of projected systems only."""
    try:
        unit = crs.to_dict(projjson=True)["coordinate_system"]["axis"][0]["unit"]
        return 1.0 if unit == "metre" else float(unit["conversion_factor"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SurveyError(
            f"{path} has a coordinate reference system without a known unit of length ({crs}). Set another: gdal_edit.py "
            '-a_srs \'LOCAL_CS["site",UNIT["metre",1]]\' FILE.tif.'
        ) from error


def _fill(image_hwc_u8: NDArray[np.uint8], is_valid: NDArray[np.bool_]) -> None:
    """Give pixels without data the nearest colour: a border of black or white would look like the edge of a crack."""
    if is_valid.all() or not is_valid.any():
        return
    is_without = (~is_valid).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(is_without, cv2.DIST_L2, cv2.DIST_MASK_3, labelType=cv2.DIST_LABEL_PIXEL)
    place = np.zeros(int(nearest.max()) + 1, np.intp)
    place[nearest[is_valid]] = np.flatnonzero(is_valid)
    rows, columns = np.divmod(place[nearest[~is_valid]], is_valid.shape[1])
    image_hwc_u8[~is_valid] = image_hwc_u8[rows, columns]


def _distance_m(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Over some hundred metres, by the radii of curvature of the ellipsoid there (Snyder 1987, equations 4-18 to 4-20)."""
    squared = _FLATTENING * (2 - _FLATTENING)
    sine = math.sin(math.radians((latitude + other_latitude) / 2))
    across_m = _EARTH_M / math.sqrt(1 - squared * sine**2)
    along_m = across_m * (1 - squared) / (1 - squared * sine**2)
    east = math.radians((other_longitude - longitude + 180) % 360 - 180) * math.cos(math.asin(sine))
    return math.hypot(across_m * east, along_m * math.radians(other_latitude - latitude))
