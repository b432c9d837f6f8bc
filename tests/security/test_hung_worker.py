"""A worker that hangs or dies: it is ended, its client is told so, and another one takes its place."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from export.archive import repack
from model.inference.deadline import workers
from model.synthetic import draw_surface
from tests.conftest import ARCHIVE, ROOT
from tests.photographs import jpeg
from tests.ports import free_ports
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S, eventually

PHOTOGRAPH = jpeg(draw_surface(5, (1500, 2000)).image_hwc_u8)


class Serving:
    """`crack serve` with two workers and the handler as it is here, and a sidecar beside it."""

    def __init__(self, folder: Path) -> None:
        (folder / "model_store").mkdir()
        (folder / "tmp").mkdir()
        (folder / "model_store" / ARCHIVE.name).write_bytes(ARCHIVE.read_bytes())
        repack(folder / "model_store" / ARCHIVE.name)
        inference, management, metrics, grpc_inference, grpc_management = free_ports(5)
        self.folder = folder
        self.management_url, self.metrics_url = f"http://127.0.0.1:{management}", f"http://127.0.0.1:{metrics}/metrics"
        environment = {
            **os.environ,
            "TS_MODEL_STORE": str(folder / "model_store"),
            "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{inference}",
            "TS_MANAGEMENT_ADDRESS": self.management_url,
            "TS_METRICS_ADDRESS": f"http://127.0.0.1:{metrics}",
            "TS_GRPC_INFERENCE_PORT": str(grpc_inference),
            "TS_GRPC_MANAGEMENT_PORT": str(grpc_management),
            "TS_DEFAULT_WORKERS_PER_MODEL": "2",
            "TMPDIR": str(folder / "tmp"),
        }
        command = [sys.executable, "-m", "crack", "serve", "--logs", str(folder / "logs")]
        with (folder / "serve.log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        eventually(lambda: len(self.ready()) == 2, requests.ConnectionError)
        self.sidecar = Sidecar(folder / "store", folder / "sidecar.log", f"http://127.0.0.1:{inference}", self.management_url)
        # else its own tiny prediction may be what is at work
        eventually(lambda: "is ready" in (folder / "sidecar.log").read_text())

    def ready(self) -> set[int]:
        """Process ids of the workers that TorchServe calls READY."""
        (version,) = requests.get(f"{self.management_url}/models/crack", timeout=PATIENCE_S).json()
        return {worker["pid"] for worker in version["workers"] if worker["status"] == "READY"}

    def at_work(self) -> int | None:
        """The process id of a worker that is answering a request."""
        (temporary,) = (self.folder / "tmp").glob("crack-ts.*")
        return next((worker.pid for worker in workers(temporary) if worker.started), None)

    def predict(self) -> requests.Response:
        return requests.post(f"{self.sidecar.url}/predict", data=PHOTOGRAPH, timeout=PATIENCE_S)

    def not_ready(self) -> list[requests.Response]:
        """What /ready answers, if it isn't 200: a list, since such an answer counts as false."""
        answer = requests.get(f"{self.sidecar.url}/ready", timeout=PATIENCE_S)
        return [] if answer.ok else [answer]

    def stop(self) -> None:
        self.sidecar.stop()
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    running = Serving(tmp_path_factory.mktemp("serving"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def hung(serving: Serving) -> list[requests.Response]:
    """What came back from a worker that was stopped at work, and from /ready while the other one was stopped too."""
    with ThreadPoolExecutor() as clients:
        first = clients.submit(serving.predict)
        at_work = eventually(serving.at_work)
        os.kill(at_work, signal.SIGSTOP)
        (idle,) = serving.ready() - {at_work}
        os.kill(idle, signal.SIGSTOP)
        (ready,) = eventually(serving.not_ready)
        answers = [first.result(), ready]
    assert eventually(lambda: len(now := serving.ready() - {at_work, idle}) == 2 and now)
    assert not any(map(psutil.pid_exists, (at_work, idle)))
    return answers


@pytest.mark.parametrize("number", [0, 1], ids=["prediction", "readiness"])
def test_whoever_waited_for_a_hung_worker_is_told_to_come_again(hung: list[requests.Response], number: int) -> None:
    assert (hung[number].status_code, hung[number].json()["code"]) == (503, "model_unavailable"), hung[number].text
    assert hung[number].headers["Retry-After"]


@pytest.mark.usefixtures("hung")
def test_others_take_the_place_of_hung_workers(serving: Serving) -> None:
    assert serving.predict().json()["status"] == "success"
    eventually(lambda: not serving.not_ready())


@pytest.mark.usefixtures("hung")
def test_the_log_and_a_metric_tell_of_hung_workers(serving: Serving) -> None:
    assert (serving.folder / "serve.log").read_text().count("TorchServe starts another one") == 2
    pattern = re.compile(r"^crack_overdue_workers_total\{.*\} 2\.0", re.MULTILINE)
    assert eventually(lambda: pattern.search(requests.get(serving.metrics_url, timeout=PATIENCE_S).text))


@pytest.mark.usefixtures("hung")
def test_the_log_tells_of_a_worker_that_died_at_work(serving: Serving) -> None:
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(serving.predict)
        at_work = eventually(serving.at_work)
        os.kill(at_work, signal.SIGKILL)  # as the system does where memory is short
        assert (answer.result().status_code, answer.result().json()["code"]) == (503, "model_unavailable")
    eventually(lambda: f"worker {at_work} died while it had a request" in (serving.folder / "serve.log").read_text())


def test_the_log_says_what_ended_torchserve(serving: Serving) -> None:
    """The last test of this file: it ends the server."""
    (java,) = psutil.Process(serving.process.pid).children()
    family = java.children(recursive=True)
    java.kill()
    assert serving.process.wait(PATIENCE_S) == 1
    assert "TorchServe was ended by the signal SIGKILL" in (serving.folder / "serve.log").read_text()
    eventually(lambda: not any(process.is_running() for process in family))
