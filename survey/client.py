"""Asks a running sidecar about photographs, and waits where it is away or busy: the surveyor's side of `POST /predict`."""

import threading
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from model.inference.options import Options

REFUSED = (400, 413, 415, 422)  # this photograph; any other 4xx is about all of them
LONGEST_WAIT_S = 30
_AGAIN = (429, 502, 503, 504)
_N_RETRIES_AT_START = 3
_TIMEOUT = urllib3.Timeout(connect=5.0, read=600.0)


class StoppedError(Exception):
    """Somebody wants the survey to stop; this photograph was not answered."""


class SurveyError(Exception):
    """Why no photograph can be predicted any more, in a sentence."""


class Patience(urllib3.Retry):
    """Waits as long as the server asks, then twice as long from try to try with some chance in it; not past `stopping`."""

    def __init__(self, stopping: threading.Event, **settings: Any) -> None:
        self._stopping = stopping
        super().__init__(**settings)

    def new(self, **settings: Any) -> Self:
        return super().new(stopping=self._stopping, **settings)

    def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
        asked_s = self.get_retry_after(response) if response is not None else None
        if self._stopping.wait((asked_s or 0.0) + self.get_backoff_time()):
            raise StoppedError


class Client:
    """Asks the sidecar at `url`, from any number of threads.

    Args:
        key: an API key, where the sidecar wants one.
        n_retries: how often a photograph is sent again while the server is away or busy.
        stopping: ends all waiting.
    """

    def __init__(self, url: str, key: str | None, options: Options, n_retries: int, stopping: threading.Event) -> None:
        self.url = url
        self._predict_url = f"{url}/predict?{urlencode(options.fields())}"
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
        # A connection for each photograph: where one address spreads connections over servers, each server gets its share, and
        # one that is started in the middle of a survey gets it at once.
        headers = {"Connection": "close", "Content-Type": "application/octet-stream"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._pool = urllib3.PoolManager(headers=headers, timeout=_TIMEOUT)

    def check(self) -> str:
        """The version of the model that is served. Raises SurveyError where there is none."""
        patience = self._patience.new(total=min(self._n_retries, _N_RETRIES_AT_START))
        try:
            answer = self._pool.request("GET", f"{self.url}/ready", retries=patience, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise SurveyError(
                f"{self.url} does not answer ({_reason(error)}). Start the sidecar there, or give its address by --url."
            ) from error
        if answer.status == 200:
            try:
                return str(answer.json()["model_version"])
            except (ValueError, KeyError, TypeError):
                pass
        raise SurveyError(f"{self.url} is not ready: {message(answer)}")

    def predict(self, photograph: bytes) -> urllib3.BaseHTTPResponse:
        """The answer: 200, or an error about this photograph.

        Raises:
            TimeoutError: the server was away or busy to the last try.
            SurveyError: it would answer the same for any other photograph.
            StoppedError: the waiting was cut short.
        """
        try:
            answer = self._pool.request("POST", self._predict_url, body=photograph, retries=self._patience, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise TimeoutError(f"{self.url} did not answer in {self._n_retries + 1} tries ({_reason(error)}).") from error
        if answer.status in _AGAIN:
            raise TimeoutError(f"{self.url} was busy or away in {self._n_retries + 1} tries: {message(answer)}")
        if answer.status == 200 and "X-Crack-Ratio" not in answer.headers:
            raise SurveyError(f"{self.url} answers, but not as a sidecar does ({answer.headers.get('Content-Type')}).")
        if answer.status not in (200, *REFUSED) and answer.status < 500:
            raise SurveyError(message(answer))
        return answer


def message(answer: urllib3.BaseHTTPResponse) -> str:
    """The sentence of an answer that is an error."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered with status {answer.status}."


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    cause = getattr(error, "reason", None) or error
    return f"{type(cause).__name__}: {str(cause).rpartition(': ')[2]}"
