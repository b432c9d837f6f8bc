"""The overlay without a scale: the photograph with its cracks in red, as a JPEG."""

import io

import numpy as np
from PIL import Image

from model.inference.errors import ErrorCode
from model.inference.overlay import draw_overlay
from tests.answers import ask, picture, refusal, striped
from tests.photographs import jpeg, noise, png


def test_overlay_is_a_jpeg_that_differs_from_the_photograph_on_its_cracks_alone() -> None:
    image_hwc_u8 = np.full((64, 96, 3), (90, 120, 110), np.uint8)
    image_hwc_u8[16:48, 32:64] = (150, 120, 110)  # crack, as it is red enough
    result = ask(png(image_hwc_u8), response="overlay", threshold="0.5")
    assert result.content_type == "image/jpeg"
    overlay = picture(result)
    assert (overlay.format, overlay.mode, overlay.size) == ("JPEG", "RGB", (96, 64))
    difference_hw = np.abs(np.asarray(overlay).astype(int) - image_hwc_u8).max(axis=2)
    assert difference_hw[20:44, 36:60].min() > 40
    difference_hw[12:52, 28:68] = 0  # the crack and four pixels around it, where JPEG mixes colours
    assert difference_hw.max() < 12


def test_draw_overlay_tints_cracks_red_and_leaves_every_other_pixel_and_its_input_alone() -> None:
    image_hwc_u8 = noise(20, 30)
    mask_hw = noise(20, 30, seed=1)[..., 0] > 200
    overlay = draw_overlay(image_hwc_u8, mask_hw)
    assert overlay.dtype == np.uint8
    np.testing.assert_array_equal(image_hwc_u8, noise(20, 30))
    np.testing.assert_array_equal(overlay[~mask_hw], image_hwc_u8[~mask_hw])
    assert (overlay[mask_hw][:, 0] >= 165).all()
    assert (overlay[mask_hw][:, 1] <= 90).all()


def test_an_overlay_without_a_scale_is_byte_for_byte_the_plain_drawing() -> None:
    image = np.asarray(Image.open(io.BytesIO(striped())))
    assert ask(striped(), response="overlay").body == jpeg(draw_overlay(image, image[..., 0] >= 128), quality=90)


def test_an_overlay_wider_than_a_jpeg_is_too_large_and_every_other_response_is_answered() -> None:
    strip = png(np.zeros((16, 65_501, 3), np.uint8))
    error = refusal(strip, response="overlay")
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert "65501 x 16 pixels, at most 65500 per side fit into the JPEG of response=overlay" in error.message
    assert ask(strip, response="mask").body
    assert ask(png(np.zeros((16, 65_500, 3), np.uint8)), response="overlay").body
