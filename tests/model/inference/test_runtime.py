"""ONNX Runtime with a network of two nodes: it computes what the graph says, for tiles of any size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.inference.runtime import FILE_NAME, OnnxNetwork
from model.inference.segmenter import Segmenter
from tests.cards import CARD
from tests.photographs import noise


@pytest.fixture
def network_path(tmp_path: Path) -> Path:
    """A network for photographs of any size: the mean of the channels, through a sigmoid."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "height", "width"])
    crack = helper.make_tensor_value_info("crack", TensorProto.FLOAT, ["n", 1, "height", "width"])
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sigmoid", ["mean"], ["crack"]),
    ]
    graph = helper.make_graph(nodes, "mean_of_channels", [pixels], [crack])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(network)
    onnx.save(network, tmp_path / FILE_NAME)
    return tmp_path / FILE_NAME


def expected(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
    return 1 / (1 + np.exp(-batch_nchw.mean(axis=1, keepdims=True)))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_exported_network_computes_what_its_graph_says(network_path: Path, n_threads: int) -> None:
    batch_nchw = np.random.default_rng(0).normal(0, 2, (1, 3, 32, 48)).astype(np.float32)
    prob_nchw = OnnxNetwork(network_path, n_threads)(batch_nchw)
    assert prob_nchw.dtype == np.float32
    assert prob_nchw.shape == (1, 1, 32, 48)
    np.testing.assert_allclose(prob_nchw, expected(batch_nchw), atol=1e-6)


def test_one_session_takes_tiles_of_any_size(network_path: Path) -> None:
    network = OnnxNetwork(network_path, n_threads=1)
    for shape in [(1, 3, 16, 16), (2, 3, 64, 32), (1, 3, 16, 16)]:
        batch_nchw = np.ones(shape, np.float32)
        np.testing.assert_allclose(network(batch_nchw), expected(batch_nchw), atol=1e-6)


def test_an_exported_network_segments_a_photograph(network_path: Path) -> None:
    card = replace(CARD, mean=(128.0, 128.0, 128.0), deviation=(50.0, 50.0, 50.0))
    image_hwc_u8 = noise(70, 101)
    prob_hw_u8 = Segmenter(card, OnnxNetwork(network_path, n_threads=1)).probability(image_hwc_u8)
    mean_hw = (image_hwc_u8.mean(axis=2) - 128) / 50
    np.testing.assert_allclose(prob_hw_u8, 255 / (1 + np.exp(-mean_hw)), atol=0.51)


def test_a_network_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=str(tmp_path / FILE_NAME)):  # onnxruntime's own class
        OnnxNetwork(tmp_path / FILE_NAME, n_threads=1)
