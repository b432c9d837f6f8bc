"""Reads masks as label tools write them: accepted if they have only one possible meaning, otherwise refused.

Of two colours, one of which is black or transparent, the other one is crack; of two numbers, the one that isn't 0.
"""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from model.inference import tiff
from model.inference.errors import ErrorCode, RequestError
from model.inference.formats import Format, UnsupportedError, recognise
from model.inference.photograph import (
    DECODING_ERRORS,
    NO_LIMITS,
    damaged,
    decode,
    eight_bits,
    read_size,
    transparent,
    turn_upright,
)
from model.inference.structure import picture, webp_picture

_EXPECTED = "expected two colours: black where there is no crack, another one where there is"
_ADVICE = "Save it as PNG of 8 bits; a label tool that keeps outlines can export them as such a mask."
_OPAQUE_WHITE, _WHITE_OF_16_BITS = 0xFFFFFFFF, 0xFFFF
_COLOUR = 0x00FFFFFF  # of a pixel: blue, green, red; above them its opacity
_BAND_PX = 2**20


def read_mask(data: bytes, size_hw: tuple[int, int], orientation: int = 1) -> NDArray[np.bool_]:
    """A mask that a person painted, bool (height, width).

    Args:
        data: a file of two colours or two numbers: a PNG of any kind, a TIFF, BMP or WebP.
        size_hw: of the upright photograph.
        orientation: by which that was turned upright (EXIF's 1 to 8).

    Raises:
        RequestError: MASK_INVALID: it is none, has another size, or could mean more than one thing.
    """
    try:
        return _read(data, size_hw, orientation)
    except UnsupportedError as error:
        raise _mask_error(f"The mask is {error.found}, {_EXPECTED}. {_ADVICE}") from error
    except DECODING_ERRORS as error:
        raise _mask_error(f"The mask is {damaged(data)}") from error
    except RequestError as error:
        raise _mask_error(error.message.replace("The image", "The mask", 1)) from error


def _read(data: bytes, size_hw: tuple[int, int], orientation: int) -> NDArray[np.bool_]:
    format_ = recognise(data)
    if format_ is Format.PNG:
        needed, _ = picture(data)
        image = PngImageFile(io.BytesIO(needed))
        _check_size((image.height, image.width), size_hw, orientation)
        return _crack_in(eight_bits(image, needed))
    described = tiff.read(data, may_be_numbers=True) if format_ is Format.TIFF else None
    if described and not described.is_picture:
        return _crack_in_numbers(described, size_hw, orientation)
    _check_size(read_size(data, NO_LIMITS), size_hw, orientation)
    if described and described.is_turned_over:
        raise _mask_error(
            f"The mask is a TIFF in which 0 is white, which can mean more than one thing, {_EXPECTED}. Paint what is no crack "
            "black (0), what is crack white (255), and save it as PNG in grey."
        )
    if described:
        return _crack_in(Image.fromarray(turn_upright(described.decode(with_opacity=True), described.orientation)))
    if format_ is Format.WEBP:
        return _crack_in(WebPImageFile(io.BytesIO(webp_picture(data)[0])))
    return _crack_in(BmpImageFile(io.BytesIO(data)) if format_ is Format.BMP else Image.fromarray(decode(data)))


def _check_size(found_hw: tuple[int, int], size_hw: tuple[int, int], orientation: int) -> None:
    if found_hw == size_hw:
        return
    advice = "Do not scale or turn it."
    if orientation >= 5 and found_hw == size_hw[::-1]:
        advice = (
            "It fits the photograph as it is stored, before it is turned upright as its file says. Draw it on the upright "
            "photograph, or turn it by the same quarter."
        )
    raise _mask_error(
        f"The mask has {found_hw[1]} x {found_hw[0]} pixels, expected the upright photograph's {size_hw[1]} x {size_hw[0]}. "
        f"{advice}"
    )


