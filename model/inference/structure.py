"""The parts that a JPEG, PNG, WebP or BMP file consists of, found without decoding any of them.

A decoder's time grows with a file's scans, fill bytes and parts as well as with its pixels, so some kilobytes can cost it
minutes. Here they are counted. Decoders get what the picture needs and nothing else: no EXIF, XMP, profile, text, no second
picture.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from model.inference.exif import read_orientation
from model.inference.formats import PNG_SIGNATURE, UnsupportedError

MAX_SCANS = 100  # a progressive JPEG has about ten
MAX_FILL_BYTES = 64  # before a marker; most files have none
MAX_SEGMENTS = 1000  # a file of 50 MB has 800 of the largest, 64 KB
MAX_TABLE_BYTES = 2**18  # 100 scans with four new tables each take 160 KB
MAX_CHUNKS = 2**16  # a file of 50 MB has 6400 of 8 KB, which is what libpng writes

HOLE = bytes(256)  # in coded pixels: a broken copy leaves some hundreds of zeros

_DHT, _EOI, _SOS, _COM = 0xC4, 0xD9, 0xDA, 0xFE
_SEQUENTIAL = (0xC0, 0xC1)
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # frames of 8 bits, baseline to progressive and arithmetic
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xDA)}  # markers without a length: TEM, RST0 to RST7, SOI, EOI
_APPLICATIONS = range(0xE0, 0xF0)
_COLOUR_HINTS = (0xE0, 0xEE)  # JFIF and Adobe: by them decoders know what the channels mean
_MARKER = re.compile(rb"(?:[^\xff]|\xff\x00){0,%d}+\xff{1,%d}+[^\x00\xff]" % (MAX_FILL_BYTES, MAX_FILL_BYTES + 1))
# Within a scan 0xFF stands before 0 where it is a value, before D0 to D7 where a decoder may start anew. Each run of 0xFF is
# looked at once, from its first byte on.
_END_OF_SCAN = re.compile(
    rb"\xff(?<!\xff\xff)(?:\xff{0,%d}+[^\x00\xd0-\xd7\xff]|\xff{%d})" % (MAX_FILL_BYTES, MAX_FILL_BYTES + 1)
)
_PNG_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


class Segment(NamedTuple):
    """A JPEG's `data[start:end]`, from its marker on; a scan with its pixels."""

    marker: int
    start: int
    end: int

    @property
    def is_metadata(self) -> bool:
        return self.marker == _COM or self.marker in _APPLICATIONS


class Chunk(NamedTuple):
    """A PNG's `data[start:end]`, from its length to its checksum."""

    kind: bytes
    start: int
    end: int


def jpeg_segments(data: bytes) -> Iterator[Segment]:
    """From SOI to the first EOI, or to where the file is torn (ITU T.81, annex B).

    Raises:
        ValueError: it has more scans, segments, tables or fill bytes than any picture needs.
    """
    end, n_scans, n_table_bytes = 0, 0, 0
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.match(data, end)
        if found is None:
            if len(data) - end > 2 * MAX_FILL_BYTES + 2:
                raise ValueError(f"more than {MAX_FILL_BYTES} bytes without a marker behind byte {end}")
            return
        marker, start, end = data[found.end() - 1], found.end() - 2, found.end()
        if marker not in _BARE:
            end += max(2, int.from_bytes(data[end : end + 2]))
        if marker == _SOS:
            n_scans += 1
            if data[end - 1 : end] == b"\xff":  # it would hide a marker from the search
                raise ValueError("a scan without a valid header")
            following = _END_OF_SCAN.search(data, end)
            end = following.start() if following else len(data)
        segment = Segment(marker, start, min(end, len(data)))
        if marker != _SOS and not segment.is_metadata:
            n_table_bytes += segment.end - start
        if n_scans > MAX_SCANS:
            raise ValueError(f"more than {MAX_SCANS} scans")
        if n_table_bytes > MAX_TABLE_BYTES:
            raise ValueError(f"more than {MAX_TABLE_BYTES} bytes of tables")
        yield segment
        if marker == _EOI or end >= len(data):
            return
    raise ValueError(f"more than {MAX_SEGMENTS} segments")


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """From IHDR to IEND, or to where the file is torn (PNG specification, section 5). Raises ValueError: too many."""
    start = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if start + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        chunk = Chunk(kind, start, min(start + 12 + length, len(data)))
        yield chunk
        if kind == b"IEND":
            return
        start = chunk.end
    raise ValueError(f"more than {MAX_CHUNKS} chunks")


