"""From a JPEG's or PNG's bytes to an upright RGB array; nothing is decoded before its header was checked.

Left to others: what happens with the pixels (`segmenter`), and how an error reaches a client (`handler`).
"""

import io
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from model.inference.errors import ErrorCode, RequestError

MEGAPIXEL = 1_000_000
MEGABYTE = 1024 * 1024
# All that Pillow was seen to raise on some 680,000 files with bytes cut off or changed.
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, struct.error)
# What makes a photograph upright, by its EXIF orientation. Not ImageOps.exif_transpose: that encodes the whole EXIF block anew
# to take the orientation out of it, and fails on photographs with other tags that it cannot encode.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Limits:
    """Sizes past which a photograph is refused, each before anything is decoded."""

    max_bytes: int = 50 * MEGABYTE
    max_pixels: int = 100 * MEGAPIXEL
    purpose: str = ""  # what the pixel limit holds for, where it isn't every request
    min_side_px: int = 16
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


def decode(data: bytes, limits: Limits = Limits()) -> NDArray[np.uint8]:
    """The photograph as people see it: upright by its EXIF orientation, RGB, on white where it is transparent.

    Args:
        data: a JPEG (grey, RGB, CMYK) or PNG (grey, palette, RGB, with or without alpha, 8 or 16 bits a sample) file.

    Returns:
        `image_hwc_u8`, uint8, (height, width, 3), 0..255.

    Raises:
        RequestError: IMAGE_MISSING (no bytes), IMAGE_UNSUPPORTED (another format, by its own bytes), IMAGE_TOO_LARGE,
            IMAGE_TOO_SMALL, IMAGE_UNDECODABLE (torn or corrupt).
    """
    image = _open(data, limits)
    try:
        image.load()
        return np.asarray(_to_rgb(_turn_upright(image)))
    except _DECODING_ERRORS as error:
        raise _undecodable(data, error) from error


def _open(data: bytes, limits: Limits) -> ImageFile:
    """Read the header alone and hold it against the limits."""
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
    if data.startswith(b"\xff\xd8\xff"):
        plugin: type[ImageFile] = JpegImageFile
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        plugin = PngImageFile
    else:
        raise RequestError(
            ErrorCode.IMAGE_UNSUPPORTED,
            f"The image starts with the bytes {data[:8]!r}, which is neither a JPEG nor a PNG. Convert it to one of them.",
        )
    try:
        image = plugin(io.BytesIO(data))
    except _DECODING_ERRORS as error:
        raise _undecodable(data, error) from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {width} x {height} = {width * height / MEGAPIXEL:.4g} megapixels, "
            f"at most {limits.max_pixels / MEGAPIXEL:.4g} are accepted{limits.purpose}. Cut it into parts.",
        )
    if min(width, height) < limits.min_side_px:
        raise RequestError(
            ErrorCode.IMAGE_TOO_SMALL,
            f"The image has {width} x {height} pixels, at least {limits.min_side_px} a side are needed. "
            "Send the photograph at its own size.",
        )
    return image


def _undecodable(data: bytes, error: Exception) -> RequestError:
    return RequestError(
        ErrorCode.IMAGE_UNDECODABLE,
        f"The image of {len(data)} bytes cannot be decoded ({error}). It is torn or corrupt: send the original file again.",
    )


def _turn_upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip at 255
        high_bytes = (np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535
        return Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # converting RGB to RGB would copy it
