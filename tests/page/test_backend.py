"""The page's client, where what answers is no sidecar: one sentence for each failure."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gradio_app.backend import Backend, BackendError

ASKED = pytest.mark.parametrize(
    "ask",
    [lambda backend: backend.predict(b"a photograph"), Backend.model, lambda backend: backend.file("1", "image")],
    ids=["predict", "model", "file"],
)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[Backend]:
    """The client of a server that gives the same answer to everything."""

    class Same(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what counts."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Same) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Backend(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


@ASKED
def test_a_page_where_the_sidecar_should_be_is_told(ask: Callable[[Backend], Any]) -> None:
    with answering(200, b"<title>Log in</title>") as backend, pytest.raises(BackendError, match="BACKEND_URL must name"):
        ask(backend)


@ASKED
@pytest.mark.parametrize("body", [b"<h1>Bad gateway</h1>", b"[]", b'"down"', b"{}", b""])
def test_an_error_in_another_form_is_told_by_its_status(ask: Callable[[Backend], Any], body: bytes) -> None:
    with answering(502, body) as backend, pytest.raises(BackendError, match="answered with status 502"):
        ask(backend)
