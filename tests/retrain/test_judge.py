"""The judge's figures and rules, on counts of which the answer is known."""

from pathlib import Path

import numpy as np
import pytest

from retrain.judge import Rule, Verdict, figure, paired_differences

GOOD, BAD = [90, 10, 10], [50, 50, 50]


def test_pixels_are_pooled_and_crack_free_sets_count_alarms() -> None:
    assert figure(np.array([[100, 0, 0], [0, 100, 100]])) == pytest.approx(0.5)
    assert figure(np.array([[0, 0, 0], [0, 99, 0], [0, 100, 0], [0, 5000, 0]])) == 0.5


def test_a_model_that_is_better_everywhere_is_better_in_each_resample() -> None:
    champion, challenger = {"one": np.array([BAD] * 8)}, {"one": np.array([GOOD] * 8)}
    groups = {"one": list("aabbccdd")}
    assert (paired_differences(champion, challenger, groups, 200) > 0.3).all()


def test_one_groups_gain_is_no_certain_gain() -> None:
    """Forty photographs of one wall are one observation."""
    champion = {"one": np.array([BAD] * 40 + [GOOD] * 4)}
    challenger = {"one": np.array([GOOD] * 40 + [BAD] * 4)}
    groups = {"one": ["wall"] * 40 + ["a", "b", "c", "d"]}
    assert np.percentile(paired_differences(champion, challenger, groups, 500), 5) < 0


def test_the_same_model_differs_from_itself_by_nothing() -> None:
    same = {"one": np.array([GOOD, BAD, GOOD])}
    assert (paired_differences(same, same, {"one": ["a", "b", "c"]}, 50) == 0).all()


def test_a_verdict_comes_back_as_it_was_written_and_says_why(tmp_path: Path) -> None:
    rules = (Rule("no loss", True, "+0.01"), Rule("a gain <here>", False, "-0.02"))
    verdict = Verdict("1", "2", rules, {"one": (0.5, 0.6)})
    verdict.write(tmp_path)
    assert Verdict.read(tmp_path / "verdict.json") == verdict
    assert not verdict.is_promoted
    assert verdict.reason == "a gain <here>: -0.02"
    assert "a gain &lt;here&gt;" in (tmp_path / "verdict.html").read_text()
