"""From a JPEG's or PNG's bytes to an upright RGB array; nothing is decoded before its structure and its header were checked.

Left to others: the parts of a file (`structure`), what happens with the pixels (`segmenter`), and how an error reaches a client
(`handler`).
"""

import io
import os
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from model.inference.errors import ErrorCode, RequestError
from model.inference.structure import JPEG_SIGNATURE, PNG_SIGNATURE, picture

MEGAPIXEL = 1_000_000
MEGABYTE = 1024 * 1024
# All that Pillow was seen to raise on some 680,000 files with bytes cut off or changed.
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, struct.error)
# Pixels that are converted at a time: beside the decoded picture and the result no third copy is in memory.
_BAND_PX = 2**20


@dataclass(frozen=True)
class Limits:
    """Sizes past which a photograph is refused, each before anything is decoded."""

    max_bytes: int = 50 * MEGABYTE
    max_pixels: int = 100 * MEGAPIXEL
    purpose: str = ""  # what the pixel limit holds for, where it isn't every request
    min_side_px: int = 16
    max_side_px: int | None = None  # of response=overlay: a JPEG holds no longer side
    max_pixels_high_quality: int = 25 * MEGAPIXEL
    max_pixels_full_response: int = 4 * MEGAPIXEL

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Limits":
        """The defaults, but for CRACK_MAX_MEGABYTES and CRACK_MAX_MEGAPIXELS where they are set.

        Raises:
            ValueError: one of the two is no positive number.
        """
        return cls(
            max_bytes=_positive(environment, "CRACK_MAX_MEGABYTES", cls.max_bytes, MEGABYTE),
            max_pixels=_positive(environment, "CRACK_MAX_MEGAPIXELS", cls.max_pixels, MEGAPIXEL),
        )


NO_LIMITS = Limits(max_bytes=sys.maxsize, max_pixels=sys.maxsize, min_side_px=1)  # for files of one's own


def _positive(environment: Mapping[str, str], name: str, default: int, unit: int) -> int:
    text = environment.get(name)
    if text is None:
        return default
    try:
        value = int(float(text) * unit)
    except (ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise ValueError(f"{name}={text!r}: expected a positive number.")
    return value


def decode(data: bytes, limits: Limits = NO_LIMITS) -> NDArray[np.uint8]:
    """The photograph as people see it: upright by its EXIF orientation, RGB, on white where it is transparent.

    Args:
        data: a JPEG (grey, RGB, CMYK) or PNG (grey, palette, RGB, with or without alpha, 8 or 16 bits a sample) file.

    Returns:
        `image_hwc_u8`, uint8, (height, width, 3), 0..255.

    Raises:
        RequestError: IMAGE_MISSING (no bytes), IMAGE_UNSUPPORTED (another format, by its own bytes), IMAGE_TOO_LARGE,
            IMAGE_TOO_SMALL, IMAGE_UNDECODABLE (torn or corrupt).
    """
    image, orientation = _open(data, limits)
    try:
        image.load()
        image_hwc_u8 = _to_rgb(image)
    except _DECODING_ERRORS as error:
        raise _undecodable(data, error) from error
    del image
    return _turn_upright(image_hwc_u8, orientation)


def read_size(data: bytes, limits: Limits) -> tuple[int, int]:
    """A photograph's upright height and width, by its header alone. Raises RequestError as `decode` does."""
    image, orientation = _open(data, limits)
    return image.size if orientation >= 5 else (image.height, image.width)


def _open(data: bytes, limits: Limits) -> tuple[ImageFile, int]:
    """Hold structure and header against the limits; the picture, not yet decoded, and its EXIF orientation."""
    if not data:
        raise RequestError(
            ErrorCode.IMAGE_MISSING,
            "The request holds no image. Send a JPEG or PNG as the part 'image' or as the body.",
        )
    if len(data) > limits.max_bytes:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {len(data) / MEGABYTE:.1f} MB, at most {limits.max_bytes / MEGABYTE:.4g} MB are accepted. "
            "Save it as a JPEG or cut it into parts.",
        )
    # The plug-ins are called by themselves: Image.open would guess among forty formats, and refuse large photographs by a
    # limit of its own.
    if data.startswith(JPEG_SIGNATURE):
        plugin: type[ImageFile] = JpegImageFile
    elif data.startswith(PNG_SIGNATURE):
        plugin = PngImageFile
    else:
        raise RequestError(
            ErrorCode.IMAGE_UNSUPPORTED,
            f"The image starts with the bytes {data[:8]!r}, which is neither a JPEG nor a PNG. Convert it to one of them.",
        )
    try:
        needed, orientation = picture(data)
        image = plugin(io.BytesIO(needed))
    except _DECODING_ERRORS as error:
        raise _undecodable(data, error) from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {width} x {height} = {width * height / MEGAPIXEL:.4g} megapixels, "
            f"at most {limits.max_pixels / MEGAPIXEL:.4g} are accepted{limits.purpose}. Cut it into parts.",
        )
    if limits.max_side_px and max(width, height) > limits.max_side_px:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {width} x {height} pixels, at most {limits.max_side_px} a side fit into the JPEG of "
            "response=overlay. Ask for response=mask, or cut it into parts.",
        )
    if min(width, height) < limits.min_side_px:
        raise RequestError(
            ErrorCode.IMAGE_TOO_SMALL,
            f"The image has {width} x {height} pixels, at least {limits.min_side_px} a side are needed. "
            "Send the photograph at its own size.",
        )
    return image, orientation


def _undecodable(data: bytes, error: Exception) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_UNDECODABLE,
        f"The image of {len(data)} bytes cannot be decoded ({error}). It is torn or corrupt: send the original file again, "
        "or save it anew with another program.",
    )


def _turn_upright(image_hwc_u8: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Mirrored and turned as the EXIF orientation tells (EXIF 2.32, section 4.6.4.A)."""
    if orientation in (2, 4, 5, 7):
        image_hwc_u8 = image_hwc_u8[:, ::-1]
    n_quarter_turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(image_hwc_u8, n_quarter_turns))


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    image_hwc_u8 = np.empty((image.height, image.width, 3), np.uint8)
    n_rows = max(1, _BAND_PX // image.width)
    for top in range(0, image.height, n_rows):
        band = image.crop((0, top, image.width, min(top + n_rows, image.height)))
        image_hwc_u8[top : top + n_rows] = np.asarray(_band_to_rgb(band))
    return image_hwc_u8


def _band_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip at 255
        high_bytes = (np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535
        return Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # converting RGB to RGB would copy it
