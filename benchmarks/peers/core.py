"""What every peer answers with: this system's decoding, tiling and encoding around the network in one of its backends.

Set by the environment: PEER_ARCHIVE, PEER_BACKEND ("openvino int8+bf16", "pytorch fp32"), PEER_WORKERS (processes),
PEER_PARALLEL (photographs that each of them computes at a time) and PEER_THREADS (of one photograph).
"""

import os
import tempfile
import threading
import zipfile
from pathlib import Path

from model.inference import card, runtime
from model.inference.answer import answer
from model.inference.card import Backend, ModelCard
from model.inference.options import Options, Response
from model.inference.segmenter import Run, Segmenter

BACKEND = Backend(*os.environ["PEER_BACKEND"].split())
N_WORKERS, N_PARALLEL, N_THREADS = (int(os.environ[f"PEER_{name}"]) for name in ("WORKERS", "PARALLEL", "THREADS"))


class Core:
    """The network, loaded once for each thread that computes: a runtime's request is for one thread at a time."""

    def __init__(self) -> None:
        archive = Path(os.environ["PEER_ARCHIVE"])
        self._folder = Path(tempfile.mkdtemp(prefix="crack-peer-"))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(self._folder)
        self._card = ModelCard.read(self._folder / card.FILE_NAME)
        self._free = [Segmenter(self._card, self._load(archive)) for _ in range(N_PARALLEL)]
        self._is_free = threading.Semaphore(N_PARALLEL)

    def _load(self, archive: Path) -> Run:
        if BACKEND.runtime != "pytorch":
            return runtime.load(self._folder, BACKEND, N_THREADS)
        import torch

        from model import checkpoint

        torch.set_num_threads(N_THREADS)
        return checkpoint.as_run(checkpoint.load(archive)[0])

    def mask(self, image: bytes) -> bytes:
        """The PNG of one photograph's mask; waits while as many as may are computed."""
        with self._is_free:
            segmenter = self._free.pop()
            try:
                return answer(segmenter, image, Options(response=Response.MASK), backend=BACKEND, request_id="peer").body
            finally:
                self._free.append(segmenter)
