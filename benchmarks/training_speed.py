"""Training images per second: model.train as `make train` starts it against a plain float32 loop of the same network.

Both draw the same crops by params.yaml, in turn, in one run. The plain loop is what one writes first: it reads the photograph
from disk for each crop, in the same process, and computes in float32 in PyTorch's default memory layout, on all cores.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from model.attention_unet import network_of
from model.crops import CropDataset
from model.dataset import LabelledPhotograph, Pair, add_data_option, read_pairs
from model.inference.processors import n_usable_cores
from model.losses import segmentation_loss
from model.machine import Machine, leave_processes
from model.params import Params, read_params
from model.trainer import Trainer

PLAIN, OURS = "plain loop", "model.train"
N_WARM_UP_STEPS = 5

Loop = Callable[[int], None]
"""Trains for a number of steps."""


class _FromDisk(list[Pair]):
    """Photographs that are read each time that they are asked for."""

    def __getitem__(self, index: int) -> LabelledPhotograph:  # type: ignore[override]
        return super().__getitem__(index).read()

    def __iter__(self) -> Iterator[LabelledPhotograph]:  # type: ignore[override]
        return map(Pair.read, super().__iter__())


def plain(params: Params, pairs: list[Pair]) -> Loop:
    device = Machine.here().device
    network = network_of(params.network).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    crops = CropDataset({"deepcrack": _FromDisk(pairs)}, {"deepcrack": 1}, params.training, params.augmentation)

    def train(n_steps: int) -> None:
        for image_u8, truth in DataLoader(crops, params.training.batch, sampler=range(n_steps * params.training.batch)):
            logits = network(image_u8.to(device).float() / 255)
            loss = segmentation_loss(logits, truth.to(device), params.training.dice_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def ours(params: Params, pairs: list[Pair]) -> Loop:
    trainer = Trainer(params, "benchmark", {"deepcrack": [pair.read() for pair in pairs]}, {})

    def train(n_steps: int) -> None:
        draws = trainer.machine.own_draws(range(n_steps * params.training.batch), params.training.batch)
        for image_u8, truth in trainer.batches(draws):
            trainer.optimise(image_u8, truth)

    return train


def measure(loop: str, data_dir: Path, n_steps: int) -> float:
    """Images per second of one loop in this process, or in this and the others that torchrun started with it."""
    params = read_params(Path("params.yaml"))
    train = {PLAIN: plain, OURS: ours}[loop](params, read_pairs(data_dir, ["deepcrack"], "train"))
    train(N_WARM_UP_STEPS)
    started = time.perf_counter()
    train(n_steps)
    return n_steps * params.training.batch / (time.perf_counter() - started)


def command(loop: str, options: argparse.Namespace) -> list[str]:
    launcher = [sys.executable]
    if loop == OURS and options.processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.processes}"]
    own = ["-m", "benchmarks.training_speed", "--loop", loop, "--data", str(options.data), "--steps", str(options.steps)]
    return [*launcher, *own]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_speed",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.training_speed --data ~/cracks\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--steps", type=int, default=40, help="of each, in each round (default: 40)")
    parser.add_argument("--processes", type=int, default=2, help="that model.train is shared out to (default: 2)")
    parser.add_argument("--loop", choices=(PLAIN, OURS), help="measure this one alone, once, in this process")
    options = parser.parse_args()
    if options.loop:
        rate = measure(options.loop, options.data, options.steps)
        if os.environ.get("RANK", "0") == "0":
            print(rate)
        leave_processes()
        return
    rates: dict[str, list[float]] = {PLAIN: [], OURS: []}
    for _ in range(options.rounds):
        for loop, n_processes in ((PLAIN, 1), (OURS, options.processes)):
            environment = {**os.environ, "OMP_NUM_THREADS": str(n_usable_cores() // n_processes)}
            finished = subprocess.run(command(loop, options), env=environment, stdout=subprocess.PIPE, text=True, check=True)
            rates[loop].append(float(finished.stdout))
    for loop, values in rates.items():
        print(f"{loop}: {statistics.median(values):.1f} images/s, rounds from {min(values):.1f} to {max(values):.1f}")
    ratios = [fast / slow for slow, fast in zip(rates[PLAIN], rates[OURS], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f}, rounds from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
