"""Training images per second: model.train against a plain float32 loop of the same network, in turn, in one run.

Both draw the same crops by params.yaml. The plain loop is what one writes first: it reads the photograph from disk for each
crop, in the same process, and computes in float32 in PyTorch's default memory layout.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from model.attention_unet import AttentionUNet
from model.dataset import CropDataset, LabelledPhotograph, Pair, add_data_option, read_pairs
from model.losses import segmentation_loss
from model.params import Params, read_params
from model.train import Trainer


class _FromDisk(list[Pair]):
    """Photographs that are read each time that they are asked for."""

    def __getitem__(self, index: int) -> LabelledPhotograph:  # type: ignore[override]
        return super().__getitem__(index).read()


def plain(params: Params, pairs: list[Pair]) -> Callable[[int], None]:
    network = AttentionUNet(params.network.width, params.network.depth)
    optimizer = torch.optim.AdamW(network.parameters())
    crops = CropDataset({"deepcrack": _FromDisk(pairs)}, {"deepcrack": 1}, params.training, params.augmentation)
    loader = iter(torch.utils.data.DataLoader(crops, params.training.batch, sampler=range(10**6)))

    def train(n_steps: int) -> None:
        for _ in range(n_steps):
            image_u8, truth = next(loader)
            loss = segmentation_loss(network(image_u8.float() / 255), truth, params.training.dice_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def ours(params: Params, pairs: list[Pair]) -> Callable[[int], None]:
    trainer = Trainer(params, "benchmark", {"deepcrack": [pair.read() for pair in pairs]}, {})
    batches = trainer.batches(range(10**6))

    def train(n_steps: int) -> None:
        for _ in range(n_steps):
            trainer.optimise(*next(batches))

    return train


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_speed", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--steps", type=int, default=10, help="of each, in each round (default: 10)")
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
