"""Ray Serve: replicas behind its proxy."""

import argparse
import signal

import ray
from fastapi import FastAPI, Response, UploadFile
from ray import serve

from benchmarks.peers.core import N_PARALLEL, N_WORKERS, Core

app = FastAPI()


@serve.deployment(num_replicas=N_WORKERS, max_ongoing_requests=N_PARALLEL, ray_actor_options={"num_cpus": 0})
@serve.ingress(app)
class Crack:
    def __init__(self) -> None:
        self._core = Core()

    @app.get("/ping")
    def ping(self) -> str:
        return "ok"

    @app.post("/predict")
    def predict(self, image: UploadFile) -> Response:
        return Response(self._core.mask(image.file.read()), media_type="image/png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    ray.init(include_dashboard=False, configure_logging=False)
    serve.start(http_options={"port": parser.parse_args().port, "host": "127.0.0.1"})
    serve.run(Crack.bind())
    signal.pause()
