"""Asks TorchServe for predictions, and turns its own errors into the form that clients know."""

import json
from dataclasses import dataclass, replace

from crack.torchserve import Answer, Pieces, TorchServe, TorchServeError, Version
from model.inference import headers
from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options, Quality, Response
from sidecar.kept import KeptPredictions, digest_aside
from sidecar.prediction import Prediction

_PROBE = {headers.PROBE: "1"}
_PROBABILITY = Options(response=Response.PROBABILITY)


@dataclass(frozen=True)
class Served:
    """What TorchServe has loaded: the version that clients get and its archive's name; workers that can predict, of all
    versions; by version, requests that wait for one.
    """

    default: str
    archive: str
    n_ready: int
    n_waiting: dict[str, int]


class Predictor:
    """Asks TorchServe, whose client must be open meanwhile."""

    def __init__(self, torchserve: TorchServe, kept: KeptPredictions) -> None:
        self._torchserve, self._kept = torchserve, kept

    async def predict(
        self,
        image: Pieces,
        options: Options = Options(),  # noqa: B008
        request_id: str = "",
        *,
        is_probe: bool = False,
    ) -> Prediction:
        """Predict one photograph.

        Args:
            request_id: the worker uses it, too.
            is_probe: it only tests whether there is an answer, and doesn't count in the metrics that show drift.

        Raises:
            RequestError: MODEL_UNAVAILABLE, IMAGE_TOO_LARGE, PREDICTION_FAILED, where TorchServe answered for itself.
        """
        named = headers.of_options(options) | ({headers.DOOR_REQUEST_ID: request_id} if request_id else {})
        try:
            answer = await self._torchserve.predict(image, named | (_PROBE if is_probe else {}))
        except TorchServeError as error:
            raise _unavailable("The model server does not answer", error) from error
        if answer.status != 200 and not _is_own_error(answer):
            raise _translated(answer.status)
        if answer.status == 200 and headers.RATIO not in answer.headers:
            raise _unavailable("Another server answers at the model server's address")
        prediction = Prediction.of(answer)
        if answer.status == 200 and replace(options, quality=Quality.NORMAL) == _PROBABILITY:
            self._kept.add(await digest_aside(image), prediction)
        return prediction

    async def probability(self, image: bytes, request_id: str = "") -> Prediction:
        """The crack probability of a photograph, a PNG of one channel: the answer to the request with that id, if it is still
        kept, otherwise a new one. Raises RequestError as `predict` does.
        """
        known = self._kept.find(request_id, await digest_aside([image]))
        if known:
            return known
        prediction = await self.predict([image], _PROBABILITY)
        if prediction.status != 200:
            raise RequestError(
                ErrorCode.PREDICTION_FAILED, f"The photograph could not be predicted: {prediction.body.decode()}"
            )
        return prediction

    async def default(self) -> Version:
        """The version that clients get. Raises RequestError, MODEL_UNAVAILABLE."""
        try:
            return await self._torchserve.default()
        except TorchServeError as error:
            raise _unavailable("The model server does not say what it serves", error) from error

    async def served(self) -> Served:
        """Raises RequestError, MODEL_UNAVAILABLE."""
        default = await self.default()
        try:
            versions = await self._torchserve.versions()
        except TorchServeError as error:
            raise _unavailable("The model server does not say what it serves", error) from error
        return Served(
            default=default.name,
            archive=default.archive,
            n_ready=sum(len(version.ready_pids) for version in versions),
            n_waiting={version.name: version.n_waiting for version in versions},
        )


def _is_own_error(answer: Answer) -> bool:
    """Whether our handler made this error, not TorchServe itself."""
    try:
        return bool(json.loads(answer.body).get("status") == "error")
    except (AttributeError, ValueError):
        return False


def _translated(status: int) -> RequestError:
    match status:
        case 413:
            return RequestError(
                ErrorCode.IMAGE_TOO_LARGE,
                "The request is larger than the model server accepts. Save the image as a JPEG or cut it.",
            )
        case 404 | 503:
            return _unavailable("No worker is ready, or too many requests are waiting")
        case 500 | 507:  # 507 when it was killed; our handler's own have our form
            return _unavailable("The worker that had the photograph died, or was stopped because it took too long")
        case _:
            return RequestError(ErrorCode.PREDICTION_FAILED, f"The model server failed with status {status}. Send it again.")


def _unavailable(found: str, error: TorchServeError | None = None) -> RequestError:
    kind = f" ({type(error.__cause__ or error).__name__})" if error else ""
    return RequestError(ErrorCode.MODEL_UNAVAILABLE, f"{found}{kind}. Nothing was predicted. Send it again in some seconds.")
