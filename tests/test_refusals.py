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


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    running = Sidecar(folder / "store", folder / "log", CRACK_ALLOWED_ORIGINS=FRIEND)
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
    ("address", "methods"),
    [
        ("/retrain", "DELETE, GET, HEAD, POST"),
        ("/inspections", "GET, HEAD, POST"),
        ("/inspections/x/photographs/y", "DELETE, GET, HEAD, POST"),
        ("/feedback/x", "DELETE, GET, HEAD"),
    ],
)
def test_all_methods_of_an_address_are_told_whichever_routes_take_them(sidecar: Sidecar, address: str, methods: str) -> None:
    answer = requests.patch(f"{sidecar.url}{address}", timeout=PATIENCE_S)
    assert (answer.status_code, answer.headers["Allow"]) == (405, methods)
    assert f"takes {methods}." in answer.json()["message"]


def test_a_wrong_value_is_told_once_by_the_name_of_its_field(sidecar: Sidecar) -> None:
    told = requests.get(f"{sidecar.url}/feedback?state=noted&state=seen", timeout=PATIENCE_S).json()["message"]
    assert told.startswith("state='seen': ")
    begun = requests.post(f"{sidecar.url}/inspections", data={"name": "A", "date": "01.05.2026"}, timeout=PATIENCE_S)
    assert begun.json()["message"].count("01.05.2026") == 1


def test_a_client_that_sends_fields_as_json_is_told_to_send_a_form(sidecar: Sidecar) -> None:
    answer = requests.post(f"{sidecar.url}/inspections", json={"name": "Spring 2026"}, timeout=PATIENCE_S)
    assert code(answer) is ErrorCode.PARAMETER_INVALID
    assert "send the fields as a form" in answer.json()["message"]


def test_what_can_be_read_can_be_asked_for_by_head(sidecar: Sidecar) -> None:
    answer = requests.head(f"{sidecar.url}/ping", timeout=PATIENCE_S)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(requests.get(f"{sidecar.url}/ping", timeout=PATIENCE_S).content))


FORM = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nx\r\n',
    b"--B--\r\n",
)
MULTIPART = {"Content-Type": "multipart/form-data; boundary=B"}
TOLD = {
    "a part of another name": (b"".join(FORM), MULTIPART, "holds 'file', but no image"),
    "two files": (FORM[0] * 2 + FORM[1], MULTIPART, "expected 1 at most, and 'file' is one more"),
    "a form that was cut short": (FORM[0], MULTIPART, "its last part has no end"),
    "another boundary": (b"".join(FORM), {"Content-Type": "multipart/form-data; boundary=C"}, "expected the boundary"),
    "no boundary": (b"".join(FORM), {"Content-Type": "multipart/form-data"}, "Let the client write that header itself"),
    "a form that is not called one": (b"".join(FORM), {}, "The body is a form, but its Content-Type does not say so"),
    "what curl's -d makes of a file": (b"\xff\xd8\xff" * 400, {"Content-Type": "application/x-www-form-urlencoded"}, "send -F"),
    "a packed body": (b"\x1f\x8b" * 400, {"Content-Encoding": "gzip"}, "Its Content-Encoding is 'gzip'"),
    "a packed form": (b"\x1f\x8b" * 400, {"Content-Encoding": "gzip", **MULTIPART}, "Its Content-Encoding is 'gzip'"),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_client_that_sends_a_photograph_otherwise_is_told_how(sidecar: Sidecar, name: str) -> None:
    body, headers, sentence = TOLD[name]
    answer = requests.post(f"{sidecar.url}/predict", data=body, headers=headers, timeout=PATIENCE_S)
    assert code(answer).status == 400
    assert sentence in answer.json()["message"]


MISSPELT = {
    "/predict": "mm_per_pix",
    "/predict?treshold=0.5": "treshold",
    "/save-for-retrain": "Verdict",
    "/feedback/none/review": "reasons",
    "/inspections": "structur",
    "/inspections/none": "Element",
}


@pytest.mark.parametrize("address", MISSPELT)
def test_a_field_with_a_misspelt_name_is_not_passed_over(sidecar: Sidecar, address: str) -> None:
    fields = {} if "?" in address else {MISSPELT[address]: (None, "0.5")}
    form = {"image" if address.startswith(("/predict", "/save")) else "name": ("wall.jpg", b"x"), **fields}
    answer = requests.post(sidecar.url + address, files=form, headers={"If-Match": '"1"'}, timeout=PATIENCE_S)
    assert code(answer) is ErrorCode.PARAMETER_INVALID
    assert f"There is no field '{MISSPELT[address]}'" in answer.json()["message"]


def test_a_misspelt_filter_of_a_list_is_not_passed_over_but_others_are(sidecar: Sidecar) -> None:
    answer = requests.get(f"{sidecar.url}/feedback", {"limits": 5}, timeout=PATIENCE_S)
    assert code(answer) is ErrorCode.PARAMETER_INVALID
    assert requests.get(f"{sidecar.url}/feedback", {"session": 5}, timeout=PATIENCE_S).ok


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


def test_a_browser_that_asks_for_too_much_beforehand_is_told_what_there_is(sidecar: Sidecar) -> None:
    headers = {"Origin": FRIEND, "Access-Control-Request-Method": "PUT"}
    answer = requests.options(f"{sidecar.url}/predict", headers=headers, timeout=PATIENCE_S)
    assert code(answer) is ErrorCode.PARAMETER_INVALID
    assert "expected GET, HEAD, POST, DELETE." in answer.json()["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND


def test_what_a_browser_may_ask_for_is_let_through(sidecar: Sidecar) -> None:
    asked = {"Method": "POST", "Headers": "authorization,x-request-id,x-requested-with,traceparent", "Private-Network": "true"}
    headers = {"Origin": FRIEND} | {f"Access-Control-Request-{name}": value for name, value in asked.items()}
    answer = requests.options(f"{sidecar.url}/predict", headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Headers"] == asked["Headers"]
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


def test_a_long_value_is_not_repeated_whole_and_the_advice_stays(sidecar: Sidecar) -> None:
    long = "a" * 20_000
    for answer in (
        requests.get(f"{sidecar.url}/feedback/{long}", timeout=PATIENCE_S),
        requests.get(f"{sidecar.url}/feedback", params={"limit": long}, timeout=PATIENCE_S),
    ):
        message = answer.json()["message"]
        assert answer.status_code >= 400
        assert len(message) < 1100
        assert message.endswith(("GET /feedback lists what there is.", "See /docs."))
