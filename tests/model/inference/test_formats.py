"""HEIC, TIFF, WebP, AVIF and BMP: the right picture the right way up; and what else people send, by its name."""

import base64
import io
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from model.inference.boxes import box
from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import Limits, decode, exif_block, read_size
from model.synthetic import draw_surface
from tests.heif_files import Item, av1, cropped, grid, heif, hevc, mirrored, turned
from tests.photographs import (
    MODEL_TAG,
    ORIENTATION_TAG,
    avif,
    bmp,
    heic,
    heic_12_bit,
    jpeg,
    noise,
    png,
    sixteen_bit_png,
    tiff,
    webp,
    with_orientation,
)

SURFACE = draw_surface(seed=4, size_hw=(96, 128), material="concrete").image_hwc_u8
WITH_BITS_TURNED = np.packbits(np.unpackbits(SURFACE[..., None], axis=3, bitorder="little"), axis=3)[..., 0]
ORIENTATIONS = range(1, 9)
FILL_ORDER_TAG = 266


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION_TAG] = orientation
    tags[MODEL_TAG] = "Camera 1"
    return tags.tobytes()


def rgba() -> NDArray[np.uint8]:
    """The surface, from left to right more and more opaque."""
    alpha = np.broadcast_to(np.linspace(0, 255, 128).astype(np.uint8), (96, 128))
    return np.dstack([SURFACE, alpha])


def refusal(data: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(data, Limits())
    return caught.value


def as_tifffile(image: NDArray[np.uint8] | NDArray[np.uint16], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **{"photometric": "rgb" if image.ndim == 3 else "minisblack"} | options)
    return buffer.getvalue()


def as_opencv(suffix: str, image: NDArray[np.uint8] | NDArray[np.uint16], *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image, options)[1])


def sixteen_bit_bgra_png(image_hwc_u16: NDArray[np.uint16]) -> bytes:
    opaque = np.full((96, 128), 65535, np.uint16)
    return bytes(cv2.imencode(".png", np.dstack([image_hwc_u16[..., ::-1], opaque]))[1])


# --- the right picture

LOSSLESS: dict[str, Callable[[], bytes]] = {
    "TIFF": lambda: tiff(SURFACE),
    "TIFF, LZW": lambda: tiff(SURFACE, compression="tiff_lzw"),
    "TIFF, Deflate": lambda: tiff(SURFACE, compression="tiff_adobe_deflate"),
    "TIFF, PackBits": lambda: tiff(SURFACE, compression="packbits"),
    "TIFF, differences": lambda: as_opencv(".tif", SURFACE, cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, 2),
    "TIFF, strips of 7 rows": lambda: as_tifffile(SURFACE, rowsperstrip=7, compression="zlib"),
    "TIFF, tiles": lambda: as_tifffile(SURFACE, tile=(48, 80)),
    "TIFF, packed tiles": lambda: as_tifffile(SURFACE, tile=(64, 48), compression="zlib", predictor=True),
    "TIFF, each colour by itself": lambda: as_tifffile(SURFACE.transpose(2, 0, 1), planarconfig="separate"),
    "TIFF, high byte first": lambda: as_tifffile(SURFACE.astype(np.uint16) * 257, byteorder=">", compression="zlib"),
    "TIFF, 16 bits": lambda: as_opencv(".tif", SURFACE.astype(np.uint16) * 257, cv2.IMWRITE_TIFF_PREDICTOR, 2),
    "TIFF, 12 of 16 bits": lambda: as_tifffile(SURFACE.astype(np.uint16) * 16 + 8),
    "TIFF, 12 of 16 bits in tiles": lambda: as_tifffile(SURFACE.astype(np.uint16) * 16 + 8, tile=(32, 32), compression="zlib"),
    "TIFF, lowest bit first": lambda: tiff(WITH_BITS_TURNED, tiffinfo={FILL_ORDER_TAG: 2}),
    "TIFF, opaque": lambda: tiff(Image.fromarray(SURFACE).convert("RGBA")),
    "TIFF of two pages": lambda: tiff(SURFACE, save_all=True, append_images=[Image.fromarray(noise(40, 40))]),
    "PNG, 12 of 16 bits": lambda: sixteen_bit_png(SURFACE.astype(np.uint16) * 16 + 8),
    "PNG, 10 of 16 bits, opaque": lambda: sixteen_bit_bgra_png(SURFACE.astype(np.uint16) << 2 | SURFACE >> 6),
    "WebP": lambda: webp(SURFACE, lossless=True),
    "WebP film": lambda: webp(SURFACE, lossless=True, save_all=True, append_images=[Image.fromarray(noise(96, 128))]),
    "BMP": lambda: bmp(SURFACE),
}
LOSSY: dict[str, Callable[[], bytes]] = {
    "HEIC": lambda: heic(SURFACE),
    "HEIC of 12 bits": lambda: heic_12_bit(SURFACE.astype(np.uint16) * 257),
    "AVIF": lambda: avif(SURFACE, quality=90),
    "AVIF in full colour": lambda: avif(SURFACE, quality=90, subsampling="4:4:4"),
    "WebP": lambda: webp(SURFACE, quality=95),
}
GREY: dict[str, Callable[[Image.Image], bytes]] = {"TIFF": tiff, "BMP": bmp, "WebP": lambda image: webp(image, lossless=True)}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_file_keeps_every_pixel(kind: str) -> None:
    np.testing.assert_array_equal(decode(LOSSLESS[kind]()), SURFACE)


