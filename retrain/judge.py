"""Decides whether a challenger may replace the champion: rules, each with its measurement and why it holds or doesn't.

Both models answer the same photographs at their own thresholds, each by its float32 network in ONNX Runtime, so that a champion
whose network is no longer trained can be judged, too. The gate set is cut by group from the original sets: neither of the two
has learned from it, and nothing of the challenger was chosen on it. Neither has learned from the held-out feedback.
Differences are resampled in pairs, by group (the percentile bootstrap of Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). Exchanging labels shows whether they belong to their photographs at all (permutation test 1 of
Ojala and Garriga, Permutation Tests for Studying Classifier Performance, JMLR 11, 2010).
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from export.archive import unpack
from export.network import trace, write_onnx
from model import checkpoint
from model.dataset import Pair
from model.inference import runtime
from model.inference.answer import crack_grid
from model.inference.card import threshold_level
from model.inference.encoding import jpeg
from model.inference.overlay import draw_overlay
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter
from model.metrics import Counts, count_levels, counts_at
from model.report import MIN_ALARM_PX
from retrain.settings import RetrainParams
from retrain.snapshot import LEAST_GROUPS
from retrain.verdict import Interval, Rule, Verdict

N_RESAMPLES = 2000
N_EXCHANGES = 999
N_TURNS = 5
LARGEST_CHANCE = 0.05  # the largest accepted chance that labels exchanged between photographs fit as well
Mask = NDArray[np.bool_]


class Model:
    """A model, from a checkpoint or an archive, at its own threshold, computed as the archive's float32 network is."""

    def __init__(self, path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="crack-judge-") as work:
            if path.suffix == ".mar":
                self.card = unpack(path, Path(work))
            else:
                network, self.card = checkpoint.load(path)
                write_onnx(trace(network).as_trained, Path(work, runtime.file_name(checkpoint.REFERENCE)))
            self._run = runtime.load(Path(work), checkpoint.REFERENCE, n_usable_cores())
        self._segmenter = Segmenter(self.card, self._run)

    def find(self, pairs: Sequence[Pair]) -> "Findings":
        """Answer each photograph and compare with its label, behind a progress bar."""
        level = threshold_level(self.card.threshold)
        counts: dict[str, list[Counts]] = {}
        found: dict[str, list[Mask]] = {}
        marked: dict[str, list[Mask]] = {}
        for pair in tqdm(pairs, desc=f"judging {self.card.version}", unit="photo", leave=False):
            photograph = pair.read()
            prob_hw_u8 = self._segmenter.probability(photograph.image_hwc_u8)
            levels = count_levels(prob_hw_u8, photograph.mask_hw)
            counts.setdefault(pair.set_name, []).append(counts_at(levels[None], level)[0])
            found.setdefault(pair.set_name, []).append(crack_grid(prob_hw_u8 >= level))
            marked.setdefault(pair.set_name, []).append(crack_grid(photograph.mask_hw))
        return Findings(
            self.card.version,
            {name: np.stack(of) for name, of in counts.items()},
            {name: np.stack(of) for name, of in found.items()},
            {name: np.stack(of) for name, of in marked.items()},
        )

    def mask(self, image_hwc_u8: NDArray[np.uint8]) -> Mask:
        """The pixels that it calls crack, bool (height, width)."""
        return self._segmenter.probability(image_hwc_u8) >= threshold_level(self.card.threshold)

    def seconds_for_a_tile(self) -> float:
        side_px = self.card.tile_px // self.card.stride * self.card.stride
        batch_nchw = np.zeros((1, 3, side_px, side_px), np.float32)
        started = time.perf_counter()
        self._run(batch_nchw)
        return time.perf_counter() - started


@dataclass(frozen=True)
class Findings:
    """A model's results on labelled photographs, by set.

    `counts`: hits, false and missed pixels of each photograph, int64 (n, 3). `found` and `marked`: the cells of a grid in which
    the model and the label see crack, bool (n, 128, 128).
    """

    version: str
    counts: dict[str, Counts]
    found: dict[str, Mask]
    marked: dict[str, Mask]

    def on(self, photographs: Mapping[str, NDArray[np.intp]]) -> "Findings":
        """The results on some of them, given by their indices in each set; an index may occur several times."""
        counts = {name: self.counts[name][chosen] for name, chosen in photographs.items()}
        found = {name: self.found[name][chosen] for name, chosen in photographs.items()}
        marked = {name: self.marked[name][chosen] for name, chosen in photographs.items()}
        return Findings(self.version, counts, found, marked)

    def alarms(self) -> tuple[int, int]:
        """The number of crack-free photographs with a false alarm, and of all crack-free ones."""
        free = [counts[(counts[:, 0] + counts[:, 2]) == 0] for counts in self.counts.values()]
        return sum(int((counts[:, 1] >= MIN_ALARM_PX).sum()) for counts in free), sum(map(len, free))


