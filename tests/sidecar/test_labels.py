"""Labels: a mask is one or is refused with the reason; a photograph loses where it was taken and nothing else."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import Limits, decode
from model.synthetic import draw_surface
from sidecar.labels import Photograph, encode_mask, hash_distance, read_mask
from tests.photographs import cmyk_jpeg, exif_with_misfit_tag, jpeg, noise, png, sixteen_bit_grey_png, with_orientation

MASK = noise(40, 60)[..., 0] > 200


def with_position(picture: np.ndarray, file_format: str, orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Model] = "Camera 1"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 8.0, 0.0)
    buffer = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "behind the old mill")
    options = {"pnginfo": text} if file_format == "PNG" else {"comment": b"behind the old mill"}
    Image.fromarray(picture).save(buffer, file_format, exif=exif, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_position_camera_and_comments_go_and_the_picture_stays_as_it_is(file_format: str, orientation: int) -> None:
    data = with_position(noise(40, 60), file_format, orientation)
    stripped = Photograph.read(data, Limits()).without_position()
    assert np.array_equal(decode(stripped), decode(data))
    exif = Image.open(io.BytesIO(stripped)).getexif()
    assert dict(exif) == ({} if orientation == 1 else {ExifTags.Base.Orientation: orientation})
    for trace in (b"Camera 1", b"old mill"):
        assert trace in data
        assert trace not in stripped


@pytest.mark.parametrize(
    "data",
    [
        jpeg(noise(40, 60)),
        jpeg(noise(40, 60), progressive=True),
        cmyk_jpeg(noise(40, 60)),
        png(noise(40, 60)),
        png(Image.fromarray(noise(40, 60)).convert("P")),
        sixteen_bit_grey_png(noise(40, 60)),
        with_orientation(noise(40, 60), 8),
        jpeg(noise(40, 60), exif=exif_with_misfit_tag(3)),
        jpeg(noise(40, 60)) + b"PK\x03\x04 and something else behind it",
        png(noise(40, 60)) + b"<script>alert(1)</script>",
    ],
)
def test_every_kind_of_photograph_keeps_its_pixels(data: bytes) -> None:
    photograph = Photograph.read(data, Limits())
    stripped = photograph.without_position()
    assert np.array_equal(decode(stripped), photograph.image_hwc_u8)
    assert b"<script>" not in stripped
    assert b"something else" not in stripped


def test_a_picture_and_its_compressed_copy_look_alike_and_other_pictures_do_not() -> None:
    one, other = (draw_surface(seed, (96, 128)).image_hwc_u8 for seed in (1, 2))
    hashes = [Photograph.read(data, Limits()).perceptual_hash() for data in (png(one), jpeg(one, quality=60), png(other))]
    assert hash_distance(hashes[0], hashes[1]) <= 4
    assert hash_distance(hashes[0], hashes[2]) > 12


def test_a_mask_comes_back_as_it_was() -> None:
    assert np.array_equal(read_mask(encode_mask(MASK), (40, 60)), MASK)
    assert np.array_equal(read_mask(png(Image.fromarray(MASK)), (40, 60)), MASK)  # one bit a pixel


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (jpeg(MASK.astype(np.uint8) * 255), "expected a PNG"),
        (encode_mask(MASK.T), "40 x 60 pixels, expected the upright photograph's 60 x 40"),
        (png(noise(40, 60)), "a PNG of kind 'RGB', expected one channel"),
        (png(noise(40, 60)[..., 0]), r"the values \[0, 1, 2, 3, 4\]\.\.\., expected 0 and 255"),
        (encode_mask(MASK)[:90], "cannot be decoded"),
        (b"", "expected a PNG"),
    ],
)
def test_what_is_no_mask_of_the_photograph_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as caught:
        read_mask(data, (40, 60))
    assert caught.value.code is ErrorCode.MASK_INVALID
