"""By when a worker must have answered: a small file for each worker, which it writes and whoever started it reads.

A worker that hangs cannot tell, so another process has to end it (`handler.serve`). Times are those of the monotonic clock,
which all processes of a machine share.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.inference.card import ModelCard
from model.inference.segmenter import Run, Segmenter

LEAST_S = 30.0
TIMES_EXPECTED = 10  # tiles overlap, and a busy machine is several times slower than the one that was timed at the start
_FILE = "crack-worker-{pid}"
_ENDED = "crack-ended-{pid}"


class Deadline:
    """The file of this process in `folder`: empty, or the start and the deadline of the request that is being answered."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / _FILE.format(pid=os.getpid()), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._started = 0.0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around the answer to one request."""
        self._started = time.monotonic()
        self.expect(0.0)
        try:
            yield
        finally:
            os.ftruncate(self._file, 0)

    def expect(self, seconds: float) -> None:
        """What the answer will take, as far as is known."""
        allowed_s = max(LEAST_S, TIMES_EXPECTED * seconds)
        os.pwrite(self._file, f"{self._started:<20.3f} {self._started + allowed_s:<20.3f}\n".encode(), 0)


class TimedSegmenter(Segmenter):
    """A segmenter that sets the deadline by each photograph's pixels, and by how long they took when it was made."""

    def __init__(self, card: ModelCard, run: Run, deadline: Deadline, seconds_per_pixel: float) -> None:
        super().__init__(card, run)
        self._deadline = deadline
        self._seconds_per_pixel = seconds_per_pixel

    def probability(self, image_hwc_u8: NDArray[np.uint8], is_high_quality: bool = False) -> NDArray[np.uint8]:
        n_pixels = image_hwc_u8.shape[0] * image_hwc_u8.shape[1]
        self._deadline.expect(n_pixels * self._seconds_per_pixel * (8 if is_high_quality else 1))
        return super().probability(image_hwc_u8, is_high_quality)


@dataclass(frozen=True)
class Worker:
    """What a worker's file says; `started` and `deadline` are None while it answers nothing."""

    pid: int
    started: float | None
    deadline: float | None


def workers(folder: Path) -> list[Worker]:
    """All workers that have written a file there, including those that have ended."""
    found = []
    for path in folder.glob(_FILE.format(pid="*")):
        started, deadline = [*map(float, path.read_text().split()), None, None][:2]
        found.append(Worker(int(path.name.rpartition("-")[2]), started, deadline))
    return found


def forget(folder: Path, pid: int, *, was_ended: bool) -> None:
    """A worker is no more; `was_ended`: because it was overdue, which the one that takes its place will count."""
    path = folder / _FILE.format(pid=pid)
    if was_ended:
        path.replace(folder / _ENDED.format(pid=pid))
    else:
        path.unlink()


def count_ended(folder: Path) -> int:
    """How many overdue workers were ended since the last call; only one process at a time may call it."""
    ended = list(folder.glob(_ENDED.format(pid="*")))
    for path in ended:
        path.unlink()
    return len(ended)
