"""The engine without a server: the inference core of an archive, in processes on this machine's cores (`processes`)."""

import threading
from pathlib import Path

from inspection.examining import examine_pixels
from inspection.rows import Status
from model.inference.answer import predict
from model.inference.errors import RequestError
from model.inference.options import Options
from model.inference.photograph import Limits
from survey.engines import REFUSED, NotPredictedError
from survey.outcome import Outcome, outcome
from survey.processes import Core, EndedError, Processes


class LocalEngine:
    """Looks at photographs within the limits of the environment, as a server would.

    Args:
        archive, backend, stopping: as `Processes` has them.
        options: what each photograph's cracks and scale are found by.
        n_processes: photographs that are computed at a time.
    """

    def __init__(self, archive: Path, options: Options, n_processes: int, backend: str, stopping: threading.Event) -> None:
        self.name = str(archive)
        self.n_at_once = n_processes + 1  # while they compute, another one is read, or its pictures are written
        self._options = options
        self._limits = Limits.from_environment()
        self._processes = Processes(archive, n_processes, backend, stopping)

    def check(self) -> str:
        return f"{self._processes.card.version} on {self._processes.start()}"

    def look(self, photograph: bytes) -> Outcome:
        try:
            return self._processes.call(look, photograph, self._options, self._limits)
        except RequestError as error:
            raise NotPredictedError(Status.REFUSED if error.code.status in REFUSED else Status.FAILED, error.message) from error
        except EndedError as error:
            raise NotPredictedError(Status.FAILED, str(error)) from error

    def close(self) -> None:
        self._processes.close()


def look(core: Core, photograph: bytes, options: Options, limits: Limits) -> Outcome:
    """In one of the processes. Raises RequestError."""
    seen = predict(core.segmenter, photograph, options, limits)
    return outcome(
        examine_pixels(seen.image_hwc_u8, seen.prob_hw_u8, seen.threshold, seen.surface),
        crack_ratio=seen.crack_ratio,
        crack_score=seen.score,
        model_version=core.segmenter.card.version,
    )
