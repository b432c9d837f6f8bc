"""The engine that uses a running sidecar, and waits while it is away or busy: the client side of `POST /predict`."""

import base64
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, Self
from urllib.parse import urlencode

import orjson
import urllib3

from inspection.examining import examine
from inspection.rows import Row, Status
from model.inference import headers
from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options, Response
from survey.engines import REFUSED, NotPredictedError, StoppedError, SurveyError
from survey.outcome import Outcome, outcome
from survey.task import Task, Tasks, in_threads

LONGEST_WAIT_S = 30
_AGAIN = (429, 502, 503, 504)
_N_RETRIES_AT_START = 3
FACTS = {field.name for field in fields(Row)} - {"status"}  # an answer's `status` means something else
_TIMEOUT = urllib3.Timeout(connect=5.0, read=600.0)


class Patience(urllib3.Retry):
    """Waits as long as the server asks, and for a time that doubles with each try, with random jitter; `stopping` ends it."""

    def __init__(self, stopping: threading.Event, **settings: Any) -> None:
        self._stopping = stopping
        super().__init__(**settings)

    def new(self, **settings: Any) -> Self:
        return super().new(stopping=self._stopping, **settings)

    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        asked_s = self.get_retry_after(response) if response is not None else None
        if self._stopping.wait((asked_s or 0.0) + self.get_backoff_time()):
            raise StoppedError


class HttpEngine:
    """Asks the sidecar at `url`, from any number of threads.

    Args:
        key: an API key, if the sidecar requires one.
        options: how each photograph's cracks and scale are found.
        n_at_once: photographs under way at a time.
        n_retries: how often a photograph is sent again while the server is away or busy.
        stopping: ends all waiting.
    """

    def __init__(
        self, url: str, key: str | None, options: Options, n_at_once: int, n_retries: int, stopping: threading.Event
    ) -> None:
        self.name = url
        self.n_at_once = n_at_once
        self._stopping = stopping
        self._options = options
        self._n_retries = n_retries
        self._patience = Patience(
            stopping,
            total=n_retries,
            allowed_methods=None,  # a prediction may be asked for twice
            status_forcelist=_AGAIN,
            raise_on_status=False,
            backoff_factor=0.5,
            backoff_max=LONGEST_WAIT_S,
            backoff_jitter=1.0,
        )
        # A new connection for each photograph: a load balancer that spreads connections then gives each server its share, also
        # one that starts in the middle of a survey.
        sent = {"Connection": "close", "Content-Type": "application/octet-stream"}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        self._pool = urllib3.PoolManager(headers=sent, timeout=_TIMEOUT)

    def check(self) -> str:
        """The served version of the model. Raises SurveyError if there is none."""
        patience = self._patience.new(total=min(self._n_retries, _N_RETRIES_AT_START))
        try:
            answer = self._pool.request("GET", f"{self.name}/ready", retries=patience, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise SurveyError(
                f"{self.name} does not answer ({reason(error)}). Start the sidecar there, or give its address by --url."
            ) from error
        if answer.status == 200 and "model_version" in told(answer):
            return str(told(answer)["model_version"])
        raise SurveyError(f"{self.name} is not ready: {message(answer)}")

    def rows(self, tasks: Tasks) -> Iterator[Row]:
        return in_threads(self._row, iter(tasks), self.n_at_once, self._stopping)

    def look(self, photograph: bytes) -> Outcome:
        """See `Task.row`. Raises NotPredictedError, SurveyError, StoppedError."""
        answer = self._ask(photograph, replace(self._options, response=Response.ALL))
        if answer.status == 400 and told(answer).get("code") == ErrorCode.PARAMETER_INVALID.value:
            return self._look_here(photograph)  # the served archive is older than that response
        if answer.status != 200:
            raise _not_predicted(answer)
        found = told(answer)
        model_version, mask, overlay = found["model"]["version"], found["mask"], found["overlay"]
        facts = {name: value for name, value in found.items() if name in FACTS}
        return Outcome(base64.b64decode(mask), base64.b64decode(overlay), facts | {"model_version": model_version})

    def _look_here(self, photograph: bytes) -> Outcome:
        """Have the server find the cracks, and measure them here."""
        options = self._options
        # Given the marker's size, the server calls nothing on its paper crack.
        asked_for = Options(Response.PROBABILITY, options.quality, options.threshold, marker_size_mm=options.marker_size_mm)
        answer = self._ask(photograph, asked_for)
        if answer.status != 200:
            raise _not_predicted(answer)
        try:
            examined = examine(photograph, answer.data, float(answer.headers[headers.THRESHOLD]), options)
        except (RequestError, ValueError) as error:
            raise NotPredictedError(Status.FAILED, str(error)) from error
        return outcome(
            examined,
            crack_ratio=float(answer.headers[headers.RATIO]),
            crack_score=float(answer.headers[headers.SCORE]) if headers.SCORE in answer.headers else None,
            model_version=answer.headers[headers.MODEL_VERSION],
        )

    def close(self) -> None:
        self._pool.clear()

    def _row(self, task: Task) -> Row:
        return task.row(self.look)

    def _ask(self, photograph: bytes, options: Options) -> urllib3.BaseHTTPResponse:
        """The answer: 200, or an error about this photograph."""
        url = f"{self.name}/predict?{urlencode(options.fields())}"
        try:
            answer = self._pool.request("POST", url, body=photograph, retries=self._patience, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise NotPredictedError(
                Status.UNANSWERED, f"{self.name} did not answer in {self._n_retries + 1} tries ({reason(error)})."
            ) from error
        if answer.status in _AGAIN:
            raise NotPredictedError(
                Status.UNANSWERED, f"{self.name} was busy or away in {self._n_retries + 1} tries: {message(answer)}"
            )
        if answer.status == 200 and headers.RATIO not in answer.headers:
            raise SurveyError(f"{self.name} answers, but not as a sidecar does ({answer.headers.get('Content-Type')}).")
        if answer.status not in (200, *REFUSED) and answer.status < 500:
            raise SurveyError(message(answer))
        return answer


def _not_predicted(answer: urllib3.BaseHTTPResponse) -> NotPredictedError:
    return NotPredictedError(Status.REFUSED if answer.status in REFUSED else Status.FAILED, message(answer))


def told(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """The JSON object in an answer; empty if there is none."""
    try:
        said = orjson.loads(answer.data)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def message(answer: urllib3.BaseHTTPResponse) -> str:
    """The sentence in an error's answer."""
    return str(told(answer).get("message") or f"the server answered with status {answer.status}.")


def reason(error: urllib3.exceptions.HTTPError) -> str:
    cause = getattr(error, "reason", None) or error
    return f"{type(cause).__name__}: {str(cause).rpartition(': ')[2]}"
