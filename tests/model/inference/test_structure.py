"""A file's parts: found as decoders find them, counted, and left out where a picture does not need them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.inference.exif import read_orientation
from model.inference.formats import PNG_SIGNATURE
from model.inference.structure import (
    MAX_CHUNKS,
    MAX_FILL_BYTES,
    MAX_SCANS,
    MAX_SEGMENTS,
    jpeg_segments,
    picture,
    png_chunks,
)
from tests.photographs import cmyk_jpeg, exif_with_misfit_tag, jpeg, noise, png, with_orientation

SOS = 0xDA
PICTURE = noise(40, 56)
COMMENT = b"\xff\xfe\x00\x02"
FILES = {
    "baseline": jpeg(PICTURE),
    "progressive": jpeg(PICTURE, progressive=True),
    "grey": jpeg(PICTURE[..., 0]),
    "cmyk": cmyk_jpeg(PICTURE),
    "restart markers": jpeg(PICTURE, restart_marker_blocks=1),
    "metadata": jpeg(PICTURE, icc_profile=bytes(70_000), comment=b"north pier", exif=exif_with_misfit_tag(1)),
    "noise at full quality": jpeg(noise(200, 200), quality=100),
    "png": png(PICTURE),
}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind", FILES)
def test_what_is_left_of_a_file_holds_the_same_picture(kind: str) -> None:
    needed, _ = picture(FILES[kind])
    np.testing.assert_array_equal(pixels(needed), pixels(FILES[kind]))


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "png"])
def test_the_segments_of_a_jpeg_follow_each_other_to_its_end(kind: str) -> None:
    segments = list(jpeg_segments(FILES[kind]))
    starts, ends = [segment.start for segment in segments], [segment.end for segment in segments]
    assert starts == [0, *ends[:-1]]
    assert ends[-1] == len(FILES[kind])


def test_a_progressive_jpeg_has_its_scans_counted() -> None:
    assert sum(segment.marker == SOS for segment in jpeg_segments(FILES["progressive"])) == 10


def test_metadata_profiles_and_further_pictures_are_left_out() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(
        buffer, "MPO", save_all=True, append_images=[Image.fromarray(noise(40, 56, 1))], exif=exif_with_misfit_tag(1)
    )
    for data in (buffer.getvalue(), FILES["metadata"]):
        needed, _ = picture(data)
        assert len(needed) < len(FILES["baseline"]) + 100
        for name in (b"Exif", b"MPF", b"ICC_PROFILE", b"north pier"):
            assert name not in needed


def test_text_and_further_frames_of_a_png_are_left_out() -> None:
    animated = png(Image.fromarray(PICTURE), save_all=True, append_images=[Image.fromarray(noise(40, 56, 1))])
    needed, _ = picture(animated)
    assert {chunk.kind for chunk in png_chunks(needed)} == {b"IHDR", b"IDAT", b"IEND"}
    np.testing.assert_array_equal(pixels(needed), PICTURE)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read(file_format: str, orientation: int) -> None:
    assert picture(with_orientation(PICTURE, orientation, file_format))[1] == orientation


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(3, "H"), (4, "I")])
def test_the_orientation_may_have_either_byte_order_and_length(order: str, kind: int, code: str) -> None:
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + struct.pack(f"{order}{code}", 6).ljust(4, b"\0")
    assert read_orientation(head + struct.pack(f"{order}IH", 8, 1) + entry) == 6


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"no EXIF at all", exif_with_misfit_tag(9)[6:]])
def test_an_exif_block_that_says_nothing_sensible_turns_nothing(exif: bytes) -> None:
    assert read_orientation(exif) == 1


# --- limits


def with_scans(n_scans: int) -> bytes:
    """A JPEG whose last scan stands there again and again."""
    data = FILES["progressive"]
    *former, last, end = jpeg_segments(data)
    n_more = n_scans - sum(segment.marker == SOS for segment in (*former, last))
    return data[: last.end] + data[last.start : last.end] * n_more + data[end.start :]


def test_as_many_scans_as_allowed_are_walked_and_one_more_is_not() -> None:
    assert len(list(jpeg_segments(with_scans(MAX_SCANS)))) > MAX_SCANS
    with pytest.raises(ValueError, match="more than 100 scans"):
        list(jpeg_segments(with_scans(MAX_SCANS + 1)))


@pytest.mark.parametrize("place", ["behind SOI", "before a scan", "behind a scan"])
def test_as_many_fill_bytes_as_allowed_are_skipped_and_one_more_is_not(place: str) -> None:
    data = FILES["progressive"]
    segments = list(jpeg_segments(data))
    scan = next(segment for segment in segments if segment.marker == SOS)
    at = {"behind SOI": 2, "before a scan": scan.start, "behind a scan": scan.end}[place]
    filled = data[:at] + b"\xff" * MAX_FILL_BYTES + data[at:]
    assert [segment.marker for segment in jpeg_segments(filled)] == [segment.marker for segment in segments]
    np.testing.assert_array_equal(pixels(picture(filled)[0]), pixels(data))
    with pytest.raises(ValueError, match="without a marker"):
        list(jpeg_segments(data[:at] + b"\xff" * (MAX_FILL_BYTES + 1) + data[at:]))


def test_more_fill_bytes_than_allowed_are_found_within_a_scan() -> None:
    data = FILES["baseline"]
    at = len(data) - 100
    with pytest.raises(ValueError, match="without a marker"):
        list(jpeg_segments(data[:at] + b"\xff" * 1000 + b"\0" + data[at:]))


def test_a_scan_cannot_hide_behind_a_header_that_ends_in_a_fill_byte() -> None:
    data = FILES["baseline"]
    scan = next(segment for segment in jpeg_segments(data) if segment.marker == SOS)
    header_end = scan.start + 2 + int.from_bytes(data[scan.start + 2 : scan.start + 4])
    with pytest.raises(ValueError, match="without a valid header"):
        list(jpeg_segments(data[: header_end - 1] + b"\xff" + b"\xff\xda" + data[header_end:]))


def test_a_flood_of_segments_tables_or_chunks_is_refused() -> None:
    soi, rest = FILES["baseline"][:2], FILES["baseline"][2:]
    with pytest.raises(ValueError, match="more than 1000 segments"):
        list(jpeg_segments(soi + COMMENT * MAX_SEGMENTS + rest))
    with pytest.raises(ValueError, match="bytes of tables"):
        list(jpeg_segments(soi + (b"\xff\xdb\xff\xff" + bytes(65_533)) * 5 + rest))
    empty = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
    with pytest.raises(ValueError, match="more than 65536 chunks"):
        list(png_chunks(PNG_SIGNATURE + empty * (MAX_CHUNKS + 1)))


@pytest.mark.parametrize("kind", FILES)
def test_a_torn_file_is_walked_to_where_it_is_torn(kind: str) -> None:
    data = FILES[kind]
    for length in range(12, len(data), 97):
        parts = list(png_chunks(data[:length]) if kind == "png" else jpeg_segments(data[:length]))
        assert all(part.start < part.end <= length for part in parts)
