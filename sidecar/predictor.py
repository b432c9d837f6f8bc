"""Predictions as the sidecar gives them: TorchServe's own errors in the form that clients know."""

import json
from dataclasses import dataclass
from typing import Self

from crack.torchserve import Answer, Pieces, TorchServe, TorchServeError, Version
from model.inference import headers
from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options, Response

_PROBE = {headers.PROBE: "1"}


@dataclass(frozen=True)
class Prediction:
    """What TorchServe answered: a mask, or an error in the client's form. `headers`: those that clients get."""

    status: int
    body: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, answer: Answer) -> Self:
        passed_on = {name: answer.headers[name] for name in ("Content-Type", *headers.ANSWER) if name in answer.headers}
        # An archive made before requests had the sidecar's id calls this one by TorchServe's, also in its JSON.
        request_id = answer.headers.get(headers.DOOR_REQUEST_ID) or answer.headers.get(headers.REQUEST_ID)
        return cls(answer.status, answer.body, passed_on | ({headers.REQUEST_ID: request_id} if request_id else {}))

    @property
    def model_version(self) -> str:
        return self.headers.get(headers.MODEL_VERSION, "")

    @property
    def threshold(self) -> float:
        return float(self.headers[headers.THRESHOLD])

    @property
    def crack_ratio(self) -> float:
        return float(self.headers[headers.RATIO])

    @property
    def crack_score(self) -> float | None:
        """None of an archive that was made before it was told."""
        score = self.headers.get(headers.SCORE)
        return None if score is None else float(score)

    @property
    def request_id(self) -> str:
        return self.headers.get(headers.REQUEST_ID, "")


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
    """Asks TorchServe, while that is open."""

    def __init__(self, torchserve: TorchServe) -> None:
        self._torchserve = torchserve

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
            request_id: by which the worker calls it, too.
            is_probe: it only asks whether there is an answer, and is not counted among those that drift is seen in.

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
        return Prediction.of(answer)

    async def probability(self, image: bytes) -> Prediction:
        """The crack probability of a photograph, a PNG of one channel. Raises RequestError as `predict` does."""
        prediction = await self.predict([image], Options(response=Response.PROBABILITY))
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
    """Whether our handler made this error, or TorchServe itself."""
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
            return _unavailable("The worker that had the photograph died, or was ended as it did not answer in time")
        case _:
            return RequestError(ErrorCode.PREDICTION_FAILED, f"The model server failed with status {status}. Send it again.")


def _unavailable(found: str, error: TorchServeError | None = None) -> RequestError:
    kind = f" ({type(error.__cause__ or error).__name__})" if error else ""
    return RequestError(ErrorCode.MODEL_UNAVAILABLE, f"{found}{kind}. Nothing was predicted. Send it again in some seconds.")
