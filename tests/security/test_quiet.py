"""Nobody else is told anything: with default settings, no part asks any host but this machine, nor for any host's name."""

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from crack.instance import FOLDERS, PORTS, TORCHSERVE
from tests.conftest import ROOT
from tests.photographs import png
from tests.ports import free_ports
from tests.waiting import PATIENCE_S, eventually

PHOTOGRAPH = png(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8))
ADDRESS = re.compile(r'(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')


class Traced:
    """All that `make up` starts, at ports and in folders of its own; `trace` has each connection and each addressed message."""

    def __init__(self, folder: Path) -> None:
        ports = dict(zip((*PORTS, *TORCHSERVE), map(str, free_ports(len(PORTS) + len(TORCHSERVE))), strict=True))
        self._trace, self._log = folder / "trace", folder / "log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CRACK_", "TS_", "MLFLOW_"))}
        environment |= {name: str(folder / name.lower()) for name in FOLDERS if name != "CRACK_MODEL_STORE"}
        environment |= {name: f"http://127.0.0.1:{port}" if "ADDRESS" in name else port for name, port in ports.items()}
        self.sidecar, self.page, self.mlflow = (
            f"http://127.0.0.1:{ports[f'CRACK_{name}_PORT']}" for name in ("SIDECAR", "PAGE", "MLFLOW")
        )
        self.torchserve_port, self.sidecar_port = ports["TS_INFERENCE_ADDRESS"], ports["CRACK_SIDECAR_PORT"]
        calls = "trace=connect,sendto,sendmsg,sendmmsg"
        command = ["strace", "--follow-forks", "--seccomp-bpf", "-e", calls, "-e", "signal=none", "--output", str(self._trace)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", "crack", "up"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        urls = (f"{self.sidecar}/ready", f"{self.page}/ping", f"{self.mlflow}/health")
        return all(requests.get(url, timeout=PATIENCE_S).ok for url in urls)

    def stop(self) -> list[str]:
        """Its trace."""
        for up in psutil.Process(self._process.pid).children():
            up.terminate()
        self._process.wait(PATIENCE_S)
        return self._trace.read_text().splitlines()


def use(traced: Traced) -> None:
    """A prediction, a correction, and the page with the model's description."""
    for route, fields in (("/predict", {}), ("/save-for-retrain", {"verdict": "no_crack"})):
        answer = requests.post(traced.sidecar + route, files={"image": PHOTOGRAPH}, data=fields, timeout=PATIENCE_S)
        assert answer.ok, answer.text
    assert requests.get(traced.page, timeout=PATIENCE_S).ok
    call = f"{traced.page}/gradio_api/call/model"
    event = requests.post(call, json={"data": []}, timeout=PATIENCE_S).json()["event_id"]
    assert "event: complete" in requests.get(f"{call}/{event}", timeout=PATIENCE_S).text


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    traced = Traced(tmp_path_factory.mktemp("traced"))
    try:
        eventually(traced.answers, requests.ConnectionError)
        use(traced)
    finally:
        found = traced.stop()
    for port in (traced.torchserve_port, traced.sidecar_port):  # or nothing was traced
        assert any(f"htons({port})" in line for line in found)
    return found


def is_local(address: str) -> bool:
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_loopback or found.is_unspecified


def test_no_other_host_is_asked(lines: list[str]) -> None:
    assert [line for line in lines if not all(map(is_local, ADDRESS.findall(line)))] == []


def test_no_name_is_looked_up(lines: list[str]) -> None:
    assert [line for line in lines if "htons(53)" in line] == []
