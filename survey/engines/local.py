"""The engine without a server: the inference core of an archive, in processes on this machine's cores (`processes`)."""

import threading
from collections.abc import Iterator
from pathlib import Path

from inspection.rows import Row, Status
from model.inference.answer import predict
from model.inference.errors import RequestError
from model.inference.examining import examine_pixels
from model.inference.options import Options
from model.inference.photograph import Limits
from survey.engines import REFUSED, NotPredictedError
from survey.outcome import Outcome, outcome
from survey.processes import Core, Processes
from survey.task import Task, Tasks, in_threads


class LocalEngine:
    """Examines photographs within the limits of the environment, as a server would.

    Args:
        archive, backend, stopping: as `Processes` has them.
        options: how each photograph's cracks and scale are found.
        n_processes: photographs that are computed at a time.
    """

    def __init__(self, archive: Path, options: Options, n_processes: int, backend: str, stopping: threading.Event) -> None:
        self.name = str(archive)
        self.n_at_once = n_processes + 1  # the next one waits for whichever process is ready first
        self._options = options
        self._stopping = stopping
        self._limits = Limits.from_environment()
        self._processes = Processes(archive, n_processes, backend, stopping)

    def check(self) -> str:
        return f"{self._processes.card.version} on {self._processes.start()}"

    def rows(self, tasks: Tasks) -> Iterator[Row]:
        return in_threads(self._row, iter(tasks), self.n_at_once, self._stopping)

    def close(self) -> None:
        self._processes.close()

    def _row(self, task: Task) -> Row:
        try:
            return self._processes.call(row, task, self._options, self._limits)
        except RuntimeError as error:
            return task.failed(str(error))


def row(core: Core, task: Task, options: Options, limits: Limits) -> Row:
    """Examine a photograph; it runs in one of the processes, which also reads the file and writes the pictures."""
    return task.row(lambda photograph: look(core, photograph, options, limits))


def look(core: Core, photograph: bytes, options: Options, limits: Limits) -> Outcome:
    """Raises NotPredictedError."""
    try:
        seen = predict(core.segmenter, photograph, options, limits)
    except RequestError as error:
        raise NotPredictedError(Status.REFUSED if error.code.status in REFUSED else Status.FAILED, error.message) from error
    return outcome(
        examine_pixels(seen.image_hwc_u8, seen.prob_hw_u8, seen.threshold, seen.surface),
        crack_ratio=seen.crack_ratio,
        crack_score=seen.score,
        model_version=core.segmenter.card.version,
    )