def _crack_in(image: Image.Image) -> NDArray[np.bool_]:
    is_other = np.empty((image.height, image.width), np.bool_)  # than the first pixel
    values: list[int] = []
    for top, band in _bands(image):
        values = values or [int(band[0, 0])]
        others = is_other[top : top + len(band)]
        np.not_equal(band, values[0], out=others)
        for value in np.unique(band[others]).tolist():
            if value not in values:
                values.append(value)
        if len(values) > 2:
            some = ", ".join(_named(value, image) for value in sorted(values)[:4])
            raise _mask_error(
                f"The mask has {'more than two' if len(values) > 4 else len(values)} colours ({some}), {_EXPECTED}. Use only "
                "two colours, and save it as PNG without smoothing; a JPEG always gets more colours."
            )
    if len(values) == 1 and image.mode == "P" and len(np.unique(np.asarray(image))) > 1:  # saved without a palette
        return _crack_in(Image.fromarray(np.asarray(image)))
    dark = [value & _COLOUR == 0 for value in values]
    if len(values) == 1 and (dark[0] or values[0] in (_OPAQUE_WHITE, _WHITE_OF_16_BITS)):
        return np.full_like(is_other, not dark[0])
    if sum(dark) != 1 or _is_palette_reversed(image, is_other, is_crack_first=not dark[0]):
        some = " and ".join(_named(value, image) for value in values)
        raise _mask_error(
            f"The mask has {some}, which can mean more than one thing, {_EXPECTED}. Paint what is no crack black (0), what is "
            "crack white (255), and save it as PNG in grey."
        )
    return ~is_other if dark[1] else is_other


def _crack_in_numbers(table: tiff.Tiff, size_hw: tuple[int, int], orientation: int) -> NDArray[np.bool_]:
    """The mask in a table of two numbers, as QGIS, ImageJ and napari write it: one is 0, the other is crack."""
    stored_hw = (table.height, table.width)
    _check_size(stored_hw if table.orientation < 5 else stored_hw[::-1], size_hw, orientation)
    is_other = np.empty(stored_hw, np.bool_)
    values = np.zeros(0)
    for top, left, numbers in table.numbers():
        is_other[top : top + numbers.shape[0], left : left + numbers.shape[1]] = numbers != 0
        values = np.unique(np.append(values, np.unique(numbers)))
        if len(values) > 2:
            break
    if len(values) > 2 or 0 not in values or not np.isfinite(values).all():
        some = ", ".join(f"{value:g}" for value in values[:4])
        raise _mask_error(
            f"The mask is a TIFF of the numbers {some}, expected two: 0 where there is no crack, another one where there is. "
            "Write 0 and 255, and save it with 8 bits."
        )
    return turn_upright(is_other, table.orientation)


def _is_palette_reversed(image: Image.Image, is_other: NDArray[np.bool_], *, is_crack_first: bool) -> bool:
    """Whether a palette's indices, which label tools use as classes, contradict its colours."""
    if image.mode != "P":
        return False
    numbers = np.asarray(image).ravel()
    first, other = int(numbers[0]), int(numbers[np.argmax(is_other)])
    return first < other if is_crack_first else first > other


def _bands(image: Image.Image) -> Iterator[tuple[int, NDArray[np.uint32] | NDArray[np.uint16]]]:
    """Rows of the picture, with the first one's number: the levels of 16 bits, or colours with opacity as one number each."""
    n_rows = max(1, _BAND_PX // image.width)
    for top in range(0, image.height, n_rows):
        band = image.crop((0, top, image.width, min(top + n_rows, image.height)))
        if image.mode.startswith("I"):
            yield top, np.where(transparent(band), 0, np.asarray(band)).astype(np.uint16)
            continue
        colours = np.asarray(band.convert("RGBA")).view("<u4")[..., 0]
        yield top, np.where(colours >> 24, colours, 0).astype(np.uint32)


def _named(value: int, image: Image.Image) -> str:
    if image.mode.startswith("I"):
        return str(value)
    red, green, blue, opacity = value.to_bytes(4, "little")
    if not opacity:
        return "transparent"
    colour = str(red) if red == green == blue else f"({red}, {green}, {blue})"
    return colour if opacity == 255 else f"{colour} with opacity {opacity}"


def _mask_error(message: str) -> RequestError:
    return RequestError(ErrorCode.MASK_INVALID, message)
