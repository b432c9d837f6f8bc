"""HEIF files put together by hand: grids, turns and crops, and what no program would write."""

import struct
from dataclasses import dataclass, field

from model.inference.boxes import box, full_box
from tests.photographs import Picture, avif, heic

_ESSENTIAL = (b"hvcC", b"av1C", b"irot", b"imir", b"clap")


@dataclass
class Item:
    """`properties`: boxes."""

    kind: bytes
    content: bytes
    properties: list[bytes] = field(default_factory=list)


def size(width: int, height: int) -> bytes:
    return full_box(b"ispe", 0, struct.pack(">II", width, height))


def turned(n_quarter_turns: int) -> bytes:
    return box(b"irot", bytes([n_quarter_turns]))


def mirrored(axis: int) -> bytes:
    return box(b"imir", bytes([axis]))


def cropped(width: int, height: int, right: int, down: int) -> bytes:
    """The middle's distance from the picture's middle in half pixels."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 2, down, 2))


def hevc(image: Picture, width: int, height: int, *more: bytes) -> Item:
    return _stream(heic(image), b"hvc1", b"hvcC", [size(width, height), *more])


def av1(image: Picture, width: int, height: int, *more: bytes) -> Item:
    return _stream(avif(image, quality=95), b"av01", b"av1C", [size(width, height), *more])


def grid(rows: int, columns: int, width: int, height: int, *more: bytes) -> Item:
    return Item(b"grid", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height), [size(width, height), *more])


def heif(items: list[Item], primary: int = 1, references: dict[tuple[bytes, int], list[int]] | None = None) -> bytes:
    """`references`: by kind and the number of the item that refers, the numbers of those that it refers to; the first is 1."""
    start = box(b"ftyp", b"mif1", bytes(4), b"heicavif")
    meta = _meta(items, primary, references or {}, 0)
    meta = _meta(items, primary, references or {}, len(start) + len(meta) + 8)
    return start + meta + box(b"mdat", *(item.content for item in items))


def _meta(items: list[Item], primary: int, references: dict[tuple[bytes, int], list[int]], offset: int) -> bytes:
    properties: list[bytes] = []
    kinds, places, links = b"", b"", b""
    for number, item in enumerate(items, start=1):
        kinds += full_box(b"infe", 2, struct.pack(">HH4sx", number, 0, item.kind))
        places += struct.pack(">HHHII", number, 0, 1, offset, len(item.content))
        offset += len(item.content)
        links += struct.pack(">HB", number, len(item.properties))
        for index, told in enumerate(item.properties, start=1 + len(properties)):
            links += bytes([index | (0x80 if told[4:8] in _ESSENTIAL else 0)])
        properties += item.properties
    links = struct.pack(">I", len(items)) + links
    told = [box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for (kind, source), to in references.items()]
    return full_box(
        b"meta",
        0,
        full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", 0, struct.pack(">H", primary)),
        full_box(b"iloc", 0, struct.pack(">HH", 0x4400, len(items)), places),
        full_box(b"iinf", 0, struct.pack(">H", len(items)), kinds),
        full_box(b"iref", 0, *told),
        box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", 0, links)),
    )


def _stream(data: bytes, kind: bytes, setup: bytes, properties: list[bytes]) -> Item:
    at = data.index(setup) - 4
    (length,) = struct.unpack_from(">I", data, at)
    return Item(kind, data[data.rindex(b"mdat") + 4 :], [data[at : at + length], *properties])
