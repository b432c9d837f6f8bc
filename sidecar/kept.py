"""Keeps predictions for a while, so that feedback about one needs no second inference. One is found by the request's id and
the photograph's exact bytes, so it is the very answer that the person saw.
"""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from crack.torchserve import Pieces
from sidecar.prediction import Prediction

_AT_ONCE_BYTES = 2**18


@dataclass(frozen=True)
class _Kept:
    prediction: Prediction
    until: float


class KeptPredictions:
    """The newest ones, `max_bytes` at most, each for `seconds`."""

    def __init__(self, max_bytes: int, seconds: float) -> None:
        self._max_bytes, self._seconds = max_bytes, seconds
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._n_bytes = 0

    def add(self, photograph: str, prediction: Prediction) -> None:
        """`photograph`: its `digest`."""
        name = prediction.request_id, photograph
        self._drop(name)
        self._kept[name] = _Kept(prediction, time.monotonic() + self._seconds)
        self._n_bytes += len(prediction.body)
        while self._kept and (self._n_bytes > self._max_bytes or next(iter(self._kept.values())).until < time.monotonic()):
            self._drop(next(iter(self._kept)))

    def find(self, request_id: str, photograph: str) -> Prediction | None:
        """The prediction for the photograph with that `digest`; None if there is none, or it has expired."""
        kept = self._kept.get((request_id, photograph))
        return kept.prediction if kept and kept.until >= time.monotonic() else None

    def _drop(self, name: tuple[str, str]) -> None:
        dropped = self._kept.pop(name, None)
        self._n_bytes -= len(dropped.prediction.body) if dropped else 0


async def digest_aside(photograph: Pieces) -> str:
    """The photograph's `digest`; a large one is computed in a thread."""
    n_bytes = sum(map(len, photograph))
    return digest(photograph) if n_bytes < _AT_ONCE_BYTES else await run_in_threadpool(digest, photograph)


def digest(photograph: Pieces) -> str:
    """SHA-256, in hexadecimal."""
    found = hashlib.sha256()
    for piece in photograph:
        found.update(piece)
    return found.hexdigest()
