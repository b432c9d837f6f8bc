"""The runtimes that compute an exported network, behind the one call that a `Segmenter` makes, and the choice among them.

Which backends give an archive's masks well enough was measured when it was exported, and its card names them. Which of those is
fastest differs from processor to processor, and is measured here, when a worker starts.
"""

import functools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.inference.card import Backend, ModelCard
from model.inference.segmenter import Run

# ONNX Runtime reports each session to its maker, from the moment of its import. Where somebody inspects is their business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO reports its import, by this package where it is there, and has no setting against it.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import onnxruntime  # noqa: E402  (the line above must come first)
import openvino  # noqa: E402

AUTO = "auto"
BACKENDS = (
    Backend("onnxruntime", "fp32"),
    Backend("onnxruntime", "int8"),
    Backend("openvino", "fp32"),
    Backend("openvino", "bf16"),
    Backend("openvino", "int8"),
    Backend("openvino", "int8+bf16"),  # layers that are not quantised compute in bfloat16
)
TIMING_S = 1.0


def file_name(backend: Backend) -> str:
    """The network's file, in an archive, that this backend reads."""
    return "model.int8.onnx" if backend.precision.startswith("int8") else "model.onnx"


def load(folder: Path, backend: Backend, n_threads: int) -> Run:
    """The network of an unpacked archive, ready to be called from one thread at a time. Raises what the runtime raises."""
    loaders: dict[str, Callable[[Path, str, int], Run]] = {"onnxruntime": _load_onnxruntime, "openvino": _load_openvino}
    return loaders[backend.runtime](folder / file_name(backend), backend.precision, n_threads)


@functools.cache
def _core() -> openvino.Core:
    """One for the process: after several had come and gone, it crashed (OpenVINO 2026.4)."""
    return openvino.Core()


def is_usable(backend: Backend) -> bool:
    """Whether this processor multiplies natively in the backend's precision: where it doesn't, another one would compute."""
    if "bf16" not in backend.precision:
        return True
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def choose(
    folder: Path, card: ModelCard, n_threads: int, *, runtime: str = AUTO, precision: str = AUTO
) -> tuple[Backend, Run, dict[Backend, float]]:
    """The fastest of the card's backends on this processor, loaded, and the seconds that each took for one tile.

    Args:
        folder: an unpacked archive.
        runtime, precision: the ones to use, or `auto`. Where they leave one backend, nothing is timed.

    Raises:
        ValueError: they leave none.
    """
    wanted = [
        backend
        for backend in card.backends
        if runtime in (AUTO, backend.runtime) and precision in (AUTO, backend.precision) and is_usable(backend)
    ]
    if not wanted:
        possible = ", ".join(map(str, card.backends))
        raise ValueError(
            f"runtime={runtime!r}, precision={precision!r}: expected {AUTO!r} or one of this archive's that the processor has "
            f"({possible}). Set them in model-config.yaml."
        )
    if len(wanted) == 1:
        return wanted[0], load(folder, wanted[0], n_threads), {}
    seconds = {backend: _seconds(load(folder, backend, n_threads), card, TIMING_S / len(wanted)) for backend in wanted}
    fastest = min(wanted, key=seconds.__getitem__)
    return fastest, load(folder, fastest, n_threads), seconds


def _seconds(run: Run, card: ModelCard, budget_s: float) -> float:
    """The shortest of several runs over one tile, after a first one that doesn't count."""
    side_px = card.tile_px // 2 // card.stride * card.stride
    batch_nchw = np.random.default_rng(0).standard_normal((1, 3, side_px, side_px), np.float32)
    run(batch_nchw)
    seconds: list[float] = []
    deadline = time.perf_counter() + budget_s
    while not seconds or time.perf_counter() < deadline:
        started = time.perf_counter()
        run(batch_nchw)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _load_onnxruntime(path: Path, _precision: str, n_threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    # ALL brings the blocked memory layout, 63 ms against 87 at 256x256.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Workers share the cores: a waiting thread must not spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    gpu = [("CUDAExecutionProvider", {"use_tf32": "0"})]  # there with the package onnxruntime-gpu
    is_gpu_there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    providers = [*(gpu if is_gpu_there else []), "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    input_name = session.get_inputs()[0].name

    def run(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        probability_nchw: NDArray[np.float32] = session.run(None, {input_name: batch_nchw})[0]
        return probability_nchw

    return run


def _load_openvino(path: Path, precision: str, n_threads: int) -> Run:
    settings = {
        "INFERENCE_NUM_THREADS": n_threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # two workers would pin their threads to the same core
        "INFERENCE_PRECISION_HINT": "bf16" if "bf16" in precision else "f32",
    }
    request = _core().compile_model(str(path), "CPU", settings).create_infer_request()

    def run(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        probability_nchw: NDArray[np.float32] = request.infer({0: batch_nchw})[0]
        return probability_nchw

    return run
