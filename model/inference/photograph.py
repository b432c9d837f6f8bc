"""From a photograph's file to an upright RGB array; nothing is decoded before its structure and its header were checked.

Left to others: what a file is (`formats`), its parts (`structure`, `tiff`, `heif`), what happens with the pixels (`segmenter`),
and how an error reaches a client (`handler`).
"""

import io
import os
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pi_heif
from numpy.typing import NDArray
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model.inference import heif, structure, tiff
from model.inference.errors import ErrorCode, RequestError
from model.inference.formats import EXPECTED, Format, UnsupportedError, recognise
from model.inference.levels import stretched, used_white
from model.inference.structure import bmp_size, picture, webp_picture

_Pixels = TypeVar("_Pixels", bound=np.generic)

MEGAPIXEL = 1_000_000
MEGABYTE = 1024 * 1024
# Limits that no setting can raise, each with its reason.
_MOST_MEGAPIXELS = 178, "Pillow opens no larger picture (Image.MAX_IMAGE_PIXELS, twice)"
_MOST_MEGABYTES = 200, "TorchServe's Java, with a quarter of 5 GB, holds no larger request"
# All that Pillow was seen to raise on some 680,000 files with bytes cut off or changed, and libheif and libavif on 300,000.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, RuntimeError)
_MOST_BYTES_PER_PIXEL = 3  # of the largest photographs; smaller ones may have more
# How Pillow is told to take the lower eight of 16 bits; of grey with opacity it takes upper and lower ones, as four samples.
_LOWER_OF = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
_UPPER_OF_14_BITS = 63
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
            ValueError: one of the two is no positive number, or more than can be.
        """
        return cls(
            max_bytes=_positive(environment, "CRACK_MAX_MEGABYTES", cls.max_bytes, MEGABYTE, *_MOST_MEGABYTES),
            max_pixels=_positive(environment, "CRACK_MAX_MEGAPIXELS", cls.max_pixels, MEGAPIXEL, *_MOST_MEGAPIXELS),
        )


NO_LIMITS = Limits(max_bytes=sys.maxsize, max_pixels=sys.maxsize, min_side_px=1)  # for the user's own files


def _positive(environment: Mapping[str, str], name: str, default: int, unit: int, most: int, reason: str) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(float(text) * unit)
    except (ValueError, OverflowError):
        value = 0
    if value <= 0:
        raise ValueError(f"{name}={text!r}: expected a positive number.")
    if value > most * unit:
        raise ValueError(f"{name}={text!r}: expected {most} at most, as {reason}. Cut larger photographs into parts.")
    return value


def decode(data: bytes, limits: Limits = NO_LIMITS) -> NDArray[np.uint8]:
    """The photograph as people see it: upright, RGB, on white where it is transparent.

    Upright is what browsers show: by the EXIF of a JPEG, by a PNG's before its pixels, by a TIFF's own tag, by what the
    container of HEIC and AVIF says (irot, imir), and never by XMP. Of several pictures in a file it is the first.

    Args:
        data: a file in one of `formats.Format`, in grey or colour, with or without opacity. Of 16 bits a sample the bits that
            are used count: cameras write 10 to 14.

    Returns:
        `image_hwc_u8`, uint8, (height, width, 3), 0..255.

    Raises:
        RequestError: IMAGE_MISSING (no bytes), IMAGE_UNSUPPORTED (another format, by its own bytes), IMAGE_TOO_LARGE,
            IMAGE_TOO_SMALL, IMAGE_UNDECODABLE (torn or corrupt).
    """
    found = _open(data, limits)
    try:
        image_hwc_u8 = found.decode()
        if image_hwc_u8.shape[:2] != found.size_hw:
            raise ValueError(f"{image_hwc_u8.shape[:2]} pixels (height, width), expected {found.size_hw}")
    except DECODING_ERRORS as error:
        raise _undecodable(data) from error
    orientation = found.orientation
    del found  # and with it the decoder's memory
    return turn_upright(image_hwc_u8, orientation)


def read_size(data: bytes, limits: Limits) -> tuple[int, int]:
    """A photograph's upright height and width, by its header alone. Raises RequestError as `decode` does."""
    found = _open(data, limits)
    height, width = found.size_hw
    return (width, height) if found.orientation >= 5 else (height, width)


