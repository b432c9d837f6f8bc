"""What may stand between a client and a real server: a proxy that is busy, slow or older than what is behind it."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from model.inference.headers import OPTIONS, PROBE
from tests.ports import NOBODY
from tests.waiting import PATIENCE_S


class Front(ThreadingHTTPServer):
    """Refuses as often as it is told, holds back photographs once it has passed on so many, withholds headers, and
    doesn't know each `response`.

    It counts how often each photograph was asked about when it is: the sidecar's log has its line after the answer.
    The sidecar's probes, one every few seconds, pass.
    """

    daemon_threads = True

    def __init__(self, url: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Passing)
        self.upstream = urlsplit(url).netloc
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.refusals: deque[int] = deque()
        self.n_let_through = 10**9
        self.asked: Counter[bytes] = Counter()
        self.n_held = self.n_cut_off = 0
        self.may_go_on = threading.Event()
        self.withheld: set[str] = set()
        self.unknown: set[str] = set()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @contextmanager
    def holding(self, n_let_through: int) -> Iterator[None]:
        """Hold back what comes after so many photographs; at the end, all goes on."""
        self.may_go_on.clear()
        self.n_let_through, self.n_held = n_let_through, 0
        try:
            yield
        finally:
            self.n_let_through = 10**9
            self.may_go_on.set()

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Nothing is answered, as if no server were there."""
        upstream, self.upstream = self.upstream, urlsplit(NOBODY).netloc
        try:
            yield
        finally:
            self.upstream = upstream

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no fault here."""


class _Passing(BaseHTTPRequestHandler):
    server: Front

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        photograph, front = self.rfile.read(int(self.headers["Content-Length"])), self.server
        if PROBE in self.headers:
            self._pass_on(photograph)
            return
        with front.lock:
            front.asked[photograph] += 1
            status = front.refusals.popleft() if front.refusals else None
            is_held = status is None and front.n_let_through <= 0
            front.n_let_through -= status is None
            front.n_held += is_held
        if status is not None:
            self._answer(status, b'{"status": "error", "message": "busy"}', {"Retry-After": "1"})
            return
        if self.headers.get(OPTIONS["response"]) in front.unknown:
            self._answer(400, b'{"status": "error", "code": "parameter_invalid", "message": "expected another response"}', {})
            return
        if is_held:
            front.may_go_on.wait()
        self._pass_on(photograph)

    def _pass_on(self, body: bytes) -> None:
        connection = HTTPConnection(self.server.upstream, timeout=PATIENCE_S)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            withheld = {"content-length", *map(str.lower, self.server.withheld)}  # of which an answer may have one alone
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in withheld}
            self._answer(answer.status, answer.read(), headers)
        except OSError:
            with self.server.lock:
                self.server.n_cut_off += 1
        finally:
            connection.close()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest shows what counts."""
