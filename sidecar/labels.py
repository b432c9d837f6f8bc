"""What a correction consists of: a mask that fits its photograph, and the photograph without the place where it was taken."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import Limits, decode

# What pictures need to look as they do; the rest (EXIF, XMP, comments) can say where, when and by whom they were taken.
_JPEG_KEPT = {0xE0, 0xE2, 0xEE}  # JFIF, colour profile, Adobe's colour transform
_PNG_KEPT = {
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"gAMA",
    b"cHRM",
    b"sRGB",
    b"iCCP",
    b"cICP",
    b"sBIT",
    b"bKGD",
    b"pHYs",
}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Verdict(StrEnum):
    """What a person says of a prediction."""

    CORRECT = "correct"
    MISSED_CRACK = "missed_crack"
    FALSE_ALARM = "false_alarm"
    NO_CRACK = "no_crack"
    TOO_THICK = "too_thick"
    TOO_THIN = "too_thin"
    OTHER = "other"


@dataclass(frozen=True)
class Photograph:
    """A photograph as it was sent, checked. `image_hwc_u8`: upright, uint8 (height, width, 3)."""

    data: bytes
    image_hwc_u8: NDArray[np.uint8]

    @classmethod
    def read(cls, data: bytes, limits: Limits) -> "Photograph":
        """Raises RequestError as `photograph.decode` does."""
        return cls(data, decode(data, limits))

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.image_hwc_u8.shape[0], self.image_hwc_u8.shape[1]

    @property
    def extension(self) -> str:
        return "png" if self.data.startswith(_PNG_SIGNATURE) else "jpg"

    def perceptual_hash(self) -> str:
        """64 bits in hexadecimal that hardly change when the picture is scaled or compressed again (ImageHash's pHash)."""
        return str(imagehash.phash(Image.fromarray(self.image_hwc_u8)))

    def without_position(self) -> bytes:
        """The same pixels without EXIF, XMP and comments, but for how to turn them upright.

        Raises:
            RequestError: IMAGE_UNDECODABLE, if the file is built so that they cannot be taken out.
        """
        turn = _orientation(self.data)
        try:
            stripped = b"".join(_png_parts(self.data, turn) if self.extension == "png" else _jpeg_parts(self.data, turn))
            is_same = np.array_equal(decode(stripped), self.image_hwc_u8)
        except (RequestError, ValueError, struct.error, IndexError):
            is_same = False
        if not is_same:
            raise RequestError(
                ErrorCode.IMAGE_UNDECODABLE,
                "The position cannot be taken out of this file without changing the picture. Save it with another program.",
            )
        return stripped


def hash_distance(one: str, other: str) -> int:
    """In how many of their 64 bits two perceptual hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def read_mask(data: bytes, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A corrected mask, bool (height, width), from a PNG of one channel, 0 where there is no crack and 255 where there is.

    Raises:
        RequestError: MASK_INVALID: no such PNG, or of another size than the photograph's `size_hw`.
    """
    if not data.startswith(_PNG_SIGNATURE):
        raise _mask_error(f"The mask starts with the bytes {data[:8]!r}, expected a PNG. Save it as one.")
    try:
        image = PngImageFile(io.BytesIO(data))
        if (image.height, image.width) != size_hw:
            raise _mask_error(
                f"The mask has {image.width} x {image.height} pixels, expected the upright photograph's "
                f"{size_hw[1]} x {size_hw[0]}. Do not scale or turn it."
            )
        if image.mode not in ("1", "L"):
            raise _mask_error(f"The mask is a PNG of kind {image.mode!r}, expected one channel ('L'). Save it in grey.")
        mask_hw_u8 = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise _mask_error(f"The mask of {len(data)} bytes cannot be decoded ({error}). Send it again.") from error
    values = np.flatnonzero(np.bincount(mask_hw_u8.ravel(), minlength=256))
    if not set(values.tolist()) <= {0, 255}:
        raise _mask_error(
            f"The mask has the values {values[:5].tolist()}..., expected 0 and 255 alone. Save it without smoothing."
        )
    return mask_hw_u8 > 0


def encode_mask(mask_hw: NDArray[np.bool_]) -> bytes:
    """The mask as it is stored: equal masks give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(mask_hw.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def _mask_error(message: str) -> RequestError:
    return RequestError(ErrorCode.MASK_INVALID, message)


def _orientation(data: bytes) -> bytes:
    """An EXIF block (without its `Exif` mark) that says how to turn the picture and nothing else; empty where it is upright."""
    with Image.open(io.BytesIO(data)) as image:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    if turn == 1:
        return b""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _jpeg_parts(data: bytes, turn: bytes) -> Iterator[bytes]:
    """The segments to keep (ITU T.81, annex B): each is a marker, a length and its content; behind SOS comes the picture."""
    yield data[:2]
    if turn:
        block = b"Exif\0\0" + turn
        yield b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError(f"no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            break
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        is_metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_metadata or marker in _JPEG_KEPT:
            yield data[at:end]
        at = end
    yield data[at : data.rindex(b"\xff\xd9") + 2]


def _png_parts(data: bytes, turn: bytes) -> Iterator[bytes]:
    """The chunks to keep (PNG specification, section 5); what hangs behind the last one is dropped."""
    yield _PNG_SIGNATURE
    at, kind = len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT" and turn:  # before the first one
            chunk = b"eXIf" + turn
            yield struct.pack(">I", len(turn)) + chunk + struct.pack(">I", zlib.crc32(chunk))
            turn = b""
        if kind in _PNG_KEPT:
            yield data[at : at + 12 + length]
        at += 12 + length
