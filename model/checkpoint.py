"""Trained weights on disk: `attention_unet_<version>.pth` with its model card beside it as `.json`."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.attention_unet import AttentionUNet
from model.inference.card import ModelCard
from model.inference.segmenter import Run

FILE_PATTERN = "attention_unet_{version}.pth"


def write_whole(path: Path, state: dict[str, Any]) -> None:
    """Save so that a kill or a power cut leaves either the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save(folder: Path, network: AttentionUNet, card: ModelCard) -> Path:
    """Write weights and card into `folder`; returns the weights' path."""
    path = folder / FILE_PATTERN.format(version=card.version)
    card.write(path.with_suffix(".json"))
    write_whole(path, network.state_dict())
    return path


def load(path: Path) -> tuple[AttentionUNet, ModelCard]:
    """The network, in evaluation mode, and its card.

    Raises:
        ValueError: the card is missing or broken, or the weights do not fit the network that the card describes.
    """
    if not path.with_suffix(".json").is_file():
        raise ValueError(f"{path.with_suffix('.json')} does not exist. A checkpoint needs its model card beside it.")
    card = ModelCard.read(path.with_suffix(".json"))
    network = AttentionUNet(card.architecture["width"], card.architecture["depth"])
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the network of its card ({error}).") from error
    return network.eval(), card


def as_run(network: nn.Module) -> Run:
    """The network as what a `Segmenter` runs, on the device its weights lie on, in float32."""
    device = next(network.parameters()).device

    @torch.inference_mode()
    def run(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        probability: NDArray[np.float32] = network(torch.from_numpy(batch_nchw).to(device)).sigmoid().cpu().numpy()
        return probability

    return run


def newest(folder: Path) -> Path:
    """The finished checkpoint that was begun last. Raises FileNotFoundError if there is none."""
    found = sorted(folder.glob(FILE_PATTERN.format(version="*")))
    if not found:
        raise FileNotFoundError(f"{folder}: no checkpoint. Train one with python -m model.train, or name one.")
    return found[-1]
