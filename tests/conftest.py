"""What tests share: TorchServe with the released archive, Chromium, the real photographs where they are, a tiny network."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
import requests
from selenium import webdriver

from export.build import export
from handler.serve import Server
from model import train
from model.params import Params, read_params
from model.synthetic import write_data_set
from tests.front import Front
from tests.pages import chromium
from tests.ports import free_ports
from tests.postgresql import PostgreSQL
from tests.sidecars import Sidecar, StartSidecar
from tests.tiny import EXPORT, TINY
from tests.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).parent.parent
ARCHIVE = ROOT / "model_store" / "crack.mar"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background; what tests start must hear it all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["PYTHONPATH"] = str(ROOT)  # of all that tests start: the environment may have another checkout installed

hypothesis.settings.register_profile(  # the same examples on every machine, however long it takes to draw them
    "tests", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


def start_server(log_dir: Path, settings: Mapping[str, str] | None = None) -> Server:
    """TorchServe as `make up` starts it, but on ports of its own where `settings` name none. The caller stops it."""
    ports = free_ports(5)
    own_ports = {
        "inference_address": f"http://127.0.0.1:{ports[0]}",
        "management_address": f"http://127.0.0.1:{ports[1]}",
        "metrics_address": f"http://127.0.0.1:{ports[2]}",
        "grpc_inference_port": str(ports[3]),
        "grpc_management_port": str(ports[4]),
    }
    return Server(ROOT / "config.properties", log_dir, {**own_ports, **(settings or {})})


def ready_workers(server: Server) -> set[int]:
    """Process ids of the workers that can predict."""
    (version,) = requests.get(f"{server.management_url}/models/crack", timeout=PATIENCE_S).json()
    return {worker["pid"] for worker in version["workers"] if worker["status"] == "READY"}


def wait_until_whole(server: Server) -> None:
    """Until all workers are READY: `wait_until_ready` waits for one."""
    server.wait_until_ready(PATIENCE_S)
    (version,) = requests.get(f"{server.management_url}/models/crack", timeout=PATIENCE_S).json()
    eventually(lambda: len(ready_workers(server)) == version["minWorkers"])


def has_ended(process: psutil.Process) -> bool:
    """Also where nobody has asked for its exit status: whose child it became is not ours to say."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running TorchServe with the released archive, each worker READY."""
    running = start_server(tmp_path_factory.mktemp("torchserve"))
    try:
        wait_until_whole(running)
        yield running
    finally:
        running.stop()


@pytest.fixture
def start_sidecar(server: Server, tmp_path: Path) -> Iterator[StartSidecar]:
    """Starts sidecars, each with a store of its own unless `folder` names one; they are stopped in the end."""
    running: list[Sidecar] = []

    def start(folder: Path | None = None, torchserve_url: str = server.inference_url, **settings: Any) -> Sidecar:
        name = f"store-{len(running)}"
        log_path = tmp_path / f"{name}.log"
        sidecar = Sidecar(folder or tmp_path / name, log_path, torchserve_url, server.management_url, **settings)
        running.append(sidecar)
        return sidecar

    yield start
    for sidecar in running:
        sidecar.stop()


@pytest.fixture
def start_lone_sidecar(tmp_path: Path) -> Iterator[StartSidecar]:
    """Starts sidecars without a TorchServe, for what they decide without one; they are stopped in the end."""
    running: list[Sidecar] = []

    def start(**settings: str) -> Sidecar:
        away = f"http://127.0.0.1:{free_ports(1)[0]}"
        running.append(Sidecar(tmp_path / "store", tmp_path / "sidecar.log", away, away, **settings))
        return running[-1]

    yield start
    for sidecar in running:
        sidecar.stop()


@pytest.fixture
def former_sidecar(server: Server, start_sidecar: StartSidecar) -> Iterator[Sidecar]:
    """A sidecar whose TorchServe answers as archives did that knew no crack score: pictures have no header for it, and it
    can't be asked for all at once.
    """
    with Front(server.inference_url) as front:
        front.withheld, front.unknown = {"X-Crack-Score"}, {"all"}
        yield start_sidecar(torchserve_url=front.url)
        front.shutdown()


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A real Chromium, which no other test has used."""
    with chromium() as chrome:
        yield chrome


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real photographs; tests that want it are skipped where it is absent."""
    folder = os.environ.get("CRACK_DATA_DIR", "")
    if not folder or not Path(folder, "deepcrack", "split.csv").is_file():
        pytest.skip("CRACK_DATA_DIR names no folder that holds the set 'deepcrack'")
    return Path(folder)


@pytest.fixture(scope="session")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one set, `synthetic`."""
    folder = tmp_path_factory.mktemp("data")
    write_data_set(folder / "synthetic", n_surfaces=20, seed=1, size_hw=(97, 131))
    return folder


@pytest.fixture(scope="session")
def tiny_params() -> Params:
    return read_params(ROOT / "params.yaml", TINY)


@pytest.fixture(scope="session")
def trained(surfaces: Path, tiny_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished checkpoint of a tiny network."""
    return train.train(tiny_params, surfaces, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def archive(trained: Path, surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "crack.mar"
    export(trained, surfaces, path, EXPORT)
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.remove()


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> str:
    """The URL of a place without tables."""
    return postgresql_server.database()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Where a store's tables are: empty for SQLite in its folder, or a PostgreSQL's URL."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgresql"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
