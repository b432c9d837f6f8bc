"""The one still picture of a HEIF file (HEIC, AVIF) in a new file that holds nothing else, found without decoding it.

Such a file is a small file system (ISO/IEC 23008-12): items with properties and references to one another. What is kept is the
primary item or, where that is a grid, its tiles, and their opacity; what is dropped are EXIF, XMP, profiles, thumbnails, depth,
films and other pictures. Of an item's own stream one picture is kept, so that its cost can be told by what it says of its size.
"""

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from model.inference.boxes import MAX_BOXES, box, boxes, full_box
from model.inference.formats import UnsupportedError
from model.inference.streams import first_of_av1, first_of_hevc
from model.inference.structure import HOLE

SLACK_PX = 2**20  # beside four times the pixels that are seen: tiles, and a stream's blocks, reach over the edge

_STREAMS = {b"hvc1": b"hvcC", b"av01": b"av1C"}
_KEPT = (b"hvcC", b"av1C", b"ispe", b"pixi")
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
# Mirrored from left to right or not, then turned to the left so many times: EXIF's orientations (EXIF 2.32, section 4.6.4.A).
_ORIENTATIONS = {
    (False, 0): 1,
    (True, 0): 2,
    (False, 2): 3,
    (True, 2): 4,
    (True, 1): 5,
    (False, 3): 6,
    (True, 3): 7,
    (False, 1): 8,
}


