"""nginx, Caddy and Traefik as docs/operations/proxy.md has them, but for ports and certificate, before page and sidecar."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

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

PROXY_PAGE = ROOT / "docs" / "operations" / "proxy.md"
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


# Traefik has files, and asks nobody whether there is a newer one.
OF_TRAEFIK = "global: {checkNewVersion: false, sendAnonymousUsage: false}\nproviders: {file: {filename: dynamic.yml}}\n"
# Caddy keeps nothing outside its folder, and asks nobody for a certificate.
OF_CADDY = "{\n    admin off\n    auto_https disable_redirects\n    skip_install_trust\n    storage file_system state\n}\n"


@dataclass(frozen=True)
class Services:
    """Page and sidecar as docs/operations/proxy.md starts them, for a proxy at `port`."""

    folder: Path
    port: int
    page_url: str
    sidecar_url: str

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/cracks"

    @property
    def certificate(self) -> str:
        return str(self.folder / "pem")


@pytest.fixture(scope="module")
def services(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("proxy")
    (port,) = free_ports(1)
    make = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=a"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run(make, check=True, capture_output=True, timeout=PATIENCE_S)
    settings = {"CRACK_ROOT_PATH": "/cracks", "CRACK_PUBLIC_URL": f"https://127.0.0.1:{port}"}
    settings |= {"CRACK_TRUSTED_PROXIES": "127.0.0.1"}
    logs = folder / "sidecar.log", folder / "page.log"
    with ExitStack() as running:
        sidecar = Sidecar(folder / "store", logs[0], server.inference_url, server.management_url, **settings)
        running.callback(sidecar.stop)
        page = ServedPage(logs[1], BACKEND_URL=sidecar.url, **settings)
        running.callback(page.stop)
        yield Services(folder, port, page.url, sidecar.url)


def written(text: str, here: dict[str, str]) -> str:
    for former, replacement in here.items():
        assert text.count(former) == 1, former
        text = text.replace(former, replacement)
    return text


def nginx(services: Services) -> list[str]:
    """Its command."""
    here = {
        "listen 443 ssl": f"listen 127.0.0.1:{services.port} ssl",
        "/etc/ssl/certs/cracks.example.pem": services.certificate,
        "/etc/ssl/private/cracks.example.key": str(services.folder / "key"),
        "http://127.0.0.1:8500": services.page_url,
        "http://127.0.0.1:8000": services.sidecar_url,
    }
    (services.folder / "site.conf").write_text(written((ROOT / "deploy" / "proxy" / "nginx.conf").read_text(), here))
    (services.folder / "nginx.conf").write_text(AROUND)
    return ["nginx", "-p", str(services.folder), "-c", str(services.folder / "nginx.conf"), "-e", "stderr"]


def caddy(services: Services) -> list[str]:
    """Its command."""
    (block,) = re.findall(r"^```\n(cracks\.example \{\n.*?)^```", PROXY_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    here = {
        "cracks.example {\n": f"https://127.0.0.1:{services.port} {{\n    bind 127.0.0.1\n    tls pem key\n",
        "127.0.0.1:8500": services.page_url.removeprefix("http://"),
        "127.0.0.1:8000": services.sidecar_url.removeprefix("http://"),
    }
    (services.folder / "Caddyfile").write_text(OF_CADDY + written(block, here))
    return ["caddy", "run", "--config", str(services.folder / "Caddyfile"), "--adapter", "caddyfile"]


def traefik(services: Services) -> list[str]:
    """Its command."""
    entry, routes = re.findall(r"^```yaml\n(.*?)^```", PROXY_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    here = {
        'page: {rule: "Host(`cracks.example`)': 'page: {rule: "Host(`127.0.0.1`)',
        'sidecar: {rule: "Host(`cracks.example`)': 'sidecar: {rule: "Host(`127.0.0.1`)',
        "http://127.0.0.1:8500": services.page_url,
        "http://127.0.0.1:8000": services.sidecar_url,
    }
    certificates = "tls: {certificates: [{certFile: pem, keyFile: key}]}\n"
    (services.folder / "dynamic.yml").write_text(written(routes, here) + certificates)
    (services.folder / "traefik.yml").write_text(OF_TRAEFIK + written(entry, {":443": f"127.0.0.1:{services.port}"}))
    return ["traefik", "--configFile=traefik.yml"]


@pytest.fixture(params=[nginx, caddy, traefik], ids=["nginx", "caddy", "traefik"], scope="module")
def site(services: Services, request: pytest.FixtureRequest) -> Iterator[Services]:
    """Behind one of the proxies."""
    name, *arguments = request.param(services)
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:{Path(sys.executable).parent}")
    if program is None:
        pytest.skip(f"{name} is not installed")
    log_path, environment = services.folder / f"{name}.log", {**os.environ, "HOME": str(services.folder)}
    with log_path.open("wb") as log:
        proxy = subprocess.Popen([program, *arguments], cwd=services.folder, env=environment, stdout=log, stderr=log)

    def answers() -> bool:
        assert proxy.poll() is None, log_path.read_text()
        return requests.get(f"{services.url}/ping", verify=services.certificate, timeout=PATIENCE_S).ok

    try:
        eventually(answers, requests.ConnectionError)
        yield services
    finally:
        proxy.terminate()
        proxy.wait(PATIENCE_S)


@pytest.mark.parametrize("n_bytes", [len(WALL), 50 * MEGABYTE])
def test_a_photograph_as_large_as_is_accepted_comes_through(site: Services, n_bytes: int) -> None:
    photograph = WALL.ljust(n_bytes, b"\0")
    answer = requests.post(f"{site.url}/api/predict", data=photograph, verify=site.certificate, timeout=PATIENCE_S)
    assert answer.json()["image_size"] == [96, 128]


def test_the_page_works_under_the_prefix(site: Services, browser: webdriver.Chrome, tmp_path: Path) -> None:
    photograph = tmp_path / "wall.jpg"
    photograph.write_bytes(WALL)
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
    browser.get(site.url)
    assert browser.current_url == f"{site.url}/"
    inspect(browser, photograph)
    assert eventually(lambda: painted(browser).shape == (96, 128))
    found = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert [line for line in found if not re.search(r":\d+/(manifest.json|favicon.ico) ", line)] == []  # Gradio's own
