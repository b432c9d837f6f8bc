"""The boxes of which ISO base media files consist (ISO/IEC 14496-12, section 4.2): films, HEIC, AVIF."""

import struct
from collections.abc import Iterator

MAX_BOXES = 2**16  # in one box: a hundred megapixels in tiles of 256 have 1,600


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where its content begins and ends, of each box within `data[start:end]`.

    Raises:
        ValueError: one is cut short, or there are too many.
    """
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,), header = struct.unpack_from(">Q", data, start + 8), 16
        elif size == 0:
            size = end - start
        if size < header or start + size > end:
            raise ValueError(f"its part {kind!r} is cut short")
        yield kind, start + header, start + size
        start += size
    raise ValueError(f"more than {MAX_BOXES} parts")


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of at most 4 GB."""
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def full_box(kind: bytes, version: int, *content: bytes) -> bytes:
    """One that tells its version, and no flags."""
    return box(kind, bytes((version, 0, 0, 0)), *content)
