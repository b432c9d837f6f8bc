"""The page's client of the sidecar: one method per route, and one sentence for each failure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from crack.neighbours import session
from model.inference import headers

CONNECT_TIMEOUT_S = 3
ANSWER_TIMEOUT_S = 600
RETRY_AFTER_S = 2.0  # where the server doesn't say
BUSY = (429, 503)
MOST_LISTED = 500


class BackendError(Exception):
    """The message is a sentence for the person who uses the page. `retry_after_s`: when to ask again, if the sidecar was only
    busy; `status`: the HTTP status of its answer, if there was one.
    """

    def __init__(self, message: str, retry_after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status


@dataclass(frozen=True)
class Prediction:
    """A photograph's crack probability, a PNG of its upright size, and what belongs to it."""

    probability_png: bytes
    threshold: float
    crack_ratio: float
    model_version: str
    request_id: str
    crack_score: float | None
    """How sure the model is that there is a crack at all, 0..1; None from an older archive, whose answers lack it."""


class Backend:
    """Asks the sidecar at `url`; `key` returns the API key or the token of the current person, None if there is neither."""

    def __init__(self, url: str, key: Callable[[], str | None] = lambda: None) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._session = session()
        self._session.auth = self._sign

    def predict(self, image: bytes, quality: str = "normal") -> Prediction:
        answer = self._ask("POST", "/predict", files={"image": image}, data={"response": "probability", "quality": quality})
        score = answer.headers.get(headers.SCORE)
        return Prediction(
            answer.content,
            float(answer.headers[headers.THRESHOLD]),
            float(answer.headers[headers.RATIO]),
            answer.headers[headers.MODEL_VERSION],
            answer.headers[headers.REQUEST_ID],
            None if score is None else float(score),
        )

    def save(self, image: bytes, name: str, mask_png: bytes | None, **fields: str | None) -> dict[str, Any]:
        files = {"image": (name, image)} | ({"mask": ("mask.png", mask_png)} if mask_png else {})
        return self._json("POST", "/save-for-retrain", files=files, data={k: v for k, v in fields.items() if v})

    def feedback(self, *states: str) -> dict[str, Any]:
        """Photographs in these states; without any, those that wait for a reviewer, complaints without a mask first."""
        return self._json("GET", "/feedback", params={"state": states, "limit": MOST_LISTED})

    def file(self, item_id: str, part: str) -> bytes:
        return self._ask("GET", f"/feedback/{item_id}/{part}").content

    def item(self, item_id: str) -> dict[str, Any]:
        return self._json("GET", f"/feedback/{item_id}")

    def review(self, item_id: str, etag: str, decision: str, mask_png: bytes | None = None) -> dict[str, Any]:
        """`etag` is that of the item as the reviewer saw it: if it has changed since, the sidecar refuses."""
        files = {"mask": mask_png} if mask_png else {"decision": (None, decision)}
        seen = {"If-Match": etag}
        return self._json("POST", f"/feedback/{item_id}/review", files=files, data={"decision": decision}, headers=seen)

    def model(self) -> dict[str, Any]:
        return self._json("GET", "/model")

    def retraining(self) -> dict[str, Any]:
        return self._json("GET", "/retrain")

    def ask_for_retraining(self) -> dict[str, Any]:
        return self._json("POST", "/retrain")

    def inspections(self) -> dict[str, Any]:
        return self._json("GET", "/inspections", params={"limit": MOST_LISTED})

    def inspection(self, inspection_id: str) -> dict[str, Any]:
        return self._json("GET", f"/inspections/{inspection_id}")

    def save_inspection(self, inspection_id: str | None, fields: dict[str, str]) -> dict[str, Any]:
        """Change an inspection; without an id, begin a new one."""
        return self._json("POST", f"/inspections/{inspection_id}" if inspection_id else "/inspections", data=fields)

    def delete_inspection(self, inspection_id: str) -> dict[str, Any]:
        return self._json("DELETE", f"/inspections/{inspection_id}")

    def report(self, inspection_id: str, form: str) -> bytes:
        return self._ask("GET", f"/inspections/{inspection_id}/report", params={"format": form}).content

    def photographs(self, inspection_id: str) -> list[dict[str, Any]]:
        """All photographs of an inspection, without their cracks."""
        found: list[dict[str, Any]] = []
        while True:
            page = {"limit": MOST_LISTED, "offset": len(found)}
            some = self._json("GET", f"/inspections/{inspection_id}/photographs", params=page)["items"]
            found += some
            if len(some) < MOST_LISTED:
                return found

    def add_photograph(self, inspection_id: str, image: bytes, name: str, quality: str) -> dict[str, Any]:
        files, data = {"image": (name, image)}, {"quality": quality}
        return self._json("POST", f"/inspections/{inspection_id}/photographs", files=files, data=data)

    def photograph(self, inspection_id: str, photograph_id: str) -> dict[str, Any]:
        return self._json("GET", f"/inspections/{inspection_id}/photographs/{photograph_id}")

    def part(self, inspection_id: str, photograph_id: str, part: str) -> bytes:
        """A photograph's file: `image`, `levels` or `mask`."""
        return self._ask("GET", f"/inspections/{inspection_id}/photographs/{photograph_id}/{part}").content

    def change_photograph(
        self, inspection_id: str, photograph_id: str, etag: str, fields: dict[str, str], mask_png: bytes | None
    ) -> dict[str, Any]:
        """`etag` is that of the photograph as the person saw it: if it has changed since, the sidecar refuses."""
        files: dict[str, Any] = {name: (None, text) for name, text in fields.items()}
        files |= {"mask": ("mask.png", mask_png)} if mask_png else {}
        route = f"/inspections/{inspection_id}/photographs/{photograph_id}"
        return self._json("POST", route, files=files, headers={"If-Match": etag})

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if key := self.key():
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    def _json(self, method: str, route: str, **request: Any) -> dict[str, Any]:
        return dict(self._ask(method, route, **request).json())

    def _ask(self, method: str, route: str, **request: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self.url + route, timeout=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S), **request)
        except requests.RequestException as error:
            raise BackendError(
                f"The server at {self.url} does not answer. Is it running? Try again, or ask whoever runs it."
            ) from error
        if answer.ok and headers.REQUEST_ID in answer.headers:
            return answer
        if answer.ok:
            raise BackendError(f"The server at {self.url} answers, but not as a sidecar does. BACKEND_URL must name a sidecar.")
        try:
            message = str(answer.json()["message"])
        except (requests.JSONDecodeError, KeyError, TypeError):
            message = f"The server answered with status {answer.status_code}."
        wait = answer.headers.get("Retry-After", "")
        is_busy = answer.status_code in BUSY
        wait_s = (float(wait) if wait.isdecimal() else RETRY_AFTER_S) if is_busy else None
        raise BackendError(message, wait_s, answer.status_code)
