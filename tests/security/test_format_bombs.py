"""Small HEIC, TIFF, WebP, AVIF and BMP files that would cost a decoder minutes or gigabytes: refused before it sees them."""

import struct
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from model.inference.boxes import box, full_box
from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import MEGABYTE, Limits, decode
from tests.heif_files import Item, av1, grid, heif, hevc, size
from tests.photographs import avif, bmp, heic, noise, tiff, webp

MOST_S = 10.0
MOST_BYTES = 100 * MEGABYTE
SMALL = noise(32, 32)
LARGE = np.zeros((1200, 1600, 3), np.uint8)


def tiff_with(tags: dict[int, int], data: bytes = b"") -> bytes:
    """A TIFF of one grey strip, but for these tags."""
    values = {256: 32, 257: 32, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: 32, 279: len(data), **tags}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(values)) + entries + bytes(4)


def tiff_of_strips(n: int) -> bytes:
    """Each of `n` strips of one row is all of the file."""
    counts = struct.pack("<I", 2 * MEGABYTE) * n
    offsets = bytes(4) * n
    head = tiff_with({256: 32, 257: n, 273: 0, 278: 1, 279: 0})
    for tag, values in ((273, offsets), (279, counts)):
        at = head.index(struct.pack("<HHI", tag, 4, 1))
        head = head[:at] + struct.pack("<HHII", tag, 4, n, len(head)) + head[at + 12 :] + values
    return head.ljust(2 * MEGABYTE, b"\0")


def many_pictures() -> bytes:
    """An item whose stream is a picture of two megapixels, two thousand times."""
    item = hevc(LARGE, 1600, 1200)
    return heif([Item(item.kind, item.content * 2000, item.properties)])


def many_av1_pictures() -> bytes:
    item = av1(LARGE, 1600, 1200)
    return heif([Item(item.kind, item.content * 2000, item.properties)])


def said_to_be_small(make: Callable[..., Item]) -> bytes:
    item = make(LARGE, 1600, 1200)
    return heif([Item(item.kind, item.content, [item.properties[0], size(32, 32)])])


def tiles_upon_tiles() -> bytes:
    """A small grid of large tiles."""
    return heif([hevc(LARGE, 1600, 1200), grid(16, 16, 64, 64)], 2, {(b"dimg", 2): [1] * 256})


def nested_grids() -> bytes:
    grids = [grid(2, 2, 64, 64) for _ in range(20)]
    return heif([hevc(SMALL, 32, 32), *grids], 21, {(b"dimg", number): [number - 1] * 4 for number in range(2, 22)})


def heif_of(
    places: bytes = b"", links: bytes = b"", properties: bytes = b"", references: bytes = b"", rest: bytes = b""
) -> bytes:
    """A HEIC of 255 parts in which these boxes are whatever they are."""
    parts = b"".join(full_box(b"infe", 2, struct.pack(">HH4sx", number, 0, b"hvc1")) for number in range(1, 256))
    meta = full_box(
        b"meta",
        0,
        full_box(b"pitm", 0, struct.pack(">H", 1)),
        full_box(b"iinf", 0, struct.pack(">H", 255), parts),
        full_box(b"iloc", 0, places or struct.pack(">HH", 0x4400, 0)),
        full_box(b"iref", 0, references),
        box(b"iprp", box(b"ipco", properties), full_box(b"ipma", 0, links or bytes(4))),
    )
    return box(b"ftyp", b"heic", bytes(4)) + meta + rest


def pieces_without_a_byte() -> bytes:
    return heif_of(
        places=struct.pack(">HH", 0, 255) + b"".join(struct.pack(">HHH", number, 0, 65_535) for number in range(1, 256))
    )


def references_past_their_box() -> bytes:
    return heif_of(references=box(b"dimg", struct.pack(">HH", 1, 65_535)) * 2000, rest=bytes(131_072))


def one_property_for_all() -> bytes:
    links = struct.pack(">I", 255) + b"".join(struct.pack(">HB255s", number, 255, b"\1" * 255) for number in range(1, 256))
    return heif_of(properties=box(b"auxC", bytes(65_000)), links=links)


def film_of_parts(n: int) -> bytes:
    data = webp(SMALL)
    chunks = b"ANMF" + struct.pack("<I", 16) + bytes(16)
    return b"RIFF" + struct.pack("<I", 4) + b"WEBP" + chunks * n + data[12:]


