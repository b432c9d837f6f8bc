"""ONNX Runtime behind the one function that a `Segmenter` calls, on as many threads as it is given."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# ONNX Runtime reports each session to its maker, from the moment of its import. Where somebody inspects is their business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

NAME = "onnxruntime"
FILE_NAME = "model.onnx"


class OnnxNetwork:
    """An exported network, loaded; calling it is a `segmenter.Run`."""

    def __init__(self, path: Path, n_threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        # ALL brings the blocked memory layout, 63 ms against 87 at 256x256.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Workers share the cores: a thread that waits must not burn one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input_name = self._session.get_inputs()[0].name

    def __call__(self, batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        probability_nchw: NDArray[np.float32] = self._session.run(None, {self._input_name: batch_nchw})[0]
        return probability_nchw