def slowdown(champion: Model, challenger: Model) -> float:
    """The challenger's time for a tile as a multiple of the champion's, measured alternately; the fastest of each counts."""
    seconds = [(champion.seconds_for_a_tile(), challenger.seconds_for_a_tile()) for _ in range(N_TURNS)]
    before, after = np.min(seconds, axis=0)
    return float(after / before)


def judge(
    champion: Findings,
    challenger: Findings,
    slower: float,
    gate: Sequence[Pair],
    feedback: Sequence[Pair],
    params: RetrainParams,
    *,
    is_small_gain_accepted: bool,
    remark: str = "",
) -> Verdict:
    """Compare two models that have answered the same photographs.

    Args:
        slower: what `slowdown` measured.
        gate: photographs of the original sets that neither model has learned from; some show a crack.
        feedback: the held-out corrections, with set names that `gate` doesn't have: those with crack in one set, those without
            in another; may be none.
        is_small_gain_accepted: whether a person accepts a challenger although too few held-out labels show its gain.
        remark: as in a `Verdict`.
    """
    pairs = [*gate, *feedback]
    groups = {name: [pair.group for pair in pairs if pair.set_name == name] for name in champion.counts}
    gate_sets = [name for name in champion.counts if name not in {pair.set_name for pair in feedback}]
    own_sets = [name for name in champion.counts if name not in gate_sets]
    rules = (
        _no_loss(champion, challenger, groups, _with_crack(challenger, gate_sets), params.gate_margin),
        _gain(champion, challenger, groups, own_sets, len(feedback), params.least_held_out, is_small_gain_accepted),
        _of_their_photographs(challenger, own_sets, is_small_gain_accepted and len(feedback) < params.least_held_out),
        _no_more_alarms(champion, challenger, params.most_new_alarms),
        _as_fast(slower, params.largest_slowdown),
    )
    figures = {name: (figure(champion.counts[name]), figure(challenger.counts[name])) for name in champion.counts}
    intervals = {
        name: (_interval(champion.counts[name], groups[name]), _interval(challenger.counts[name], groups[name]))
        for name in champion.counts
    }
    return Verdict(champion.version, challenger.version, rules, figures, intervals, remark)


def passing_margins(champion: Findings, challenger: Findings, gate: Sequence[Pair], n_resamplings: int) -> NDArray[np.float64]:
    """The smallest margin with which the challenger passes on the gate set, for each of some resamplings of its groups; float64
    (n_resamplings,). Groups are drawn within each set; one drawn twice counts as two.
    """
    rng = np.random.default_rng(0)
    groups = {name: [pair.group for pair in gate if pair.set_name == name] for name in champion.counts}
    margins = []
    for _ in tqdm(range(n_resamplings), desc="resampling the gate set", leave=False):
        drawn = {name: _draw_groups(groups[name], rng) for name in groups}
        photographs = {name: chosen for name, (chosen, _) in drawn.items()}
        one, other = champion.on(photographs), challenger.on(photographs)
        _, low = _compare(one, other, {name: own for name, (_, own) in drawn.items()}, _with_crack(other, list(drawn)))
        margins.append(max(0.0, -low))
    return np.array(margins)


def _draw_groups(groups: Sequence[str], rng: np.random.Generator) -> tuple[NDArray[np.intp], list[str]]:
    """Indices of photographs, drawn with replacement by whole groups, and a group for each: that of its draw."""
    members = _members(groups)
    drawn = [members[number] for number in rng.integers(len(members), size=len(members))]
    return np.concatenate(drawn), [str(draw) for draw, photographs in enumerate(drawn) for _ in photographs]


def draw_comparison(champion: Model, challenger: Model, pairs: Sequence[Pair], folder: Path) -> None:
    """For some photographs: the label, what the champion and what the challenger call crack, side by side, as JPEGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs):
        photograph = pair.read()
        masks = [photograph.mask_hw, *(model.mask(photograph.image_hwc_u8) for model in (champion, challenger))]
        overlays = [draw_overlay(photograph.image_hwc_u8, mask_hw) for mask_hw in masks]
        beside = jpeg(np.concatenate(overlays, axis=1), 85)
        (folder / f"{number:02d} label, champion, challenger.jpg").write_bytes(beside)


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
    draws = {name: _resamples(groups[name], n_resamples, rng) for name in champion}
    by_set = [
        [figure(challenger[name][chosen]) - figure(champion[name][chosen]) for chosen in draws[name]] for name in champion
    ]
    mean: NDArray[np.float64] = np.mean(by_set, axis=0)
    return mean


def chance_of_exchanged(found_n_hw: Mask, marked_n_hw: Mask) -> float:
    """The probability that labels exchanged at random fit a model's findings as well as each photograph's own label does.

    An exchange changes neither side's number of crack cells, so the number of cells that both call crack stands for the F1.

    Args:
        found_n_hw, marked_n_hw: cells with crack as in `Findings`, bool (n, 128, 128).
    """
    rng = np.random.default_rng(0)
    shared = found_n_hw.reshape(len(found_n_hw), -1).astype(np.float32) @ marked_n_hw.reshape(len(marked_n_hw), -1).T
    photographs = np.arange(len(shared))
    exchanged = [shared[photographs, rng.permutation(len(shared))].sum() for _ in range(N_EXCHANGES)]
    return float((1 + np.sum(exchanged >= np.trace(shared))) / (1 + N_EXCHANGES))


def _resamples(groups: Sequence[str], n_resamples: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Indices of photographs, drawn with replacement by whole groups."""
    members = _members(groups)
    return [
        np.concatenate([members[drawn] for drawn in rng.integers(len(members), size=len(members))]) for _ in range(n_resamples)
    ]


