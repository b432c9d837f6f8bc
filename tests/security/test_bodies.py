"""Bodies that are too large, too many at once or in vain: refused before they were read, and the client can tell why."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from model.inference.errors import ErrorCode
from model.inference.photograph import MEGABYTE
from tests.pages import ServedPage
from tests.photographs import noise, png
from tests.ports import NOBODY
from tests.security.test_connections import all_received, connect
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S, eventually

N_SENT = 250 * MEGABYTE
ON_ITS_WAY = 16 * MEGABYTE  # in the buffers of both sides
PART = b"x" * 65536
FRIEND, EVIL = "https://friend.example", "https://evil.example"
FORM = b'--B\r\nContent-Disposition: form-data; name="%s"; filename="wall.jpg"\r\n\r\n'
SMALL, LARGE = png(noise(32, 32)), bytes(30 * MEGABYTE)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    running = Sidecar(folder / "store", folder / "log", CRACK_BUSY_MEGABYTES="60", CRACK_ALLOWED_ORIGINS=FRIEND)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    running = ServedPage(tmp_path_factory.mktemp("page") / "log", BACKEND_URL=NOBODY, CRACK_ALLOWED_ORIGINS=FRIEND)
    yield running
    running.stop()


@pytest.fixture(params=[("sidecar", "/predict"), ("page", "/gradio_api/queue/join")], ids=["sidecar", "page"])
def door(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Its URL, and a path that takes bodies."""
    name, path = request.param
    return str(request.getfixturevalue(name).url), path


def head(path: str, kind: str, length: int | None, more: str = "") -> bytes:
    how = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n{how}\r\n{more}\r\n".encode()


def swallowed(url: str, path: str, kind: str, start: bytes, *, is_chunked: bool) -> tuple[int, bytes]:
    """How much of a body of 250 MB that begins with `start` is taken, and what is answered."""
    n_taken = 0
    with connect(url, head(path, kind, None if is_chunked else N_SENT)) as connection:
        with contextlib.suppress(BrokenPipeError):  # not ConnectionResetError: that would make clients throw the answer away
            while n_taken < N_SENT:
                part = start + PART[len(start) :]
                connection.sendall(b"10000\r\n%s\r\n" % part if is_chunked else part)
                n_taken, start = n_taken + len(part), b""
        return n_taken, all_received(connection)


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        ("/predict", "image/jpeg", b""),
        ("/predict", "multipart/form-data; boundary=B", FORM % b"image"),
        ("/save-for-retrain", "multipart/form-data; boundary=B", FORM % b"image"),
    ],
    ids=["body", "form", "feedback"],
)
def test_the_sidecar_takes_no_more_of_a_body_than_it_may_have(
    sidecar: Sidecar, path: str, kind: str, start: bytes, is_chunked: bool
) -> None:
    n_taken, answer = swallowed(sidecar.url, path, kind, start, is_chunked=is_chunked)
    assert n_taken < ON_ITS_WAY + (52 * MEGABYTE if is_chunked else 0)
    assert answer.startswith(b"HTTP/1.1 413")
    assert ErrorCode.IMAGE_TOO_LARGE.value.encode() in answer


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize(
    ("path", "kind", "start", "most"),
    [
        ("/gradio_api/queue/join", "application/json", b'{"data": ["', 8 * MEGABYTE),
        ("/gradio_api/upload", "multipart/form-data; boundary=B", FORM % b"files", 50 * MEGABYTE),
    ],
    ids=["JSON", "upload"],
)
def test_the_page_takes_no_more_of_a_body_than_it_may_have(
    page: ServedPage, path: str, kind: str, start: bytes, most: int, is_chunked: bool
) -> None:
    n_taken, answer = swallowed(page.url, path, kind, start, is_chunked=is_chunked)
    assert n_taken < ON_ITS_WAY + most
    assert answer.startswith(b"HTTP/1.1 413")


def answer_to_a_page(door: tuple[str, str], origin: str) -> str:
    """What a page of another site gets for the head of a body of 250 MB, in small letters."""
    url, path = door
    with connect(url, head(path, "application/json", N_SENT, f"Origin: {origin}\r\n")) as connection:
        return all_received(connection).decode().lower()


def test_a_page_that_is_allowed_can_read_that_its_body_is_too_large(door: tuple[str, str]) -> None:
    answer = answer_to_a_page(door, FRIEND)
    assert answer.startswith("http/1.1 413")
    assert f"access-control-allow-origin: {FRIEND}\r\n" in answer


def test_a_page_of_another_site_is_refused_before_its_body_is_looked_at(door: tuple[str, str]) -> None:
    answer = answer_to_a_page(door, EVIL)
    assert answer.startswith("http/1.1 403")
    assert "access-control-allow-origin" not in answer


def test_of_a_body_that_nobody_asked_for_little_is_taken(sidecar: Sidecar) -> None:
    n_taken, answer = swallowed(sidecar.url, "/nowhere", "image/jpeg", b"", is_chunked=True)
    assert n_taken < ON_ITS_WAY
    assert answer.startswith(b"HTTP/1.1 404")


def test_bodies_past_what_may_be_under_way_come_again_later_and_small_ones_are_taken(sidecar: Sidecar) -> None:
    with connect(sidecar.url, head("/predict", "image/jpeg", 45 * MEGABYTE)) as held:
        held.sendall(bytes(40 * MEGABYTE))
        busy = eventually(lambda: [answer for answer in [predict(sidecar, LARGE)] if is_busy(answer)])[0]
        assert (busy.status_code, int(busy.headers["Retry-After"]) > 0) == (503, True)
        assert predict(sidecar, SMALL).json()["code"] == "model_unavailable"  # it was read, and there is no TorchServe
    eventually(lambda: not is_busy(predict(sidecar, LARGE)))


def predict(sidecar: Sidecar, body: bytes) -> requests.Response:
    return requests.post(f"{sidecar.url}/predict", data=body, timeout=PATIENCE_S)


def is_busy(answer: requests.Response) -> bool:
    return ErrorCode(answer.json()["code"]) is ErrorCode.SERVER_BUSY


def test_bodies_that_stop_coming_do_not_stay_for_what_came_before(sidecar: Sidecar) -> None:
    """By its rate alone, 40 MB at once would have been a reason to wait for more than an hour."""
    with connect(sidecar.url, head("/predict", "image/jpeg", 45 * MEGABYTE)) as held:
        held.sendall(bytes(40 * MEGABYTE))
        assert all_received(held).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("fields", ["threshold=7", "response=poem", "quality=best", "mm_per_px=-1"])
def test_what_fields_forbid_is_not_predicted(sidecar: Sidecar, fields: str) -> None:
    answer = requests.post(f"{sidecar.url}/predict?{fields}", data=SMALL, timeout=PATIENCE_S)
    assert answer.json()["code"] == "parameter_invalid"  # not model_unavailable: TorchServe was not asked


@pytest.mark.parametrize("name", ["CRACK_BUSY_MEGABYTES", "CRACK_BUSY_MEGAPIXELS"])
def test_less_at_once_than_one_may_have_is_named_at_the_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(f"{name}=10: expected CRACK_MAX_")):
        Sidecar(tmp_path / "store", tmp_path / "log", **{name: "10"})
