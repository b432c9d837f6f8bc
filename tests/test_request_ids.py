"""One name for a request, from the client's answer to the worker's log."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from export.archive import repack
from handler.serve import Server
from model.inference.headers import REQUEST_ID
from tests.conftest import ARCHIVE, start_server
from tests.sidecars import Sidecar
from tests.test_save import PHOTOGRAPH
from tests.waiting import PATIENCE_S, eventually


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def present_server(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """TorchServe with the released network and the handler as it is now."""
    store = tmp_path_factory.mktemp("store")
    shutil.copy(ARCHIVE, store)
    repack(store / ARCHIVE.name)
    running = start_server(logs, {"model_store": str(store), "default_workers_per_model": "1"})
    running.wait_until_ready(PATIENCE_S)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sidecar(present_server: Server, logs: Path) -> Iterator[Sidecar]:
    running = Sidecar(logs / "feedback", logs / "sidecar.log", present_server.inference_url, present_server.management_url)
    yield running
    running.stop()


def predict(sidecar: Sidecar, request_id: str) -> requests.Response:
    return requests.post(f"{sidecar.url}/predict", data=PHOTOGRAPH, headers={REQUEST_ID: request_id}, timeout=PATIENCE_S)


def test_a_clients_name_for_a_request_is_the_answers_and_both_logs(sidecar: Sidecar, logs: Path) -> None:
    answer = predict(sidecar, "crew-7.1")
    assert (answer.headers[REQUEST_ID], answer.json()["request_id"]) == ("crew-7.1", "crew-7.1")
    for log in ("sidecar.log", "model_log.log"):
        eventually(lambda log=log: "request id=crew-7.1 " in (logs / log).read_text())


@pytest.mark.parametrize("request_id", ["", "two words", "a" * 65, "crew;7"])
def test_what_is_no_plain_name_is_replaced_by_one_that_the_sidecar_makes(sidecar: Sidecar, request_id: str) -> None:
    answer = predict(sidecar, request_id)
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers[REQUEST_ID])
    assert answer.json()["request_id"] == answer.headers[REQUEST_ID]


def test_a_request_that_is_refused_keeps_its_name(sidecar: Sidecar) -> None:
    refused = requests.get(f"{sidecar.url}/nowhere", headers={REQUEST_ID: "crew-7.2"}, timeout=PATIENCE_S)
    assert (refused.status_code, refused.headers[REQUEST_ID]) == (404, "crew-7.2")