def _members(groups: Sequence[str]) -> list[NDArray[np.intp]]:
    """Indices of the photographs of each group."""
    return [np.flatnonzero(np.asarray(groups) == group) for group in dict.fromkeys(groups)]


def _interval(counts_n_3: Counts, groups: Sequence[str]) -> Interval:
    draws = _resamples(groups, N_RESAMPLES, np.random.default_rng(0))
    low, high = np.percentile([figure(counts_n_3[chosen]) for chosen in draws], (2.5, 97.5))
    return float(low), float(high)


def _compare(
    champion: Findings, challenger: Findings, groups: Mapping[str, Sequence[str]], names: Sequence[str]
) -> tuple[float, float]:
    """The difference, and its lower bound with 95% certainty."""
    one, other = ({name: model.counts[name] for name in names} for model in (champion, challenger))
    differences = paired_differences(one, other, {name: groups[name] for name in names}, N_RESAMPLES)
    difference = float(np.mean([figure(other[name]) - figure(one[name]) for name in names]))
    return difference, float(np.percentile(differences, 5))


def _no_loss(
    champion: Findings, challenger: Findings, groups: Mapping[str, Sequence[str]], names: Sequence[str], margin: float
) -> Rule:
    difference, low = _compare(champion, challenger, groups, names)
    found = f"{difference:+.4f} on the gate set, with 95% certainty not below {low:+.4f}; {-margin:+.4f} is allowed"
    return Rule("no loss on the gate set", low >= -margin, found)


def _gain(
    champion: Findings,
    challenger: Findings,
    groups: Mapping[str, Sequence[str]],
    names: Sequence[str],
    n_labels: int,
    least_held_out: int,
    is_small_gain_accepted: bool,
) -> Rule:
    name = "a gain on held-out feedback"
    if not names:
        found = (
            f"no label was held out, at least {least_held_out} are needed to prove a gain: all were learned from before, or "
            "most show one place. Accept labels of other places"
        )
        return Rule(name, False, found)
    difference, low = _compare(champion, challenger, groups, names)
    n_places = len({group for own in names for group in groups[own]})
    found = f"{difference:+.4f} on {n_labels} held-out labels of {n_places} places, with 95% certainty not below {low:+.4f}"
    is_worse_nowhere = all(_compare(champion, challenger, groups, [own])[0] >= 0 for own in names)
    if not is_worse_nowhere:
        found += "; worse on those with cracks or on those without"
    if n_labels >= least_held_out and n_places >= LEAST_GROUPS:
        return Rule(name, low > 0 and is_worse_nowhere, found)
    needed = f"{least_held_out} of {LEAST_GROUPS} places"
    few = f"{found}; {needed} are needed to prove a gain; with fewer, a person must agree (--yes)"
    return Rule(name, difference >= 0 and is_worse_nowhere and is_small_gain_accepted, few)


def _with_crack(model: Findings, names: Sequence[str]) -> list[str]:
    """The sets in which a photograph shows a crack; the others are judged by their false alarms alone."""
    return [name for name in names if model.marked[name].any()]


def _of_their_photographs(challenger: Findings, names: Sequence[str], is_accepted: bool) -> Rule:
    """A network can also gain on masks that belong to other photographs, but then it has learned nothing about cracks."""
    name = "labels of their own photographs"
    with_crack = _with_crack(challenger, names)
    if not with_crack:
        return Rule(
            name, is_accepted, "no held-out label shows a crack: a network that finds none would be right on all of them"
        )
    found, marked = (np.concatenate([grids[own] for own in with_crack]) for grids in (challenger.found, challenger.marked))
    chance = chance_of_exchanged(found, marked)
    said = (
        f"labels exchanged between the photographs would fit as well with a chance of {chance:.3f}; at most {LARGEST_CHANCE} "
        "is allowed"
    )
    return Rule(name, is_accepted or chance <= LARGEST_CHANCE, said)


def _no_more_alarms(champion: Findings, challenger: Findings, most_new: int) -> Rule:
    (before, n_free), (after, _) = champion.alarms(), challenger.alarms()
    found = f"{after} of {n_free} crack-free photographs, {before} before"
    return Rule("no more false alarms", after <= before + most_new, found)


def _as_fast(slower: float, largest: float) -> Rule:
    return Rule("speed", slower <= largest, f"a tile takes {slower:.2f} times as long as before; at most {largest} is allowed")
