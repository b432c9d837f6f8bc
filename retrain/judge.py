"""Whether a challenger may take the champion's place: rules, each with what was measured and why it holds or doesn't.

Both models answer the same photographs at their own thresholds. The gate set is what no training learns from, cut by group from
the original sets; held-out feedback is what neither of the two has learned from. Differences are resampled in pairs, by group
(the percentile bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

import html
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model import checkpoint
from model.dataset import Pair
from model.inference.answer import draw_overlay
from model.inference.segmenter import Run, Segmenter, threshold_level
from model.metrics import Counts, count_levels, counts_at
from model.report import MIN_ALARM_PX
from retrain.settings import RetrainParams

N_RESAMPLES = 2000
VERDICT_FILE = "verdict.json"
Figure = Callable[[Counts], float]
"""From counts of several photographs, (n, 3): hits, false and missed pixels; to one figure, larger is better."""


@dataclass(frozen=True)
class Rule:
    """One condition of a promotion, in words that say what was measured."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True)
class Verdict:
    """`figures`: by set, the champion's and the challenger's."""

    champion: str
    challenger: str
    rules: tuple[Rule, ...]
    figures: dict[str, tuple[float, float]]

    @property
    def is_promoted(self) -> bool:
        return all(rule.holds for rule in self.rules)

    @property
    def reason(self) -> str:
        """One sentence."""
        failed = [f"{rule.name}: {rule.found}" for rule in self.rules if not rule.holds]
        return "; ".join(failed) if failed else "every rule holds"

    @classmethod
    def read(cls, path: Path) -> "Verdict":
        found = json.loads(path.read_text())
        rules = tuple(Rule(**rule) for rule in found["rules"])
        figures = {name: (before, after) for name, (before, after) in found["figures"].items()}
        return cls(found["champion"], found["challenger"], rules, figures)

    def write(self, folder: Path) -> None:
        """As `verdict.json` and, to look at, `verdict.html`."""
        folder.mkdir(parents=True, exist_ok=True)
        found = {**asdict(self), "is_promoted": self.is_promoted, "reason": self.reason}
        (folder / VERDICT_FILE).write_text(json.dumps(found, indent=2) + "\n")
        (folder / "verdict.html").write_text(_page(self))


class Judged:
    """A model, from a checkpoint or an archive, and its counts on labelled photographs at its own threshold: `by_set`, int64
    (n, 3) each.
    """

    def __init__(self, path: Path, pairs: Sequence[Pair]) -> None:
        network, card = checkpoint.load(path)
        self.version = card.version
        self.run: Run = checkpoint.as_run(network)
        self.segmenter, level = Segmenter(card, self.run), threshold_level(card.threshold)
        counted: dict[str, list[Counts]] = {}
        for pair in tqdm(pairs, desc=f"judging {card.version}", unit="photo", leave=False):
            photograph = pair.read()
            levels = count_levels(self.segmenter.probability(photograph.image_hwc_u8), photograph.mask_hw)
            counted.setdefault(pair.set_name, []).append(counts_at(levels[None], level)[0])
        self.by_set = {name: np.stack(counts) for name, counts in counted.items()}


def judge(
    champion: Judged,
    challenger: Judged,
    gate: Sequence[Pair],
    feedback: Sequence[Pair],
    params: RetrainParams,
    *,
    is_small_gain_accepted: bool,
) -> Verdict:
    """Compare two models that have answered the same photographs.

    Args:
        gate: those of the original sets that neither has learned from.
        feedback: the held-out corrections, with a set name that `gate` doesn't have; may be none.
        is_small_gain_accepted: whether a person said yes to a challenger that too few of them speak for.
    """
    pairs = [*gate, *feedback]
    groups = {name: [pair.group for pair in pairs if pair.set_name == name] for name in champion.by_set}
    gate_sets = [name for name in champion.by_set if name not in {pair.set_name for pair in feedback}]
    own_sets = [name for name in champion.by_set if name not in gate_sets]
    rules = (
        _no_loss(champion, challenger, groups, gate_sets, params.gate_margin),
        _gain(champion, challenger, groups, own_sets, len(feedback), params.least_held_out, is_small_gain_accepted),
        _no_more_alarms(champion, challenger, params.most_new_alarms),
        _as_fast(champion, challenger, params.largest_slowdown),
    )
    figures = {name: (figure(champion.by_set[name]), figure(challenger.by_set[name])) for name in champion.by_set}
    return Verdict(champion.version, challenger.version, rules, figures)


def draw_comparison(champion: Judged, challenger: Judged, pairs: Sequence[Pair], folder: Path) -> None:
    """For some photographs: the label, what the champion and what the challenger call crack, side by side, as JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs):
        photograph = pair.read()
        masks = [photograph.mask_hw]
        for model in (champion, challenger):
            level = threshold_level(model.segmenter.card.threshold)
            masks.append(model.segmenter.probability(photograph.image_hwc_u8) >= level)
        overlays = [draw_overlay(photograph.image_hwc_u8, mask_hw) for mask_hw in masks]
        Image.fromarray(np.concatenate(overlays, axis=1)).save(
            folder / f"{number:02d} label, champion, challenger.jpg", quality=85
        )


def figure(counts_n_3: Counts) -> float:
    """F1 over the photographs' pooled pixels; where none of them shows a crack, the share of them without a false alarm."""
    hits, false, missed = counts_n_3.sum(axis=0)
    if hits + missed == 0:
        return float(np.mean(counts_n_3[:, 1] < MIN_ALARM_PX))
    return float(2 * hits / (2 * hits + false + missed))


