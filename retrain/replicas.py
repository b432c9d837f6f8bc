"""The replicas of TorchServe, for a roll-over: which there are, and the management and predictions of each.

Left to others: which archive they are to serve, and when a roll-over counts (`retrain.rollover`).
"""

import asyncio
import io
import json
import socket
import uuid
import zipfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crack.torchserve import RefusedError, TorchServe, TorchServeError
from export.archive import MANIFEST
from model.inference import headers
from model.inference.options import Options, Response

PROMOTED = "crack-{version}.mar"  # in the model store, beside the released one

_Told = TypeVar("_Told")


class RollOverError(RuntimeError):
    """The archive did not go into production, and the former model is still served. The message says why."""


@dataclass(frozen=True)
class Replica:
    """One TorchServe: its management of the one model, and its predictions by version.

    Methods raise RollOverError if it does not answer, or refuses.
    """

    management_url: str
    inference_url: str

    def __str__(self) -> str:
        return f"TorchServe at {self.management_url}"

    def check_reads(self, model_store: Path) -> None:
        """Raise RollOverError unless it loads archives from this very folder; an archive that exists only there is used to
        find out.
        """
        name = f"ours-{uuid.uuid4().hex}"
        archive = model_store / PROMOTED.format(version=name)  # if a kill leaves it there, `settle` removes it
        model = {"modelName": name, "modelVersion": "1", "handler": "nothing.py"}
        try:
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr(MANIFEST, json.dumps({"runtime": "python", "model": model}))
                packed.writestr("nothing.py", "")
            self._ask(lambda torchserve: torchserve.register(archive.name, 0, name))
            self._ask(lambda torchserve: torchserve.forget(name))
        except RollOverError as error:
            if not isinstance(error.__cause__, RefusedError) or error.__cause__.status != 404:
                raise
            raise RollOverError(
                f"{self} does not load its archives from {model_store}: it belongs to another system, and was not touched. "
                "Set CRACK_INSTANCE, or TORCHSERVE_URL and TORCHSERVE_MANAGEMENT_URL, to those of this one."
            ) from error
        finally:
            archive.unlink(missing_ok=True)

    def default_version(self) -> str:
        return self._ask(TorchServe.default).name

    def n_workers(self) -> int:
        """Of the default version."""
        return self._ask(TorchServe.default).n_workers

    def versions(self) -> set[str]:
        return {version.name for version in self._ask(TorchServe.versions)}

    def n_pending(self, version: str) -> int:
        """Requests that wait for a worker of this version."""
        return self._ask(lambda torchserve: torchserve.version(version)).n_waiting

    def register(self, archive_name: str, n_workers: int) -> None:
        """Load another archive of the model store; returns when its workers can predict."""
        self._ask(lambda torchserve: torchserve.register(archive_name, n_workers))

    def set_default(self, version: str) -> None:
        self._ask(lambda torchserve: torchserve.set_default(version))

    def unregister(self, version: str) -> None:
        self._ask(lambda torchserve: torchserve.unregister(version))

    def probability(self, image: bytes, version: str) -> NDArray[np.uint8]:
        """The crack probability that this version answers, uint8 (height, width)."""
        asked = headers.of_options(Options(response=Response.PROBABILITY))
        answer = self._ask(lambda torchserve: torchserve.predict([image], asked, version))
        if answer.status != 200:
            raise RollOverError(f"Version {version} does not answer: {answer.status} {answer.body[:500]!r}.")
        return np.asarray(Image.open(io.BytesIO(answer.body)))

    def _ask(self, ask: Callable[[TorchServe], Coroutine[Any, Any, _Told]]) -> _Told:
        async def asked() -> _Told:
            async with TorchServe(self.inference_url, self.management_url) as torchserve:
                return await ask(torchserve)

        try:
            return asyncio.run(asked())
        except TorchServeError as error:
            raise RollOverError(f"{error}.") from error


class ModelServer:
    """The servers behind the two URLs: each address of the management's host name is a replica, with the ports of the URLs."""

    def __init__(self, management_url: str, inference_url: str) -> None:
        self._management_url, self._inference_url = management_url, inference_url

    def replicas(self) -> list[Replica]:
        """The current replicas, at least one. Raises RollOverError if the name has no address."""
        name = urlsplit(self._management_url).hostname or ""
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise RollOverError(
                f"{self._management_url}: {name!r} has no address ({error}), so no TorchServe is up."
            ) from error
        family = min(kind for kind, *_ in found)  # a replica with both an IPv4 and an IPv6 address counts once
        addresses = sorted({str(address[0]) for kind, _, _, _, address in found if kind == family})
        return [Replica(_at(self._management_url, each), _at(self._inference_url, each)) for each in addresses]


def _at(url: str, address: str) -> str:
    port = urlsplit(url).port
    host = f"[{address}]" if ":" in address else address
    return urlsplit(url)._replace(netloc=host if port is None else f"{host}:{port}").geturl()
