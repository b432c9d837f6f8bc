"""The steps of one retraining, which DVC runs in the workspace's folder: `python -m retrain.stages train`. They work only with
files: `data/`, `champion.mar` and `start.mar`, whose weights a training begins with (the snapshot), `models/` (the
challenger), `report/` (the verdict) and `challenger.mar`. Left to others: when they run (`retrain.cycle`), and their order and
what each depends on (`dvc.yaml`).
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import psutil

from crack.foreign import damage_named
from crack.stores.jobs import Jobs
from export.archive import ArchiveError
from model import checkpoint
from model.dataset import Pair, learned_by, read_pairs, read_parts
from model.inference.card import ModelCard
from model.params import DataParams, Params, read_params
from model.train import train
from model.trainer import Report
from retrain.judge import Model, draw_comparison, judge, slowdown
from retrain.mixture import mix
from retrain.rollover import read_card
from retrain.settings import RetrainParams, Settings
from retrain.snapshot import FEEDBACK, HELD_OUT, PURGED_FILE, Snapshot
from retrain.verdict import PICTURES, Rule, Verdict
from retrain.workspace import JOB_PID, REASON_FILE

DATA, CHAMPION, START = map(Path, ("data", "champion.mar", "start.mar"))
MODELS, REPORT, ARCHIVE = map(Path, ("models", "report", "challenger.mar"))
PARAMS = Path("params.yaml")
PROGRESS = 0.05, 0.6  # of the training, within the whole retraining
N_PICTURES = 6
CRACK_FREE_FEEDBACK = f"{FEEDBACK} without crack"
ACCEPTED = "CRACK_SMALL_GAIN_ACCEPTED"  # a person's yes, for one run

logger = logging.getLogger("retrain.stages")


def learn() -> None:
    """Train from the weights in `start.mar`, the original sets mixed in, on the corrections that aren't held out."""
    rules = RetrainParams.read(PARAMS)
    params = recipe(read_params(PARAMS), rules, Snapshot.read(DATA))
    shutil.rmtree(MODELS, ignore_errors=True)
    train_on(START, params, rules, DATA, MODELS, _tell_job if JOB_PID in os.environ else lambda done, of: None)


def train_on(
    start: Path, params: Params, rules: RetrainParams, data_dir: Path, out_dir: Path, report: Report = lambda done, of: None
) -> Path:
    """Continue training by a `recipe` from the weights of an archive or checkpoint; returns the challenger's path.

    Checkpoint, threshold and blend are chosen on photographs outside the gate set.
    """
    choosing = read_parts(data_dir, params.data).choosing
    found = Model(start).find(choosing)
    most_alarms = found.alarms()[0] + rules.most_new_alarms
    path = train(params, data_dir, out_dir, parent=start, most_alarms=most_alarms, most_minutes=rules.minutes, report=report)
    mix(start, path, found, choosing, most_alarms, rules.most_forgotten)
    return path


def _tell_job(done: int, of: int) -> None:
    if done % 20 == 0:
        start, end = PROGRESS
        with contextlib.suppress(OSError):  # the store is busy or away: the next time tells
            _jobs().advance(start + (end - start) * done / of)


def compare() -> None:
    """Judge champion and challenger."""
    params, rules, snapshot = read_params(PARAMS), RetrainParams.read(PARAMS), Snapshot.read(DATA)
    champion, challenger = Model(CHAMPION), Model(checkpoint.newest(MODELS))
    gate, remark = read_gate(DATA, params.data, champion.card)
    held_out = _with_and_without_crack(read_pairs(DATA, [FEEDBACK], HELD_OUT)) if snapshot.n_held_out else []
    pairs = [*gate, *held_out]
    remark = f"{began_with(champion.card, read_card(START))} {remark}".strip()
    verdict = judge(
        champion.find(pairs),
        challenger.find(pairs),
        slowdown(champion, challenger),
        gate,
        held_out,
        rules,
        is_small_gain_accepted=bool(os.environ.get(ACCEPTED)),
        remark=remark,
    )
    shutil.rmtree(REPORT, ignore_errors=True)
    draw_comparison(champion, challenger, (held_out or gate)[:N_PICTURES], REPORT / PICTURES)
    verdict.write(REPORT)


def read_gate(data_dir: Path, data: DataParams, champion: ModelCard) -> tuple[list[Pair], str]:
    """The gate set without the photographs that the champion, or a model that it began with, has learned from; and a sentence
    about these, empty if there are none. A champion of the first releases was trained by another split.

    Raises ValueError if none with a crack is left.
    """
    judging = read_parts(data_dir, data).judging
    seen = set[Pair]().union(*learned_by(champion, read_pairs(data_dir, list(data.sets), "train")).values())
    gate = [pair for pair in judging if pair not in seen]
    if not any(pair.read().mask_hw.any() for pair in gate):
        raise ValueError(
            f"Version {champion.version} has not learned from {len(gate)} of the {len(judging)} photographs of the gate set, "
            "and none of these shows a crack. Expected at least one: use a larger data.judging_ratio or another data.seed."
        )
    n_seen = len(judging) - len(gate)
    if n_seen == 0:
        return gate, ""
    remark = (
        f"{n_seen} of the {len(judging)} photographs of the gate set were left out: version {champion.version} learned from "
        "them."
    )
    logger.warning("%s", remark)
    return gate, remark


