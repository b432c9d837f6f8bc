"""Whatever is wrong with a request, and wherever that is found: the sidecar's answer has one form."""

import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest
import requests

from model.inference.errors import ErrorCode
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

FRIEND = "https://friend.example"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    running = Sidecar(folder / "store", folder / "log", NOBODY, NOBODY, CRACK_ALLOWED_ORIGINS=FRIEND)
    yield running
    running.stop()


def send(sidecar: Sidecar, raw: bytes) -> tuple[int, str | None, bytes]:
    """Bytes as they are; the answer's status, media type and body."""
    where = urlsplit(sidecar.url)
    with socket.create_connection((where.hostname, where.port), timeout=PATIENCE_S) as connection:
        connection.sendall(raw)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.getheader("Content-Type"), answer.read()


def code(answer: requests.Response) -> ErrorCode:
    said = answer.json()
    assert answer.headers["Content-Type"] == "application/json"
    assert set(said) == {"status", "code", "message"}
    found = ErrorCode(said["code"])
    assert (said["status"], answer.status_code) == ("error", found.status)
    return found


@pytest.mark.parametrize(
    "raw",
    [
        b"good morning\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /ping HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /ping HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nfour\r\n",
    ],
    ids=["no HTTP", "TLS", "a space in a header's name", "no host", "no length", "a long head", "no chunk"],
)
def test_what_is_no_http_is_refused_in_our_form(sidecar: Sidecar, raw: bytes) -> None:
    status, kind, body = send(sidecar, raw)
    assert (status, kind) == (400, "application/json")
    assert b'{"status": "error", "code": "request_malformed", "message": "' in body


def test_a_wrong_method_is_told_which_are_right(sidecar: Sidecar) -> None:
    answer = requests.put(f"{sidecar.url}/predict", timeout=PATIENCE_S)
    assert code(answer) is ErrorCode.METHOD_NOT_ALLOWED
    assert answer.headers["Allow"] == "POST"
    assert "POST" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/no/such", {}, ErrorCode.NOT_FOUND),
        ("GET", "/static-offline-docs/no/such", {}, ErrorCode.NOT_FOUND),
        ("GET", "/feedback/none", {}, ErrorCode.NOT_FOUND),
        ("GET", "/feedback?limit=many", {}, ErrorCode.PARAMETER_INVALID),
        ("GET", "/feedback/none/picture", {}, ErrorCode.PARAMETER_INVALID),
        ("POST", "/predict", {}, ErrorCode.IMAGE_MISSING),
        ("POST", "/predict", {"Content-Length": str(10**9)}, ErrorCode.IMAGE_TOO_LARGE),
        ("POST", "/save-for-retrain", {"Content-Type": "multipart/form-data"}, ErrorCode.PARAMETER_INVALID),
        ("OPTIONS", "/predict", {}, ErrorCode.METHOD_NOT_ALLOWED),
        ("GET", "/ping", {"Host": "elsewhere.example"}, ErrorCode.HOST_REFUSED),
        ("GET", "/ping", {"Origin": "https://evil.example"}, ErrorCode.ORIGIN_REFUSED),
        ("GET", "/model", {}, ErrorCode.MODEL_UNAVAILABLE),
    ],
)
def test_each_refusal_has_the_form(
    sidecar: Sidecar, method: str, path: str, headers: dict[str, str], expected: ErrorCode
) -> None:
    answer = requests.request(method, sidecar.url + path, headers=headers, timeout=PATIENCE_S)
    assert code(answer) is expected
    assert ("Retry-After" in answer.headers) == (answer.status_code == 503)


@pytest.mark.parametrize("asked", [{"method": "PUT"}, {"method": "POST", "headers": "X-Own"}])
def test_a_browser_that_asks_for_too_much_beforehand_is_told_what_there_is(sidecar: Sidecar, asked: dict[str, str]) -> None:
    headers = {"Origin": FRIEND} | {f"Access-Control-Request-{name.title()}": value for name, value in asked.items()}
    answer = requests.options(f"{sidecar.url}/predict", headers=headers, timeout=PATIENCE_S)
    assert code(answer) is ErrorCode.PARAMETER_INVALID
    assert "expected GET, POST, DELETE, with Authorization, Content-Type, If-Match" in answer.json()["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND


def test_what_a_browser_may_ask_for_is_let_through(sidecar: Sidecar) -> None:
    headers = {"Origin": FRIEND, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert requests.options(f"{sidecar.url}/predict", headers=headers, timeout=PATIENCE_S).status_code == 200
