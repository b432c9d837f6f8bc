"""When and where a photograph was taken, from its EXIF: read only for people who want it in their results."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from PIL import ExifTags

from model.inference.exif import CAMERA_DIRECTORY, GPS_DIRECTORY, Value, read_directory
from model.inference.photograph import exif_block


@dataclass(frozen=True)
class Taken:
    """None and "" if the file gives no value, or an impossible one.

    Attributes:
        at: ISO 8601, such as "2026-05-01T10:20:30+02:00"; without the offset if the camera left it out.
        latitude, longitude: degrees, WGS84, north and east positive.
    """

    at: str = ""
    latitude: float | None = None
    longitude: float | None = None


def read_taken(photograph: bytes) -> Taken:
    """Read time and position from a photograph's file, without decoding its pixels."""
    exif = exif_block(photograph)
    camera, gps = read_directory(exif, CAMERA_DIRECTORY), read_directory(exif, GPS_DIRECTORY)
    latitude = _degrees(gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "S", 90)
    longitude = _degrees(gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "W", 180)
    is_void = gps.get(ExifTags.GPS.GPSStatus) == "V" or (latitude, longitude) == (0, 0)  # both are written without a fix
    if latitude is None or longitude is None or is_void:
        latitude = longitude = None
    return Taken(_time(camera), latitude, longitude)


def _degrees(gps: Mapping[int, Value], name: int, reference: int, negative: str, most: float) -> float | None:
    try:
        degrees, minutes, seconds = map(float, gps[name][:3])
        value = degrees + minutes / 60 + seconds / 3600
    except (KeyError, ValueError):
        return None
    if not math.isfinite(value) or abs(value) > most:
        return None
    return round(-value if str(gps.get(reference, "")).upper().startswith(negative) else value, 7)


def _time(camera: Mapping[int, Value]) -> str:
    found = str(camera.get(ExifTags.Base.DateTimeOriginal, "")).strip()
    date, _, time = found.partition(" ")
    if not (date + time).replace(":", "").isdecimal() or len(found) != 19:
        return ""
    date = date.replace(":", "-")
    try:
        datetime.fromisoformat(f"{date}T{time}")
    except ValueError:  # zeros if the camera's clock was never set
        return ""
    offset = str(camera.get(ExifTags.Base.OffsetTimeOriginal, "")).strip()
    is_offset = len(offset) == 6 and offset[0] in "+-" and offset[1:].replace(":", "").isdecimal()
    return f"{date}T{time}{offset if is_offset else ''}"
