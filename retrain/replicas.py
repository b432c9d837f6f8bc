"""TorchServe, as a roll-over talks to it: each replica's management and predictions, and which replicas there are.

Left to others: which archive they are to serve, and when a roll-over counts (`retrain.rollover`).
"""

import io
import json
import socket
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image

from crack.neighbours import session
from export.archive import MANIFEST

MODEL_NAME = "crack"
PROMOTED = "crack-{version}.mar"  # in the model store, beside the released one
REGISTER_TIMEOUT_S = 300
ANSWER_TIMEOUT_S = 120


class RollOverError(RuntimeError):
    """The archive did not go into production; what was served before is served still. The message says why."""


class _RefusedError(RollOverError):
    """TorchServe answered with an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Replica:
    """One TorchServe: its management of the one model, and its predictions by version.

    Methods raise RollOverError where it does not answer, or refuses.
    """

    management_url: str
    inference_url: str

    def __str__(self) -> str:
        return f"TorchServe at {self.management_url}"

    def check_reads(self, model_store: Path) -> None:
        """Raise RollOverError unless it loads archives from this very folder, by one that is there and nowhere else."""
        name = f"ours-{uuid.uuid4().hex}"
        archive = model_store / PROMOTED.format(version=name)  # which `settle` removes, should a kill leave it
        model = {"modelName": name, "modelVersion": "1", "handler": "nothing.py"}
        try:
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr(MANIFEST, json.dumps({"runtime": "python", "model": model}))
                packed.writestr("nothing.py", "")
            self._ask("POST", "", {"url": archive.name, "model_name": name, "initial_workers": 0})
            self._ask("DELETE", f"/{name}")
        except _RefusedError as error:
            if error.status != 404:
                raise
            raise RollOverError(
                f"{self} does not load its archives from {model_store}: it belongs to another system, and was not touched. "
                "Set CRACK_INSTANCE, or TORCHSERVE_URL and TORCHSERVE_MANAGEMENT_URL, to those of this one."
            ) from error
        finally:
            archive.unlink(missing_ok=True)

    def default_version(self) -> str:
        return str(self._ask("GET", f"/{MODEL_NAME}")[0]["modelVersion"])

    def n_workers(self) -> int:
        """Of the default version."""
        return len(self._ask("GET", f"/{MODEL_NAME}")[0]["workers"])

    def versions(self) -> set[str]:
        return {str(version["modelVersion"]) for version in self._ask("GET", f"/{MODEL_NAME}/all")}

    def n_pending(self, version: str) -> int:
        """Requests that wait for a worker of this version."""
        return int(self._ask("GET", f"/{MODEL_NAME}/{version}")[0]["jobQueueStatus"]["pendingRequests"])

    def register(self, archive_name: str, n_workers: int) -> None:
        """Load an archive of the model store beside what is served; returns when its workers are READY."""
        parameters = {"url": archive_name, "model_name": MODEL_NAME, "initial_workers": n_workers, "synchronous": "true"}
        self._ask("POST", "", parameters, REGISTER_TIMEOUT_S)

    def set_default(self, version: str) -> None:
        self._ask("PUT", f"/{MODEL_NAME}/{version}/set-default")

    def unregister(self, version: str) -> None:
        self._ask("DELETE", f"/{MODEL_NAME}/{version}", timeout_s=REGISTER_TIMEOUT_S)

    def probability(self, image: bytes, version: str) -> NDArray[np.uint8]:
        """The crack probability that this version answers, uint8 (height, width)."""
        headers = {"Content-Type": "application/octet-stream", "X-Crack-Response": "probability"}
        url = f"{self.inference_url}/predictions/{MODEL_NAME}/{version}"
        try:
            with session() as torchserve:
                answer = torchserve.post(url, image, headers=headers, timeout=ANSWER_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise RollOverError(f"Version {version} does not answer: {error}.") from error
        return np.asarray(Image.open(io.BytesIO(answer.content)))

    def _ask(self, method: str, path: str, parameters: dict[str, Any] | None = None, timeout_s: float = 30) -> Any:
        try:
            with session() as torchserve:
                url = f"{self.management_url}/models{path}"
                answer = torchserve.request(method, url, params=parameters, timeout=timeout_s)
        except requests.RequestException as error:
            raise RollOverError(f"{self} does not answer: {error}.") from error
        if answer.status_code != 200:
            said = f"{self} refused {method} /models{path}: {answer.status_code} {answer.text.strip()}."
            raise _RefusedError(said, answer.status_code)
        return answer.json()


class ModelServer:
    """What stands behind the two URLs: each address that the management's name has is a replica, with the ports of the URLs."""

    def __init__(self, management_url: str, inference_url: str) -> None:
        self._management_url, self._inference_url = management_url, inference_url

    def replicas(self) -> list[Replica]:
        """Those that there are now, at least one. Raises RollOverError where the name has no address."""
        name = urlsplit(self._management_url).hostname or ""
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise RollOverError(
                f"{self._management_url}: {name!r} has no address ({error}), so no TorchServe is up."
            ) from error
        family = min(kind for kind, *_ in found)  # where a replica has an IPv4 address and an IPv6 one, it counts once
        addresses = sorted({str(address[0]) for kind, _, _, _, address in found if kind == family})
        return [Replica(_at(self._management_url, each), _at(self._inference_url, each)) for each in addresses]


def _at(url: str, address: str) -> str:
    port = urlsplit(url).port
    host = f"[{address}]" if ":" in address else address
    return urlsplit(url)._replace(netloc=host if port is None else f"{host}:{port}").geturl()
