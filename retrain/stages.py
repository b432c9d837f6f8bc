"""The steps of one retraining as DVC runs them, each in the workspace's folder: `python -m retrain.stages train`.

They know files alone: `data/` and `champion.mar` (the snapshot), `models/` (the challenger), `report/` (the verdict) and
`challenger.mar`. Left to others: when they run (`retrain.cycle`), and their order and what each depends on (`dvc.yaml`).
"""

import argparse
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from export.build import export
from model import checkpoint
from model.dataset import Pair, read_pairs, read_training_pairs
from model.params import Params, read_params
from model.train import train
from retrain.judge import Judged, Rule, Verdict, draw_comparison, judge
from retrain.settings import RetrainParams
from retrain.snapshot import FEEDBACK, HELD_OUT, Snapshot
from retrain.workspace import JOB_PID

DATA, CHAMPION, MODELS, REPORT, ARCHIVE = map(Path, ("data", "champion.mar", "models", "report", "challenger.mar"))
PARAMS = Path("params.yaml")
N_PICTURES = 6
ACCEPTED = "CRACK_SMALL_GAIN_ACCEPTED"  # a person's yes, for one run


def learn() -> None:
    """Train from the champion's weights, the original sets mixed in, on the corrections that aren't held out."""
    params = recipe(read_params(PARAMS), RetrainParams.read(PARAMS), Snapshot.read(DATA))
    shutil.rmtree(MODELS, ignore_errors=True)
    train(params, DATA, MODELS, parent=CHAMPION)


def compare() -> None:
    """Judge champion and challenger."""
    params, rules, snapshot = read_params(PARAMS), RetrainParams.read(PARAMS), Snapshot.read(DATA)
    gate = read_training_pairs(DATA, params.data)[1]
    held_out = read_pairs(DATA, [FEEDBACK], HELD_OUT) if snapshot.n_held_out else []
    pairs = [*gate, *held_out]
    champion, challenger = Judged(CHAMPION, pairs), Judged(checkpoint.newest(MODELS), pairs)
    is_accepted = bool(os.environ.get(ACCEPTED))
    judge(champion, challenger, gate, held_out, rules, is_small_gain_accepted=is_accepted).write(REPORT)
    draw_comparison(champion, challenger, (held_out or gate)[:N_PICTURES], REPORT / "pictures")


def archive() -> None:
    """Export the challenger, check its parity, and pack it."""
    export(checkpoint.newest(MODELS), DATA, ARCHIVE, read_params(PARAMS).export)


def recipe(params: Params, rules: RetrainParams, snapshot: Snapshot) -> Params:
    """The recipe of the original training with the corrections mixed in, shorter and gentler."""
    sets = dict(params.data.sets)
    if snapshot.n_labels > snapshot.n_held_out:
        sets[FEEDBACK] = rules.feedback_share
    training = params.training.model_copy(
        update={
            "steps": rules.steps,
            "learning_rate": rules.learning_rate,
            "warmup_steps": min(params.training.warmup_steps, rules.steps // 10),
            "validate_every": max(1, rules.steps // 3),
        }
    )
    return params.model_copy(update={"data": params.data.model_copy(update={"sets": sets}), "training": training})


def doubts(data_dir: Path, snapshot: Snapshot, rules: RetrainParams) -> Verdict | None:
    """A verdict before any training, where labels call more of a photograph crack than cracks can be."""
    splits = ["train"] * (snapshot.n_labels > snapshot.n_held_out) + [HELD_OUT] * (snapshot.n_held_out > 0)
    pairs: list[Pair] = [pair for split in splits for pair in read_pairs(data_dir, [FEEDBACK], split)]
    ratios = [float(np.mean(pair.read().mask_hw)) for pair in pairs]
    n_doubtful = sum(ratio > rules.largest_crack_ratio for ratio in ratios)
    if n_doubtful == 0:
        return None
    found = (
        f"{n_doubtful} of {len(ratios)} call more than {rules.largest_crack_ratio:.0%} of their photograph crack, "
        "as inverted masks do; reject them in Review"
    )
    return Verdict("champion", "no challenger", (Rule("labels that look like cracks", False, found),), {})


STAGES: dict[str, Callable[[], None]] = {"train": learn, "judge": compare, "archive": archive}


def end_with(pid: int) -> None:
    """Leave as soon as the retrain job is gone: killed, it cannot stop its stages, and the next one is not to find them."""

    def watch() -> None:
        while psutil.pid_exists(pid):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m retrain.stages", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    stage = parser.parse_args().stage
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if JOB_PID in os.environ:
        end_with(int(os.environ[JOB_PID]))
    STAGES[stage]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
