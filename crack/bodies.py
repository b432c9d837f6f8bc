"""Limits the size of request bodies: of one request, and of all that are being received at once.

Added before the doors (`crack.doors`), so that they wrap it: an allowed page can read a refusal from here, and requests of
other pages never get this far. Left to others: how long a body may take (`crack.connections`), and its content.
"""

import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crack.doors import route_path
from crack.refusals import refusal

MEGABYTE = 1024**2
_LET_COME_BYTES = 2**20  # up to this size the unread rest of a body is still received: cheaper than a new connection


class Bodies:
    """ASGI middleware. A refused body is not read any further. If the answer is sent before the whole body has arrived, it
    closes the connection.

    Args:
        max_bytes: of one body, however it is sent.
        max_bytes_at_once: of all bodies that have been received and not answered yet.
        but: the path whose route limits its bodies itself, because it doesn't keep them in memory.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_bytes_at_once: int, but: str = "") -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_bytes_at_once = max_bytes_at_once
        self._but = but
        self._n_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, is_bounded = Headers(scope=scope), route_path(scope) != self._but
        n_left = math.inf if "transfer-encoding" in headers else int(headers.get("content-length") or 0)
        n_received, is_refused = 0, False

        async def send_closing(message: Message) -> None:
            if is_refused:
                return
            if message["type"] == "http.response.start" and n_left > _LET_COME_BYTES:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        async def receive_bounded() -> Message:
            nonlocal n_received, n_left, is_refused
            message = await receive()
            n_new = len(message.get("body", b""))
            n_left = n_left - n_new if message.get("more_body") else 0
            if is_bounded:
                n_received += n_new
                self._n_bytes += n_new
                refused = self._refusal(n_received, 0)
                if refused:
                    await refused(scope, receive, send)
                    is_refused = True
                    return {"type": "http.disconnect"}
            return message

        refused = self._refusal(0, n_left) if is_bounded and n_left < math.inf else None
        if refused:
            await refused(scope, receive, send)
            return
        try:
            await self._app(scope, receive_bounded, send_closing)
        except ClientDisconnect:
            if not is_refused:
                raise
        finally:
            self._n_bytes -= n_received

    def _refusal(self, n_received: int, n_coming: float) -> Response | None:
        """The answer to a body that is too large, or that arrives while the server is full."""
        if n_received + n_coming > self._max_bytes:
            return refusal(
                413,
                "image_too_large",
                f"The request is larger than {self._max_bytes / MEGABYTE:.0f} MB, the limit. "
                "Save the image as a JPEG or cut it into parts.",
            )
        if self._n_bytes + n_coming > self._max_bytes_at_once:
            return refusal(
                503,
                "server_busy",
                f"The server is already answering requests of {self._max_bytes_at_once / MEGABYTE:.0f} MB together, its limit. "
                "Nothing was predicted or saved. Send it again in some seconds.",
            )
        return None
