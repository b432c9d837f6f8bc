"""A survey's photographs, any number at a time: which of them must still be examined, and the journal of their results. Left
to others: the model (`engines`), how one becomes a row (`task`), the folder's contents (`folder`), and the command line
(`__main__`).
"""

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from tqdm import tqdm

from inspection.rows import FINAL, Row, Status
from survey.engines import StoppedError, SurveyError
from survey.folder import Survey
from survey.sources import Source
from survey.task import Task


class Engine(Protocol):
    """
    Attributes:
        name: for people, such as an address.
        n_at_once: photographs that keep it busy.
    """

    name: str
    n_at_once: int

    def check(self) -> str:
        """Get ready; returns the version of the model. Raises SurveyError if it can't."""

    def row(self, task: Task) -> Row:
        """A photograph's row, once its pictures are in place; called from any number of threads. Raises as `Task.row` does."""

    def close(self) -> None:
        """Close: no photograph is being examined any more, and none follows."""


@dataclass(frozen=True)
class Surveyor:
    """Takes one photograph after the other to its row, from any number of threads."""

    source: Source
    survey: Survey
    engine: Engine
    stopping: threading.Event

    def predict(self, file: str) -> Row:
        """Raises StoppedError if the photograph was not examined, and what `Engine.row` raises."""
        if self.stopping.is_set():
            raise StoppedError
        return self.engine.row(Task(self.source, self.survey.pictures, file))

    def is_answered(self, file: str) -> bool:
        """Whether the journal has the answer to this file as it is, and its pictures are there."""
        row = self.survey.find(file)
        if row is None or row.status not in FINAL:
            return False
        return not self._is_other(row) and (row.status is Status.REFUSED or self.survey.pictures.has(file))

    def is_changed(self, file: str) -> bool:
        """Whether the file has other bytes than when it was examined."""
        row = self.survey.find(file)
        return row is not None and self._is_other(row)

    def _is_other(self, row: Row) -> bool:
        try:
            if row.mtime_ns and self.source.state(row.file) == (row.n_bytes, row.mtime_ns):
                return False
            return hashlib.sha256(self.source.read(row.file)[0]).hexdigest() != row.sha256
        except OSError:
            return False


def ask_all(surveyor: Surveyor, files: Sequence[str], bar: "tqdm[Any]") -> str | None:
    """Examine each photograph and note the result, until all are done, or `surveyor.stopping` is set.

    Returns:
        Why it makes no sense to go on; None otherwise.
    """
    remaining, under_way = iter(files), set[Future[Row]]()
    concurrency = surveyor.engine.n_at_once
    latest: deque[Status] = deque(maxlen=max(concurrency, 3))
    reason: str | None = None
    with ThreadPoolExecutor(concurrency) as pool:
        while True:
            if not surveyor.stopping.is_set():
                under_way |= {
                    pool.submit(surveyor.predict, file) for file in islice(remaining, 2 * concurrency - len(under_way))
                }
            if not under_way:
                return reason
            answered, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in answered:
                try:
                    row = future.result()
                    surveyor.survey.append(row)
                except StoppedError:
                    continue
                except (SurveyError, OSError) as error:
                    reason = reason or str(error)
                    surveyor.stopping.set()
                    continue
                latest.append(row.status)
                bar.update()
                if row.error:
                    bar.write(f"{row.file}: {row.error}")
                if len(latest) == latest.maxlen and set(latest) == {Status.UNANSWERED}:
                    reason = reason or f"{surveyor.engine.name} has answered none of the last {len(latest)} photographs."
                    surveyor.stopping.set()
