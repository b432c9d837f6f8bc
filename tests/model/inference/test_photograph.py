"""Decoding: every kind of JPEG and PNG becomes upright RGB, within limits of bytes and pixels."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.inference.errors import ErrorCode, RequestError
from model.inference.photograph import MEGABYTE, MEGAPIXEL, Limits, decode
from model.synthetic import draw_surface
from tests.photographs import (
    cmyk_jpeg,
    exif_with_misfit_tag,
    jpeg,
    jpeg_with_header,
    noise,
    png,
    png_with_header,
    sixteen_bit_grey_png,
    sixteen_bit_png,
    with_orientation,
)

SIZE_HW = (40, 56)
# Which pixel of the file people see in the upper left corner (EXIF 2.32, table 6).
SEEN_UPPER_LEFT = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (-1, 0), 7: (-1, -1), 8: (0, -1)}


def surface(size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.uint8]:
    return draw_surface(seed=4, size_hw=size_hw, material="concrete").image_hwc_u8


def grey(size_hw: tuple[int, int] = SIZE_HW) -> Image.Image:
    return Image.fromarray(surface(size_hw)).convert("L")


def as_rgb(grey_hw_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey_hw_u8[..., None], 3, axis=2)


def colour_patches() -> NDArray[np.uint8]:
    """Four patches of flat colour, so that JPEG keeps them."""
    colours = np.array([[[200, 30, 30], [30, 200, 30]], [[30, 30, 200], [220, 220, 220]]], np.uint8)
    return colours.repeat(32, axis=0).repeat(32, axis=1)


def refusal(data: bytes, limits: Limits | None = None) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(data, limits or Limits())
    return caught.value


# --- kinds of files


def test_an_rgb_png_keeps_every_pixel() -> None:
    image_hwc_u8 = noise(*SIZE_HW)
    decoded = decode(png(image_hwc_u8))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, image_hwc_u8)


def test_a_grey_png_becomes_three_equal_channels() -> None:
    np.testing.assert_array_equal(decode(png(grey())), as_rgb(np.asarray(grey())))


def test_a_one_bit_png_becomes_black_and_white() -> None:
    bits_hw = noise(*SIZE_HW)[..., 0] > 127
    np.testing.assert_array_equal(decode(png(Image.fromarray(bits_hw))), as_rgb(bits_hw.astype(np.uint8) * 255))


def test_a_transparent_rgba_png_is_laid_on_white() -> None:
    rgba = np.dstack([noise(*SIZE_HW), np.full(SIZE_HW, 255, np.uint8)])
    rgba[:, :20, 3] = 0
    decoded = decode(png(rgba))
    assert (decoded[:, :20] == 255).all()
    np.testing.assert_array_equal(decoded[:, 20:], rgba[:, 20:, :3])


def test_a_half_transparent_pixel_is_mixed_with_white() -> None:
    rgba = np.full((*SIZE_HW, 4), (0, 100, 200, 128), np.uint8)
    expected = 255 + (np.array([0, 100, 200]) - 255) * 128 / 255
    np.testing.assert_allclose(decode(png(rgba))[0, 0], expected, atol=1)


def test_a_transparent_grey_png_is_laid_on_white() -> None:
    grey_and_alpha = np.dstack([np.full(SIZE_HW, 60, np.uint8), np.full(SIZE_HW, 255, np.uint8)])
    grey_and_alpha[:, :20, 1] = 0
    decoded = decode(png(Image.fromarray(grey_and_alpha, "LA")))
    assert (decoded[:, :20] == 255).all()
    assert (decoded[:, 20:] == 60).all()


def test_a_palette_png_gets_its_colours_back() -> None:
    palette = Image.fromarray(colour_patches()).quantize(4)
    np.testing.assert_array_equal(decode(png(palette)), np.asarray(palette.convert("RGB")))


def test_a_palette_png_is_laid_on_white_where_its_transparent_colour_is() -> None:
    palette = Image.fromarray(colour_patches()).quantize(4)
    transparent = int(np.asarray(palette)[0, 0])
    decoded = decode(png(palette, transparency=transparent))
    assert (decoded[:32, :32] == 255).all()
    np.testing.assert_array_equal(decoded[32:], np.asarray(palette.convert("RGB"))[32:])


@pytest.mark.parametrize("mode", ["1", "L"])
def test_a_grey_png_with_one_transparent_level_is_laid_on_white(mode: str) -> None:
    black = Image.new(mode, SIZE_HW[::-1], 0)
    assert (decode(png(black, transparency=0)) == 255).all()


def test_a_16_bit_grey_png_with_one_transparent_level_is_laid_on_white() -> None:
    levels = np.tile(np.array([0, 2048, 4095, 65535], np.uint16), (16, 4))  # 12 bits, and what GDAL writes where it has no data
    decoded = decode(sixteen_bit_png(levels, transparency=65535))
    np.testing.assert_array_equal(decoded[0, :4, 0], [0, 128, 255, 255])


def test_a_16_bit_grey_png_is_scaled_and_not_clipped() -> None:
    levels = np.array([0, 200, 257, 32768, 65535], np.uint16)
    decoded = decode(sixteen_bit_png(np.tile(levels, (16, 4))))
    assert decoded.shape == (16, 20, 3)
    np.testing.assert_array_equal(decoded[0, :5], as_rgb(np.array([[0, 1, 1, 128, 255]], np.uint8))[0])


def test_a_16_bit_grey_png_shows_what_its_8_bit_twin_shows() -> None:
    np.testing.assert_array_equal(decode(sixteen_bit_grey_png(surface())), decode(png(grey())))


def test_a_16_bit_rgb_png_is_scaled_and_not_clipped() -> None:
    image_hwc_u16 = np.full((16, 20, 3), (65535, 32768, 300), np.uint16)
    np.testing.assert_array_equal(decode(sixteen_bit_png(image_hwc_u16))[0, 0], [255, 128, 1])


def test_a_colour_jpeg_keeps_its_picture() -> None:
    np.testing.assert_allclose(decode(jpeg(colour_patches(), quality=95, subsampling=0)), colour_patches(), atol=12)


def test_a_progressive_jpeg_equals_the_plain_one() -> None:
    np.testing.assert_array_equal(decode(jpeg(surface(), progressive=True)), decode(jpeg(surface())))


def test_a_grey_jpeg_becomes_three_equal_channels() -> None:
    decoded = decode(jpeg(grey(), quality=95))
    np.testing.assert_array_equal(decoded, as_rgb(decoded[..., 0]))
    np.testing.assert_allclose(decoded[..., 0], np.asarray(grey()), atol=12)


def test_a_cmyk_jpeg_gets_about_its_colours_back() -> None:
    np.testing.assert_allclose(decode(cmyk_jpeg(colour_patches(), quality=95)), colour_patches(), atol=15)


def test_bytes_behind_the_end_of_a_jpeg_change_nothing() -> None:
    """Telephones append a second picture (MPO) or a film."""
    first, second = jpeg(surface()), jpeg(noise(64, 64))
    np.testing.assert_array_equal(decode(first + second + bytes(1000)), decode(first))


def test_a_multi_picture_jpeg_gives_its_first_picture() -> None:
    first, second = (Image.fromarray(noise(*SIZE_HW, seed)) for seed in (1, 2))
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode(buffer.getvalue()), decode(jpeg(first)))


def test_an_animated_png_gives_its_first_picture() -> None:
    first, second = (Image.fromarray(noise(*SIZE_HW, seed)) for seed in (1, 2))
    np.testing.assert_array_equal(decode(png(first, save_all=True, append_images=[second])), np.asarray(first))


# --- EXIF


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_becomes_what_a_viewer_shows(orientation: int, file_format: str) -> None:
    data = with_orientation(surface(), orientation, file_format)
    viewed = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(data), np.asarray(viewed))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_corner_that_people_see_upper_left_is_decoded_upper_left(orientation: int) -> None:
    image_hwc_u8 = np.zeros((*SIZE_HW, 3), np.uint8)
    image_hwc_u8[SEEN_UPPER_LEFT[orientation]] = (255, 0, 0)
    decoded = decode(with_orientation(image_hwc_u8, orientation, "PNG"))
    assert decoded.shape[:2] == (SIZE_HW if orientation <= 4 else SIZE_HW[::-1])
    assert tuple(decoded[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_photograph_as_it_is(orientation: int) -> None:
    image_hwc_u8 = noise(*SIZE_HW)
    np.testing.assert_array_equal(decode(with_orientation(image_hwc_u8, orientation, "PNG")), image_hwc_u8)


@pytest.mark.parametrize("mode", ["P", "RGBA", "L", "1"])
def test_a_turned_png_with_transparency_is_turned_and_laid_on_white(mode: str) -> None:
    picture = Image.fromarray(colour_patches()).resize(SIZE_HW[::-1], 0).convert(mode)
    options = {} if mode == "RGBA" else {"transparency": 0}
    turned = decode(with_orientation(picture, 6, "PNG", **options))
    np.testing.assert_array_equal(turned, np.rot90(decode(png(picture, **options)), -1))


def test_a_turned_16_bit_png_is_turned_and_scaled() -> None:
    grey_hw_u16 = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20) * 200
    turned = decode(with_orientation(Image.fromarray(grey_hw_u16), 6, "PNG"))
    np.testing.assert_array_equal(turned, np.rot90(decode(sixteen_bit_png(grey_hw_u16)), -1))


def test_a_tag_that_cannot_be_written_again_does_not_keep_a_photograph_from_being_turned() -> None:
    decoded = decode(png(noise(*SIZE_HW), exif=exif_with_misfit_tag(orientation=6)))
    np.testing.assert_array_equal(decoded, np.rot90(noise(*SIZE_HW), -1))


# --- what is no photograph


def test_no_bytes_are_a_missing_image() -> None:
    error = refusal(b"")
    assert error.code is ErrorCode.IMAGE_MISSING
    assert "part 'image'" in error.message


# --- limits


@pytest.mark.parametrize("with_header", [png_with_header, jpeg_with_header])
def test_a_huge_size_in_the_header_is_refused_before_decoding(with_header: Callable[[int, int], bytes]) -> None:
    error = refusal(with_header(40000, 40000))  # its pixels are missing: decoding them would say undecodable
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert "40000 x 40000 = 1600 megapixels" in error.message
    assert "at most 100 are accepted" in error.message


def test_a_photograph_of_just_as_many_pixels_as_allowed_is_decoded() -> None:
    assert decode(png(noise(20, 30)), Limits(max_pixels=600)).shape == (20, 30, 3)
    assert refusal(png(noise(20, 30)), Limits(max_pixels=599)).code is ErrorCode.IMAGE_TOO_LARGE


def test_the_message_tells_sizes_apart_that_are_just_above_the_limit() -> None:
    error = refusal(png_with_header(2010, 2000), Limits(max_pixels=4 * MEGAPIXEL))
    assert "4.02 megapixels" in error.message
    assert "at most 4 are accepted" in error.message


def test_pillows_own_limit_of_pixels_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image.open raises at twice this number, 179 megapixels by default."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_100_000)
    data = png(np.zeros((2300, 1000, 3), np.uint8))
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))
    assert decode(data).shape == (2300, 1000, 3)


def test_a_narrow_strip_is_too_small_and_the_message_holds_both_sizes() -> None:
    error = refusal(png(noise(400, 15)))
    assert error.code is ErrorCode.IMAGE_TOO_SMALL
    assert "15 x 400" in error.message
    assert "at least 16" in error.message


@pytest.mark.parametrize("save", [jpeg, png])
def test_16_by_16_pixels_are_enough(save: Callable[..., bytes]) -> None:
    assert decode(save(noise(16, 16))).shape == (16, 16, 3)


def test_one_byte_above_the_limit_is_too_large() -> None:
    data = png(noise(32, 32))
    assert decode(data, Limits(max_bytes=len(data))).shape == (32, 32, 3)
    assert refusal(data, Limits(max_bytes=len(data) - 1)).code is ErrorCode.IMAGE_TOO_LARGE


def test_too_many_bytes_are_told_in_megabytes() -> None:
    error = refusal(bytes(3 * MEGABYTE), Limits(max_bytes=MEGABYTE // 2))
    assert "3.0 MB" in error.message
    assert "at most 0.5 MB" in error.message


def test_without_settings_the_limits_are_the_defaults() -> None:
    assert Limits.from_environment({}) == Limits()
    assert Limits() == Limits(max_bytes=50 * MEGABYTE, max_pixels=100 * MEGAPIXEL, min_side_px=16)


def test_the_environment_sets_the_limits() -> None:
    limits = Limits.from_environment({"CRACK_MAX_MEGABYTES": "7", "CRACK_MAX_MEGAPIXELS": "0.5"})
    assert (limits.max_bytes, limits.max_pixels) == (7 * MEGABYTE, MEGAPIXEL // 2)


@pytest.mark.parametrize("text", ["0", "-3", "many", "nan", "inf", "1e-12"])
@pytest.mark.parametrize("name", ["CRACK_MAX_MEGABYTES", "CRACK_MAX_MEGAPIXELS"])
def test_a_setting_that_is_no_positive_number_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{name}='{text}': expected a positive number"):
        Limits.from_environment({name: text})
