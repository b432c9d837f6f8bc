"""Training images per second: model.train against a plain float32 loop of the same network, in turn, in one run.

Both draw the same crops by params.yaml. The plain loop is what one writes first: it reads the photograph from disk for each
crop, in the same process, and computes in float32 in PyTorch's default memory layout. Each round begins with loaders of its
own, so that neither loop computes while the other one's crops are cut.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from model.attention_unet import AttentionUNet
from model.dataset import CropDataset, LabelledPhotograph, Pair, add_data_option, read_pairs
from model.losses import segmentation_loss
from model.machine import Machine
from model.params import Params, read_params
from model.trainer import Trainer


class _FromDisk(list[Pair]):
    """Photographs that are read each time that they are asked for."""

    def __getitem__(self, index: int) -> LabelledPhotograph:  # type: ignore[override]
        return super().__getitem__(index).read()


def plain(params: Params, pairs: list[Pair]) -> Callable[[int], None]:
    device = Machine.here().device
    network = AttentionUNet(params.network.width, params.network.depth).to(device)
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


def ours(params: Params, pairs: list[Pair]) -> Callable[[int], None]:
    trainer = Trainer(params, "benchmark", {"deepcrack": [pair.read() for pair in pairs]}, {})

    def train(n_steps: int) -> None:
        for image_u8, truth in trainer.batches(range(n_steps * params.training.batch)):
            trainer.optimise(image_u8, truth)

    return train


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_speed",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.training_speed --data ~/cracks\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--steps", type=int, default=20, help="of each, in each round (default: 20)")
    options = parser.parse_args()
    params, pairs = read_params(Path("params.yaml")), read_pairs(options.data, ["deepcrack"], "train")
    loops = {"plain loop": plain(params, pairs), "model.train": ours(params, pairs)}
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.rounds + 1):
        for name, train in loops.items():
            started = time.perf_counter()
            train(options.steps)
            rates[name].append(options.steps * params.training.batch / (time.perf_counter() - started))
    for name, values in rates.items():
        warm = values[1:]  # the first round warms up
        print(f"{name}: {statistics.median(warm):.1f} images/s, rounds from {min(warm):.1f} to {max(warm):.1f}")
    ratios = [fast / slow for slow, fast in zip(rates["plain loop"][1:], rates["model.train"][1:], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f}, rounds from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
