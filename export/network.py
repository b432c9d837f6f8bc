"""A trained network as an ONNX file, and the proof that it computes what PyTorch computes."""

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxscript import ir, optimizer
from torch import Tensor, nn

from model.attention_unet import AttentionUNet
from model.inference.card import ModelCard
from model.inference.segmenter import Run, Segmenter

OPSET = 20


class ParityError(ValueError):
    """ONNX Runtime and PyTorch disagree by more than is allowed."""


class _ProbabilityNetwork(nn.Module):
    """The network with its sigmoid, so that what is exported ends in probability."""

    def __init__(self, network: AttentionUNet) -> None:
        super().__init__()
        self.network = network  # its name is checkpoint.PREFIX_IN_ONNX

    def forward(self, batch_nchw: Tensor) -> Tensor:
        probability: Tensor = self.network(batch_nchw).sigmoid()
        return probability


class Graphs(NamedTuple):
    """One network in ONNX, from `batch_nchw`, float32 (1, 3, H, W), to `probability_nchw`, float32 (1, 1, H, W); H, W multiples
    of the stride.

    `as_trained`: with each of the network's tensors under its own name. `folded`: with batch normalisation as part of the
    convolutions before it; runtimes do that too when they load a network.
    """

    as_trained: onnx.ModelProto
    folded: onnx.ModelProto


def trace(network: AttentionUNet) -> Graphs:
    """The network's computation; this takes some 6 seconds on one core."""
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):  # they report each of their passes, and that torchvision is absent
        logging.getLogger(name).setLevel(logging.ERROR)
    side_px = 4 * network.stride
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)  # torch 2.13's exporter warns of itself
        program = torch.onnx.export(
            _ProbabilityNetwork(network).eval(),
            (torch.zeros(1, 3, side_px, side_px),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["batch_nchw"],
            output_names=["probability_nchw"],
            optimize=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program.")
    # No operation depends on the size, so one size is traced, in a quarter of the time that symbols for it take.
    graph = program.model.graph
    for value in (value for node in graph for value in node.outputs):
        value.shape = None
    graph.inputs[0].shape, graph.outputs[0].shape = (ir.Shape([1, n_channels, "height", "width"]) for n_channels in (3, 1))
    as_trained = program.model_proto
    optimizer.fold_constants(as_trained)
    optimizer.remove_unused_nodes(as_trained)
    program.optimize()
    graphs = Graphs(as_trained, program.model_proto)
    for model in graphs:
        for node in model.graph.node:  # the exporter notes this machine's paths and stack frames there
            del node.metadata_props[:]
            node.doc_string = ""
    return graphs


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write a network `as_trained`, convolutions' weights in float16.

    The file holds each of the network's tensors under its own name, so that `checkpoint.load` can read a network back from an
    archive and train on.
    """
    _store_as_float16(model.graph)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _store_as_float16(graph: onnx.GraphProto) -> None:
    """Keep convolutions' weights in half the bytes, cast to float32 in the graph; runtimes do that once, when they load."""
    kernels = [tensor for tensor in graph.initializer if len(tensor.dims) > 1]
    described = [value for value in graph.value_info if value.name not in {tensor.name for tensor in kernels}]
    del graph.value_info[:]
    graph.value_info.extend(described)
    for tensor in kernels:
        weights = onnx.numpy_helper.to_array(tensor)
        cast_name = f"{tensor.name}.float32"
        for node in graph.node:
            node.input[:] = [cast_name if name == tensor.name else name for name in node.input]
        graph.node.insert(0, onnx.helper.make_node("Cast", [tensor.name], [cast_name], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float16), tensor.name))


def check_parity(
    card: ModelCard, reference: Run, candidate: Run, images_hwc_u8: Iterable[NDArray[np.uint8]], tolerance: float
) -> float:
    """The largest difference of a probability between two runs, over every tile of the photographs.

    Raises:
        ParityError: it exceeds `tolerance`; the message names the photograph.
    """
    differences: list[float] = []

    def run_both(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        expected = reference(batch_nchw)
        differences.append(float(np.abs(expected - candidate(batch_nchw)).max()))
        return expected

    segmenter = Segmenter(card, run_both)
    for number, image_hwc_u8 in enumerate(images_hwc_u8, start=1):
        segmenter.probability(image_hwc_u8)
        if not max(differences) <= tolerance:  # written so that NaN fails too
            raise ParityError(
                f"ONNX differs from PyTorch by {max(differences):.1e}, tolerance {tolerance:.1e} (photograph {number}). "
                "The archive was not built."
            )
    return max(differences)
