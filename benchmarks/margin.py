"""How large the judge's margin on the gate set has to be (`retrain.gate_margin`): the champion, retrained without new labels,
should pass in 19 of 20 resamplings of that set.

Such a challenger has learned nothing new and forgotten nothing on purpose: what it loses is chance, of its training and of the
photographs that judge. A margin below that refuses good models, one above it lets models through that have forgotten something.
Each training takes as long as a retraining; each of `--trainings` begins with the champion and draws other crops.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.archive import ArchiveError
from model.dataset import add_data_option
from model.params import Params, read_params
from retrain.judge import Model, passing_margins
from retrain.settings import RetrainParams
from retrain.snapshot import Snapshot
from retrain.stages import read_gate, recipe, train_on

PASSING_RATIO = 0.95
NO_LABELS = Snapshot(n_labels=0, n_held_out=0, digest="")


def needed_margin(margins: NDArray[np.float64]) -> float:
    """With which the stated share of the resamplings pass, at least."""
    return float(np.quantile(margins, PASSING_RATIO, method="higher"))


def challengers(
    champion: Path, params: Params, rules: RetrainParams, data_dir: Path, n_trainings: int, work: Path
) -> Iterator[Path]:
    """Checkpoints of the champion retrained without labels, each with other crops."""
    without_labels = recipe(params, rules, NO_LABELS)
    for seed in range(n_trainings):
        training = without_labels.training.model_copy(update={"seed": without_labels.training.seed + seed})
        seeded = without_labels.model_copy(update={"training": training})
        yield train_on(champion, seeded, rules, data_dir, work / f"seed {training.seed}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.margin",
        description=__doc__,
        epilog="examples:\n"
        "  python -m benchmarks.margin --data ~/cracks\n"
        "  python -m benchmarks.margin --data ~/cracks --trainings 3 --work margin\n"
        "  python -m benchmarks.margin --data ~/cracks --challenger margin/seed*/*.pth\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the recipe (default: params.yaml)")
    parser.add_argument(
        "--champion", type=Path, default=Path("model_store/crack.mar"), help="an archive (default: model_store/crack.mar)"
    )
    parser.add_argument("--trainings", type=int, default=1, help="how many challengers are trained (default: 1)")
    parser.add_argument(
        "--challenger", type=Path, nargs="+", help="checkpoints that an earlier run has left in --work: nothing is trained"
    )
    parser.add_argument("--resamplings", type=int, default=200, help="of the gate set, for each challenger (default: 200)")
    parser.add_argument("--work", type=Path, help="folder to leave the checkpoints in (default: a temporary one)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        measure(options)
    except (ArchiveError, FileNotFoundError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")


def measure(options: argparse.Namespace) -> None:
    """Print, for each challenger and for all together, the margin that it needs."""
    params, rules = read_params(options.params), RetrainParams.read(options.params)
    champion = Model(options.champion)
    gate, _ = read_gate(options.data, params.data, champion.card)
    before = champion.find(gate)
    rows, margins = [], []
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as temporary:
        trained = options.challenger or challengers(
            options.champion, params, rules, options.data, options.trainings, options.work or Path(temporary)
        )
        for path in trained:
            after = Model(path).find(gate)
            margins.append(passing_margins(before, after, gate, options.resamplings))
            alarms = f"{before.alarms()[0]} -> {after.alarms()[0]} of {after.alarms()[1]}"
            rows.append(f"| {after.version} | {_described(margins[-1], rules.gate_margin)} | {alarms} |")
    print(f"\n{len(gate)} photographs judge version {before.version}, {options.resamplings} resamplings for each challenger.\n")
    print(f"| challenger | margin with which 19 of 20 pass | pass with {rules.gate_margin} | photographs with a false alarm |")
    print("|---|---|---|---|\n" + "\n".join(rows))
    if len(rows) > 1:
        print(f"| all | {_described(np.concatenate(margins), rules.gate_margin)} | |")


def _described(margins: NDArray[np.float64], present: float) -> str:
    return f"{needed_margin(margins):.4f} | {np.mean(margins <= present):.1%}"


if __name__ == "__main__":
    main()
