"""What a correction consists of: a mask that fits its photograph, and the photograph without the place where it was taken."""

import io
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from model.inference.errors import ErrorCode, RequestError
from model.inference.formats import JPEG_SIGNATURE, PNG_SIGNATURE, Format, recognise
from model.inference.observation import confidence
from model.inference.photograph import NO_LIMITS, Limits, decode
from model.inference.segmenter import threshold_level
from model.inference.structure import jpeg_segments, picture, png_chunks
from sidecar.copies import Description

# The tables and pictures of a JPEG (ITU T.81, table B.1): SOF, DHT, DAC, SOI, EOI, SOS, DQT, DNL and DRI.
_JPEG_PICTURE = {*range(0xC0, 0xD0), *range(0xD8, 0xDE)}
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"  # of version 1.1, without the small copy that it can hold


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
    """A photograph as it was sent, checked; its pixels are not kept.

    Attributes:
        data: the file.
        size_hw: upright.
        perceptual_hash: 64 bits in hexadecimal that hardly change when the picture is scaled or compressed again (ImageHash's
            pHash).
        description: by which copies of it are found.
        png: its pixels, upright, where it came neither as JPEG nor as PNG: so it is kept.
    """

    data: bytes
    size_hw: tuple[int, int]
    perceptual_hash: str
    description: Description
    png: bytes | None

    @classmethod
    def read(cls, data: bytes, limits: Limits = NO_LIMITS) -> "Photograph":
        """Raises RequestError as `photograph.decode` does."""
        image_hwc_u8 = decode(data, limits)
        perceptual_hash = str(imagehash.phash(Image.fromarray(image_hwc_u8)))
        png = None if recognise(data) in (Format.JPEG, Format.PNG) else _png(image_hwc_u8)
        return cls(data, image_hwc_u8.shape[:2], perceptual_hash, Description.of(image_hwc_u8), png)

    @property
    def extension(self) -> str:
        return "jpg" if self.data.startswith(JPEG_SIGNATURE) else "png"

    def stored(self, is_position_kept: bool) -> bytes:
        """Its file as it is to lie on disk: what browsers show and what trains, with the very pixels that were decoded."""
        if self.png is not None:
            return self.png
        return self.data if is_position_kept else without_position(self.data)


@dataclass(frozen=True)
class Mask:
    """A corrected mask as it is stored: equal masks have equal files. `n_crack_px`: how many of its pixels are crack."""

    png: bytes
    n_crack_px: int

    @classmethod
    def of(cls, mask_hw: NDArray[np.bool_]) -> "Mask":
        return cls(encode_mask(mask_hw), int(mask_hw.sum()))

    @classmethod
    def read(cls, data: bytes, size_hw: tuple[int, int]) -> "Mask":
        """Raises RequestError as `read_mask` does."""
        return cls.of(read_mask(data, size_hw))

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> "Mask":
        return cls.of(np.zeros(size_hw, np.bool_))


def read_label(image: bytes, mask: bytes, verdict: Verdict | None, limits: Limits) -> tuple[Photograph, Mask | None]:
    """A photograph and what was said to be its mask: `mask`, where that isn't empty, or no crack at all.

    Raises:
        RequestError: as `Photograph.read` and `Mask.read` do.
    """
    photograph = Photograph.read(image, limits)
    if mask:
        return photograph, Mask.read(mask, photograph.size_hw)
    return photograph, Mask.empty(photograph.size_hw) if verdict is Verdict.NO_CRACK else None


@dataclass(frozen=True)
class Comparison:
    """A mask beside the model's probability.

    Attributes:
        is_models_own: nothing outside of it is as likely as anything inside: it was cut out of the probability.
        is_unchanged: it was cut at the served threshold.
        uncertainty: of the model about the photograph, 0 to 1.
    """

    is_models_own: bool
    is_unchanged: bool
    uncertainty: float


def compare(mask: Mask | None, probability_png: bytes, threshold: float) -> Comparison:
    """`probability_png`: of the photograph's size, as the model server answers it; `threshold`: that it serves masks at."""
    prob_hw_u8 = np.asarray(PngImageFile(io.BytesIO(probability_png)))
    is_models_own = is_unchanged = False
    if mask and 0 < mask.n_crack_px < prob_hw_u8.size:
        mask_hw = read_mask(mask.png, (prob_hw_u8.shape[0], prob_hw_u8.shape[1]))
        is_models_own = bool(prob_hw_u8[mask_hw].min() > prob_hw_u8[~mask_hw].max())
        is_unchanged = bool(np.array_equal(mask_hw, prob_hw_u8 >= threshold_level(threshold)))
    return Comparison(is_models_own, is_unchanged, round(1 - confidence(prob_hw_u8), 4))


def hash_distance(one: str, other: str) -> int:
    """In how many of their 64 bits two perceptual hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def without_position(data: bytes) -> bytes:
    """The same picture in a file that says how to turn it upright and nothing else: no EXIF, XMP, comments or colour profile,
    and no second picture, film or other bytes behind it. The pixels are not compressed again.

    Raises:
        ValueError: it is no JPEG or PNG that `photograph.decode` reads.
    """
    needed, orientation = picture(data)
    if needed.startswith(PNG_SIGNATURE):
        at = next(png_chunks(needed)).end  # behind IHDR
        return needed[:at] + _png_turn(orientation) + needed[at:]
    start, *parts = (_jpeg_part(needed[segment.start : segment.end]) for segment in jpeg_segments(needed))
    return start + _jpeg_turn(orientation) + b"".join(parts)


def read_mask(data: bytes, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A corrected mask, bool (height, width), from a PNG of one channel, 0 where there is no crack and 255 where there is.

    Raises:
        RequestError: MASK_INVALID: no such PNG, or of another size than the photograph's `size_hw`.
    """
    if not data.startswith(PNG_SIGNATURE):
        raise _mask_error(f"The mask starts with the bytes {data[:8]!r}, expected a PNG. Save it as one.")
    try:
        image = PngImageFile(io.BytesIO(picture(data)[0]))
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


def _png(image_hwc_u8: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image_hwc_u8).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _mask_error(message: str) -> RequestError:
    return RequestError(ErrorCode.MASK_INVALID, message)


def _jpeg_part(segment: bytes) -> bytes:
    """What is kept of a segment: the picture, and by which formula decoders make RGB of it."""
    if segment[1] in _JPEG_PICTURE:
        return segment
    if segment.startswith(b"\xff\xe0") and segment[4:9] == b"JFIF\0":
        return _JFIF
    if segment.startswith(b"\xff\xee") and segment[4:9] == b"Adobe":
        return b"\xff\xee\x00\x0eAdobe" + segment[9:16]
    return b""


def _jpeg_turn(orientation: int) -> bytes:
    block = _exif(orientation)
    return b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block if block else b""


def _png_turn(orientation: int) -> bytes:
    chunk = b"eXIf" + _exif(orientation).removeprefix(b"Exif\0\0")
    return struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) if orientation != 1 else b""


def _exif(orientation: int) -> bytes:
    """A block that says how to turn a picture upright and nothing else; empty where it is."""
    exif = Image.Exif()
    if orientation != 1:
        exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes() if exif else b""
