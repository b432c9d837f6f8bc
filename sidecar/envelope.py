"""Counts every request, measures its time and logs one line about it; and gives it an id: the client's, or a new one if that
is not a plain name. Routes find it in `request.state.request_id`.
"""

import logging
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.inference.headers import MODEL_VERSION, REQUEST_ID, REQUEST_ID_FORM
from sidecar.metrics import Metrics

logger = logging.getLogger("sidecar.requests")
# Prometheus and health checks ask for these every few seconds: only failures are worth a line.
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
        started, method = time.perf_counter(), scope["method"]
        if method == "HEAD":  # monitoring tools send it; uvicorn leaves out the answer's body
            scope = {**scope, "method": "GET"}
        asked_id = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = asked_id if REQUEST_ID_FORM.fullmatch(asked_id) else str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        status, model_version = 500, ""

        async def send_noted(message: Message) -> None:
            nonlocal status, model_version, request_id
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                status, model_version = message["status"], answered.get(MODEL_VERSION, "")
                request_id = answered.setdefault(REQUEST_ID, request_id)
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
                method,
                route,
                status,
                1000 * seconds,
                model_version or "-",
            )