def read_orientation(data: bytes) -> int:
    """How a photograph that `decode` reads is turned upright: EXIF's 1 (not at all) to 8."""
    return _find(data).orientation


def exif_block(data: bytes) -> bytes:
    """A photograph's EXIF block; of a TIFF all of it: it is one itself. Empty where there is none, or what holds it is torn."""
    try:
        match recognise(data):
            case Format.JPEG | Format.PNG:
                return structure.exif_block(data)
            case Format.TIFF:
                return data
            case Format.WEBP:
                return structure.webp_exif_block(data)
            case Format.HEIF:
                return heif.exif_block(data)
            case Format.BMP:
                return b""
    except (*DECODING_ERRORS, UnsupportedError):
        return b""


@dataclass(frozen=True)
class _Found:
    """A picture that was not decoded yet: its size as it is stored, how to turn it (EXIF's 1 to 8), and how to decode it."""

    size_hw: tuple[int, int]
    orientation: int
    decode: Callable[[], NDArray[np.uint8]]
    n_bytes_per_pixel: int = 3


def _open(data: bytes, limits: Limits) -> _Found:
    """Check structure and header against the limits."""
    if not data:
        raise RequestError(
            ErrorCode.IMAGE_MISSING,
            f"The request holds no image. Send a photograph ({EXPECTED}) as the part 'image' or as the body.",
        )
    if len(data) > limits.max_bytes:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {len(data) / MEGABYTE:.1f} MB, at most {limits.max_bytes / MEGABYTE:.4g} MB are accepted. "
            "Save it as a JPEG or cut it into parts.",
        )
    try:
        found = _find(data)
    except UnsupportedError as error:
        raise RequestError(
            ErrorCode.IMAGE_UNSUPPORTED,
            f"The image is {error.found}, expected a photograph ({EXPECTED}). {error.advice}",
        ) from error
    except DECODING_ERRORS as error:
        raise _undecodable(data) from error
    height, width = found.size_hw
    if width * height > limits.max_pixels:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {width} x {height} = {width * height / MEGAPIXEL:.4g} megapixels, "
            f"at most {limits.max_pixels / MEGAPIXEL:.4g} are accepted{limits.purpose}. Cut it into parts.",
        )
    if width * height * found.n_bytes_per_pixel > _MOST_BYTES_PER_PIXEL * limits.max_pixels:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {width} x {height} pixels of {found.n_bytes_per_pixel} bytes, at most "
            f"{_MOST_BYTES_PER_PIXEL * limits.max_pixels / MEGABYTE:.4g} MB are accepted. Save it as RGB of 8 bits.",
        )
    if limits.max_side_px and max(width, height) > limits.max_side_px:
        raise RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The image has {width} x {height} pixels, at most {limits.max_side_px} per side fit into the JPEG of "
            "response=overlay. Ask for response=mask, or cut it into parts.",
        )
    if min(width, height) < limits.min_side_px:
        raise RequestError(
            ErrorCode.IMAGE_TOO_SMALL,
            f"The image has {width} x {height} pixels, at least {limits.min_side_px} per side are needed. "
            "Send the photograph at its own size.",
        )
    return found


def _find(data: bytes) -> _Found:
    # The plug-ins are called by themselves: Image.open would guess among forty formats, and refuse large photographs by a
    # limit of its own. Those of WebP and AVIF make room for the pixels at once, so they wait until the size was seen.
    match recognise(data):
        case Format.JPEG:
            needed, orientation = picture(data)
            photograph = JpegImageFile(io.BytesIO(needed))
            return _Found((photograph.height, photograph.width), orientation, lambda: _to_rgb(photograph))
        case Format.PNG:
            needed, orientation = picture(data)
            image = PngImageFile(io.BytesIO(needed))
            return _Found((image.height, image.width), orientation, lambda: _to_rgb(eight_bits(image, needed)))
        case Format.WEBP:
            needed, (width, height) = webp_picture(data)
            return _Found((height, width), 1, lambda: _to_rgb(WebPImageFile(io.BytesIO(needed))))
        case Format.BMP:
            width, height = bmp_size(data)
            return _Found((height, width), 1, lambda: _to_rgb(BmpImageFile(io.BytesIO(data))))
        case Format.TIFF:
            described = tiff.read(data)
            n_bytes_per_pixel = described.n_samples * max(8, described.bits) // 8
            return _Found((described.height, described.width), described.orientation, described.decode, n_bytes_per_pixel)
        case Format.HEIF:
            still = heif.still(data)
            return _Found((still.crop.height, still.crop.width), still.orientation, lambda: _decode_heif(still))


