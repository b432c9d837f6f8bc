"""Small files that cost a decoder minutes or gigabytes: refused by their structure, at once, before anything is decoded."""

import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from model.inference.errors import ErrorCode, RequestError
from model.inference.formats import PNG_SIGNATURE
from model.inference.photograph import decode
from model.inference.structure import jpeg_segments
from tests.photographs import jpeg, noise, png

MEGABYTE = 1024 * 1024
MOST_S = 10.0  # each took a decoder from half a minute to an hour
MOST_BYTES = 100 * MEGABYTE


def flood_of_scans(side_px: int, n_scans: int) -> bytes:
    """A progressive JPEG of one colour that refines the same coefficients again and again, in twelve bytes a time."""
    data = jpeg(np.full((side_px, side_px, 3), 90, np.uint8), progressive=True)
    *_, last, end = jpeg_segments(data)
    return data[: last.end] + data[last.start : last.end] * n_scans + data[end.start :]


def png_with_chunks(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A small photograph with these chunks behind its header."""
    data = png(noise(32, 32))
    at = len(PNG_SIGNATURE) + 25
    made = (struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks)
    return data[:at] + b"".join(made) + data[at:]


def greedy_exif(n_bytes: int) -> bytes:
    """Each of 65,535 tags claims the whole block as its value."""
    entries = b"".join(struct.pack("<HHII", tag, 1, n_bytes - 8, 8) for tag in range(65_535))
    return (b"II*\0" + struct.pack("<IH", 8, 65_535) + entries).ljust(n_bytes, b"\0")


SOI, REST = b"\xff\xd8", jpeg(noise(32, 32))[2:]
BODY = len(REST) - 2  # where its only scan ends
REFUSED = {
    "5,000 scans": flood_of_scans(2000, 5000),
    "8 MB of fill bytes before the first segment": SOI + b"\xff" * 8 * MEGABYTE + REST,
    "8 MB of fill bytes within the scan": SOI + REST[:-100] + b"\xff" * 8 * MEGABYTE + REST[-100:],
    "8 MB of other bytes between segments": SOI + REST[:18] + b"a" * 8 * MEGABYTE + REST[18:],
    "2 million comments": SOI + b"\xff\xfe\x00\x02" * 2 * MEGABYTE + REST,
    "8 MB of tables": SOI + (b"\xff\xdb\xff\xd0" + (b"\0" + bytes([1]) * 64) * 1008) * 128 + REST,
    "a million empty chunks": png_with_chunks([(b"IDAT", b"")] * MEGABYTE),
}
DECODED = {
    "a greedy EXIF block": png_with_chunks([(b"eXIf", greedy_exif(4 * MEGABYTE))]),
    "text that swells": png_with_chunks([(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000)))] * 1000),
    "a profile that swells": png_with_chunks([(b"iCCP", b"a\0\0" + zlib.compress(bytes(500 * MEGABYTE)))]),
    "8 MB of EXIF in segments": SOI + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)) * 128 + REST,
    "a million restart markers": SOI + REST[:BODY] + b"\xff\xd0" * MEGABYTE + REST[BODY:],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_flood_is_undecodable_before_it_is_decoded(kind: str) -> None:
    started = time.process_time()
    with pytest.raises(RequestError) as caught:
        decode(REFUSED[kind])
    assert caught.value.code is ErrorCode.IMAGE_UNDECODABLE
    assert time.process_time() - started < MOST_S


@pytest.mark.parametrize("kind", DECODED)
def test_what_a_picture_does_not_need_costs_nothing(kind: str) -> None:
    started = time.process_time()
    tracemalloc.start()
    try:
        assert decode(DECODED[kind]).shape == (32, 32, 3)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < MOST_BYTES
    assert time.process_time() - started < MOST_S