class Crop(NamedTuple):
    """In pixels of the stored picture."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Still:
    """A picture that can be decoded: `file` gives `width` x `height` pixels, to be cut to `crop`, then turned."""

    file: bytes
    is_hevc: bool  # else AV1
    width: int
    height: int
    crop: Crop
    orientation: int  # as EXIF's, 1 to 8


@dataclass
class _Item:
    kind: bytes = b""
    method: int = 0  # 0: in the file, 1: in the box idat
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)

    def told(self, kind: bytes) -> bytes:
        found = next((content for name, content in self.properties if name == kind), None)
        if found is None:
            raise ValueError(f"its part {self.kind!r} has no {kind!r}")
        return found

    @property
    def size(self) -> tuple[int, int]:
        width, height = struct.unpack_from(">4xII", self.told(b"ispe"))
        return width, height


def still(data: bytes) -> Still:
    """Raises: ValueError, struct.error: torn, or dearer to decode than its size tells; UnsupportedError: no such picture."""
    return _Container(data).still()


def exif_block(data: bytes) -> bytes:
    """Empty where there is none. Raises as `still` does."""
    return _Container(data).exif_block()


class _Container:
    """The items of a file, by its box `meta`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        meta = next(((at, to) for kind, at, to in boxes(data, 0, len(data)) if kind == b"meta"), None)
        if meta is None and not any(kind == b"moov" for kind, _, _ in boxes(data, 0, len(data))):
            raise ValueError("it holds nothing")
        if meta is None:
            raise UnsupportedError("a HEIF file that holds a film and no photograph", "Send a photograph instead.")
        start, end = meta
        found = {kind: (at, to) for kind, at, to in boxes(data, start + 4, end)}
        for kind in (b"pitm", b"iinf", b"iloc", b"iprp"):
            if kind not in found:
                raise ValueError(f"it has no {kind!r}")
        self._idat = found.get(b"idat", (0, 0))
        self._items: dict[int, _Item] = {}
        self._references: list[tuple[bytes, int, tuple[int, ...]]] = []
        self._read_kinds(*found[b"iinf"])
        self._read_places(*found[b"iloc"])
        self._read_properties(*found[b"iprp"])
        if b"iref" in found:
            self._read_references(*found[b"iref"])
        at = found[b"pitm"][0]
        (self._primary,) = struct.unpack_from(">I" if data[at] else ">H", data, at + 4)

    def still(self) -> Still:
        item = self.item(self._primary)
        width, height = item.size
        tiles = self.tiles(self._primary)
        alpha = self._alpha()
        kinds = {self.item(tile).kind for tile in tiles}
        if len(kinds) != 1 or not kinds <= set(_STREAMS):
            names = ", ".join(repr(kind.decode("ascii", "replace")) for kind in sorted(kinds))
            raise UnsupportedError(f"a HEIF file whose picture is coded as {names}", "Save it as JPEG or PNG.")
        is_hevc = kinds == {b"hvc1"}
        file, n_px = _Writer(self).write(self._primary, alpha)
        if n_px > 4 * width * height + SLACK_PX:
            raise ValueError(f"{n_px} pixels are coded for a picture of {width} x {height}")
        return Still(file, is_hevc, width, height, _crop(item, width, height), _orientation(item))

    def exif_block(self) -> bytes:
        """That of the primary picture (annex A of ISO/IEC 23008-12)."""
        for kind, source, to in self._references:
            if kind == b"cdsc" and self._primary in to and self.item(source).kind == b"Exif":
                content = self.content(self.item(source))
                (offset,) = struct.unpack_from(">I", content)
                return content[4 + offset :].removeprefix(b"Exif\0\0")
        return b""

    def item(self, number: int) -> _Item:
        if number not in self._items:
            raise ValueError(f"its part {number} is missing")
        return self._items[number]

    def tiles(self, number: int) -> tuple[int, ...]:
        """What a grid consists of; of a picture without a grid, itself."""
        if self.item(number).kind != b"grid":
            return (number,)
        return next((to for kind, source, to in self._references if (kind, source) == (b"dimg", number)), ())

    def _alpha(self) -> int | None:
        for kind, source, to in self._references:
            if kind == b"auxl" and self._primary in to and source in self._items:
                named = (content[4:] for name, content in self._items[source].properties if name == b"auxC")
                if next(named, b"").startswith(_ALPHA):
                    return source
        return None

    def content(self, item: _Item) -> bytes:
        start, end = self._idat if item.method == 1 else (0, len(self.data))
        parts, n_bytes = [], 0
        for offset, length in item.extents:
            if start + offset + length > end:
                raise ValueError("a part of it reaches past its end")
            parts.append(self.data[start + offset : start + offset + length if length else end])
            n_bytes += len(parts[-1])
            if n_bytes > len(self.data):
                raise ValueError("its parts lie over one another")
        return b"".join(parts)

    def _read_kinds(self, start: int, end: int) -> None:
        for kind, at, _ in boxes(self.data, start + (8 if self.data[start] else 6), end):
            if kind == b"infe" and self.data[at] in (2, 3):
                number, name = struct.unpack_from(">I2x4s" if self.data[at] == 3 else ">H2x4s", self.data, at + 4)
                self._items[number] = _Item(name)

    def _read_places(self, start: int, end: int) -> None:
        version, sizes, more = struct.unpack_from(">B3xBB", self.data, start)
        offset_size, length_size, base_size, index_size = sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0
        at, n_extents = start + 6, 0

        def take(size: int) -> int:
            nonlocal at
            if at + size > end:
                raise ValueError("the list of its parts is cut short")
            at += size
            return int.from_bytes(self.data[at - size : at])

        for _ in range(take(4 if version == 2 else 2)):
            item = self._items.get(take(4 if version == 2 else 2), _Item())
            item.method = take(2) & 15 if version else 0
            take(2)
            base = take(base_size)
            n = take(2)
            n_extents += n
            if n_extents > MAX_BOXES:  # where numbers have no bytes, each costs the file nothing
                raise ValueError(f"it lies in more than {MAX_BOXES} pieces")
            for _ in range(n):
                take(index_size)
                item.extents.append((base + take(offset_size), take(length_size)))

    def _read_properties(self, start: int, end: int) -> None:
        found = {kind: (at, to) for kind, at, to in boxes(self.data, start, end)}
        if not {b"ipco", b"ipma"} <= found.keys():
            raise ValueError("it has no properties")
        known = [(kind, self.data[at:to] if to - at < 2**16 else b"") for kind, at, to in boxes(self.data, *found[b"ipco"])]
        at, end = found[b"ipma"]
        version, is_wide = self.data[at], self.data[at + 3] & 1
        (n_items,) = struct.unpack_from(">I", self.data, at + 4)
        at += 8
        for _ in range(n_items):
            number, n_properties = struct.unpack_from(">IB" if version else ">HB", self.data, at)
            at += 5 if version else 3
            indices = struct.unpack_from(f">{n_properties}{'H' if is_wide else 'B'}", self.data, at)
            at += n_properties * (2 if is_wide else 1)
            for index in indices:
                index &= 0x7FFF if is_wide else 0x7F
                if 1 <= index <= len(known) and number in self._items and len(self._items[number].properties) < 256:
                    self._items[number].properties.append(known[index - 1])

    def _read_references(self, start: int, end: int) -> None:
        width = "I" if self.data[start] else "H"
        for kind, at, last in boxes(self.data, start + 4, end):
            source, n = struct.unpack_from(f">{width}H", self.data, at)
            to = struct.unpack_from(f">{n}{width}", self.data[at:last], struct.calcsize(f">{width}H"))  # not past its own box
            self._references.append((kind, source, to))


