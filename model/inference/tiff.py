"""The first picture of a TIFF (revision 6.0): its description checked before anything is decoded, then its pixels.

libtiff, by Pillow, unpacks the bytes of strips or tiles and sees nothing else of the file: no second page, EXIF, profile or
application's own tag.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from model.inference.formats import DEVELOP, UnsupportedError
from model.inference.levels import stretched, used_white

MAX_BLOCKS = 2**17  # strips or tiles; a hundred megapixels in strips of one row have some ten thousand
_UNPACKED_BYTES = 2**23  # at a time, or one block
_BAND_PX = 2**20  # are converted at a time

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _BIT_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANES = 273, 274, 277, 278, 279, 284
_PREDICTOR, _PALETTE, _EXTRA, _SAMPLE_FORMAT = 317, 320, 338, 339
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_SUBFILE, _MAKE, _DNG = 254, 271, 50706
_DEFAULTS = {_SUBFILE: 0, _BITS: 1, _COMPRESSION: 1, _ORIENTATION: 1, _SAMPLES: 1, _STRIP_ROWS: 2**32 - 1, _PLANES: 1}
_DEFAULTS |= {_BIT_ORDER: 1, _PREDICTOR: 1, _EXTRA: 0, _SAMPLE_FORMAT: 1}
_READ = {*_DEFAULTS, _WIDTH, _HEIGHT, _PHOTOMETRIC, _STRIPS, _STRIP_BYTES, _PALETTE, _MAKE, _DNG}
_READ |= {_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES}
_KINDS = {1: "u", 2: "i", 3: "f"}  # of numbers, by the tag for them: whole, whole and signed, with a point
_NUMBERS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT and LONG
_PLAIN = 1
_UNPACKED = {_PLAIN, 5, 8, 32773, 32946}  # and LZW, Deflate, PackBits, Deflate again
_OTHERS = {2: "fax", 3: "fax", 4: "fax", 6: "JPEG", 7: "JPEG", 34712: "JPEG 2000", 50000: "Zstandard", 50001: "WebP"}
_RAW_COMPRESSIONS = {32767, 32770, 34713, 65000, 65535}  # of Sony, Samsung, Nikon, Kodak, Pentax
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _INDEXED = range(4)
_LOWEST_BIT_FIRST = 2
_TURNED_BYTES = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ADVICE = "Save it as a TIFF of 8 or 16 bits in grey or RGB without compression, or as JPEG or PNG."


@dataclass(frozen=True)
class Tiff:
    """A picture whose description makes sense and whose blocks are all there.

    Attributes:
        kind: of numbers, as numpy's dtypes: "u", "i" or "f".
        is_lowest_bit_first: of each byte as it is in the file, packed or not.
        opacity: 0: none; 1: colours are multiplied by it; 2: they aren't.
        palette: red, then green, then blue.
        block_wh: of a strip or tile.
        places: where each strip or tile begins, and how many bytes it has; those of the first plane first.
    """

    data: bytes
    order: str
    width: int
    height: int
    orientation: int
    bits: int
    kind: str
    photometric: int
    n_samples: int
    n_planes: int
    compression: int
    is_lowest_bit_first: bool
    is_differenced: bool
    opacity: int
    palette: tuple[int, ...]
    is_tiled: bool
    block_wh: tuple[int, int]
    places: tuple[tuple[int, int], ...]

    @property
    def n_bytes(self) -> int:
        """Of all samples, unpacked."""
        return self.width * self.height * self.n_samples * max(8, self.bits) // 8

    @property
    def is_picture(self) -> bool:
        """Whether `decode` can show it; otherwise it holds numbers only."""
        return self.kind == "u" and self.bits <= 16

    def numbers(self) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Top, left and the first sample's numbers (height, width) of parts of the picture, as they are stored, not turned.
        Raises as `decode` does.
        """
        return ((top, left, band[..., 0]) for plane, top, left, band in self._bands() if plane == 0)

    def decode(self, *, with_opacity: bool = False) -> NDArray[np.uint8]:
        """uint8 (height, width, 3), not turned, on white where it is transparent; 16 bits stretched by those that are used.

        Args:
            with_opacity: (height, width, 4) instead, colours as they are stored and their opacity.

        Raises:
            ValueError, OSError: it is torn.
        """
        whites = self._whites()
        image_hwc_u8 = np.empty((self.height, self.width, 4 if with_opacity else 3), np.uint8)
        shown = self._rgba if with_opacity else self._rgb
        if self.n_planes == 1:
            for _, top, left, band in self._bands():
                image_hwc_u8[top : top + band.shape[0], left : left + band.shape[1]] = shown(band, whites)
            return image_hwc_u8
        whole = np.empty((self.height, self.width, self.n_planes), np.uint16 if self.bits == 16 else np.uint8)
        for plane, top, left, band in self._bands():
            whole[top : top + band.shape[0], left : left + band.shape[1], plane] = band[..., 0]
        n_rows = max(1, _BAND_PX // self.width)
        for top in range(0, self.height, n_rows):
            image_hwc_u8[top : top + n_rows] = shown(whole[top : top + n_rows], whites)
        return image_hwc_u8

    def _whites(self) -> tuple[int, int]:
        """Of the colours, and of the opacity."""
        full, n_colours = 2**self.bits - 1, self._n_colours
        if self.bits < 16:
            return full, full
        most = np.zeros(self.n_samples, np.uint16)
        for plane, _, _, band in self._bands():
            most[plane : plane + band.shape[2]] = np.maximum(most[plane : plane + band.shape[2]], band.max(axis=(0, 1)))
        white = used_white(int(most[:n_colours].max()))
        is_used_in_full = white == full or not self.opacity
        return white, full if is_used_in_full else used_white(int(most[n_colours]))

    @property
    def is_turned_over(self) -> bool:
        """Whether 0 is white."""
        return self.photometric == _WHITE_IS_ZERO

    @property
    def _n_colours(self) -> int:
        return 3 if self.photometric == _RGB else 1

    def _rgb(self, band: NDArray[Any], whites: tuple[int, int]) -> NDArray[np.uint8]:
        colours = self._colours(band, whites[0])
        if self.opacity:
            alpha = self._alpha(band, whites[1]).astype(np.uint32)
            shown = colours.astype(np.uint32) * (255 if self.opacity == 1 else alpha) + 255 * (255 - alpha)
            colours = np.minimum((shown + 127) // 255, 255).astype(np.uint8)
        return np.broadcast_to(colours, (*colours.shape[:2], 3))

    def _rgba(self, band: NDArray[Any], whites: tuple[int, int]) -> NDArray[np.uint8]:
        rgba = np.full((*band.shape[:2], 4), 255, np.uint8)
        rgba[..., :3] = self._colours(band, whites[0])
        if self.opacity:
            rgba[..., 3:] = self._alpha(band, whites[1])
        return rgba

    def _colours(self, band: NDArray[Any], white: int) -> NDArray[np.uint8]:
        if self.photometric == _INDEXED:
            entries = np.array(self.palette, np.uint16).reshape(3, -1).T
            levels = entries >> (0 if entries.max() < 256 else 8)  # of 16 bits; some programs write 8
            return np.take(levels.astype(np.uint8), band[..., 0], axis=0)
        colours = stretched(band[..., : self._n_colours], white)
        return 255 - colours if self.is_turned_over else colours

    def _alpha(self, band: NDArray[Any], white: int) -> NDArray[np.uint8]:
        return stretched(band[..., self._n_colours : self._n_colours + 1], white)

    def _bands(self) -> Iterator[tuple[int, int, int, NDArray[Any]]]:
        """Plane, top, left and samples (height, width, samples) of parts of the picture; what reaches over its edge is cut."""
        wide, high = self.block_wh
        across, down = -(-self.width // wide), -(-self.height // high)
        n_samples = self.n_samples if self.n_planes == 1 else 1
        n_row_bytes = -(-wide * n_samples * self.bits // 8)
        n_at_once, n_band_rows = max(1, _UNPACKED_BYTES // (n_row_bytes * high)), max(1, _BAND_PX // wide)
        for plane in range(self.n_planes):
            for first in range(0, across * down, n_at_once):
                numbers = range(first, min(first + n_at_once, across * down))
                n_rows = [high if self.is_tiled else min(high, self.height - number * high) for number in numbers]
                places = [self.places[plane * across * down + number] for number in numbers]
                rows, start = self._unpack(places, n_rows, n_row_bytes), 0
                for number, n in zip(numbers, n_rows, strict=True):
                    top, left = number // across * high, number % across * wide
                    n_seen = min(n, self.height - top)
                    for at in range(0, n_seen, n_band_rows):
                        band = self._samples(rows[start + at : start + min(at + n_band_rows, n_seen)], wide, n_samples)
                        yield plane, top + at, left, band[:, : self.width - left]
                    start += n

    def _unpack(self, places: list[tuple[int, int]], n_rows: list[int], n_row_bytes: int) -> NDArray[np.uint8]:
        """The blocks' bytes, one below the other (rows, bytes of a row)."""
        if self.compression == _PLAIN:
            places = [(at, n * n_row_bytes) for (at, _), n in zip(places, n_rows, strict=True)]
        parts = [self.data[at : at + n_bytes] for at, n_bytes in places]
        if self.is_lowest_bit_first:
            parts = [part.translate(_TURNED_BYTES) for part in parts]
        if self.compression == _PLAIN:
            return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, n_row_bytes)
        with TiffImageFile(io.BytesIO(_as_grey(parts, self.compression, n_row_bytes, n_rows))) as image:
            return np.asarray(image).reshape(-1, n_row_bytes)

    def _samples(self, rows: NDArray[np.uint8], width: int, n_samples: int) -> NDArray[Any]:
        samples: NDArray[Any] = rows
        if self.bits >= 8:
            samples = rows.view(f"{self.order}{self.kind}{self.bits // 8}").astype(f"{self.kind}{self.bits // 8}", copy=False)
        elif self.bits < 8:
            bits = np.unpackbits(rows, axis=1).reshape(len(rows), -1, self.bits)
            samples = np.packbits(bits, axis=2)[..., 0] >> (8 - self.bits)
        samples = samples[:, : width * n_samples].reshape(len(rows), width, n_samples)
        return np.cumsum(samples, axis=1, dtype=samples.dtype) if self.is_differenced else samples


def read(data: bytes, *, may_be_numbers: bool = False) -> Tiff:
    """The description of the first picture; nothing is decoded.

    Args:
        may_be_numbers: also accept one sample of up to 64 bits, signed or floating-point, which is not a picture.

    Raises:
        ValueError, struct.error: it is torn, or makes no sense.
        UnsupportedError: a RAW file, or of a kind that isn't read.
    """
    tags = _Tags(data)
    compression, photometric, bits, n_samples = (tags.one(tag) for tag in (_COMPRESSION, _PHOTOMETRIC, _BITS, _SAMPLES))
    if _DNG in tags or tags.one(_SUBFILE) & 1 or compression in _RAW_COMPRESSIONS or data[8:10] == b"CR":
        raise UnsupportedError(f"a RAW file of {_maker(data, tags)}", DEVELOP)
    if compression not in _UNPACKED:
        kind = _OTHERS.get(compression, f"kind {compression}")
        raise UnsupportedError(f"a TIFF with compression by {kind}", _ADVICE)
    kind = _KINDS.get(tags.one(_SAMPLE_FORMAT), "")
    _check_samples(tags, photometric, bits, kind, n_samples, may_be_numbers)
    width, height, is_tiled = tags.one(_WIDTH), tags.one(_HEIGHT), _TILES in tags
    block_wh = (tags.one(_TILE_WIDTH), tags.one(_TILE_HEIGHT)) if is_tiled else (width, min(height, tags.one(_STRIP_ROWS)))
    if not min(width, height, *block_wh) or block_wh[0] * block_wh[1] > 4 * width * height + _BAND_PX:
        raise ValueError(f"{block_wh[0]} x {block_wh[1]} pixels are no part of {width} x {height}")
    tiff = Tiff(
        data=data,
        order=tags.order,
        width=width,
        height=height,
        orientation=tags.one(_ORIENTATION) if tags.one(_ORIENTATION) in range(1, 9) else 1,
        bits=bits,
        kind=kind,
        photometric=photometric,
        n_samples=n_samples,
        n_planes=n_samples if tags.one(_PLANES) == 2 else 1,
        compression=compression,
        is_lowest_bit_first=tags.one(_BIT_ORDER) == _LOWEST_BIT_FIRST,
        is_differenced=tags.one(_PREDICTOR) == 2 and compression != _PLAIN,
        opacity=tags.one(_EXTRA) if n_samples > (3 if photometric == _RGB else 1) else 0,
        palette=tags.all(_PALETTE, 3 * 2**bits) if photometric == _INDEXED else (),
        is_tiled=is_tiled,
        block_wh=block_wh,
        places=(),
    )
    return replace(tiff, places=_places(tiff, tags))


def _check_samples(tags: "_Tags", photometric: int, bits: int, kind: str, n_samples: int, may_be_numbers: bool) -> None:
    kinds = {_WHITE_IS_ZERO: (1, "grey"), _BLACK_IS_ZERO: (1, "grey"), _RGB: (3, "RGB"), _INDEXED: (1, "of a palette")}
    if photometric not in kinds:
        names = {4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 32803: "a RAW picture"}
        raise UnsupportedError(f"a TIFF in {names.get(photometric, f'colours of kind {photometric}')}", _ADVICE)
    if not kinds[photometric][0] <= n_samples <= 16:
        raise ValueError(f"{n_samples} samples per pixel are not {kinds[photometric][1]}")
    depths = {_RGB: (8, 16), _INDEXED: (1, 2, 4, 8)}.get(photometric, (1, 2, 4, 8, 16))
    is_even = len(set(tags.get(_BITS, (1,)))) == 1
    is_whole = set(tags.get(_SAMPLE_FORMAT, (1,))) == {1}
    if may_be_numbers and kind and photometric == _BLACK_IS_ZERO and n_samples == 1 and (not is_whole or bits > 16):
        depths, is_whole = ((16, 32, 64) if kind == "f" else (8, 16, 32, 64)), True
        is_even = tags.one(_PREDICTOR) == 1 or kind != "f"
    is_mixed = bits < 8 and (n_samples > 1 or tags.one(_PREDICTOR) == 2)
    if bits not in depths or not is_even or not is_whole or is_mixed or tags.one(_PREDICTOR) not in (1, 2):
        numbers = "" if is_whole else " that are no whole numbers"
        raise UnsupportedError(f"a TIFF with {bits} bits per sample{numbers}", _ADVICE)


def _places(tiff: Tiff, tags: "_Tags") -> tuple[tuple[int, int], ...]:
    """Where each block lies; nothing is unpacked twice, and what isn't packed is there in full."""
    wide, high = tiff.block_wh
    n_blocks = -(-tiff.width // wide) * -(-tiff.height // high) * tiff.n_planes
    if n_blocks > MAX_BLOCKS:
        raise ValueError(f"more than {MAX_BLOCKS} strips or tiles")
    offsets = tags.all(_TILES if tiff.is_tiled else _STRIPS, n_blocks)
    if tiff.compression == _PLAIN:
        n_samples = tiff.n_samples if tiff.n_planes == 1 else 1
        n_row_bytes = -(-wide * n_samples * tiff.bits // 8)
        down = -(-tiff.height // high)
        n_rows = [high if tiff.is_tiled else min(high, tiff.height - number % down * high) for number in range(n_blocks)]
        lengths = tuple(n * n_row_bytes for n in n_rows)
    else:
        lengths = tags.all(_TILE_BYTES if tiff.is_tiled else _STRIP_BYTES, n_blocks)
    if sum(lengths) > len(tiff.data) or any(at + length > len(tiff.data) for at, length in zip(offsets, lengths, strict=True)):
        raise ValueError("a part of it reaches past its end")
    return tuple(zip(offsets, lengths, strict=True))


class _Tags(dict[int, tuple[int, ...]]):
    """The numbers of the first directory, by their tags."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.order = "<" if data.startswith(b"II") else ">"
        self.texts: dict[int, bytes] = {}
        (directory,) = struct.unpack_from(f"{self.order}I", data, 4)
        (n_entries,) = struct.unpack_from(f"{self.order}H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * n_entries, 12):
            tag, kind, n = struct.unpack_from(f"{self.order}HHI", data, entry)
            if tag not in _READ or tag in self:
                continue
            size = struct.calcsize(_NUMBERS.get(kind, "B")) * n
            at = entry + 8 if size <= 4 else struct.unpack_from(f"{self.order}I", data, entry + 8)[0]
            if kind == 2:
                self.texts[tag] = data[at : at + min(n, 30)].split(b"\0")[0]
            elif kind in _NUMBERS and n <= MAX_BLOCKS:
                self[tag] = struct.unpack_from(f"{self.order}{n}{_NUMBERS[kind]}", data, at)

    def one(self, tag: int) -> int:
        return (self.get(tag) or (_DEFAULTS[tag],) if tag in _DEFAULTS else self.all(tag, 1))[0]

    def all(self, tag: int, n: int) -> tuple[int, ...]:
        """Raises ValueError: there are fewer."""
        if len(self.get(tag, ())) < n:
            raise ValueError(f"its tag {tag} has {len(self.get(tag, ()))} values, expected {n}")
        return self[tag][:n]


def _maker(data: bytes, tags: "_Tags") -> str:
    name = tags.texts.get(_MAKE, b"").decode("ascii", "ignore").strip()
    return f"a camera of {name}" if name.isprintable() and name else "a camera"


def _as_grey(packed: list[bytes], compression: int, n_row_bytes: int, n_rows: list[int]) -> bytes:
    """A TIFF of one grey picture whose strips these are: its bytes are what they hold."""
    starts = list(accumulate(map(len, packed), initial=8))
    tags = {
        _WIDTH: [n_row_bytes],
        _HEIGHT: [sum(n_rows)],
        _BITS: [8],
        _COMPRESSION: [compression],
        _PHOTOMETRIC: [_BLACK_IS_ZERO],
        _STRIPS: starts[:-1],
        _SAMPLES: [1],
        _STRIP_ROWS: n_rows[:1],
        _STRIP_BYTES: [len(part) for part in packed],
    }
    lists, directory = b"", b""
    for tag, values in tags.items():
        content = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            content, lists = struct.pack("<I", starts[-1] + len(lists)), lists + content
        directory += struct.pack("<HHI", tag, 4, len(values)) + content
    header = b"II*\0" + struct.pack("<I", starts[-1] + len(lists))
    return b"".join([header, *packed, lists, struct.pack("<H", len(tags)), directory, bytes(4)])
