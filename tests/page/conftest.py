"""One page, one sidecar and one browser, which forgets between two tests, for all tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from selenium import webdriver

from handler.serve import Server
from model.synthetic import draw_surface
from tests.front import Front
from tests.pages import ServedPage, chromium
from tests.photographs import jpeg
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

SIZE_HW = (240, 320)


@pytest.fixture(scope="module")
def front(server: Server) -> Iterator[Front]:
    """Stands between the sidecar and TorchServe."""
    with Front(server.inference_url) as front:
        yield front
        front.shutdown()


@pytest.fixture(scope="module")
def sidecar(server: Server, front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("page")
    sidecar = Sidecar(folder / "store", folder / "sidecar.log", front.url, server.management_url)
    yield sidecar
    sidecar.stop()


@pytest.fixture(scope="module")
def page_url(sidecar: Sidecar, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page = ServedPage(tmp_path_factory.mktemp("page") / "page.log", BACKEND_URL=sidecar.url)
    yield page.url
    page.stop()


@pytest.fixture(scope="module")
def chrome() -> Iterator[webdriver.Chrome]:
    with chromium() as chrome:
        yield chrome


@pytest.fixture
def browser(chrome: webdriver.Chrome, page_url: str) -> webdriver.Chrome:
    """Chromium with the page open, of which it remembers nothing."""
    chrome.get("about:blank")
    chrome.get_log("browser")  # which empties it
    chrome.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": page_url, "storageTypes": "all"})
    chrome.set_window_size(1400, 1100)
    chrome.get(page_url)
    return chrome


@pytest.fixture
def empty_store(sidecar: Sidecar) -> None:
    """The sidecar's, for tests that read the only item."""
    for state in ("needs_label", "labelled", "accepted", "rejected"):
        for item in requests.get(f"{sidecar.url}/feedback?state={state}", timeout=PATIENCE_S).json()["items"]:
            headers = {"If-Match": item["etag"]}
            requests.delete(f"{sidecar.url}/feedback/{item['id']}", headers=headers, timeout=PATIENCE_S).raise_for_status()


@pytest.fixture
def walls(tmp_path: Path, request: pytest.FixtureRequest) -> list[Path]:
    """Three photographs of cracked surfaces, which no other test has sent."""
    paths = []
    for number in range(3):
        seed = 1000 + 3 * sum(map(ord, request.node.name)) + number
        paths.append(tmp_path / f"wall-{number}.jpg")
        paths[-1].write_bytes(jpeg(draw_surface(seed, SIZE_HW).image_hwc_u8))
    return paths