@pytest.mark.parametrize("kind", LOSSY)
def test_a_compressed_file_keeps_its_picture(kind: str) -> None:
    difference = np.abs(decode(LOSSY[kind]()).astype(int) - SURFACE)
    assert difference.mean() < 3
    assert difference.max() < 30


@pytest.mark.parametrize("mode", ["1", "L", "P"])
@pytest.mark.parametrize("kind", GREY)
def test_bits_grey_and_palettes_become_colour(kind: str, mode: str) -> None:
    image = Image.fromarray(SURFACE).convert(mode)
    np.testing.assert_array_equal(decode(GREY[kind](image)), np.asarray(image.convert("RGB")))


def test_a_tiff_whose_white_is_zero_is_turned_over() -> None:
    data = tiff(Image.fromarray(SURFACE).convert("L"), tiffinfo={262: 0})
    grey = np.asarray(Image.fromarray(SURFACE).convert("L"))
    assert (decode(data)[..., 0] == grey).all() or (decode(data)[..., 0] == 255 - grey).all()


@pytest.mark.parametrize(
    "data",
    [
        tiff(rgba()),
        tiff(rgba(), compression="tiff_lzw"),
        webp(rgba(), lossless=True, exact=True),
        webp(rgba(), quality=95),
        avif(rgba(), quality=95),
        heic(rgba()),
    ],
    ids=["TIFF", "TIFF, LZW", "WebP", "WebP with loss", "AVIF", "HEIC"],
)
def test_what_is_transparent_is_laid_on_white(data: bytes) -> None:
    alpha = rgba()[..., 3:] / 255
    np.testing.assert_allclose(decode(data), SURFACE * alpha + 255 * (1 - alpha), atol=20)


