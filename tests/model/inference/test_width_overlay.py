"""The overlay with a scale: each crack in the colour of its width, and below it a legend and a scale bar."""

import numpy as np
import pytest
from numpy.typing import NDArray

from model.inference.answer import Answer
from model.inference.width_overlay import MAX_LEGEND_PX
from tests.answers import ask, picture, striped
from tests.photographs import png


def legend_of(result: Answer, height: int) -> NDArray[np.uint8]:
    """What is below the photograph."""
    return np.asarray(picture(result))[height:]


def has_colour(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(image.astype(int) - colour).max(axis=2) < 40).any())


def test_an_overlay_with_a_scale_colours_each_crack_by_its_width_and_has_a_legend_and_a_scale_bar() -> None:
    wide = ask(striped(), response="overlay", mm_per_px="0.1")
    narrow = ask(striped(), response="overlay", mm_per_px="0.04")
    assert picture(wide).width == 120
    for result, inside, outside in ((wide, (190, 0, 200), (255, 145, 0)), (narrow, (255, 145, 0), (190, 0, 200))):
        crack = np.asarray(picture(result))[31:35, 20:100]
        assert has_colour(crack, inside)
        assert not has_colour(crack, outside)
        assert has_colour(legend_of(result, 64), inside)
        assert has_colour(legend_of(result, 64), outside)
        assert (legend_of(result, 64) < 60).all(axis=2).sum() > 100  # texts and bar


def test_an_overlay_by_a_standard_has_its_bands_and_is_taller_by_its_title_and_note() -> None:
    plain = ask(striped(), response="overlay", mm_per_px="0.1")
    judged = ask(striped(), response="overlay", mm_per_px="0.1", standard="en-1992-1-1", exposure="XC4")
    assert picture(judged).height > picture(plain).height
    assert has_colour(np.asarray(picture(judged))[31:35, 20:100], (190, 0, 200))


def test_an_overlay_whose_marker_is_not_found_colours_nothing_by_width_and_says_why() -> None:
    result = ask(striped(), response="overlay", marker_size_mm="50")
    plain = np.asarray(picture(ask(striped(), response="overlay")))
    assert np.abs(np.asarray(picture(result))[:60].astype(int) - plain[:60]).max() < 12
    assert legend_of(result, 64).shape[0] > 100


@pytest.mark.parametrize("size", [(16, 16), (3000, 20), (20, 3000)])
def test_a_legend_is_drawn_for_a_picture_of_any_size(size: tuple[int, int]) -> None:
    fields = {"standard": "aashto-mbei", "exposure": "prestressed", "mm_per_px": "0.1"}
    result = picture(ask(png(np.zeros((*size, 3), np.uint8)), response="overlay", **fields))
    assert result.width == size[1]
    assert size[0] < result.height <= size[0] + MAX_LEGEND_PX
