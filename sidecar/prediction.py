"""TorchServe's answer to a photograph, as the sidecar's clients get it."""

from dataclasses import dataclass
from typing import Self

from crack.torchserve import Answer
from model.inference import headers


@dataclass(frozen=True)
class Prediction:
    """What TorchServe answered: a mask, or an error in the client's form. `headers`: those that clients get."""

    status: int
    body: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, answer: Answer) -> Self:
        passed_on = {name: answer.headers[name] for name in ("Content-Type", *headers.ANSWER) if name in answer.headers}
        # An older archive, which doesn't know the sidecar's id, answers with TorchServe's, also in its JSON.
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
        """0..1; None from an older archive, whose answers lack it."""
        score = self.headers.get(headers.SCORE)
        return None if score is None else float(score)

    @property
    def request_id(self) -> str:
        return self.headers.get(headers.REQUEST_ID, "")