def picture(data: bytes) -> tuple[bytes, int]:
    """The same picture in a file without all that isn't needed to decode it, and its EXIF orientation, 1 to 8.

    `data` and errors are as those of `picture_parts`.
    """
    parts, orientation = picture_parts(data)
    return b"".join(parts), orientation


def picture_parts(data: bytes) -> tuple[list[memoryview], int]:
    """The segments of a JPEG that are needed to decode it, or a PNG's signature and such chunks; and the EXIF orientation.

    Args:
        data: a JPEG or PNG file by its signature.

    Raises:
        ValueError: as `jpeg_segments` and `png_chunks` do; or a broken copy, of which decoders show what is left in silence: a
            JPEG has no end or a hole, or a PNG's pixels don't have their checksum.
        UnsupportedError: a JPEG of a kind that libjpeg doesn't decode.
    """
    view, orientation, has_pixels, last = memoryview(data), 1, False, _EOI
    is_sequential, of_zeros = False, dict[int, int]()
    kept: list[memoryview] = []
    if data.startswith(PNG_SIGNATURE):
        kept.append(view[: len(PNG_SIGNATURE)])
        for chunk in png_chunks(data):
            if chunk.kind == b"IDAT":
                has_pixels = True  # browsers look for no orientation behind them
                _check_sum(view[chunk.start : chunk.end])
            if chunk.kind in _PNG_PICTURE:
                kept.append(view[chunk.start : chunk.end])
            elif chunk.kind == b"eXIf" and orientation == 1 and not has_pixels:
                orientation = read_orientation(data[chunk.start + 8 : chunk.end - 4])
    else:
        for segment in jpeg_segments(data):
            last = segment.marker
            if segment.marker == _DHT:
                of_zeros |= _coded_by_zeros(data[segment.start + 4 : segment.end])
            is_sequential |= segment.marker in _SEQUENTIAL
            if segment.marker == _SOS and is_sequential:
                _check_scan(data, segment, of_zeros)
            if segment.marker in _FRAMES and (
                segment.marker not in _DECODED or data[segment.start + 4 : segment.start + 5] != b"\x08"
            ):
                raise UnsupportedError(
                    "a JPEG without losses or of 12 bits, as scanners make", "Save it as an ordinary JPEG, or as PNG."
                )
            if not segment.is_metadata or segment.marker in _COLOUR_HINTS:
                kept.append(view[segment.start : segment.end])
            elif orientation == 1 and data.startswith(b"Exif\0\0", segment.start + 4):
                orientation = read_orientation(data[segment.start + 10 : segment.end])
    if last != _EOI:
        raise ValueError("it has no end")
    return kept, orientation


def _coded_by_zeros(tables: bytes) -> dict[int, int]:
    """What a code of zeros alone means by each table for coefficients, 0 for the end of a block (ITU T.81, B.2.4.2)."""
    found, at = {}, 0
    while at + 17 < len(tables):
        if tables[at] >> 4:
            found[tables[at] & 15] = tables[at + 17]
        at += 17 + sum(tables[at + 1 : at + 17])
    return found


def _check_scan(data: bytes, scan: Segment, of_zeros: Mapping[int, int]) -> None:
    """Raises ValueError: it has a hole. Where zeros end a block, an even wall is nothing but zeros; elsewhere none is."""
    n_channels = int.from_bytes(data[scan.start + 4 : scan.start + 5])
    tables = data[scan.start + 6 : scan.start + 5 + 2 * n_channels : 2]
    if any(of_zeros.get(table & 15) for table in tables) and data.find(HOLE, scan.start, scan.end) >= 0:
        raise ValueError(f"a hole of {len(HOLE)} zeros is in it")


