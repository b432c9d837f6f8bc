"""The score that ranks photographs: by the strongest pixels alone, whatever lies around them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inference.score import N_STRONGEST, crack_score


@settings(max_examples=60, deadline=None, derandomize=True)
@given(size_hw=st.tuples(st.integers(1, 45), st.integers(1, 45)), n_levels=st.integers(1, 256), seed=st.integers(0, 9))
def test_it_is_the_mean_of_the_most_probable_pixels(size_hw: tuple[int, int], n_levels: int, seed: int) -> None:
    prob_hw_u8 = np.random.default_rng(seed).integers(0, n_levels, size_hw, np.uint8)
    strongest = np.sort(prob_hw_u8, axis=None)[-N_STRONGEST:]
    assert crack_score(prob_hw_u8) == pytest.approx(strongest.mean() / 255)


def test_certainty_scores_1_and_an_empty_wall_0() -> None:
    assert crack_score(np.full((100, 100), 255, np.uint8)) == 1
    assert crack_score(np.zeros((100, 100), np.uint8)) == 0


def test_bare_wall_around_a_crack_takes_nothing_from_it() -> None:
    prob_hw_u8 = np.zeros((300, 600), np.uint8)
    prob_hw_u8[150:152] = 200
    assert crack_score(np.pad(prob_hw_u8, 2000)) == crack_score(prob_hw_u8) == pytest.approx(200 / 255)


def test_a_hairline_that_is_sure_ranks_above_a_doubt_all_over_the_photograph() -> None:
    hairline, doubt = np.zeros((600, 600), np.uint8), np.full((600, 600), 100, np.uint8)
    hairline[300] = 250
    assert crack_score(hairline) > crack_score(doubt)


def test_a_mirrored_or_turned_map_scores_the_same() -> None:
    prob_hw_u8 = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    assert crack_score(prob_hw_u8[:, ::-1]) == crack_score(np.rot90(prob_hw_u8)) == crack_score(prob_hw_u8)
