"""LitServe: its four steps, in worker processes that each compute one photograph at a time."""

import argparse

import litserve
from fastapi import Request, Response

from benchmarks.peers.core import N_WORKERS, Core


class Crack(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._core = Core()

    def decode_request(self, request: Request) -> bytes:
        return request["image"].file.read()  # LitServe hands over the form

    def predict(self, image: bytes) -> bytes:
        return self._core.mask(image)

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = litserve.LitServer(Crack(), accelerator="cpu", workers_per_device=N_WORKERS, timeout=False)
    server.run(port=parser.parse_args().port, host="127.0.0.1", generate_client_file=False, num_api_servers=1)