def _decode_heif(still: heif.Still) -> NDArray[np.uint8]:
    file = io.BytesIO(still.file)
    image = pi_heif.open_heif(file).to_pillow() if still.is_hevc else AvifImageFile(file)
    if image.size != (still.width, still.height):
        raise ValueError(f"{image.size} pixels, expected {(still.width, still.height)}")
    left, top, width, height = still.crop
    return _to_rgb(image)[top : top + height, left : left + width]


def damaged(data: bytes) -> str:
    """What is told of a file that can't be decoded: what a decoder says of it helps nobody who took the photograph.

    Args:
        data: of a format that `recognise` knows.
    """
    return (
        f"a {recognise(data).value} of {len(data):,} bytes that is cut short or damaged, so it cannot be decoded. Send the "
        "original file again, from the camera or the card, or save it anew with another program."
    )


def _undecodable(data: bytes) -> RequestError:
    return RequestError(ErrorCode.IMAGE_UNDECODABLE, f"The image is {damaged(data)}")


def turn_upright(image: NDArray[_Pixels], orientation: int) -> NDArray[_Pixels]:
    """(height, width, ...) mirrored and turned as the EXIF orientation tells (EXIF 2.32, section 4.6.4.A)."""
    if orientation in (2, 4, 5, 7):
        image = image[:, ::-1]
    n_quarter_turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.ascontiguousarray(np.rot90(image, n_quarter_turns))


def eight_bits(image: PngImageFile, needed: bytes) -> Image.Image:
    """Of 16 bits Pillow gives the upper eight; where the colours of these are nearly black, the lower ones are decoded too.

    Args:
        image: opened from the bytes `needed`.
    """
    rawmode = str(image.tile[0].args) if image.tile else ""
    if rawmode not in _LOWER_OF:
        return image
    upper = np.asarray(image)
    if upper[..., :3].max() > _UPPER_OF_14_BITS:
        return image
    again = PngImageFile(io.BytesIO(needed))
    again.tile = [again.tile[0]._replace(args=_LOWER_OF[rawmode])]
    lower = np.asarray(again)
    if rawmode == "LA;16B":
        lower = lower[..., [1, 1, 1, 3]]
    samples = upper.astype(np.uint16) << 8 | lower
    parts = [part for part in (samples[..., :3], samples[..., 3:]) if part.size]  # colours, opacity
    return Image.fromarray(np.dstack([stretched(part, used_white(int(part.max()))) for part in parts]))


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    image_hwc_u8 = np.empty((image.height, image.width, 3), np.uint8)
    n_rows = max(1, _BAND_PX // image.width)
    white = _white_of_16_bits(image) if image.mode.startswith("I") else 255
    for top in range(0, image.height, n_rows):
        band = image.crop((0, top, image.width, min(top + n_rows, image.height)))
        image_hwc_u8[top : top + n_rows] = np.asarray(_band_to_rgb(band, white))
    return image_hwc_u8


def _white_of_16_bits(image: Image.Image) -> int:
    return used_white(int(np.asarray(image).max(initial=0, where=~transparent(image))))


def transparent(image: Image.Image) -> NDArray[np.bool_]:
    """Where 16 bits of grey have the level that the file calls transparent: bool (height, width)."""
    is_transparent: NDArray[np.bool_] = np.asarray(image) == image.info.get("transparency", -1)
    return is_transparent


def _band_to_rgb(image: Image.Image, white: int) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip at 255
        levels = stretched(np.asarray(image), white)
        return Image.fromarray(np.where(transparent(image), np.uint8(255), levels)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # converting RGB to RGB would copy it