class _Writer:
    """Puts items into a new file."""

    def __init__(self, container: _Container) -> None:
        self._container = container
        self._numbers: dict[int, int] = {}  # of an item there: its number here
        self._items: list[tuple[bytes, bytes, list[int]]] = []  # kind, content, indices of its properties
        self._properties: dict[bytes, int] = {}  # boxes, and the number of each
        self._references: list[bytes] = []
        self._n_px = self._n_bytes = 0

    def write(self, primary: int, alpha: int | None) -> tuple[bytes, int]:
        """The file, and how many pixels are decoded from it."""
        number = self._add(primary)
        if alpha is not None:
            self._references.append(box(b"auxl", struct.pack(">HHH", self._add(alpha), 1, number)))
        is_hevc = any(kind == b"hvc1" for kind, _, _ in self._items)
        brand = b"heic" if is_hevc else b"avif"
        start = box(b"ftyp", brand, bytes(4), b"mif1miaf", brand)
        offset = len(start) + len(self._meta(number, 0)) + 8
        return start + self._meta(number, offset) + box(b"mdat", *(content for _, content, _ in self._items)), self._n_px

    def _add(self, number: int) -> int:
        if number in self._numbers:
            return self._numbers[number]
        item = self._container.item(number)
        tiles: list[int] = []
        if item.kind == b"grid":
            tiles = [self._add_tile(tile) for tile in self._container.tiles(number)]
        content, properties = self._container.content(item), item.properties
        self._n_bytes += len(content)
        if self._n_bytes > len(self._container.data):
            raise ValueError("its parts lie over one another")
        if item.kind in _STREAMS:
            name = _STREAMS[item.kind]
            setup, content, n_px = (first_of_hevc if item.kind == b"hvc1" else first_of_av1)(item.told(name), content)
            if HOLE in content:  # coders were seen to write 16 zeros at most, of even walls
                raise ValueError(f"a hole of {len(HOLE)} zeros is in it")
            properties = [(kind, setup if kind == name else value) for kind, value in properties]
            self._n_px += n_px
        kept = [
            box(kind, value)
            for kind, value in properties
            if kind in _KEPT or kind == b"auxC" or (kind == b"colr" and value.startswith(b"nclx"))
        ]
        self._items.append((item.kind, content, [self._index(each) for each in kept]))
        self._numbers[number] = len(self._items)
        if tiles:
            self._references.append(box(b"dimg", struct.pack(f">{2 + len(tiles)}H", len(self._items), len(tiles), *tiles)))
        return len(self._items)

    def _add_tile(self, number: int) -> int:
        if self._container.item(number).kind not in _STREAMS:
            raise ValueError("a grid of something else than pictures")
        return self._add(number)

    def _index(self, box: bytes) -> int:
        return self._properties.setdefault(box, len(self._properties) + 1)

    def _meta(self, primary: int, offset: int) -> bytes:
        kinds, places, links = [], [], []
        for number, (kind, content, indices) in enumerate(self._items, start=1):
            kinds.append(full_box(b"infe", 2, struct.pack(">HH4sx", number, 0, kind)))
            places.append(struct.pack(">HHHII", number, 0, 1, offset, len(content)))
            links.append(struct.pack(f">HB{len(indices)}H", number, len(indices), *(0x8000 | index for index in indices)))
            offset += len(content)
        n = len(self._items)
        return full_box(
            b"meta",
            0,
            full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, struct.pack(">H", primary)),
            full_box(b"iloc", 0, struct.pack(">HH", 0x4400, n), *places),
            full_box(b"iinf", 0, struct.pack(">H", n), *kinds),
            full_box(b"iref", 0, *self._references),
            box(b"iprp", box(b"ipco", *self._properties), box(b"ipma", struct.pack(">II", 1, n), *links)),
        )


def _orientation(item: _Item) -> int:
    """By irot and imir (sections 6.5.10 and 6.5.12), in their order."""
    is_mirrored, n_turns = False, 0
    for kind, content in item.properties:
        if kind == b"irot" and content:
            n_turns = (n_turns + (content[0] & 3)) % 4
        elif kind == b"imir" and content:
            n_turns = (-n_turns if content[0] & 1 else 2 - n_turns) % 4
            is_mirrored = not is_mirrored
    return _ORIENTATIONS[is_mirrored, n_turns]


def _crop(item: _Item, width: int, height: int) -> Crop:
    """By clap (ISO/IEC 14496-12, section 12.1.4): its size, and how far its middle lies from the picture's."""
    content = next((content for kind, content in item.properties if kind == b"clap"), None)
    if content is None:
        return Crop(0, 0, width, height)
    wide, wide_of, high, high_of, right, right_of, down, down_of = struct.unpack(">IIIIiIiI", content)
    if not (wide_of and high_of and right_of and down_of):
        raise ValueError("its crop is none")
    crop_width, crop_height = wide // wide_of, high // high_of
    left = round((width - crop_width) / 2 + right / right_of)
    top = round((height - crop_height) / 2 + down / down_of)
    if left < 0 or top < 0 or crop_width < 1 or crop_height < 1 or left + crop_width > width or top + crop_height > height:
        raise ValueError("its crop reaches over its edge")
    return Crop(left, top, crop_width, crop_height)