def test_colours_that_a_tiff_has_multiplied_by_their_opacity_are_not_again() -> None:
    alpha = rgba()[..., 3:].astype(np.uint16)
    data = as_tifffile(np.dstack([(SURFACE * alpha // 255).astype(np.uint8), rgba()[..., 3]]), extrasamples=["assocalpha"])
    np.testing.assert_allclose(decode(data), SURFACE * (alpha / 255) + 255 * (1 - alpha / 255), atol=2)


@pytest.mark.parametrize("n_bits", [10, 12, 14])
@pytest.mark.parametrize("is_opacity_full", [True, False], ids=["opaque by 16 bits", "opaque by as few bits"])
@pytest.mark.parametrize("n_samples", [1, 2, 3, 4], ids=["grey", "grey and opacity", "RGB", "RGBA"])
def test_fewer_bits_in_16_are_stretched_and_not_black(n_samples: int, is_opacity_full: bool, n_bits: int) -> None:
    most = 2**n_bits - 1
    grey = np.linspace(0, most, 64 * 64).astype(np.uint16).reshape(64, 64)
    opaque = np.full((64, 64), 2**16 - 1 if is_opacity_full else most, np.uint16)
    samples = np.dstack([grey] * (3 if n_samples > 2 else 1) + [opaque] * (n_samples % 2 == 0)).squeeze()
    options = {
        "photometric": "rgb" if n_samples > 2 else "minisblack",
        "extrasamples": ["unassalpha"] if n_samples % 2 == 0 else (),
    }
    tiffs = [as_tifffile(samples, **options), as_tifffile(samples, compression="zlib", predictor=True, **options)]
    if n_samples > 1:
        tiffs.append(as_tifffile(np.moveaxis(samples, 2, 0), planarconfig="separate", **options))
    for data in (sixteen_bit_png(samples), *tiffs):
        decoded = decode(data)
        assert (decoded.min(), decoded.max()) == (0, 255)
        np.testing.assert_allclose(decoded[..., 0], grey * (255 / most), atol=0.6)


# --- the right way up


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_container_turns_an_avif_as_exif_turns_a_jpeg(orientation: int) -> None:
    expected = decode(with_orientation(SURFACE, orientation, quality=95))
    decoded = decode(avif(SURFACE, quality=95, exif=exif(orientation)))
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 3
    assert read_size(avif(SURFACE, exif=exif(orientation)), Limits()) == expected.shape[:2]


@pytest.mark.parametrize("is_hevc", [True, False], ids=["HEIC", "AVIF"])
@pytest.mark.parametrize(
    ("turns", "orientation"),
    [
        ([], 1),
        ([mirrored(1)], 2),
        ([turned(2)], 3),
        ([mirrored(0)], 4),
        ([turned(3), mirrored(1)], 5),
        ([turned(3)], 6),
        ([turned(1), mirrored(1)], 7),
        ([turned(1)], 8),
    ],
)
def test_a_container_is_turned_then_mirrored(is_hevc: bool, turns: list[bytes], orientation: int) -> None:
    item = (hevc if is_hevc else av1)(SURFACE, 128, 96, *turns)
    expected = decode(with_orientation(SURFACE, orientation, "PNG"))
    decoded = decode(heif([item]))
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 3


def test_exif_does_not_turn_what_its_container_does_not() -> None:
    """As Chromium has it."""
    block = Item(b"Exif", bytes(4) + exif(6).removeprefix(b"Exif\0\0"))
    pictures = [heif([make(SURFACE, 128, 96), block], references={(b"cdsc", 2): [1]}) for make in (hevc, av1)]
    for data in (*pictures, webp(SURFACE, exif=exif(6), lossless=True)):
        assert decode(data).shape == SURFACE.shape


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_tiff_is_turned_by_its_own_tag(orientation: int) -> None:
    data = tiff(SURFACE, tiffinfo={ORIENTATION_TAG: orientation})
    np.testing.assert_array_equal(decode(data), decode(with_orientation(SURFACE, orientation, "PNG")))


def test_a_png_is_not_turned_by_what_comes_behind_its_pixels() -> None:
    """As browsers have it."""
    data = with_orientation(SURFACE, 6, "PNG")
    at, end = data.index(b"eXIf") - 4, data.index(b"IDAT") - 4
    behind = data[:at] + data[end:-12] + data[at:end] + data[-12:]
    assert decode(behind).shape == SURFACE.shape
    assert decode(data).shape == (128, 96, 3)


def test_xmp_does_not_turn_a_jpeg() -> None:
    """As browsers have it."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(jpeg(SURFACE, xmp=xmp)).shape == SURFACE.shape


@pytest.mark.parametrize(
    "data",
    [
        jpeg(SURFACE, exif=exif(6)),
        png(SURFACE, exif=exif(6)),
        heic(SURFACE, exif=exif(1)),
        avif(SURFACE, exif=exif(6)),
        webp(SURFACE, exif=exif(6)),
        tiff(SURFACE, tiffinfo={MODEL_TAG: "Camera 1"}),
    ],
    ids=["JPEG", "PNG", "HEIC", "AVIF", "WebP", "TIFF"],
)
def test_what_the_camera_tells_is_found_in_each_format(data: bytes) -> None:
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + exif_block(data))
    assert tags[MODEL_TAG] == "Camera 1"


@pytest.mark.parametrize("data", [webp(SURFACE)[:-1] + b"\xff" + b"tail", heif([Item(b"Exif", b"\0\0")])], ids=["WebP", "HEIC"])
def test_a_torn_exif_block_says_nothing(data: bytes) -> None:
    assert exif_block(data) == b""


# --- what phones do with HEIF


@pytest.mark.parametrize("is_hevc", [True, False], ids=["HEIC", "AVIF"])
def test_a_grid_of_tiles_becomes_one_picture_cut_at_its_edge(is_hevc: bool) -> None:
    """iPhones write tiles of 512 pixels; the last ones reach over the edge."""
    picture = noise(16, 24, seed=3).repeat(8, axis=0).repeat(8, axis=1)  # 128 x 192: six tiles of 64
    make = hevc if is_hevc else av1
    tiles = [make(picture[top : top + 64, left : left + 64], 64, 64) for top in (0, 64) for left in (0, 64, 128)]
    data = heif([*tiles, grid(2, 3, 180, 100)], 7, {(b"dimg", 7): [1, 2, 3, 4, 5, 6]})
    decoded = decode(data)
    assert read_size(data, Limits()) == decoded.shape[:2] == (100, 180)
    middles = (slice(4, 100, 8), slice(4, 180, 8))
    assert np.abs(decoded[middles].astype(int) - picture[middles]).mean() < 20


@pytest.mark.parametrize("is_hevc", [True, False], ids=["HEIC", "AVIF"])
def test_a_picture_is_cropped_before_it_is_turned(is_hevc: bool) -> None:
    item = (hevc if is_hevc else av1)(SURFACE, 128, 96, cropped(100, 60, 2, -4), turned(3))
    decoded = decode(heif([item]))
    expected = np.rot90(SURFACE[16:76, 15:115], -1)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < 3


def test_a_heif_file_gives_its_primary_picture() -> None:
    other = hevc(noise(64, 64), 64, 64)
    for primary, shape in ((1, (64, 64, 3)), (2, (96, 128, 3))):
        assert decode(heif([other, hevc(SURFACE, 128, 96)], primary)).shape == shape


# --- what else people send


def film(brand: bytes) -> bytes:
    return box(b"ftyp", brand, bytes(4), brand, b"isom") + box(b"mdat", bytes(2000))


def raw_tiff(maker: str) -> bytes:
    return tiff(noise(20, 30), tiffinfo={254: 1, 271: maker})


NAMED = {
    "an iPhone's Live Photo video": (film(b"qt  "), "its photograph, the .HEIC or .JPG"),
    "a film (MP4)": (film(b"mp42"), "a photograph instead"),
    "a RAW file of a Canon camera": (film(b"crx "), "JPEG or TIFF"),
    "a RAW file of a camera of NIKON CORPORATION": (raw_tiff("NIKON CORPORATION"), "JPEG or TIFF"),
    "a RAW file of a Fujifilm camera": (b"FUJIFILMCCD-RAW 0201" + bytes(100), "JPEG or TIFF"),
    "a PDF": (b"%PDF-1.7\n" + bytes(100), "Export the photographs"),
    "an Office document": (b"\xd0\xcf\x11\xe0" + bytes(100), "Export the photographs"),
    "a JPEG without losses or of 12 bits": (jpeg(SURFACE).replace(b"\xff\xc0", b"\xff\xc3"), "an ordinary JPEG"),
    "a ZIP archive": (b"PK\x03\x04" + bytes(100), "Unpack it"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "a PGM": (b"P5\n60 40\n255\n" + bytes(2400), "Save it as JPEG or PNG"),
    "a PBM": (b"P4\n60 40\n" + bytes(320), "Save it as JPEG or PNG"),
    "a MATLAB file": (b"MATLAB 5.0 MAT-file, Platform: PCWIN64" + bytes(100), "by imwrite"),
    "a GIF": (b"GIF89a" + bytes(100), "Save it as JPEG or PNG"),
    "a PNG whose line ends were changed": (png(SURFACE).replace(b"\r\n", b"\n"), "as binary"),
    "a picture written as text (base64)": (base64.b64encode(jpeg(SURFACE)), "Send its bytes as they are"),
    "a JSON document": (b'{"image": "' + base64.b64encode(jpeg(SURFACE)) + b'"}', "Send the photograph itself"),
    "a web page": (b"<!DOCTYPE html><title>Log in</title>", "look whether it opens"),
    "a text file": ("Brücke, Südseite\n".encode() * 5, "a photograph instead"),
    "nothing but zeros": (bytes(5000), "Copy it from the camera"),
    "an SVG drawing": (b"<?xml version='1.0'?><svg/>", "Export it as PNG"),
    "macOS keeps beside a photograph": (b"\0\x05\x16\x07" + bytes(100), "the photograph itself"),
    "a JPEG XL picture": (b"\xff\x0a" + bytes(100), "JPEG or PNG"),
    "a TIFF with compression by JPEG": (tiff(noise(32, 32), compression="jpeg"), "without compression"),
    "a TIFF with 32 bits per sample that are no whole numbers": (as_tifffile(np.ones((32, 32), np.float32)), "8 or 16 bits"),
    "a TIFF in CMYK": (tiff(Image.fromarray(noise(32, 32)).convert("CMYK")), "grey or RGB"),
    "of an unknown kind": (b"\x07\x01\x02\xff" * 30, "send the original file again"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_photograph_is_named_with_what_to_do(name: str) -> None:
    data, advice = NAMED[name]
    error = refusal(data)
    assert error.code is ErrorCode.IMAGE_UNSUPPORTED
    assert name in error.message
    assert advice in error.message
    assert "expected a photograph (JPEG, PNG, HEIC, TIFF, WebP, AVIF or BMP)" in error.message


FILES = {
    "JPEG": jpeg(SURFACE),
    "PNG": png(SURFACE),
    "TIFF": tiff(SURFACE, compression="tiff_lzw"),
    "WebP": webp(SURFACE),
    "BMP": bmp(SURFACE),
    "HEIF": heic(SURFACE),
    "HEIF (AVIF)": avif(SURFACE),
}


def cut_short(data: bytes) -> Iterator[bytes]:
    """Where a copy broke off, and where one went on with zeros."""
    for kept in (12, 30, 44, len(data) // 3, len(data) * 19 // 20):
        yield data[:kept]
    yield data[:12] + bytes(len(data) - 12)


@pytest.mark.parametrize("name", FILES)
def test_of_a_damaged_file_its_format_is_told_and_what_to_do_and_nothing_that_a_decoder_said(name: str) -> None:
    for data in cut_short(FILES[name]):
        error = refusal(data)
        if error.code is ErrorCode.IMAGE_UNSUPPORTED:  # not enough is left to tell what it was
            continue
        assert error.code is ErrorCode.IMAGE_UNDECODABLE
        assert error.message == (
            f"The image is a {name.split()[0]} of {len(data):,} bytes that is cut short or damaged, so it cannot be decoded. "
            "Send the original file again, from the camera or the card, or save it anew with another program."
        )


def test_a_file_is_what_its_bytes_say_and_not_its_name() -> None:
    assert decode(png(SURFACE)).shape == decode(heic(SURFACE)).shape
