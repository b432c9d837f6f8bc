"""Examines one photograph, from its file to its row and pictures, in a thread, a process or on another machine."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from inspection.rows import Row, Status
from survey.engines import NotPredictedError, StoppedError, SurveyError
from survey.folder import is_about_all
from survey.outcome import Outcome
from survey.pictures import Pictures
from survey.sources import Source


@dataclass(frozen=True)
class Task:
    """One photograph to look at. It can be sent to another process."""

    source: Source
    pictures: Pictures
    file: str

    def row(self, look: Callable[[bytes], Outcome]) -> Row:
        """Examine it and store the pictures; an error that concerns this photograph alone goes into its row.

        Args:
            look: as `Engine.look`.

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
                return self.failed(f"Its pictures cannot be written ({error.strerror}).")
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
