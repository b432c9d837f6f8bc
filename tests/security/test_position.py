"""Where, when and by whom a photograph was taken: nothing of it is left in the store, wherever in the file it was."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from model.inference.photograph import Limits, decode
from model.synthetic import draw_surface
from sidecar.feedback import FeedbackStore
from sidecar.items import Submission
from sidecar.labels import Photograph, Verdict, without_position
from tests.photographs import avif, bmp, heic, jpeg, png, tiff, webp
from tests.sidecars import StartSidecar
from tests.test_save import post

PICTURE = Image.fromarray(draw_surface(seed=7, size_hw=(96, 128)).image_hwc_u8)
SECRET = b"old mill"  # stands in each kind of file below, once or more


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "the old mill's camera"
    tags[ExifTags.Base.Orientation] = orientation
    tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 8.0, 0.0)
    return tags


def with_segment(marker: int, content: bytes) -> bytes:
    """A JPEG with this segment behind its first one."""
    data = jpeg(PICTURE)
    at = 4 + struct.unpack_from(">H", data, 4)[0]
    return data[:at] + struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content + data[at:]


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG with this chunk before its pixels."""
    data = png(PICTURE)
    chunk = kind + content
    return data[:33] + struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def several(orientation: int = 1) -> bytes:
    """A phone's file of several pictures (CIPA DC-007), each with an EXIF block of its own."""
    file = io.BytesIO()
    PICTURE.save(file, "MPO", save_all=True, append_images=[PICTURE.copy()], exif=exif(orientation))
    return file.getvalue()


XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><exif:GPSLatitude>48,8N, the old mill</exif:GPSLatitude></x:xmpmeta>"
KINDS: dict[str, Callable[[], bytes]] = {
    "EXIF": lambda: jpeg(PICTURE, exif=exif()),
    "EXIF, turned": lambda: jpeg(PICTURE, exif=exif(6)),
    "several pictures": several,
    "several pictures, turned": lambda: several(6),
    "a motion photograph": lambda: jpeg(PICTURE, exif=exif()) + b"\0\0\0\x18ftypmp42" + bytes(99) + b"the old mill\xff\xd9",
    "an archive behind it": lambda: jpeg(PICTURE) + b"PK\x03\x04 old mill",
    "XMP": lambda: with_segment(0xE1, XMP),
    "extended XMP": lambda: with_segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + XMP),
    "IPTC": lambda: with_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04 old mill"),
    "a table of pictures": lambda: with_segment(0xE2, b"MPF\0 old mill"),
    "a colour profile": lambda: jpeg(PICTURE, icc_profile=b"the old mill's monitor"),
    "a small copy": lambda: with_segment(0xE0, b"JFXX\0\x10 old mill"),
    "another program's part": lambda: with_segment(0xEE, b"Ducky old mill"),
    "a camera maker's own part": lambda: with_segment(0xE7, b"old mill"),
    "a comment": lambda: jpeg(PICTURE, comment=b"behind the old mill"),
    "PNG, EXIF": lambda: png(PICTURE, exif=exif()),
    "PNG, EXIF, turned": lambda: png(PICTURE, exif=exif(6)),
    "PNG, text": lambda: with_chunk(b"tEXt", b"Comment\0behind the old mill"),
    "PNG, XMP": lambda: with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "PNG, a kind that nobody knows": lambda: with_chunk(b"miLl", b"old mill"),
    "PNG, a page behind it": lambda: png(PICTURE) + b"<script>the old mill</script>",
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_but_the_picture_and_how_to_turn_it(kind: str) -> None:
    data = KINDS[kind]()
    stripped = without_position(data)
    assert SECRET in data
    assert SECRET not in stripped
    np.testing.assert_array_equal(decode(stripped), decode(data))
    with Image.open(io.BytesIO(stripped)) as image:
        assert image.format in ("JPEG", "PNG")  # no longer MPO
        assert dict(image.getexif()) == ({ExifTags.Base.Orientation: 6} if kind.endswith("turned") else {})


OTHER_FORMATS: dict[str, Callable[[], bytes]] = {
    "HEIC": lambda: heic(PICTURE, exif=exif(6).tobytes(), xmp=XMP),
    "AVIF": lambda: avif(PICTURE, exif=exif(6).tobytes(), xmp=XMP),
    "WebP": lambda: webp(PICTURE, exif=exif().tobytes(), xmp=XMP),
    "TIFF": lambda: tiff(PICTURE, exif=exif(6), description="behind the old mill"),
    "TIFF, a second page": lambda: tiff(PICTURE, save_all=True, append_images=[PICTURE.copy()], exif=exif()),
    "BMP, a page behind it": lambda: bmp(PICTURE) + b"<script>the old mill</script>",
}


@pytest.mark.parametrize("is_position_kept", [False, True])
@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_of_other_formats_the_pixels_alone_are_stored(kind: str, is_position_kept: bool) -> None:
    data = OTHER_FORMATS[kind]()
    stored = Photograph.read(data).stored(is_position_kept)
    assert SECRET in data
    assert SECRET not in stored
    assert stored == without_position(stored)
    np.testing.assert_array_equal(decode(stored), decode(data))
    with Image.open(io.BytesIO(stored)) as image:
        assert (image.format, image.info, dict(image.getexif())) == ("PNG", {}, {})


def test_what_was_taken_out_once_stays_the_same_bytes() -> None:
    for kind in KINDS:
        stripped = without_position(KINDS[kind]())
        assert without_position(stripped) == stripped


def test_the_store_holds_no_position_of_a_photograph_that_was_sent(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    saved = post(sidecar, "/save-for-retrain", image=several(6), verdict="other").json()
    stored = (sidecar.folder / "images" / f"{saved['id']}.jpg").read_bytes()
    assert SECRET not in stored
    np.testing.assert_array_equal(decode(stored), decode(several(6)))


def test_positions_in_a_store_of_before_are_taken_out_once_and_it_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sidecar.feedback")

    def opened(is_position_kept: bool = False) -> FeedbackStore:
        return FeedbackStore(tmp_path, quota_bytes=10**8, is_review_required=True, is_position_kept=is_position_kept)

    store = opened(is_position_kept=True)
    for data in (several(6), jpeg(PICTURE)):
        store.save(Photograph.read(data, Limits()), Submission(Verdict.OTHER), "eve", data)
    store.close()
    store = opened()
    files = [item.image_file for item in store.items(["needs_label"], 9, 0)]
    assert "from 1 of 2 stored photographs" in caplog.text
    assert all(SECRET not in store.read(file) for file in files)
    assert store.n_bytes() == sum((tmp_path / file).stat().st_size for file in files)
    store.close()
    caplog.clear()
    opened().close()
    assert "stored photographs" not in caplog.text
