"""A survey's photographs: which of them must still be examined, and the journal of their results. Left to others: the model
(`engines`), how one becomes a row (`task`), the folder's contents (`folder`), and the command line (`__main__`).
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tqdm import tqdm

from inspection.rows import FINAL, Row, Status
from survey.engines import SurveyError
from survey.folder import Survey
from survey.sources import Source
from survey.task import Tasks


class Engine(Protocol):
    """
    Attributes:
        name: for people, such as an address.
        n_at_once: the number of photographs that keep it busy.
    """

    name: str
    n_at_once: int

    def check(self) -> str:
        """Get ready; returns the version of the model. Raises SurveyError if it can't."""

    def rows(self, tasks: Tasks) -> Iterator[Row]:
        """One row for each photograph once its pictures are in place, in any order. When the survey is stopped, the rows end
        with those of the photographs under way. Raises, after these, what `Task.row` does.
        """

    def close(self) -> None:
        """Close; to be called when no photograph is being examined, and none will be."""


@dataclass(frozen=True)
class Surveyor:
    """Which photographs have their answer in the journal."""

    source: Source
    survey: Survey
    engine: Engine
    stopping: threading.Event

    def is_answered(self, file: str) -> bool:
        """Whether the journal has the answer to this file as it is, and its pictures are there."""
        noted = self.survey.noted(file)
        if noted is None or noted.status not in FINAL:
            return False
        return not self.is_changed(file) and (noted.status is Status.REFUSED or self.survey.pictures.has(file))

    def is_changed(self, file: str) -> bool:
        """Whether the file has other bytes than when it was examined."""
        noted = self.survey.noted(file)
        if noted is None:
            return False
        try:
            if noted.mtime_ns and self.source.state(file) == (noted.n_bytes, noted.mtime_ns):
                return False
            row = self.survey.find(file)
            return row is not None and hashlib.sha256(self.source.read(file)[0]).hexdigest() != row.sha256
        except OSError:
            return False


def ask_all(surveyor: Surveyor, files: Sequence[str], bar: "tqdm[Any]") -> str | None:
    """Examine each photograph and note the result, until all are done, or `surveyor.stopping` is set.

    Returns:
        Why the survey cannot continue; None if nothing is wrong.
    """
    engine, survey = surveyor.engine, surveyor.survey
    latest: deque[Status] = deque(maxlen=max(engine.n_at_once, 3))
    reason: str | None = None
    try:
        for row in engine.rows(Tasks(surveyor.source, survey.pictures, files)):
            survey.append(row)
            latest.append(row.status)
            bar.update()
            if row.error:
                bar.write(f"{row.file}: {row.error}")
            if len(latest) == latest.maxlen and set(latest) == {Status.UNANSWERED}:
                reason = reason or f"{engine.name} has answered none of the last {len(latest)} photographs."
                surveyor.stopping.set()
    except (SurveyError, OSError) as error:
        reason = reason or str(error)
        surveyor.stopping.set()
    return reason
