"""Both runtimes with a network of two nodes: they compute what the graph says, for tiles of any size; and the choice of one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.inference import runtime
from model.inference.card import Backend
from model.inference.segmenter import Segmenter
from tests.cards import CARD
from tests.photographs import noise

ONNXRUNTIME, OPENVINO = Backend("onnxruntime", "fp32"), Backend("openvino", "fp32")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds a network for photographs of any size: the mean of the channels, through a sigmoid."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "height", "width"])
    crack = helper.make_tensor_value_info("crack", TensorProto.FLOAT, ["n", 1, "height", "width"])
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sigmoid", ["mean"], ["crack"]),
    ]
    graph = helper.make_graph(nodes, "mean_of_channels", [pixels], [crack])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(network)
    onnx.save(network, tmp_path / runtime.file_name(ONNXRUNTIME))
    return tmp_path


def expected(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
    return 1 / (1 + np.exp(-batch_nchw.mean(axis=1, keepdims=True)))


@pytest.mark.parametrize("backend", [ONNXRUNTIME, OPENVINO])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_exported_network_computes_what_its_graph_says(folder: Path, backend: Backend, n_threads: int) -> None:
    batch_nchw = np.random.default_rng(0).normal(0, 2, (1, 3, 32, 48)).astype(np.float32)
    prob_nchw = runtime.load(folder, backend, n_threads)(batch_nchw)
    assert prob_nchw.dtype == np.float32
    assert prob_nchw.shape == (1, 1, 32, 48)
    np.testing.assert_allclose(prob_nchw, expected(batch_nchw), atol=1e-6)


@pytest.mark.parametrize("backend", [ONNXRUNTIME, OPENVINO])
def test_one_network_takes_tiles_of_any_size_and_keeps_its_answers_apart(folder: Path, backend: Backend) -> None:
    run = runtime.load(folder, backend, n_threads=1)
    shapes = [(1, 3, 16, 16), (2, 3, 64, 32), (1, 3, 16, 16)]
    batches = [np.full(shape, value, np.float32) for value, shape in enumerate(shapes)]
    answers = [run(batch_nchw) for batch_nchw in batches]
    for batch_nchw, prob_nchw in zip(batches, answers, strict=True):
        np.testing.assert_allclose(prob_nchw, expected(batch_nchw), atol=1e-6)


@pytest.mark.parametrize("backend", [ONNXRUNTIME, OPENVINO])
def test_an_exported_network_segments_a_photograph(folder: Path, backend: Backend) -> None:
    card = replace(CARD, mean=(128.0, 128.0, 128.0), deviation=(50.0, 50.0, 50.0))
    image_hwc_u8 = noise(70, 101)
    prob_hw_u8 = Segmenter(card, runtime.load(folder, backend, n_threads=1)).probability(image_hwc_u8)
    mean_hw = (image_hwc_u8.mean(axis=2) - 128) / 50
    np.testing.assert_allclose(prob_hw_u8, 255 / (1 + np.exp(-mean_hw)), atol=0.51)


@pytest.mark.parametrize("backend", [ONNXRUNTIME, OPENVINO])
def test_a_network_file_that_is_missing_is_named(tmp_path: Path, backend: Backend) -> None:
    with pytest.raises(Exception, match=str(tmp_path / runtime.file_name(backend))):  # each runtime's own class
        runtime.load(tmp_path, backend, n_threads=1)


def test_auto_times_what_the_card_allows_and_takes_the_fastest(folder: Path) -> None:
    card = replace(CARD, backends=(ONNXRUNTIME, OPENVINO))
    chosen, run, seconds = runtime.choose(folder, card, n_threads=1)
    assert set(seconds) == {ONNXRUNTIME, OPENVINO}
    assert chosen == min(seconds, key=seconds.__getitem__)
    batch_nchw = np.ones((1, 3, 16, 16), np.float32)
    np.testing.assert_allclose(run(batch_nchw), expected(batch_nchw), atol=1e-6)


def test_a_backend_that_is_named_is_taken_untimed(folder: Path) -> None:
    card = replace(CARD, backends=(ONNXRUNTIME, OPENVINO))
    chosen, _, seconds = runtime.choose(folder, card, n_threads=1, runtime="openvino")
    assert (chosen, seconds) == (OPENVINO, {})


def test_a_backend_that_did_not_pass_is_refused_and_what_did_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"precision='int8'.*\(onnxruntime fp32\)"):
        runtime.choose(folder, CARD, n_threads=1, precision="int8")
