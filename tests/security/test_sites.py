"""Pages of other sites and names that aren't ours: neither door does anything for them, nor lets them read anything."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium import webdriver

from crack.doors import Doors
from model.inference.errors import ErrorCode
from model.synthetic import draw_surface
from tests.pages import ServedPage
from tests.photographs import png
from tests.ports import NOBODY
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

PUBLIC, FRIEND, EVIL = "https://cracks.example", "https://friend.example", "https://evil.example"
BY_OTHER_SITES = {
    "its origin": {"Origin": EVIL},
    "no origin that it tells": {"Origin": "null"},
    "ours but for the port": {"Origin": "http://127.0.0.1:1"},
    "no origin, cross-site": {"Sec-Fetch-Site": "cross-site"},
    "no origin, same-site": {"Sec-Fetch-Site": "same-site"},
    "in its frame": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
}
API = "/gradio_api"
POSTS_OF_THE_PAGE = (
    *(f"{API}/component_server", f"{API}/upload", f"{API}/queue/join", f"{API}/run/retrain", f"{API}/api/retrain"),
    *(f"{API}/call/retrain", f"{API}/call/v2/retrain", f"{API}/cancel", f"{API}/reset", f"{API}/stream/x"),
    *(f"{API}/process_recording", "/login", "/no/such/address"),
)
PHOTOGRAPH = png(draw_surface(seed=5, size_hw=(64, 96)).image_hwc_u8)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    settings = {"CRACK_PUBLIC_URL": PUBLIC, "CRACK_ALLOWED_ORIGINS": FRIEND}
    running = Sidecar(folder / "store", folder / "log", **settings)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def page(sidecar: Sidecar, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    settings = {"CRACK_PUBLIC_URL": PUBLIC, "CRACK_ALLOWED_ORIGINS": FRIEND, "BACKEND_URL": sidecar.url}
    running = ServedPage(tmp_path_factory.mktemp("page") / "log", **settings)
    yield running
    running.stop()


@pytest.fixture(params=["sidecar", "page"])
def door(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param).url)


def ask(url: str, method: str = "GET", **headers: str) -> requests.Response:
    return requests.request(method, url, headers=headers, timeout=PATIENCE_S)


def code(answer: requests.Response) -> ErrorCode:
    found = ErrorCode(answer.json()["code"])
    assert answer.status_code == found.status
    return found


@pytest.mark.parametrize("headers", BY_OTHER_SITES.values(), ids=BY_OTHER_SITES.keys())
def test_no_post_of_the_page_is_answered_for_another_site(page: ServedPage, headers: dict[str, str]) -> None:
    for path in POSTS_OF_THE_PAGE:
        assert code(ask(page.url + path, "POST", **headers)) is ErrorCode.ORIGIN_REFUSED, path


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("headers", BY_OTHER_SITES.values(), ids=BY_OTHER_SITES.keys())
def test_another_site_is_answered_nothing(door: str, method: str, headers: dict[str, str]) -> None:
    answer = ask(door, method, **headers)
    assert code(answer) is ErrorCode.ORIGIN_REFUSED
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_a_link_on_another_site_may_lead_here(door: str) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(f"{door}/docs", **link).status_code in (200, 404)  # the page has none
    assert code(ask(door, "POST", **link)) is ErrorCode.ORIGIN_REFUSED


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8500", "127.0.0.1.evil.example", "evil@127.0.0.1", "", "[::1"])
def test_under_a_name_that_is_not_ours_nothing_is_answered(door: str, host: str) -> None:
    assert code(ask(door, Host=host)) is ErrorCode.HOST_REFUSED
    assert code(ask(door, "POST", Host=host, Origin=f"http://{host}")) is ErrorCode.HOST_REFUSED


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:8500", "[::1]:8500", "192.168.7.7", "cracks.example", "Cracks.Example:443"]
)
def test_addresses_and_names_of_ours_are_answered(door: str, host: str) -> None:
    assert ask(f"{door}/ping", "HEAD", Host=host).status_code in (200, 404, 405)


def test_no_site_may_show_the_page_in_a_frame(door: str) -> None:
    assert ask(door).headers["Content-Security-Policy"] == "frame-ancestors 'self'"


def test_the_public_address_is_ours_behind_a_proxy_that_keeps_no_host(door: str) -> None:
    assert ask(door, "POST", Origin=PUBLIC).status_code != 403
    assert code(ask(door, "POST", Origin=PUBLIC.replace("https", "http"))) is ErrorCode.ORIGIN_REFUSED


def test_a_site_that_is_allowed_may_read_and_send(door: str) -> None:
    answer = ask(door, "POST", Origin=FRIEND, **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code != 403
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND


def test_what_a_stranger_says_about_a_proxy_is_not_believed(page: ServedPage) -> None:
    told = ask(f"{page.url}/config", **{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}).json()
    assert told["root"] == page.url


def test_what_a_trusted_proxy_was_asked_is_what_the_page_calls_itself(tmp_path: Path) -> None:
    page = ServedPage(
        tmp_path / "log", CRACK_PUBLIC_URL=PUBLIC, CRACK_TRUSTED_PROXIES="10.0.0.0/8, 127.0.0.1", BACKEND_URL=NOBODY
    )
    try:
        forwarded = {"X-Forwarded-Host": "cracks.example", "X-Forwarded-Proto": "https"}
        assert ask(f"{page.url}/config", **forwarded).json()["root"] == PUBLIC
        assert code(ask(f"{page.url}/config", **forwarded | {"X-Forwarded-Host": "evil.example"})) is ErrorCode.HOST_REFUSED
    finally:
        page.stop()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CRACK_PUBLIC_URL", "cracks.example"),
        ("CRACK_PUBLIC_URL", "https://cracks.example/page"),
        ("CRACK_ALLOWED_ORIGINS", "*"),
        ("CRACK_TRUSTED_PROXIES", "proxy"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}='.*expected"):
        Doors.from_environment({variable: value})


@pytest.fixture(params=["127.0.0.1", "localhost"], ids=["another port", "another site"])
def other_site(request: pytest.FixtureRequest, browser: webdriver.Chrome, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Chromium with a page of somebody else's open."""
    (tmp_path / "index.html").write_text("<title>elsewhere</title>")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://{request.param}:{server.server_port}/index.html")
        yield browser
        server.shutdown()


