"""Trained weights on disk: `attention_unet_<version>.pth` with its model card beside it as `.json`, or a released archive.

Convolutions' weights are kept in float16, which halves the files; a network is rounded before it is judged, so that its figures
are those of what is kept.
"""

import copy
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crack import files
from model.attention_unet import AttentionUNet
from model.inference import card as model_card
from model.inference import runtime
from model.inference.card import Backend, ModelCard
from model.inference.segmenter import Run

FILE_PATTERN = "attention_unet_{version}.pth"
PREFIX_IN_ONNX = "network."
REFERENCE = Backend("onnxruntime", "fp32")  # the file of the unrounded weights


def write_whole(path: Path, state: dict[str, Any]) -> None:
    """Save so that a kill or a power cut leaves either the old file or the new one, never half of one."""
    with files.whole(path) as file:
        torch.save(state, file)


def rounded(network: nn.Module) -> nn.Module:
    """A copy, in evaluation mode, with the weights as they are kept."""
    twin = copy.deepcopy(network).eval()
    twin.load_state_dict(_kept(twin))
    return twin


def save(path: Path, network: AttentionUNet, card: ModelCard) -> None:
    """Write the weights, and the card beside them."""
    files.write_whole(path.with_suffix(".json"), card.to_json())
    write_whole(path, _kept(network))


def load(path: Path) -> tuple[AttentionUNet, ModelCard]:
    """The network, in evaluation mode, and its card, from a `.pth` file or a `.mar` archive.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the card is missing or broken, or the weights do not fit the network that the card describes.
    """
    if path.suffix == ".mar":
        weights, card = _read_archive(path)
    else:
        if not path.with_suffix(".json").is_file():
            raise ValueError(f"{path.with_suffix('.json')} does not exist. A checkpoint needs its model card beside it.")
        weights, card = torch.load(path, map_location="cpu", weights_only=True), ModelCard.read(path.with_suffix(".json"))
    if is_former(card):
        raise ValueError(
            f"{path}: version {card.version} has the network of the first releases, which can be served and judged, but not "
            "trained any more. Begin with the released archive, model_store/crack.mar."
        )
    network = AttentionUNet(card.architecture["width"], card.architecture["depth"], card.architecture["decoder"])
    counters = {name: tensor for name, tensor in network.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(counters | weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the network of its card ({error}).") from error
    return network.eval(), card


def is_former(card: ModelCard) -> bool:
    """Whether it is a network of the first releases: its archive can be served and judged, its weights no longer trained."""
    return "decoder" not in card.architecture


def _kept(network: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions in float16; biases and what normalises, a hundredth of them, as they are."""
    return {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in network.state_dict().items()}


def _read_archive(path: Path) -> tuple[dict[str, Tensor], ModelCard]:
    with tempfile.TemporaryDirectory(prefix="crack-") as work:
        try:
            with zipfile.ZipFile(path) as archive:
                card = ModelCard.read(Path(archive.extract(model_card.FILE_NAME, work)))
                graph = onnx.load(archive.extract(runtime.file_name(REFERENCE), work)).graph
        except (KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: no archive of a crack model ({error}).") from error
    named = (tensor for tensor in graph.initializer if tensor.name.startswith(PREFIX_IN_ONNX))
    return {
        tensor.name.removeprefix(PREFIX_IN_ONNX): torch.tensor(onnx.numpy_helper.to_array(tensor)) for tensor in named
    }, card


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
        raise FileNotFoundError(f"{folder}: no checkpoint. Train one with crack train, or name one.")
    return found[-1]
