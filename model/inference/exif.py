"""A photograph's EXIF block: how to turn it upright, and what the camera wrote of itself, its place and its time (EXIF 2.32).

Not Pillow's reader: in a block of a megabyte each of 65,535 tags can claim all of it. Left to others: where the block is in a
file (`structure`, `heif`), what the values mean for the scale (`camera`) or for a survey.
"""

import struct

CAMERA_DIRECTORY, GPS_DIRECTORY = 0x8769, 0x8825  # the tags of the first directory that say where the others are
_ORIENTATION = 0x0112
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ASCII, _SHORT, _LONG, _RATIONAL = 2, 3, 4, 5
_N_BYTES = {_ASCII: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8}
_MOST_NUMBERS = 4  # of a tag; a position has three
_MOST_CHARACTERS = 64

Value = str | tuple[float, ...]


def read_orientation(exif: bytes) -> int:
    """How to turn a picture upright, 1 (not at all) to 8, by the block's first directory."""
    match read_directory(exif).get(_ORIENTATION):
        case (value, *_) if 1 <= value <= 8:
            return int(value)
    return 1


def read_directory(exif: bytes, named: int | None = None) -> dict[int, Value]:
    """The values of the first directory, or of the one that its tag `named` points to; of a tag that is there twice the first.

    Texts end at their first zero. Numbers are 0 or more, at most four of a tag. What is cut short, divided by zero or of
    another type is left out.
    """
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        return {}
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        if named is not None:
            match _read(exif, order, at).get(named):
                case (pointer, *_):
                    at = int(pointer)
                case _:
                    return {}
        return _read(exif, order, at)
    except struct.error:
        return {}


def _read(exif: bytes, order: str, directory: int) -> dict[int, Value]:
    found: dict[int, Value] = {}
    (n_entries,) = struct.unpack_from(f"{order}H", exif, directory)
    for at in range(directory + 2, directory + 2 + 12 * n_entries, 12):
        if at + 12 > len(exif):
            break
        tag, kind, n = struct.unpack_from(f"{order}HHI", exif, at)
        if kind not in _N_BYTES or tag in found:
            continue
        try:
            place = at + 8 if n * _N_BYTES[kind] <= 4 else struct.unpack_from(f"{order}I", exif, at + 8)[0]
            found[tag] = _value(exif, order, kind, n, place)
        except (struct.error, ZeroDivisionError):
            continue
    return found


def _value(exif: bytes, order: str, kind: int, n: int, at: int) -> Value:
    if kind == _ASCII:
        return exif[at : at + min(n, _MOST_CHARACTERS)].split(b"\0")[0].decode("ascii", "replace")
    n = min(max(n, 1), _MOST_NUMBERS)
    if kind == _RATIONAL:
        parts = struct.unpack_from(f"{order}{2 * n}I", exif, at)
        return tuple(above / below for above, below in zip(parts[::2], parts[1::2], strict=True))
    return tuple(float(value) for value in struct.unpack_from(f"{order}{n}{'H' if kind == _SHORT else 'I'}", exif, at))
