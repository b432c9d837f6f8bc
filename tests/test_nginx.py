"""`deploy/proxy/nginx.conf` in a real nginx, before a real page and a real sidecar: but for ports and certificate, as it is."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from selenium import webdriver

from handler.serve import Server
from model.inference.photograph import MEGABYTE
from model.synthetic import draw_surface
from tests.pages import ServedPage, inspect, painted
from tests.photographs import jpeg
from tests.ports import free_ports
from tests.sidecars import ROOT, Sidecar
from tests.waiting import PATIENCE_S, eventually

WALL = jpeg(draw_surface(seed=11, size_hw=(96, 128)).image_hwc_u8)
AROUND = """
user root; # who is not root stays who they are
daemon off;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include site.conf;
}
"""


class Site(NamedTuple):
    url: str
    certificate: str


@pytest.fixture(scope="module")
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All that docs/operations/proxy.md says, on a port of its own."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    (port,) = free_ports(1)
    url, key, certificate, log_path = f"https://127.0.0.1:{port}", folder / "key", folder / "pem", folder / "log"
    make = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=a"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True, timeout=PATIENCE_S)
    settings = {"CRACK_ROOT_PATH": "/cracks", "CRACK_PUBLIC_URL": url, "CRACK_TRUSTED_PROXIES": "127.0.0.1"}
    with ExitStack() as running:
        logs = folder / "sidecar.log", folder / "page.log"
        sidecar = Sidecar(folder / "store", logs[0], server.inference_url, server.management_url, **settings)
        running.callback(sidecar.stop)
        page = ServedPage(logs[1], BACKEND_URL=sidecar.url, **settings)
        running.callback(page.stop)
        text = (ROOT / "deploy" / "proxy" / "nginx.conf").read_text()
        for written, here in {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/certs/cracks.example.pem": str(certificate),
            "/etc/ssl/private/cracks.example.key": str(key),
            "http://127.0.0.1:8500": page.url,
            "http://127.0.0.1:8000": sidecar.url,
        }.items():
            assert text.count(written) == 1
            text = text.replace(written, here)
        (folder / "site.conf").write_text(text)
        (folder / "nginx.conf").write_text(AROUND)
        nginx = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(log_path)])
        running.callback(nginx.wait, PATIENCE_S)
        running.callback(nginx.terminate)

        def answers() -> bool:
            assert nginx.poll() is None, log_path.read_text()
            return requests.get(f"{url}/cracks/ping", verify=str(certificate), timeout=PATIENCE_S).ok

        eventually(answers, requests.ConnectionError)
        yield Site(f"{url}/cracks", str(certificate))


@pytest.mark.parametrize("n_bytes", [len(WALL), 50 * MEGABYTE])
def test_a_photograph_as_large_as_is_accepted_comes_through(site: Site, n_bytes: int) -> None:
    photograph = WALL.ljust(n_bytes, b"\0")
    answer = requests.post(f"{site.url}/api/predict", data=photograph, verify=site.certificate, timeout=PATIENCE_S)
    assert answer.json()["image_size"] == [96, 128]


def test_the_page_works_under_the_prefix(site: Site, browser: webdriver.Chrome, tmp_path: Path) -> None:
    photograph = tmp_path / "wall.jpg"
    photograph.write_bytes(WALL)
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
    browser.get(site.url)
    assert browser.current_url == f"{site.url}/"
    inspect(browser, photograph)
    assert eventually(lambda: painted(browser).shape == (96, 128))
    found = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert [line for line in found if not re.search(r":\d+/(manifest.json|favicon.ico) ", line)] == []  # Gradio's own
