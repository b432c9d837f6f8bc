"""On a machine whose environment names a company's proxy: the parts of the system ask each other directly."""

import os
from pathlib import Path

import pytest
import requests
from gradio_client import Client

from crack.neighbours import ask_without_proxy, session
from handler.serve import Server
from model.evaluate import by_server
from model.synthetic import draw_surface
from retrain.replicas import ModelServer
from tests.pages import ServedPage
from tests.photographs import png
from tests.ports import NOBODY
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

PROXIES = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), NOBODY)
PROXIES |= dict.fromkeys(("all_proxy", "ALL_PROXY"), NOBODY.replace("http", "socks5")) | {"no_proxy": "", "NO_PROXY": ""}
PHOTOGRAPH = png(draw_surface(seed=2, size_hw=(64, 96)).image_hwc_u8)


def sidecar_version(sidecar: Sidecar) -> str:
    return str(requests.get(f"{sidecar.url}/model", timeout=PATIENCE_S).json()["version"])


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)


def test_the_sidecar_reaches_torchserve(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(**PROXIES)
    assert requests.post(f"{sidecar.url}/predict", files={"image": PHOTOGRAPH}, timeout=PATIENCE_S).ok


def test_the_page_starts_and_reaches_the_sidecar(start_sidecar: StartSidecar, tmp_path: Path) -> None:
    sidecar = start_sidecar()
    page = ServedPage(tmp_path / "page.log", BACKEND_URL=sidecar.url, **PROXIES)
    try:
        assert sidecar_version(sidecar) in str(Client(page.url, verbose=False).predict(api_name="/model"))
    finally:
        page.stop()


@pytest.mark.usefixtures("proxies")
def test_the_retrain_job_and_an_evaluation_reach_torchserve(server: Server) -> None:
    (replica,) = ModelServer(server.management_url, server.inference_url).replicas()
    version = replica.default_version()
    assert replica.probability(PHOTOGRAPH, version).shape == (64, 96)
    assert by_server(f"{server.inference_url}/predictions/crack")(PHOTOGRAPH)[0].shape == (64, 96)
    assert server.is_ready()


@pytest.mark.parametrize(
    ("url", "is_direct"),
    [
        ("http://127.0.0.1:5000", True),
        ("http://localhost:5000", True),
        ("http://mlflow:5000", True),
        ("http://[::1]:5000", True),
        ("https://mlflow.example.com", False),
    ],
)
@pytest.mark.usefixtures("proxies")
def test_mlflow_is_asked_by_the_proxy_only_where_it_is_far_away(url: str, is_direct: bool) -> None:
    ask_without_proxy(url)
    assert (requests.utils.get_environ_proxies(url) == {}) == is_direct


def test_what_the_environment_leaves_out_already_stays_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "inside.example")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,inside.example")
    ask_without_proxy("http://mlflow:5000")
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "inside.example,127.0.0.1,mlflow"


def test_where_no_proxy_is_asked_for_anything_it_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOBODY)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "*")
    ask_without_proxy("http://mlflow:5000")
    assert requests.utils.get_environ_proxies("http://elsewhere.example") == {}


def test_the_page_starts_with_variables_that_its_libraries_cannot_read(tmp_path: Path) -> None:
    proxies = {"http_proxy": "htp://x", "HTTPS_PROXY": "http://crew:p@ss@proxy:x", "NO_PROXY": "[::1],fe80::/10"}
    log = tmp_path / "log"
    certificates = {"SSL_CERT_FILE": __file__, "SSLKEYLOGFILE": "/nowhere/keys"}
    page = ServedPage(log, BACKEND_URL=NOBODY, **proxies, **certificates)
    page.stop()
    assert "SSLKEYLOGFILE='/nowhere/keys' is ignored: it cannot be written to" in log.read_text()


def test_a_netrc_does_not_replace_the_key_that_is_sent() -> None:
    assert not session().trust_env
