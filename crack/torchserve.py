"""The client of TorchServe's HTTP API: its addresses, requests, and the meaning of its answers, in one place.

It uses aiohttp: with 4 and 16 requests of 80 kB at once, each takes 0.3 ms of processor time, against 1.0 with httpx or
httpx2. Code without an event loop calls it within `asyncio.run`. Left to others: the headers of a prediction
(`model.inference.headers`), and what an error means to a client (`sidecar.predictor`).
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from crack.instance import LOOPBACK

MODEL_NAME = "crack"

# A hundred megapixels on one slow core take less, and TorchServe itself gives a worker no longer. `handler.serve` ends a worker
# that hangs earlier.
_PREDICTION_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=600)
_LOADING_TIMEOUT = aiohttp.ClientTimeout(total=300)

Pieces = Sequence[bytes | bytearray | memoryview]
"""A body in the pieces in which it arrived; they are passed on unchanged."""


class TorchServeError(Exception):
    """TorchServe does not answer, or not as it should."""


class RefusedError(TorchServeError):
    """TorchServe answered with an error."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """An answer from our handler or from TorchServe itself. The names of headers are case-insensitive."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Version:
    """One loaded version of the model: its archive's name, its workers, the process ids of those that can predict, and the
    number of waiting requests.
    """

    name: str
    archive: str
    n_workers: int
    ready_pids: frozenset[int]
    n_waiting: int

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> Self:
        """Read from the management API's answer. Raises KeyError or TypeError if that has another form."""
        workers = told["workers"]
        return cls(
            name=str(told["modelVersion"]),
            archive=str(told["modelUrl"]),
            n_workers=len(workers),
            ready_pids=frozenset(worker["pid"] for worker in workers if worker["status"] == "READY"),
            n_waiting=int(told.get("jobQueueStatus", {}).get("pendingRequests", 0)),
        )


def predictions_url(inference_url: str, version: str = "") -> str:
    return f"{inference_url}/predictions/{MODEL_NAME}" + (f"/{version}" if version else "")


def model_url(management_url: str, *path: str) -> str:
    return "/".join((f"{management_url}/models", *path))


class TorchServe:
    """A client of one TorchServe, or several behind one address, used as `async with`; requests to its management API wait at
    most `patience_s`.

    Its methods raise TorchServeError if it does not answer, and RefusedError if it answers with an error; a prediction's
    answer is returned whatever its status.
    """

    def __init__(self, inference_url: str, management_url: str, patience_s: float = 30.0) -> None:
        self._inference_url, self._management_url = inference_url, management_url
        self._patience = aiohttp.ClientTimeout(total=patience_s)

    async def __aenter__(self) -> Self:
        # TorchServe limits its queue itself, and refuses within milliseconds. Behind another machine's name there may be
        # several: a kept connection stays with one of them, and one that joins later gets no requests. A fresh connection
        # takes 0.5 ms of a processor here and 0.3 ms in TorchServe, time that the workers of this machine could use.
        is_one = urlsplit(self._inference_url).hostname in LOOPBACK
        connector = aiohttp.TCPConnector(limit=0, force_close=not is_one)
        self._session = aiohttp.ClientSession(  # which ignores proxy variables: there is no proxy between them
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def predict(self, image: Pieces, headers: Mapping[str, str], version: str = "") -> Answer:
        """A version's answer to a photograph; without a version, the default one's."""
        n_bytes = sum(map(len, image))
        # Without a type TorchServe looks for a form, and without a length it is sent in chunks.
        named = {"Content-Type": "application/octet-stream", "Content-Length": str(n_bytes), **headers}
        url = predictions_url(self._inference_url, version)
        return await self._ask("POST", url, _PREDICTION_TIMEOUT, data=_one_by_one(image), headers=named)

    async def default(self) -> Version:
        """The version that answers clients who name none."""
        return await self._version(MODEL_NAME)

    async def version(self, name: str) -> Version:
        return await self._version(MODEL_NAME, name)

    async def versions(self) -> list[Version]:
        """All that are loaded."""
        return await self._versions(MODEL_NAME, "all")

    async def register(self, archive: str, n_workers: int, name: str = MODEL_NAME) -> None:
        """Load another archive of the model store; returns when its workers can predict."""
        asked = {"url": archive, "model_name": name, "initial_workers": str(n_workers), "synchronous": "true"}
        await self._manage("POST", _LOADING_TIMEOUT, params=asked)

    async def set_default(self, version: str) -> None:
        await self._manage("PUT", self._patience, MODEL_NAME, version, "set-default")

    async def unregister(self, version: str) -> None:
        await self._manage("DELETE", _LOADING_TIMEOUT, MODEL_NAME, version)

    async def forget(self, name: str) -> None:
        """Unload a model that is not ours, with all its versions."""
        await self._manage("DELETE", _LOADING_TIMEOUT, name)

    async def _version(self, *path: str) -> Version:
        found = await self._versions(*path)
        if len(found) != 1:
            raise TorchServeError(f"{self._management_url} describes {len(found)} versions, expected the one asked for")
        return found[0]

    async def _versions(self, *path: str) -> list[Version]:
        answer = await self._manage("GET", self._patience, *path)
        try:
            return [Version.parse(told) for told in json.loads(answer.body)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TorchServeError(f"{self._management_url} does not say what it serves ({error!r})") from error

    async def _manage(self, method: str, timeout: aiohttp.ClientTimeout, *path: str, **request: Any) -> Answer:
        answer = await self._ask(method, model_url(self._management_url, *path), timeout, **request)
        if answer.status != 200:
            said = f"TorchServe at {self._management_url} refused {method} {'/'.join(path)}: {answer.status} "
            raise RefusedError(said + answer.body.decode(errors="replace").strip(), answer.status)
        return answer

    async def _ask(self, method: str, url: str, timeout: aiohttp.ClientTimeout, **request: Any) -> Answer:
        try:
            async with self._session.request(method, url, timeout=timeout, allow_redirects=False, **request) as answer:
                return Answer(answer.status, await answer.read(), answer.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TorchServeError(f"{url} does not answer ({type(error).__name__}: {error})") from error


async def _one_by_one(pieces: Pieces) -> AsyncIterator[bytes | bytearray | memoryview]:
    for piece in pieces:
        yield piece
