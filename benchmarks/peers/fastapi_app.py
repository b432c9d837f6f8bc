"""FastAPI: a route around the network, in uvicorn's worker processes."""

from fastapi import FastAPI, Response, UploadFile

from benchmarks.peers.core import Core

app = FastAPI()
_core = Core()


@app.get("/ping")
def ping() -> str:
    return "ok"


@app.post("/predict")
def predict(image: UploadFile) -> Response:
    return Response(_core.mask(image.file.read()), media_type="image/png")
