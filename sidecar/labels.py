"""The parts of a correction: a mask that fits its photograph, and the photograph without the position where it was taken."""

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

from crack.copies import Description
from model.inference.card import threshold_level
from model.inference.encoding import mask_png, png
from model.inference.formats import JPEG_SIGNATURE, PNG_SIGNATURE, Format, recognise
from model.inference.observation import confidence
from model.inference.photograph import NO_LIMITS, Limits, decode, read_orientation, turn_upright
from model.inference.structure import picture_parts
from model.masks import read_mask

# The tables and pictures of a JPEG (ITU T.81, table B.1): SOF, DHT, DAC, SOI, EOI, SOS, DQT, DNL and DRI.
_JPEG_PICTURE = {*range(0xC0, 0xD0), *range(0xD8, 0xDE)}
# A mask was drawn on the unturned photograph if, once turned, the mean probability under it is above this (of 255), and so many
# times what it was.
_SURE_LEVEL, _FAR_BETTER = 64, 3
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"  # of version 1.1, without the small copy that it can hold


class Verdict(StrEnum):
    """A person's verdict on a prediction."""

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
        orientation: by which it was turned upright (EXIF's 1 to 8).
        png: its upright pixels, which are stored if it came neither as JPEG nor as PNG.
    """

    data: bytes
    size_hw: tuple[int, int]
    perceptual_hash: str
    description: Description
    orientation: int
    png: bytes | None

    @classmethod
    def read(cls, data: bytes, limits: Limits = NO_LIMITS) -> "Photograph":
        """Raises RequestError as `photograph.decode` does."""
        image_hwc_u8 = decode(data, limits)
        perceptual_hash = str(imagehash.phash(Image.fromarray(image_hwc_u8)))
        anew = None if recognise(data) in (Format.JPEG, Format.PNG) else png(image_hwc_u8)
        description = Description.of(image_hwc_u8)
        return cls(data, image_hwc_u8.shape[:2], perceptual_hash, description, read_orientation(data), anew)

    @property
    def extension(self) -> str:
        return "jpg" if self.data.startswith(JPEG_SIGNATURE) else "png"

    def stored(self, is_position_kept: bool) -> bytes:
        """Its file as it is stored: for browsers and for training, with exactly the pixels that were decoded."""
        if self.png is not None:
            return self.png
        return self.data if is_position_kept else without_position(self.data)


@dataclass(frozen=True)
class Mask:
    """A corrected mask.

    Attributes:
        png: as it is stored: equal masks have equal files.
        size_hw: of the upright photograph.
        n_crack_px: how many of its pixels are crack.
        bits: its pixels, eight to a byte, so that nobody decodes the file again.
    """

    png: bytes
    size_hw: tuple[int, int]
    n_crack_px: int
    bits: bytes

    @classmethod
    def of(cls, mask_hw: NDArray[np.bool_], file: bytes = b"") -> "Mask":
        """`file`: its PNG, if there is one already."""
        height, width = mask_hw.shape
        return cls(file or mask_png(mask_hw), (height, width), int(mask_hw.sum()), np.packbits(mask_hw).tobytes())

    @classmethod
    def read(cls, data: bytes, size_hw: tuple[int, int], orientation: int = 1) -> "Mask":
        """Raises RequestError as `read_mask` does."""
        return cls.of(read_mask(data, size_hw, orientation))

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> "Mask":
        return cls.of(np.zeros(size_hw, np.bool_))

    @property
    def mask_hw(self) -> NDArray[np.bool_]:
        height, width = self.size_hw
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=height * width)
        return bits.view(np.bool_).reshape(self.size_hw)


def read_label(image: bytes, mask: bytes, verdict: Verdict | None, limits: Limits) -> tuple[Photograph, Mask | None]:
    """A photograph and its corrected mask: `mask` if that isn't empty, otherwise no crack at all.

    Raises:
        RequestError: as `Photograph.read` and `Mask.read` do.
    """
    photograph = Photograph.read(image, limits)
    if mask:
        return photograph, Mask.read(mask, photograph.size_hw, photograph.orientation)
    return photograph, Mask.empty(photograph.size_hw) if verdict is Verdict.NO_CRACK else None


@dataclass(frozen=True)
class Comparison:
    """A mask compared with the model's probability.

    Attributes:
        is_models_own: every pixel inside is likelier than all outside, so it is the model's probability at some threshold.
        is_unchanged: it is the one at the served threshold.
        is_drawn_unturned: it fits far better if it was drawn on the photograph before that was turned upright.
        is_mostly_crack: more than half of the photograph: it may be inverted, with the crack in black.
        uncertainty: of the model about the photograph, 0 to 1.
    """

    is_models_own: bool
    is_unchanged: bool
    is_drawn_unturned: bool
    is_mostly_crack: bool
    uncertainty: float


def compare(mask: Mask | None, probability_png: bytes, threshold: float, orientation: int = 1) -> Comparison:
    """
    Args:
        probability_png: of the photograph's size, as the model server answers it.
        threshold: at which it serves masks.
        orientation: by which the photograph was turned upright.
    """
    prob_hw_u8 = np.asarray(PngImageFile(io.BytesIO(probability_png)))
    is_models_own = is_unchanged = is_drawn_unturned = False
    if mask and 0 < mask.n_crack_px < prob_hw_u8.size:
        mask_hw = mask.mask_hw
        least_inside = np.where(mask_hw, prob_hw_u8, 255).min()
        is_models_own = bool(least_inside > (prob_hw_u8 * ~mask_hw).max())
        is_unchanged = bool(np.array_equal(mask_hw, prob_hw_u8 >= threshold_level(threshold)))
        turned_hw = turn_upright(mask_hw, orientation) if orientation != 1 else None
        if turned_hw is not None and turned_hw.shape == mask_hw.shape:
            fit, turned_fit = float(prob_hw_u8[mask_hw].mean()), float(prob_hw_u8[turned_hw].mean())
            is_drawn_unturned = turned_fit > max(_FAR_BETTER * fit, _SURE_LEVEL)
    is_mostly_crack = mask is not None and 2 * mask.n_crack_px > prob_hw_u8.size
    uncertainty = round(1 - confidence(prob_hw_u8), 4)
    return Comparison(is_models_own, is_unchanged, is_drawn_unturned, is_mostly_crack, uncertainty)


def read_and_compare(
    image: bytes, stored_mask: bytes, size_hw: tuple[int, int], probability_png: bytes, threshold: float
) -> tuple[Mask, Comparison]:
    """Read a stored mask, and `compare` it with the probability of its stored photograph.

    Raises:
        RequestError: as `read_mask` does.
    """
    mask = Mask.of(read_mask(stored_mask, size_hw), stored_mask)
    return mask, compare(mask, probability_png, threshold, read_orientation(image))


def without_position(data: bytes) -> bytes:
    """The same picture in a file that says how to turn it upright and nothing else: no EXIF, XMP, comments or colour profile,
    and no second picture, film or other bytes behind it. The pixels are not compressed again.

    Raises:
        ValueError: it is not a JPEG or PNG that `photograph.decode` reads.
    """
    parts, orientation = picture_parts(data)
    if data.startswith(PNG_SIGNATURE):
        signature, header, *others = parts
        return b"".join((signature, header, _png_turn(orientation), *others))
    start, *others = parts
    return b"".join((start, _jpeg_turn(orientation), *map(_jpeg_part, others)))


def _jpeg_part(segment: memoryview) -> bytes | memoryview:
    """The parts of a segment that are kept: the picture, and the formula by which decoders make RGB of it."""
    if segment[1] in _JPEG_PICTURE:
        return segment
    begin = bytes(segment[:9])
    if begin.startswith(b"\xff\xe0") and begin.endswith(b"JFIF\0"):
        return _JFIF
    if begin.startswith(b"\xff\xee") and begin.endswith(b"Adobe"):
        return b"\xff\xee\x00\x0eAdobe" + segment[9:16]
    return b""


def _jpeg_turn(orientation: int) -> bytes:
    block = _exif(orientation)
    return b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block if block else b""


def _png_turn(orientation: int) -> bytes:
    chunk = b"eXIf" + _exif(orientation).removeprefix(b"Exif\0\0")
    return struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) if orientation != 1 else b""


def _exif(orientation: int) -> bytes:
    """A block that says how to turn a picture upright and nothing else; empty if it is upright."""
    exif = Image.Exif()
    if orientation != 1:
        exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes() if exif else b""