TOO_LARGE = {
    "a TIFF of 3600 megapixels": lambda: tiff_with({256: 60_000, 257: 60_000, 278: 60_000}),
    "a TIFF of 16 bits in 16 samples a pixel": lambda: tiff_with({256: 5000, 257: 5000, 258: 16, 277: 16, 278: 5000}),
    "a WebP of 268 megapixels": lambda: webp(SMALL)[:26] + struct.pack("<HH", 16383, 16383) + webp(SMALL)[30:],
    "a HEIC of 900 megapixels": lambda: heif([Item(b"hvc1", b"", [*hevc(SMALL, 30_000, 30_000).properties])]),
    "an AVIF of 900 megapixels": lambda: heif([Item(b"av01", av1(SMALL, 0, 0).content, av1(SMALL, 30_000, 30_000).properties)]),
}
REFUSED = {
    "a BMP without its pixels": lambda: bmp(SMALL)[:18] + struct.pack("<ii", 9000, 9000) + bmp(SMALL)[26:],
    "a HEIC said to be small": lambda: said_to_be_small(hevc),
    "an AVIF said to be small": lambda: said_to_be_small(av1),
    "2,000 pictures in an AVIF's stream": many_av1_pictures,
    "256 times the same large tile": tiles_upon_tiles,
    "grids of grids": nested_grids,
    "a HEIC in millions of pieces without a byte": pieces_without_a_byte,
    "references past the end of their box": references_past_their_box,
    "65,000 links to one property": one_property_for_all,
    "a HEIC that ends before the number of its picture": lambda: (
        box(b"ftyp", b"heic", bytes(4))
        + full_box(
            b"meta",
            0,
            full_box(b"iinf", 0, bytes(2)),
            full_box(b"iloc", 0, bytes(4)),
            box(b"iprp", box(b"ipco"), full_box(b"ipma", 0, bytes(4))),
            box(b"pitm"),
        )
    ),
    "70,000 boxes": lambda: box(b"ftyp", b"heic", bytes(4)) + box(b"free") * 70_000,
    "strips that each are all of the file": lambda: tiff_of_strips(10_000),
    "130,000 strips": lambda: tiff_with({256: 32, 257: 140_000, 278: 1}),
    "a strip far larger than its picture": lambda: tiff_with({278: 2**31, 322: 60_000, 323: 60_000, 324: 8, 325: 0}),
    "70,000 pictures in a WebP": lambda: film_of_parts(70_000),
}
DECODED = {
    "2,000 pictures in a HEIC's stream": (many_pictures, (1200, 1600, 3)),
    "20,000 empty pictures before a WebP's": (lambda: film_of_parts(20_000), (32, 32, 3)),
    "500 pages of a TIFF": (
        lambda: tiff(SMALL, save_all=True, append_images=[Image.fromarray(SMALL)] * 500),
        (32, 32, 3),
    ),
    "a TIFF with a profile of 8 MB": (lambda: tiff(SMALL, icc_profile=bytes(8 * MEGABYTE)), (32, 32, 3)),
    "a WebP with EXIF of 8 MB": (lambda: webp(SMALL, exif=b"Exif\0\0" + bytes(8 * MEGABYTE)), (32, 32, 3)),
    "an AVIF with XMP of 8 MB": (lambda: avif(SMALL, xmp=bytes(8 * MEGABYTE)), (32, 32, 3)),
    "a HEIC with EXIF of 8 MB": (lambda: heic(SMALL, exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(8 * MEGABYTE)), (32, 32, 3)),
}


def refusal(data: bytes) -> ErrorCode:
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(RequestError) as caught:
            decode(data, Limits())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < MOST_BYTES + len(data)
    assert time.process_time() - started < MOST_S
    return caught.value.code


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_a_size_above_the_limit_is_refused_before_anything_is_decoded(kind: str) -> None:
    assert refusal(TOO_LARGE[kind]()) is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_dearer_than_it_says_is_refused(kind: str) -> None:
    assert refusal(REFUSED[kind]()) in (ErrorCode.IMAGE_UNDECODABLE, ErrorCode.IMAGE_UNSUPPORTED)


@pytest.mark.parametrize("kind", DECODED)
def test_what_a_picture_does_not_need_costs_nothing(kind: str) -> None:
    make, shape = DECODED[kind]
    data = make()
    started = time.process_time()
    assert decode(data, Limits()).shape == shape
    assert time.process_time() - started < MOST_S
