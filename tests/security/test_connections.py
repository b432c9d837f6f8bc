"""Clients that connect and then send or read nothing: both doors answer everybody else, and close those in the end."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from crack.connections import LOG_S
from model.inference.errors import ErrorCode
from tests.pages import ServedPage
from tests.ports import NOBODY
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S, eventually

N_FILES = 128  # that a door may have open
N_SLOW = 200
HALF = {
    "nothing": b"",
    "half a head": b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    "half a body": b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\nabc",
}


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    running = Sidecar(folder / "store", folder / "log", n_files=N_FILES)
    yield running
    running.stop()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[ServedPage]:
    running = ServedPage(tmp_path / "log", n_files=N_FILES, BACKEND_URL=NOBODY)
    yield running
    running.stop()


def connect(url: str, sent: bytes) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)
    connection.sendall(sent)
    return connection


def all_received(connection: socket.socket) -> bytes:
    """Until the other side closes."""
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def check_that_nobody_is_stopped(door: Sidecar | ServedPage, sent: bytes) -> None:
    """By more slow clients than the door has files; and that its log grows by a line for each of them at most."""
    n_logged = door.log_path.stat().st_size
    with contextlib.ExitStack() as slow:
        for number in range(N_SLOW):
            slow.enter_context(connect(door.url, sent))
            if number % 20 == 0:
                assert requests.get(door.url, timeout=PATIENCE_S).status_code < 500
    assert door.log_path.stat().st_size - n_logged < 1000 * N_SLOW


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF.keys())
def test_more_slow_clients_than_the_sidecar_has_files_stop_nobody(sidecar: Sidecar, sent: bytes) -> None:
    check_that_nobody_is_stopped(sidecar, sent)


def test_more_slow_clients_than_the_page_has_files_stop_nobody(page: ServedPage) -> None:
    check_that_nobody_is_stopped(page, HALF["half a head"])


def test_one_line_a_minute_tells_of_the_connections_that_were_closed(sidecar: Sidecar) -> None:
    begun, n_logged = time.monotonic(), sidecar.log_path.stat().st_size
    check_that_nobody_is_stopped(sidecar, HALF["half a head"])
    told = eventually(lambda: re.findall(r"closed connections: .*gave way", sidecar.log_path.read_text()[n_logged:]))
    assert len(told) <= 1 + (time.monotonic() - begun) / LOG_S


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
        b"GET /ping?",
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
    ids=["header", "address", "trailer"],
)
def test_a_head_without_an_end_is_not_kept(sidecar: Sidecar, sent: bytes) -> None:
    n_sent, part = 0, b"x" * 65536
    with connect(sidecar.url, sent) as connection, contextlib.suppress(ConnectionError):
        while n_sent < 2**28:
            connection.sendall(part)
            n_sent += len(part)
    assert n_sent < 2**24  # what is on its way


def test_requests_that_come_together_are_answered_in_turn(sidecar: Sidecar) -> None:
    ask = b"GET /%s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
    with connect(
        sidecar.url, ask % (b"ping", b"") + ask % (b"nowhere", b"") + ask % (b"ping", b"Connection: close\r\n")
    ) as asked:
        assert re.findall(rb"HTTP/1.1 (\d+)", all_received(asked)) == [b"200", b"404", b"200"]


def test_an_offer_of_another_protocol_is_declined_and_its_body_read(sidecar: Sidecar) -> None:
    """As Java's HttpClient sends each request."""
    offer = b"Host: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    post = b"POST /feedback/none/review HTTP/1.1\r\nIf-Match: x\r\nContent-Type: application/x-www-form-urlencoded\r\n" + offer
    asked = [
        post + b"Content-Length: 14\r\n\r\ndecision=maybe",
        post + b"Transfer-Encoding: chunked\r\n\r\ne\r\ndecision=maybe\r\n0\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n" + offer + b"\r\n",
        b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    ]
    for n_at_once in (10**6, 7):  # in one piece, and in small ones
        with connect(sidecar.url, b"") as connection:
            sent = b"".join(asked)
            for start in range(0, len(sent), n_at_once):
                connection.sendall(sent[start : start + n_at_once])
            received = all_received(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"400", b"400", b"200", b"200"]
        assert received.count(b"decision='maybe'") == 2


def test_a_flood_of_such_offers_is_answered(sidecar: Sidecar) -> None:
    ask = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
    offers = ask % b"Connection: upgrade\r\nUpgrade: x\r\n" * 1100
    with connect(sidecar.url, offers + ask % b"Connection: close\r\n") as connection:
        assert all_received(connection).count(b"HTTP/1.1 200") == 1101


@pytest.fixture(scope="module")
def answers(sidecar: Sidecar) -> dict[str, bytes]:
    """What comes back to halves of a request, and to a body that takes longer than a small one may, but keeps coming."""
    n_parts, part = 23, b"x" * 16_000
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {n_parts * len(part)}\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        slow = {name: stack.enter_context(connect(sidecar.url, sent)) for name, sent in HALF.items()}
        slow["a steady body"] = stack.enter_context(connect(sidecar.url, head.encode()))
        for _ in range(n_parts):
            slow["a steady body"].sendall(part)
            time.sleep(1)
        return {name: all_received(connection) for name, connection in slow.items()}


@pytest.mark.parametrize("name", ["half a head", "half a body"])
def test_who_sends_half_a_request_is_told_so(answers: dict[str, bytes], name: str) -> None:
    head, _, body = answers[name].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert ErrorCode(json.loads(body)["code"]) is ErrorCode.REQUEST_INCOMPLETE


def test_a_large_body_may_take_longer_than_a_small_one(answers: dict[str, bytes]) -> None:
    assert b"model_unavailable" in answers["a steady body"]  # it was read to its end, and passed on to nobody
