"""Photographs as the bytes of files, for tests: every kind that cameras, scanners and programs write.

What is in the pictures is left to `model.synthetic`, but for noise.
"""

import io
import struct
import zlib

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

Picture = Image.Image | NDArray[np.uint8]
ORIENTATION_TAG = 274
MODEL_TAG = 272

_COLOUR_TYPE_GREY, _COLOUR_TYPE_RGB = 0, 2


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Uniform noise, uint8 (height, width, 3); equal arguments give equal pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def jpeg(image: Picture, **save_options: object) -> bytes:
    return _save(image, "JPEG", **save_options)


def png(image: Picture, **save_options: object) -> bytes:
    return _save(image, "PNG", **save_options)


def tiff(image: Picture, **save_options: object) -> bytes:
    return _save(image, "TIFF", **save_options)


def webp(image: Picture, **save_options: object) -> bytes:
    return _save(image, "WEBP", **save_options)


def avif(image: Picture, **save_options: object) -> bytes:
    """Pillow writes an EXIF block's orientation into the container, and the block beside it."""
    return _save(image, "AVIF", **save_options)


def bmp(image: Picture) -> bytes:
    return _save(image, "BMP")


def heic(image: Picture, quality: int = 90, **save_options: object) -> bytes:
    """As phones write it, in one piece."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(_as_image(image)).save(buffer, quality=quality, **save_options)
    return buffer.getvalue()


def heic_12_bit(image_hwc_u16: NDArray[np.uint16]) -> bytes:
    """Of samples of 16 bits, as expensive cameras write it."""
    height, width = image_hwc_u16.shape[:2]
    buffer = io.BytesIO()
    pillow_heif.options.SAVE_HDR_TO_12_BIT = True
    pillow_heif.from_bytes("RGB;16", (width, height), image_hwc_u16.tobytes()).save(buffer, quality=-1, chroma=444)
    return buffer.getvalue()


def cmyk_jpeg(image: Picture, **save_options: object) -> bytes:
    """A JPEG in the four inks of print."""
    return jpeg(_as_image(image).convert("CMYK"), **save_options)


def with_orientation(image: Picture, orientation: int, file_format: str = "JPEG", **save_options: object) -> bytes:
    """The pixels as they are, with an EXIF block that tells how a viewer has to turn them (1 to 8)."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    exif[MODEL_TAG] = "Camera 1"
    return _save(image, file_format, exif=exif, **save_options)


def exif_with_misfit_tag(orientation: int) -> bytes:
    """An EXIF block with the camera's maker as a number instead of text, as no program would write it again."""
    maker = struct.pack("<HHIf", 271, 11, 1, 1.5)
    turn = struct.pack("<HHIHH", ORIENTATION_TAG, 3, 1, orientation, 0)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 2) + maker + turn + bytes(4)


def sixteen_bit_grey_png(image: Picture) -> bytes:
    """The picture's grey, 0..65535."""
    return sixteen_bit_png(np.asarray(_as_image(image).convert("L")).astype(np.uint16) * 257)


def sixteen_bit_png(image_u16: NDArray[np.uint16], transparency: int | None = None) -> bytes:
    """Grey where the array is (height, width), else of 2 samples (grey, opacity), 3 or 4; Pillow reads but cannot write it.

    `transparency`: the level of grey that is transparent.
    """
    height, width = image_u16.shape[:2]
    n_samples = image_u16.size // (height * width)
    colour_type = {1: _COLOUR_TYPE_GREY, 2: 4, 3: _COLOUR_TYPE_RGB, 4: 6}[n_samples]
    rows = image_u16.astype(">u2").reshape(height, -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)  # 0: the row is not filtered
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return _png_file(header, zlib.compress(pixels), b"" if transparency is None else struct.pack(">H", transparency))


def png_with_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims this size; its pixels are missing."""
    return _png_file(struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE_RGB, 0, 0, 0), zlib.compress(b""))


def jpeg_with_header(width: int, height: int) -> bytes:
    """A small JPEG whose header claims this size."""
    small = jpeg(noise(16, 16))
    at = small.index(b"\xff\xc0") + 5  # marker, length, bits a sample; then height and width
    return small[:at] + struct.pack(">HH", height, width) + small[at + 4 :]


def _png_file(header: bytes, compressed_pixels: bytes, transparency: bytes = b"") -> bytes:
    chunks = [(b"IHDR", header), (b"IDAT", compressed_pixels), (b"IEND", b"")]
    if transparency:
        chunks.insert(1, (b"tRNS", transparency))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _save(image: Picture, file_format: str, **save_options: object) -> bytes:
    buffer = io.BytesIO()
    _as_image(image).save(buffer, file_format, **save_options)
    return buffer.getvalue()


def _as_image(image: Picture) -> Image.Image:
    return image if isinstance(image, Image.Image) else Image.fromarray(image)
