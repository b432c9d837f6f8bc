"""The figures to watch: each says what its name says, on photographs of which that is known."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from model.inference.observation import brightness, confidence, sharpness
from model.synthetic import draw_surface

SURFACE = draw_surface(7, (384, 544)).image_hwc_u8


def test_a_model_is_less_confident_where_it_half_believes_in_a_crack() -> None:
    sure, torn = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    sure[0], torn[0] = 255, 128
    assert confidence(np.zeros((8, 8), np.uint8)) == confidence(sure) == 1
    assert confidence(torn) < 0.01


def test_darkening_halves_the_brightness() -> None:
    assert brightness(SURFACE // 2) == pytest.approx(brightness(SURFACE) / 2, rel=0.02)


def test_white_is_bright_and_not_sharp() -> None:
    white = np.full((20, 30, 3), 255, np.uint8)
    assert (brightness(white), sharpness(white)) == (1, 0)


def test_blur_takes_the_sharpness_and_size_does_not() -> None:
    blurred = np.asarray(Image.fromarray(SURFACE).filter(ImageFilter.GaussianBlur(3)))
    assert sharpness(blurred) < sharpness(SURFACE) / 3
    assert sharpness(np.tile(SURFACE, (3, 3, 1))) == pytest.approx(sharpness(SURFACE), rel=0.2)
