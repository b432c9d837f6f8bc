"""Workers that share the processors as needed: a single photograph gets them all, several at the same time get a share each.

Needs POSIX file locks. Left to others: how many processors there are (`processors`), and what computes on them (`runtime`).
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.inference.segmenter import Run


class SharedCores:
    """A network in two versions, on all processors and on one worker's share of them; a `segmenter.Run` while `answering`.

    Each worker holds a shared lock on one file while it answers a request, and for each tile asks for an exclusive one, which
    it gets where nobody else is answering. Whoever begins meanwhile waits for that tile, some milliseconds, and both go on
    with their shares, so that a photograph of a hundred tiles does not hold up a small one. A photograph that came while
    another was being answered begins on its share: under load the others pause for a millisecond between two requests, and a
    tile on all processors in that moment would hold them up for twenty.

    Args:
        lock_path: one file for all workers of a server.
        on_all: the network on all processors.
        on_share: the network on this worker's share.
    """

    def __init__(self, lock_path: Path, on_all: Run, on_share: Run) -> None:
        self._lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._on_all = on_all
        self._on_share = on_share

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around the answer to one request."""
        self._may_have_all = self._is_alone()
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def __call__(self, batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        has_all = self._may_have_all and self._is_alone()
        self._may_have_all = True  # from the second tile on
        try:
            return (self._on_all if has_all else self._on_share)(batch_nchw)
        finally:
            if has_all:
                fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _is_alone(self) -> bool:
        """Whether nobody else is answering; if so, the lock is exclusive from here on."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # the attempt may have given it up
            return False
        return True
