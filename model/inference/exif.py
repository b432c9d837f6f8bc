"""A photograph's EXIF block: how to turn it upright, and the numbers that the camera wrote (EXIF 2.32, section 4.6).

Not Pillow's reader: in a block of a megabyte each of 65,535 tags can claim all of it. Left to others: where the block is in a
file (`structure`), what the numbers mean for the scale (`camera`).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ORIENTATION = 0x0112
_CAMERA_DIRECTORY = 0x8769
_INTEGERS = {3: "H", 4: "I"}  # the types SHORT and LONG
_RATIONAL = 5


class _Entry(NamedTuple):
    """A tag, the type of its value, and where that is or where it is told to be."""

    tag: int
    kind: int
    at: int


def read_orientation(exif: bytes) -> int:
    """How to turn a picture upright, 1 (not at all) to 8, by the block's first directory."""
    order = _BYTE_ORDERS.get(exif[:4])
    try:
        if order:
            (directory,) = struct.unpack_from(f"{order}I", exif, 4)
            for entry in _entries(exif, order, directory):
                if entry.tag == _ORIENTATION and entry.kind in _INTEGERS:
                    (value,) = struct.unpack_from(f"{order}{_INTEGERS[entry.kind]}", exif, entry.at)
                    return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # cut short: it says nothing
        pass
    return 1


def read_camera(exif: bytes) -> dict[int, float]:
    """The first number of each tag of the camera's directory, above 0 or 0; what is cut short or infinite is left out."""
    order = _BYTE_ORDERS.get(exif[:4])
    found: dict[int, float] = {}
    try:
        if order:
            (first,) = struct.unpack_from(f"{order}I", exif, 4)
            pointers = [entry.at for entry in _entries(exif, order, first) if entry.tag == _CAMERA_DIRECTORY]
            (directory,) = struct.unpack_from(f"{order}I", exif, pointers[0]) if pointers else (len(exif),)
            for entry in _entries(exif, order, directory):
                if entry.kind in _INTEGERS:
                    (value,) = struct.unpack_from(f"{order}{_INTEGERS[entry.kind]}", exif, entry.at)
                    found.setdefault(entry.tag, float(value))
                elif entry.kind == _RATIONAL:
                    (at,) = struct.unpack_from(f"{order}I", exif, entry.at)
                    above, below = struct.unpack_from(f"{order}II", exif, at)
                    if below:
                        found.setdefault(entry.tag, above / below)
    except struct.error:
        pass
    return found


def _entries(exif: bytes, order: str, directory: int) -> Iterator[_Entry]:
    (n_entries,) = struct.unpack_from(f"{order}H", exif, directory)
    for at in range(directory + 2, directory + 2 + 12 * n_entries, 12):
        tag, kind = struct.unpack_from(f"{order}HH", exif, at)
        yield _Entry(tag, kind, at + 8)
