"""Examines one photograph, from its file to its row and pictures, in a thread, a process or on another machine; and some at a
time in threads.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from inspection.rows import Row, Status
from survey.engines import NotPredictedError, StoppedError, SurveyError
from survey.folder import is_about_all
from survey.outcome import Outcome
from survey.pictures import Pictures, StorePictures
from survey.sources import Source

_Asked = TypeVar("_Asked")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Task:
    """One photograph to look at. It can be sent to another process."""

    source: Source
    pictures: Pictures | StorePictures
    file: str

    def row(self, look: Callable[[bytes], Outcome]) -> Row:
        """Examine it and store the pictures; an error that concerns this photograph alone goes into its row.

        Args:
            look: examines a photograph's bytes, as `HttpEngine.look` does.

        Raises:
            StoppedError, SurveyError: as `look` does.
            OSError: no photograph's pictures can be written.
        """
        try:
            return self._row(look)
        except (StoppedError, SurveyError):
            raise
        except Exception as error:  # one photograph must not end the survey of all others, whatever the error
            if isinstance(error, OSError):
                if is_about_all(error):
                    raise
                return self.failed(f"Its pictures cannot be written ({error.strerror or error}).")
            return self.failed(f"It failed ({error!r}). Report this with the photograph.")

    def failed(self, sentence: str) -> Row:
        return Row(self.file, Status.FAILED, 0, 0, "", error=sentence)

    def _row(self, look: Callable[[bytes], Outcome]) -> Row:
        try:
            photograph, mtime_ns = self.source.read(self.file)
        except OSError as error:
            return self.failed(f"The file cannot be read ({error.strerror or error}).")
        identity = (len(photograph), mtime_ns, hashlib.sha256(photograph).hexdigest())
        started = time.monotonic()
        try:
            seen = look(photograph)
        except NotPredictedError as error:
            seconds = None if error.status is Status.UNANSWERED else round(time.monotonic() - started, 3)
            return Row(self.file, error.status, *identity, seconds=seconds, error=error.sentence)
        seconds = round(time.monotonic() - started, 3)
        self.pictures.keep(self.file, seen.mask_png, seen.overlay_jpeg)
        return Row(self.file, Status.PREDICTED, *identity, seconds=seconds, **seen.facts)


@dataclass(frozen=True)
class Tasks:
    """The photographs to look at."""

    source: Source
    pictures: Pictures | StorePictures
    files: Sequence[str]

    def __iter__(self) -> Iterator[Task]:
        return (Task(self.source, self.pictures, file) for file in self.files)


def in_threads(
    do: Callable[[_Asked], _Result], tasks: Iterator[_Asked], n_at_once: int, stopping: threading.Event
) -> Iterator[_Result]:
    """As `Engine.rows`, with a function that returns a task's row, or whatever else is made of each photograph."""

    def unless_stopped(task: _Asked) -> _Result:
        if stopping.is_set():
            raise StoppedError
        return do(task)

    under_way = set[Future[_Result]]()
    failure: Exception | None = None
    with ThreadPoolExecutor(n_at_once) as pool:
        while True:
            if not stopping.is_set():
                under_way |= {pool.submit(unless_stopped, task) for task in islice(tasks, 2 * n_at_once - len(under_way))}
            if not under_way:
                break
            answered, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in answered:
                try:
                    yield future.result()
                except StoppedError:
                    continue
                except (SurveyError, OSError) as error:
                    failure = failure or error
                    stopping.set()
    if failure is not None:
        raise failure
