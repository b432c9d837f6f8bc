"""What every request goes through: a limit on its body, one line in the log, its count and its seconds."""

import logging
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.inference.answer import error_body
from model.inference.errors import ErrorCode, RequestError
from sidecar.metrics import Metrics

logger = logging.getLogger("sidecar.requests")


class Envelope:
    """ASGI middleware around the whole application.

    Args:
        max_body_bytes: more than this is not read, however it is sent.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, n_received = time.perf_counter(), 0
        status, model_version, request_id = 500, "", str(uuid.uuid4())
        headers = Headers(scope=scope)

        async def receive_limited() -> Message:
            nonlocal n_received
            message = await receive()
            n_received += len(message.get("body", b""))
            if n_received > self._max_body_bytes:
                raise self._too_large()
            return message

        async def send_noted(message: Message) -> None:
            nonlocal status, model_version, request_id
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                status, model_version = message["status"], answered.get("x-crack-model-version", "")
                request_id = answered.setdefault("x-request-id", request_id)
                answered.setdefault("x-content-type-options", "nosniff")
            await send(message)

        try:
            if int(headers.get("content-length") or 0) > self._max_body_bytes:
                await _refuse(send_noted, self._too_large())
            else:
                await self._app(scope, receive_limited, send_noted)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route, model_version).observe(seconds)
            logger.info(
                "request id=%s method=%s route=%s code=%d ms=%.1f model=%s",
                request_id,
                scope["method"],
                route,
                status,
                1000 * seconds,
                model_version or "-",
            )

    def _too_large(self) -> RequestError:
        return RequestError(
            ErrorCode.IMAGE_TOO_LARGE,
            f"The request has more than the {self._max_body_bytes / 1024**2:.0f} MB that are accepted. "
            "Save the image as a JPEG or cut it into parts.",
        )


async def _refuse(send: Send, error: RequestError) -> None:
    body = error_body(error)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.code.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