def paired_differences(
    champion: Mapping[str, Counts], challenger: Mapping[str, Counts], groups: Mapping[str, Sequence[str]], n_resamples: int
) -> NDArray[np.float64]:
    """The challenger's mean figure over the sets less the champion's, for resampled groups; float64 (n_resamples,)."""
    rng = np.random.default_rng(0)
    members = {
        name: [np.flatnonzero(np.asarray(of_set) == group) for group in dict.fromkeys(of_set)]
        for name, of_set in groups.items()
    }
    differences = np.empty(n_resamples)
    for index in range(n_resamples):
        by_set = []
        for name in champion:
            drawn = rng.integers(len(members[name]), size=len(members[name]))
            chosen = np.concatenate([members[name][group] for group in drawn])
            by_set.append(figure(challenger[name][chosen]) - figure(champion[name][chosen]))
        differences[index] = np.mean(by_set)
    return differences


def _compare(
    champion: Judged, challenger: Judged, groups: Mapping[str, Sequence[str]], names: Sequence[str]
) -> tuple[float, float, float]:
    """The difference, and the bounds of its one-sided 95% intervals, from below and from above."""
    one, other = ({name: model.by_set[name] for name in names} for model in (champion, challenger))
    differences = paired_differences(one, other, {name: groups[name] for name in names}, N_RESAMPLES)
    difference = float(np.mean([figure(other[name]) - figure(one[name]) for name in names]))
    low, high = np.percentile(differences, (5, 95))
    return difference, float(low), float(high)


def _no_loss(
    champion: Judged, challenger: Judged, groups: Mapping[str, Sequence[str]], names: Sequence[str], margin: float
) -> Rule:
    difference, low, _ = _compare(champion, challenger, groups, names)
    found = f"{difference:+.4f} on the gate set, with 95% certainty not below {low:+.4f}; {-margin:+.4f} is allowed"
    return Rule("no loss on the gate set", low >= -margin, found)


def _gain(
    champion: Judged,
    challenger: Judged,
    groups: Mapping[str, Sequence[str]],
    names: Sequence[str],
    n_labels: int,
    least_held_out: int,
    is_small_gain_accepted: bool,
) -> Rule:
    name = "a gain on held-out feedback"
    if not names:
        return Rule(name, False, f"no label was held out, at least {least_held_out} are needed for a claim of gain")
    difference, low, _ = _compare(champion, challenger, groups, names)
    found = f"{difference:+.4f} on {n_labels} held-out labels, with 95% certainty not below {low:+.4f}"
    if n_labels >= least_held_out:
        return Rule(name, low > 0, found)
    few = f"{found}; {least_held_out} are needed for a claim of gain, with fewer a person must say yes (--yes)"
    return Rule(name, difference >= 0 and is_small_gain_accepted, few)


def _no_more_alarms(champion: Judged, challenger: Judged, most_new: int) -> Rule:
    def n_alarms(model: Judged) -> tuple[int, int]:
        free = [counts[(counts[:, 0] + counts[:, 2]) == 0] for counts in model.by_set.values()]
        return sum(int((counts[:, 1] >= MIN_ALARM_PX).sum()) for counts in free), sum(map(len, free))

    (before, n_free), (after, _) = n_alarms(champion), n_alarms(challenger)
    found = f"{after} of {n_free} crack-free photographs, {before} before"
    return Rule("no more false alarms", after <= before + most_new, found)


def _as_fast(champion: Judged, challenger: Judged, largest_slowdown: float) -> Rule:
    before, after = _seconds_for_a_tile(champion), _seconds_for_a_tile(challenger)
    found = f"a tile takes {after / before:.2f} times as long as before, {largest_slowdown} are allowed"
    return Rule("speed", after <= largest_slowdown * before, found)


def _seconds_for_a_tile(model: Judged) -> float:
    side_px = model.segmenter.card.tile_px // model.segmenter.card.stride * model.segmenter.card.stride
    batch_nchw = np.zeros((1, 3, side_px, side_px), np.float32)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        model.run(batch_nchw)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _page(verdict: Verdict) -> str:
    rules = "".join(
        f"<tr><td>{'✓' if rule.holds else '✗'}</td><th>{html.escape(rule.name)}</th><td>{html.escape(rule.found)}</td></tr>"
        for rule in verdict.rules
    )
    figures = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{before:.4f}</td><td>{after:.4f}</td><td>{after - before:+.4f}</td></tr>"
        for name, (before, after) in verdict.figures.items()
    )
    said = "is promoted" if verdict.is_promoted else "is not promoted"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(verdict.challenger)} {said}</title>
<style>body{{font:1rem/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td,th{{text-align:left;padding:.3rem .8rem}} tr{{border-top:1px solid #8884}}</style>
<h1>{html.escape(verdict.challenger)} {said}</h1><p>{html.escape(verdict.reason)}.</p>
<h2>Rules</h2><table>{rules}</table>
<h2>Figures</h2><p>F1 of each set's pooled pixels; of sets without cracks, the share of photographs without a false alarm.</p>
<table><tr><th>set</th><th>{html.escape(verdict.champion)}</th><th>{html.escape(verdict.challenger)}</th><th></th></tr>{figures}</table>
</html>
"""
