"""The judge's figures and rules, on counts of which the answer is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from model.dataset import Pair
from retrain.judge import Findings, chance_of_exchanged, figure, judge, paired_differences, passing_margins
from retrain.settings import RetrainParams
from retrain.verdict import Rule, Verdict
from tests.conftest import ROOT

GOOD, BAD, QUIET, LOUD = [90, 10, 10], [50, 50, 50], [0, 0, 0], [0, 500, 0]
RULES = RetrainParams.read(ROOT / "params.yaml")
GATE = [Pair("gate", Path(), Path(), "train", str(number)) for number in range(20)]
FEEDBACK = [
    *(Pair("feedback", Path(), Path(), "held-out", str(number)) for number in range(20)),
    *(Pair("feedback without crack", Path(), Path(), "held-out", f"wall {number}") for number in range(10)),
]


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
    verdict = Verdict("1", "2", rules, {"one": (0.5, 0.6)}, {"one": ((0.4, 0.6), (0.5, 0.7))})
    verdict.write(tmp_path)
    assert Verdict.read(tmp_path / "verdict.json") == verdict
    assert not verdict.is_promoted
    assert verdict.reason == "a gain <here>: -0.02"
    assert "a gain &lt;here&gt;" in (tmp_path / "verdict.html").read_text()


def test_masks_of_other_photographs_are_told_from_their_own() -> None:
    rng = np.random.default_rng(5)
    marked = rng.random((20, 128, 128)) < 0.02
    found = marked & (rng.random(marked.shape) < 0.3) | (rng.random(marked.shape) < 0.02)
    assert chance_of_exchanged(found, marked) <= 0.001
    assert chance_of_exchanged(found, np.roll(marked, 1, axis=0)) > 0.05


def findings(gate: list[int], feedback: list[int], walls: list[int], *, is_exchanged: bool = False) -> Findings:
    counts = {"gate": [gate] * 20, "feedback": [feedback] * 20, "feedback without crack": [walls] * 10}
    marked = {name: np.random.default_rng(1).random((len(of), 128, 128)) < 0.02 for name, of in counts.items()}
    marked["feedback without crack"][:] = False
    found = {name: np.roll(cells, 1, axis=0) if is_exchanged else cells for name, cells in marked.items()}
    return Findings("1", {name: np.array(of) for name, of in counts.items()}, found, marked)


@pytest.mark.parametrize(
    ("challenger", "slower", "failed"),
    [
        (findings(GOOD, GOOD, QUIET), 1.0, set()),
        (findings(GOOD, BAD, QUIET), 1.0, {"a gain on held-out feedback"}),
        (findings(BAD, GOOD, QUIET), 1.0, {"no loss on the gate set"}),
        (findings(GOOD, GOOD, LOUD), 1.0, {"a gain on held-out feedback", "no more false alarms"}),
        (findings(GOOD, GOOD, QUIET, is_exchanged=True), 1.0, {"labels of their own photographs"}),
        (findings(GOOD, GOOD, QUIET), 1.5, {"speed"}),
    ],
    ids=["better", "no gain", "forgets", "sees cracks on walls", "labels exchanged", "slow"],
)
def test_each_rule_fails_for_its_own_reason(challenger: Findings, slower: float, failed: set[str]) -> None:
    champion = findings(GOOD, BAD, QUIET)
    verdict = judge(champion, challenger, slower, GATE, FEEDBACK, RULES, is_small_gain_accepted=False)
    assert {rule.name for rule in verdict.rules if not rule.holds} == failed


@pytest.mark.parametrize(("n_places", "is_proof"), [(1, False), (4, False), (5, True)])
def test_many_labels_of_few_places_prove_no_gain(n_places: int, is_proof: bool) -> None:
    """Twenty frames of one film gain together, or lose together."""
    frames = [dataclasses.replace(pair, group=f"place {number % n_places}") for number, pair in enumerate(FEEDBACK[:20])]
    champion, challenger = (findings(GOOD, of, QUIET) for of in (BAD, GOOD))
    photographs = {"gate": np.arange(20), "feedback": np.arange(20)}
    for is_agreed in (False, True):
        verdict = judge(
            champion.on(photographs), challenger.on(photographs), 1.0, GATE, frames, RULES, is_small_gain_accepted=is_agreed
        )
        assert verdict.is_promoted == (is_proof or is_agreed), verdict.reason
        assert f"20 held-out labels of {n_places} places" in verdict.rules[1].found


def on_the_gate_set(counts: list[list[int]]) -> Findings:
    found = findings(GOOD, GOOD, QUIET).on({"gate": np.arange(20)})
    return dataclasses.replace(found, counts={"gate": np.array(counts)})


def test_a_model_needs_no_margin_against_itself_and_one_that_loses_everywhere_needs_what_it_loses() -> None:
    champion, worse = on_the_gate_set([GOOD] * 20), on_the_gate_set([BAD] * 20)
    lost = figure(np.array([GOOD])) - figure(np.array([BAD]))
    assert not passing_margins(champion, champion, GATE, 3).any()
    assert not passing_margins(worse, champion, GATE, 3).any()
    assert passing_margins(champion, worse, GATE, 3) == pytest.approx([lost] * 3)


def test_a_model_that_loses_in_some_groups_passes_with_the_margin_that_it_needs_and_no_less() -> None:
    champion, challenger = on_the_gate_set([GOOD] * 20), on_the_gate_set([BAD] * 5 + [GOOD] * 15)
    margins = passing_margins(champion, challenger, GATE, 40)
    lost = figure(champion.counts["gate"]) - figure(challenger.counts["gate"])
    assert np.ptp(margins) > 0.01
    assert np.mean(margins > lost) > 0.8  # with 95% certainty not below is further down than the mean
    for margin, is_enough in ((margins.max(), True), (margins.min() / 2, False)):
        rules = RULES.model_copy(update={"gate_margin": margin})
        verdict = judge(champion, challenger, 1.0, GATE, [], rules, is_small_gain_accepted=False)
        assert verdict.rules[0].holds == is_enough


def test_cracks_no_longer_found_are_not_paid_for_by_quiet_walls() -> None:
    champion, challenger = findings(GOOD, GOOD, LOUD), findings(GOOD, BAD, QUIET)
    verdict = judge(champion, challenger, 1.0, GATE, FEEDBACK, RULES, is_small_gain_accepted=True)
    assert "worse on those with crack" in verdict.reason
