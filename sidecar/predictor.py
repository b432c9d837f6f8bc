"""TorchServe as seen from the sidecar: predictions over pooled connections, its own errors in the form that clients know."""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options, Response

# A hundred megapixels on one slow core stay below; TorchServe itself gives a worker no longer. One that hangs is ended earlier,
# by `handler.serve`.
_TIMEOUT = httpx.Timeout(600.0, connect=2.0, pool=10.0)
# What an archive made before one of them was thought of does not send, its clients don't get.
_PASSED_ON = ("content-type", "x-request-id", "x-crack-model-version", "x-crack-threshold", "x-crack-ratio", "x-crack-score")


@dataclass(frozen=True)
class Prediction:
    """What TorchServe answered: a mask, or an error in the client's form."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def model_version(self) -> str:
        return self.headers.get("x-crack-model-version", "")

    @property
    def threshold(self) -> float:
        return float(self.headers["x-crack-threshold"])

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


@dataclass(frozen=True)
class Served:
    """What TorchServe has loaded: the version that clients get and its archive's name; workers that can predict, of all
    versions; by version, requests that wait for one.
    """

    default: str
    archive: str
    n_ready: int
    n_waiting: dict[str, int]


class TorchServe:
    """Asks one TorchServe, or several behind one address."""

    def __init__(self, inference_url: str, management_url: str) -> None:
        self._predictions_url = f"{inference_url}/predictions/crack"
        self._model_url = f"{management_url}/models/crack"
        # TorchServe bounds its queue itself, and says so within milliseconds.
        # A connection that is kept stays with the TorchServe that it began with, and one that joins gets nothing to
        # do; a fresh one for each request was measured to take no more processor time.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, limits=limits, trust_env=False)  # no proxy lies between them

    async def close(self) -> None:
        await self._client.aclose()

    async def predict(
        self,
        image: bytes,
        options: Options = Options(),  # noqa: B008
        is_probe: bool = False,
    ) -> Prediction:
        """Predict one photograph.

        Args:
            is_probe: it only asks whether there is an answer, and is not counted among those that drift is seen in.

        Raises:
            RequestError: MODEL_UNAVAILABLE, IMAGE_TOO_LARGE, PREDICTION_FAILED, where TorchServe answered for itself.
        """
        headers = {
            "Content-Type": "application/octet-stream",  # without one TorchServe looks for a form
            **{f"X-Crack-{name.replace('_', '-')}": value for name, value in options.fields().items()},
        }
        if is_probe:
            headers["X-Crack-Probe"] = "1"
        try:
            answer = await self._client.post(self._predictions_url, content=image, headers=headers)
        except httpx.TransportError as error:
            raise _unavailable(f"The model server does not answer ({type(error).__name__})") from error
        passed_on = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        if answer.status_code != 200 and not _is_own_error(answer):
            raise _translated(answer)
        return Prediction(answer.status_code, answer.content, passed_on)

    async def probability(self, image: bytes) -> Prediction:
        """The crack probability of a photograph, a PNG of one channel. Raises RequestError as `predict` does."""
        prediction = await self.predict(image, Options(response=Response.PROBABILITY))
        if prediction.status != 200:
            raise RequestError(
                ErrorCode.PREDICTION_FAILED, f"The photograph could not be predicted: {prediction.body.decode()}"
            )
        return prediction

    async def describe(self) -> dict[str, Any]:
        """The default version as the management API describes it. Raises RequestError, MODEL_UNAVAILABLE."""
        (model,) = await self._versions("")
        return model

    async def served(self) -> Served:
        """Raises RequestError, MODEL_UNAVAILABLE."""
        default, versions = await self.describe(), await self._versions("/all")
        return Served(
            default=str(default["modelVersion"]),
            archive=str(default["modelUrl"]),
            n_ready=sum(worker["status"] == "READY" for version in versions for worker in version["workers"]),
            n_waiting={str(version["modelVersion"]): version["jobQueueStatus"]["pendingRequests"] for version in versions},
        )

    async def _versions(self, path: str) -> list[dict[str, Any]]:
        try:
            answer = await self._client.get(self._model_url + path, timeout=5.0)
            answer.raise_for_status()
            return [dict(version) for version in answer.json()]
        except (httpx.HTTPError, ValueError) as error:
            raise _unavailable(f"The model server does not say what it serves ({type(error).__name__})") from error


def _is_own_error(answer: httpx.Response) -> bool:
    """Whether our handler made this error, or TorchServe itself."""
    try:
        return bool(answer.json().get("status") == "error")
    except (AttributeError, json.JSONDecodeError, UnicodeDecodeError):
        return False


def _translated(answer: httpx.Response) -> RequestError:
    match answer.status_code:
        case 413:
            return RequestError(
                ErrorCode.IMAGE_TOO_LARGE,
                "The request is larger than the model server accepts. Save the image as a JPEG or cut it.",
            )
        case 404 | 503:
            return _unavailable("No worker is ready, or too many requests are waiting")
        case 500 | 507:  # 507 when it was killed; our handler's own have our form
            return _unavailable("The worker that had the photograph died, or was ended as it did not answer in time")
        case status:
            return RequestError(ErrorCode.PREDICTION_FAILED, f"The model server failed with status {status}. Send it again.")


def _unavailable(found: str) -> RequestError:
    return RequestError(ErrorCode.MODEL_UNAVAILABLE, f"{found}. Nothing was predicted. Send it again in some seconds.")