def _check_sum(chunk: memoryview) -> None:
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
        raise ValueError("its pixels do not have their checksum")


def exif_block(data: bytes) -> bytes:
    """The first EXIF block of a JPEG or PNG file; empty where there is none. Raises ValueError as `picture` does."""
    if data.startswith(PNG_SIGNATURE):
        blocks = (data[chunk.start + 8 : chunk.end - 4] for chunk in png_chunks(data) if chunk.kind == b"eXIf")
    else:
        blocks = (
            data[segment.start + 10 : segment.end]
            for segment in jpeg_segments(data)
            if segment.is_metadata and data.startswith(b"Exif\0\0", segment.start + 4)
        )
    return next(blocks, b"")


def webp_picture(data: bytes) -> tuple[bytes, tuple[int, int]]:
    """The same picture, of a film the first one, in a file without all that isn't needed to decode it; its width and height.

    It is never turned: browsers look for no orientation in it, be it EXIF's or XMP's.

    Raises:
        ValueError, struct.error: it is torn, or has more parts than any picture needs.
    """
    kept: dict[bytes, bytes] = {}
    for kind, start, end in _riff_chunks(data, 12, len(data)):
        parts = _riff_chunks(data, start + 16, end) if kind == b"ANMF" else [(kind, start, end)]
        kept |= {part: data[at:to] for part, at, to in parts if part in (b"ALPH", b"VP8 ", b"VP8L")}
        if kept.keys() & {b"VP8 ", b"VP8L"}:
            break
    else:
        raise ValueError("it holds no picture")
    opacity = kept.pop(b"ALPH", None)
    ((kind, stream),) = kept.items()
    if kind == b"VP8 ":  # RFC 6386, section 9.1
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", stream, 6))
    else:  # WebP Lossless Bitstream, section 3
        (sides,) = struct.unpack_from("<I", stream, 1)
        width, height = 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    chunks = _riff_chunk(kind, stream)
    if kind == b"VP8 " and opacity is not None and width and height:
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = _riff_chunk(b"VP8X", b"\x10\0\0\0" + sides) + _riff_chunk(b"ALPH", opacity) + chunks
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks, (width, height)


def webp_exif_block(data: bytes) -> bytes:
    """Empty where there is none. Raises ValueError as `webp_picture` does."""
    blocks = (data[start:end] for kind, start, end in _riff_chunks(data, 12, len(data)) if kind == b"EXIF")
    return next(blocks, b"").removeprefix(b"Exif\0\0")


def _riff_chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where its content begins and ends, of each part."""
    for _ in range(MAX_CHUNKS):
        if start + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, start)
        if start + 8 + length > end:
            raise ValueError(f"its part {kind!r} is cut short")
        yield kind, start + 8, start + 8 + length
        start += 8 + length + length % 2
    raise ValueError(f"more than {MAX_CHUNKS} parts")


def _riff_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def bmp_size(data: bytes) -> tuple[int, int]:
    """Width and height of a BMP all of whose pixels are there.

    Raises:
        ValueError, struct.error: it is torn.
        UnsupportedError: it is packed, or of a version that isn't read.
    """
    start, header, width, height, bits, packing = struct.unpack_from("<10xIIii2xHI", data)
    if header not in (40, 52, 56, 64, 108, 124):
        raise UnsupportedError(f"a BMP whose header has {header} bytes", "Save it as PNG or JPEG.")
    if packing not in (0, 3, 6) or bits not in (1, 4, 8, 16, 24, 32):
        raise UnsupportedError(f"a BMP with packed pixels (kind {packing}, {bits} bits)", "Save it as PNG or JPEG.")
    height = abs(height)
    if width < 1 or height < 1 or start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise ValueError(f"it has {len(data)} bytes, too few for {width} x {height} pixels of {bits} bits")
    return width, height
