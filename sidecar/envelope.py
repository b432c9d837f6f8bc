"""What every request leaves behind: its count, its seconds and one line in the log."""

import logging
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.metrics import Metrics

logger = logging.getLogger("sidecar.requests")
# Prometheus and whoever watches over processes ask for these every few seconds: only bad news is worth a line.
_WATCHED = {"/metrics", "/ping", "/ready"}


class Envelope:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, model_version, request_id = 500, "", str(uuid.uuid4())

        async def send_noted(message: Message) -> None:
            nonlocal status, model_version, request_id
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                status, model_version = message["status"], answered.get("x-crack-model-version", "")
                request_id = answered.setdefault("x-request-id", request_id)
                answered.setdefault("x-content-type-options", "nosniff")
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route, model_version).observe(seconds)
            logger.log(
                logging.DEBUG if route in _WATCHED and status < 400 else logging.INFO,
                "request id=%s method=%s route=%s code=%d ms=%.1f model=%s",
                request_id,
                scope["method"],
                route,
                status,
                1000 * seconds,
                model_version or "-",
            )
