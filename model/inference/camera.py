"""How large a pixel is at a distance, from what a photograph's EXIF data say about the camera.

Left to others: what a client says about the camera itself (`options`), reading the block (`exif`).
"""

import math

from model.inference.exif import CAMERA_DIRECTORY, read_directory

_FOCAL_LENGTH = 0x920A  # mm
_EQUIVALENT_LENGTH = 0xA405  # mm, of the lens with the same view on 35 mm film; whole numbers
_WIDTH_PX, _HEIGHT_PX = 0xA002, 0xA003  # as the photograph was taken
_SENSOR_PX_BY_UNIT, _UNIT = 0xA20E, 0xA210
_ZOOM = 0xA404  # of the camera's software
_UNIT_MM = {2: 25.4, 3: 10.0}  # inch, centimetre
_FILM_DIAGONAL_MM = math.hypot(36, 24)  # equivalent focal lengths compare the diagonals (CIPA DCG-001)
_MAX_DISAGREEMENT = 0.1
_INSTEAD = "Send focal_length_mm and sensor_width_mm with distance_m, or mm_per_px, or lay a printed marker beside the cracks."


class CameraUnknownError(LookupError):
    """A photograph gives no scale by its camera; the message, for people, says why and what to do."""


def mm_per_px(exif: bytes, size_hw: tuple[int, int], distance_m: float) -> float:
    """How large a pixel is on a surface at that distance, square to the camera.

    Args:
        exif: the block as it is in the file.
        size_hw: of the photograph.

    Raises:
        CameraUnknownError: it doesn't say, it contradicts itself, or the photograph isn't as it was taken.
    """
    read = read_directory(exif, CAMERA_DIRECTORY)
    told = {tag: value[0] for tag, value in read.items() if isinstance(value, tuple)}
    if not told:
        raise _unknown("The photograph has no EXIF data about the camera.")
    if told.get(_ZOOM, 0) not in (0, 1):
        raise _unknown(f"The photograph was taken with digital zoom ({told[_ZOOM]:g} times), which cameras count differently.")
    taken = (told.get(_WIDTH_PX, 0), told.get(_HEIGHT_PX, 0))
    if not all(taken):
        raise _unknown(
            "The photograph's EXIF data does not say with how many pixels it was taken, so it may have been cropped or reduced."
        )
    if sorted(taken) != sorted(size_hw):
        raise _unknown(
            f"By its EXIF data the photograph was taken with {taken[0]:g} x {taken[1]:g} pixels, and it has "
            f"{size_hw[1]} x {size_hw[0]}: it was cropped or reduced."
        )
    pixel_by_focal_length = []
    unit_mm = _UNIT_MM.get(int(told.get(_UNIT, 2)))
    if unit_mm and told.get(_SENSOR_PX_BY_UNIT) and told.get(_FOCAL_LENGTH):
        pixel_by_focal_length.append(unit_mm / told[_SENSOR_PX_BY_UNIT] / told[_FOCAL_LENGTH])
    if told.get(_EQUIVALENT_LENGTH):
        pixel_by_focal_length.append(_FILM_DIAGONAL_MM / math.hypot(*size_hw) / told[_EQUIVALENT_LENGTH])
    if not pixel_by_focal_length:
        raise _unknown("The photograph's EXIF data has neither the sensor's resolution nor a focal length for 35 mm film.")
    if max(pixel_by_focal_length) > (1 + _MAX_DISAGREEMENT) * min(pixel_by_focal_length):
        raise _unknown(
            "In the photograph's EXIF data, the sensor's resolution and the focal length for 35 mm film contradict each other."
        )
    return 1000 * distance_m * pixel_by_focal_length[0]


def _unknown(why: str) -> CameraUnknownError:
    return CameraUnknownError(f"{why} So there are no millimetres. {_INSTEAD}")