def began_with(champion: ModelCard, start: ModelCard) -> str:
    """A sentence about the weights that a training begins with; empty if they are the champion's."""
    if start.version == champion.version:
        return ""
    return (
        f"The training began with version {start.version}, the released one: version {champion.version} has the network of the "
        "first releases, which can't be trained any more."
    )


def archive() -> None:
    """Export the challenger, check its parity, and pack it."""
    from export.build import export  # NNCF, whose import takes a second that no other stage should wait for

    export(checkpoint.newest(MODELS), DATA, ARCHIVE, read_params(PARAMS).export)


def _with_and_without_crack(pairs: Sequence[Pair]) -> list[Pair]:
    """Each kind as its own set: found cracks and false alarms are two figures, and neither may make up for the other."""
    return [pair if pair.read().mask_hw.any() else replace(pair, set_name=CRACK_FREE_FEEDBACK) for pair in pairs]


def recipe(params: Params, rules: RetrainParams, snapshot: Snapshot) -> Params:
    """The recipe of the original training with the corrections mixed in, shorter and gentler.

    The held-out corrections judge the result, so all others are used for training.
    """
    sets = params.data.sets | {name: share for name, share in rules.sets.items() if name in params.data.sets}
    if snapshot.n_labels > snapshot.n_held_out:
        others = sum(sets.values()) + params.data.synthetic_share
        sets[FEEDBACK] = others * rules.feedback_ratio / (1 - rules.feedback_ratio)
    training = params.training.model_copy(
        update={
            "steps": rules.steps,
            "learning_rate": rules.learning_rate,
            "warmup_steps": min(params.training.warmup_steps, rules.steps // 10),
            "validate_every": rules.steps,
        }
    )
    data = params.data.model_copy(update={"sets": sets, "judged_elsewhere": (*params.data.judged_elsewhere, FEEDBACK)})
    return params.model_copy(update={"data": data, "training": training})


def doubts(data_dir: Path, snapshot: Snapshot, rules: RetrainParams, *, is_accepted: bool) -> Verdict | None:
    """A verdict before any training, if labels call too much of a photograph crack, or if no label shows a crack.

    Args:
        is_accepted: whether a person accepts labels of which none shows a crack.
    """
    splits = ["train"] * (snapshot.n_labels > snapshot.n_held_out) + [HELD_OUT] * (snapshot.n_held_out > 0)
    pairs: list[Pair] = [pair for split in splits for pair in read_pairs(data_dir, [FEEDBACK], split)]
    ratios = [float(np.mean(pair.read().mask_hw)) for pair in pairs]
    n_doubtful = sum(ratio > rules.largest_crack_ratio for ratio in ratios)
    if n_doubtful:
        found = (
            f"{n_doubtful} of {len(ratios)} call more than {rules.largest_crack_ratio:.0%} of their photograph crack, "
            "as inverted masks do; reject them in Review"
        )
    elif not any(ratios) and not is_accepted:
        found = (
            f"none of {len(ratios)} shows a crack, so a network that finds none would be right on all of them; add some with "
            "cracks or, if their photographs really show none, agree (--yes)"
        )
    else:
        return None
    return Verdict("champion", "no challenger", (Rule("labels that look like cracks", False, found),), {}, {})


STAGES: dict[str, Callable[[], None]] = {"train": learn, "judge": compare, "archive": archive}


def end_with(pid: int) -> None:
    """Exit as soon as the retrain job is gone or somebody has stopped it: a killed job cannot stop its stages, and the next job
    must not meet them.

    A zombie counts as gone, too: before its parent asks for the exit status, it may wait for the stages' output to end.
    """

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            job = psutil.Process(pid)
            while job.is_running() and job.status() != psutil.STATUS_ZOMBIE and not _is_stopped():
                time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _is_stopped() -> bool:
    with contextlib.suppress(OSError, ValueError):  # the store is busy or away: the next look tells
        if _jobs().is_stopped():
            Path(REASON_FILE).write_text("it was stopped.")
            return True
    return False


@cache
def _jobs() -> Jobs:
    """Opened once, as that checks the tables and waits for the disk."""
    settings = Settings.from_environment()
    return Jobs(settings.feedback_dir, settings.store_url)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m retrain.stages", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    stage = parser.parse_args().stage
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if JOB_PID in os.environ:
        end_with(int(os.environ[JOB_PID]))
    try:
        if (DATA / PURGED_FILE).exists():
            with damage_named(str(Path.cwd() / DATA / PURGED_FILE), "Bring it back, in that folder, by: dvc checkout --force"):
                missing = list(map(str, json.loads((DATA / PURGED_FILE).read_bytes())))
            raise ValueError(
                f"This snapshot lacks photographs that were purged: {', '.join(missing)}. A training on all can't be repeated."
            )
        STAGES[stage]()
    except Exception as error:  # PyTorch raises RuntimeError where memory is short
        told = str(error) if isinstance(error, ArchiveError | OSError | ValueError) else repr(error)
        with contextlib.suppress(OSError):  # the disk may be full
            Path(REASON_FILE).write_text(told)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