SEND = """
const [url, body, done] = arguments;
fetch(url, {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body}).then(() => done("sent"), done);
"""
UPLOAD = """
const [url, done] = arguments, form = new FormData();
form.append("files", new Blob(["<h1>mine</h1>"]), "mine.html");
fetch(url, {method: "POST", mode: "no-cors", body: form}).then(() => done("sent"), done);
"""
READ = """
const [url, done] = arguments;
fetch(url).then((answer) => answer.text()).then(done, (error) => done("blocked"));
"""


def test_another_site_accepts_no_label_through_the_page(
    other_site: webdriver.Chrome, sidecar: Sidecar, page: ServedPage
) -> None:
    files = {"image": PHOTOGRAPH, "verdict": (None, "no_crack")}
    saved = requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).json()
    item = requests.get(f"{sidecar.url}/feedback/{saved['id']}", timeout=PATIENCE_S).json()["item"]
    said = {"id": item["id"], "etag": item["etag"], "decision": "accept"}
    body = json.dumps({"data": said, "fn_name": "review_item", "session_hash": "x", "component_id": review_component(page)})
    assert other_site.execute_async_script(SEND, f"{page.url}/gradio_api/component_server", body) == "sent"
    after = requests.get(f"{sidecar.url}/feedback/{saved['id']}", timeout=PATIENCE_S).json()["item"]
    assert (item["state"], after["state"]) == ("labelled", "labelled")


def review_component(page: ServedPage) -> int:
    components: list[dict[str, Any]] = ask(f"{page.url}/config").json()["components"]
    return next(int(each["id"]) for each in components if each["props"].get("elem_id") == "review-viewer")


def test_another_site_uploads_nothing(other_site: webdriver.Chrome, page: ServedPage) -> None:
    assert other_site.execute_async_script(UPLOAD, f"{page.url}/gradio_api/upload") == "sent"
    answer = requests.post(f"{page.url}/gradio_api/upload", files={"files": ("a.txt", b"x")}, timeout=PATIENCE_S)
    uploads = Path(answer.json()[0]).parent.parent
    assert list(uploads.rglob("mine.html")) == []


def test_another_site_reads_nothing(other_site: webdriver.Chrome, page: ServedPage, sidecar: Sidecar) -> None:
    for url in (f"{page.url}/config", f"{sidecar.url}/feedback"):
        assert other_site.execute_async_script(READ, url) == "blocked"
