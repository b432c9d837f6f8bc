"""The usual way to serve a network: a FastAPI route around it. `PEER_BACKEND` and `PEER_THREADS` say what computes it.

PEER_BACKEND="pytorch fp32" PEER_THREADS=2 uvicorn benchmarks.peers.fastapi_app:app
"""

import os
import tempfile
import threading
import zipfile
from pathlib import Path

import torch
from fastapi import FastAPI, Response, UploadFile

from model import checkpoint
from model.inference import card, runtime
from model.inference.answer import Options, answer
from model.inference.answer import Response as Asked
from model.inference.card import Backend, ModelCard
from model.inference.segmenter import Run, Segmenter

ARCHIVE = Path("model_store/crack.mar")
BACKEND = Backend(*os.environ["PEER_BACKEND"].split())
N_THREADS = int(os.environ["PEER_THREADS"])


def _load() -> tuple[ModelCard, Path]:
    folder = Path(tempfile.mkdtemp(prefix="crack-peer-"))
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return ModelCard.read(folder / card.FILE_NAME), folder


app = FastAPI()
_card, _folder = _load()
_of_thread = threading.local()
if BACKEND.runtime == "pytorch":
    torch.set_num_threads(N_THREADS)
    _shared: Run | None = checkpoint.as_run(checkpoint.load(ARCHIVE)[0])
else:
    _shared = None


def _segmenter() -> Segmenter:
    """One for each thread of the pool: a runtime's request is for one thread at a time."""
    if not hasattr(_of_thread, "segmenter"):
        run = _shared or runtime.load(_folder, BACKEND, N_THREADS)
        _of_thread.segmenter = Segmenter(_card, run)
    found: Segmenter = _of_thread.segmenter
    return found


@app.get("/ping")
def ping() -> str:
    return "ok"


@app.post("/predict")
def predict(image: UploadFile) -> Response:
    options = Options(response=Asked.MASK)
    result = answer(_segmenter(), image.file.read(), options, backend=BACKEND, request_id="peer")
    return Response(result.body, media_type=result.content_type, headers=result.headers)
