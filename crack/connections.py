"""Accepts connections for our servers: limits their number, and sets a deadline for everything that a client must send or
read.

uvicorn has no deadline for a request's head and body, or for reading an answer, and accepts connections until it runs out of
file descriptors. Left to others: the answers.
"""

import asyncio
import logging
import math
import resource
import time
from collections import Counter
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from crack.refusals import error_body, error_headers

logger = logging.getLogger("crack.connections")

HEAD_S = 10.0  # from the connection, or from the answer before, to the end of a request's head
GRACE_S = 20.0  # sending a body, or reading an answer, may take this much longer than at `LEAST_BYTES_PER_S`
LEAST_BYTES_PER_S = 8_000
LINGER_S = 1.0  # between the last byte of an answer and the end of a connection whose client still sends
SWEEP_S = 1.0
MAX_HEAD_BYTES = 64 * 1024  # the parser itself has no limit
CODES = {400: "request_malformed", 408: "request_incomplete", 503: "too_many_connections"}
LOG_S = 60.0


def serve(app: ASGIApp, host: str, port: int, *, stop_timeout_s: int) -> None:
    """Serve until a signal ends the process; requests that are then being answered get `stop_timeout_s` to finish."""
    n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = Connections(n_files // 2)
    uvicorn.run(
        cast(Any, app),  # starlette and uvicorn each have their own type for the same thing
        host=host,
        port=port,
        loop="uvloop",
        http=cast(Any, connections.protocol),
        ws="none",
        proxy_headers=False,  # crack.doors reads them: it knows which proxies to trust
        backlog=max(1, min(128, n_files // 8)),  # asyncio accepts this many at once, before `Connections` counts them
        workers=1,  # not WEB_CONCURRENCY, which some hosts set in every shell
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=stop_timeout_s,
    )


class Connections:
    """All connections of one server: at most `n_most`. When another one arrives, the connection that has been waiting longest
    for its head or body is closed, so a client that sends its request at once is answered, however many others are idle. If
    all of them are being answered, the new one gets 503.
    """

    def __init__(self, n_most: int) -> None:
        self._n_most = n_most
        self._open: set[Connection] = set()
        self._closed: Counter[str] = Counter()
        self._told_at = -math.inf
        self._telling: asyncio.TimerHandle | None = None

    def protocol(self, **given: Any) -> "Connection":
        """Make the protocol of a new connection; uvicorn calls this."""
        return Connection(self, **given)

    def add(self, connection: "Connection") -> None:
        if len(self._open) >= self._n_most:
            owing = [each for each in self._open if each.is_owing]
            if owing:
                min(owing, key=lambda each: each.since).end(503, "gave way to another one", "Too many connections are open.")
            else:
                connection.end(503, "came while all were being answered", "Too many connections are open.")
                return
        self._open.add(connection)

    def discard(self, connection: "Connection") -> None:
        self._open.discard(connection)

    def note(self, why: str) -> None:
        """Count a connection that was closed early; the log reports them in one line per minute."""
        self._closed[why] += 1
        if self._telling is None:
            delay_s = max(SWEEP_S, self._told_at + LOG_S - time.monotonic())
            self._telling = asyncio.get_running_loop().call_later(delay_s, self._tell)

    def _tell(self) -> None:
        self._telling, self._told_at = None, time.monotonic()
        told = ", ".join(f"{n} {why}" for why, n in self._closed.most_common())
        self._closed.clear()
        logger.warning("closed connections: %s; at most %d are open", told, self._n_most)


class _Closing:
    """A transport that closes so that a client which is still sending can read the answer.

    If received data were left unread, the kernel would reset the connection, and the answer could be lost. So this side ends
    its half of the connection first (RFC 9112, section 9.6), reads nothing more, and closes soon after.
    """

    def __init__(self, transport: asyncio.Transport, connection: "Connection") -> None:
        self._transport = transport
        self._connection = connection
        self._is_closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._is_closing:  # an answer to an earlier request can't be sent any more
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._connection.is_sending:
            self._transport.close()
            return
        self._is_closing = True
        self._transport.pause_reading()
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)


class Connection(HttpToolsProtocol):
    """One connection. `since` is when it began to wait for the client, by the monotonic clock; as a body arrives, it moves
    forward.
    """

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self._sweep: asyncio.TimerHandle | None = None
        self._n_unread = 0  # bytes that the parser keeps of a head, or of the trailer after a body's last chunk
        self._begin(0)

    def _begin(self, n_to_write: int) -> None:
        self.since, self._n_to_write = time.monotonic(), n_to_write

    @property
    def is_sending(self) -> bool:
        """Whether a request's body is incomplete, answered or not."""
        return self.cycle is not None and self.cycle.more_body

    @property
    def is_owing(self) -> bool:
        """Whether the client has not sent the whole of its next request."""
        return self._is_before_request or (not self.cycle.response_complete and self.cycle.more_body)

    @property
    def _is_before_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Closing(transport, self)))
        self._connections.add(self)
        self._sweep = self.loop.call_later(SWEEP_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sweep:
            self._sweep.cancel()
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_before_request = self._is_before_request
        self._n_unread += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._n_unread > MAX_HEAD_BYTES:
            self.end(400, "sent too long a head", f"The request's head is larger than {MAX_HEAD_BYTES // 1024} KB.")
        elif was_before_request and not self._is_before_request:
            self._begin(0)
        elif not self._is_before_request:  # a fast start must not allow a long pause later
            self.since = min(time.monotonic(), self.since + len(data) / LEAST_BYTES_PER_S)

    def _parse(self, data: bytes) -> None:
        """Parse, and decline an offer to switch protocols, such as Java's HttpClient sends with every request (`Upgrade: h2c`).
        The parser drops the body behind such an offer, so the head is parsed again without the offer.
        """
        rest = memoryview(data)
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                    return
                except httptools.HttpParserUpgrade as stopped:
                    if not self._is_offer():
                        return
                    rest = rest[stopped.args[0] :]
                    head = self._head_without_offer()
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                    self.parser.feed_data(head)
        except httptools.HttpParserError:
            self.send_400_response("")

    def _head_without_offer(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))

    def _is_offer(self) -> bool:
        """Whether the request offers to switch protocols. CONNECT doesn't, although the parser stops there, too."""
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def on_headers_complete(self) -> None:
        self._n_unread = 0
        if not self._is_offer():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._n_unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._n_unread = 0
        if not self._is_offer():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self.end(
            400, "sent no HTTP", "The data received is not an HTTP/1.1 request; for https, put a proxy in front of this server."
        )

    def on_response_complete(self) -> None:
        self._begin(0)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._begin(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._begin(0)

    def _look(self) -> None:
        """Close the connection when its time is over."""
        self._sweep = self.loop.call_later(SWEEP_S, self._look)
        waited_s = time.monotonic() - self.since
        if self._n_to_write:
            n_written = self._n_to_write - self.transport.get_write_buffer_size()
            if waited_s > GRACE_S + n_written / LEAST_BYTES_PER_S:
                self._connections.note("did not read the answer")
                self.transport.abort()
        elif self._is_before_request:
            if waited_s > HEAD_S:
                self.end(408, "sent no whole head in time", f"The request's head was not complete within {HEAD_S:.0f} s.")
        elif self.is_owing and not self.flow.read_paused and waited_s > GRACE_S:
            self.end(
                408,
                "sent no whole body in time",
                f"After {GRACE_S:.0f} s the request's body arrived at less than {LEAST_BYTES_PER_S // 1000} kB per second.",
            )

    def end(self, status: int, why: str, message: str) -> None:
        """Answer with an error if that is still possible, and close."""
        self._connections.discard(self)
        self._connections.note(why)
        if self.transport.is_closing():  # after an answer that nobody reads
            self.transport.abort()
            return
        if not self._is_before_request:
            self.cycle.disconnected = True  # the application's answer to this request can't be sent any more
            self.cycle.message_event.set()
        is_idle = self.cycle is not None and self.scope is self.cycle.scope and self.cycle.response_complete
        if not is_idle and (self._is_before_request or not self.cycle.response_started):
            body = error_body(CODES[status], f"{message} Send it again.")
            headers = {**error_headers(status), "content-length": str(len(body)), "connection": "close"}
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(STATUS_LINE[status] + f"{head}\r\n".encode() + body)
        self.transport.close()
