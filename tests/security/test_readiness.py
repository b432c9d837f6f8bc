"""`/ready` asks for no key, so it must cost next to nothing."""

import time
from concurrent.futures import ThreadPoolExecutor

import requests

from handler.serve import Server
from sidecar.readiness import FRESH_S
from tests.front import Front
from tests.sidecars import StartSidecar
from tests.waiting import PATIENCE_S


def test_however_many_ask_whether_it_is_ready_one_probe_in_some_seconds_is_predicted(
    server: Server, start_sidecar: StartSidecar
) -> None:
    with Front(server.inference_url) as front:
        sidecar = start_sidecar(torchserve_url=front.url)
        started = time.monotonic()
        with ThreadPoolExecutor(16) as clients:
            answers = list(clients.map(lambda _: requests.get(f"{sidecar.url}/ready", timeout=PATIENCE_S), range(200)))
        seconds = time.monotonic() - started
        n_predicted = front.asked.total()
        front.shutdown()
    assert {answer.status_code for answer in answers} == {200}
    assert n_predicted <= 2 + seconds / FRESH_S
