"""What answers photographs in the benchmarks, each started for real: this system, and what one would use instead of it.

The peers run from PyPI in environments of their own, made in `benchmarks/.environments` when they are first asked for.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from benchmarks.load import Request, multipart
from crack.torchserve import predictions_url
from handler.serve import Server
from model.inference.card import Backend
from tests.ports import free_ports

ARCHIVE = Path("model_store/crack.mar")
ENVIRONMENTS = Path("benchmarks/.environments")
START_TIMEOUT_S = 180
CRACK = (sys.executable, "-m", "crack")


@dataclass(frozen=True)
class Settings:
    """Processes, photographs that each computes at a time, and threads of one photograph."""

    workers: int
    parallel: int
    threads: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.parallel} x {self.threads}"


@dataclass(frozen=True)
class Peer:
    """Something that can serve a network.

    Attributes:
        key: of its requirements, its environment and its module in `benchmarks.peers`.
        command: what starts it, from its environment's folder, a folder to work in, a port and the settings.
        ping: the path that says 200 when it can answer.
        request: from an address and a photograph to what asks for its mask.
        mask: from an answer's body to the mask's PNG.
    """

    key: str
    name: str
    command: Callable[[Path, Path, int, Settings], Sequence[str]]
    ping: str = "/ping"
    request: Callable[[str, bytes], Request] = lambda address, photograph: multipart(f"{address}/predict", photograph)
    mask: Callable[[bytes], bytes] = lambda body: body

    @contextlib.contextmanager
    def start(self, backend: Backend, settings: Settings) -> Iterator[str]:
        """Yields its address."""
        environment = make_environment(self.key)
        (port,) = free_ports(1)
        with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
            variables = {
                "PEER_ARCHIVE": str(ARCHIVE.resolve()),
                "PEER_BACKEND": f"{backend.runtime} {backend.precision}",
                "PEER_WORKERS": str(settings.workers),
                "PEER_PARALLEL": str(settings.parallel),
                "PEER_THREADS": str(settings.threads),
                "PYTHONPATH": str(Path.cwd()),
                "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
            }
            address = f"http://127.0.0.1:{port}"
            with process(self.command(environment / "bin", Path(work), port, settings), variables, address + self.ping):
                yield address


def _mlserver(binaries: Path, work: Path, port: int, settings: Settings) -> Sequence[str]:
    ports = free_ports(2)
    server = {"http_port": port, "grpc_port": ports[0], "metrics_port": ports[1], "host": "127.0.0.1"}
    (work / "settings.json").write_text(json.dumps({**server, "parallel_workers": settings.workers}))
    model = {"name": "crack", "implementation": "benchmarks.peers.mlserver_app.Crack"}
    (work / "model-settings.json").write_text(json.dumps(model))
    return [str(binaries / "mlserver"), "start", str(work)]


def _mlserver_request(address: str, photograph: bytes) -> Request:
    image = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
    body = json.dumps({"inputs": [{**image, "data": [base64.b64encode(photograph).decode()]}]}).encode()
    return Request(f"{address}/v2/models/crack/infer", body, {"Content-Type": "application/json"})


def _module(name: str) -> Callable[[Path, Path, int, Settings], Sequence[str]]:
    return lambda binaries, _work, port, _: [str(binaries / "python"), "-m", f"benchmarks.peers.{name}", "--port", str(port)]


def _fastapi(binaries: Path, _work: Path, port: int, settings: Settings) -> Sequence[str]:
    command = [str(binaries / "uvicorn"), "benchmarks.peers.fastapi_app:app", "--port", str(port), "--no-access-log"]
    return [*command, "--workers", str(settings.workers)]


def _bentoml(binaries: Path, _work: Path, port: int, _: Settings) -> Sequence[str]:
    return [
        str(binaries / "bentoml"),
        "serve",
        "benchmarks.peers.bentoml_app:Crack",
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]


FASTAPI = Peer("fastapi", "FastAPI", _fastapi)
PEERS = (
    FASTAPI,
    Peer("litserve", "LitServe", _module("litserve_app"), ping="/health"),
    Peer("bentoml", "BentoML", _bentoml, ping="/readyz"),
    Peer(
        "mlserver",
        "MLServer",
        _mlserver,
        ping="/v2/models/crack/ready",
        request=_mlserver_request,
        mask=lambda body: base64.b64decode(json.loads(body)["outputs"][0]["data"][0]),
    ),
    Peer("ray", "Ray Serve", _module("ray_app")),
)


def make_environment(key: str) -> Path:
    """The folder of a peer's virtual environment, made where it is missing or its requirements have changed."""
    folder, requirements = (ENVIRONMENTS / key).resolve(), Path(f"benchmarks/peers/requirements/{key}.txt")
    installed = folder / "installed.txt"
    if not installed.is_file() or installed.read_text() != requirements.read_text():
        print(f"installing {key} into {folder} ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "--requirement", requirements], check=True)
        installed.write_text(requirements.read_text())
    return folder


@contextlib.contextmanager
def start_torchserve(backend: Backend | None, model_store: Path | None = None) -> Iterator[Server]:
    """This system, as `make up` starts it, on free ports; `backend=None` lets it choose. It may not be READY yet.

    Args:
        model_store: with another archive than the released one.
    """
    ports = free_ports(5)
    names = ("inference_address", "management_address", "metrics_address")
    settings = {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=False)}
    settings |= {"grpc_inference_port": str(ports[3]), "grpc_management_port": str(ports[4])}
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        if backend is not None:
            model_store = with_backend(Path(work), backend)
        if model_store is not None:
            settings["model_store"] = str(model_store)
        server = Server(Path("config.properties"), Path(work, "logs"), settings)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def torchserve(backend: Backend | None) -> Iterator[str]:
    """Yields the address to post photographs to."""
    with start_torchserve(backend) as server:
        server.wait_until_ready()
        yield predictions_url(server.inference_url)


@contextlib.contextmanager
def sidecar(backend: Backend | None) -> Iterator[str]:
    """This system through its door. Yields the address to post photographs to."""
    with start_torchserve(backend) as behind, start_sidecar(behind) as url:
        yield f"{url}/predict"


@contextlib.contextmanager
def start_sidecar(behind: Server) -> Iterator[str]:
    """A sidecar with a store of its own before `behind`, once that is READY. Yields its address."""
    behind.wait_until_ready()
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        settings = {
            "CRACK_SIDECAR_PORT": str(port),
            "CRACK_FEEDBACK_DIR": work,
            "CRACK_DATA_DIR": "",
            "CRACK_REQUESTS_PER_MINUTE": "1000000",
            "TORCHSERVE_URL": behind.inference_url,
        }
        with process([*CRACK, "sidecar"], settings, f"{url}/ping"):
            yield url


@contextlib.contextmanager
def process(command: Sequence[str], settings: dict[str, str], ping_url: str, cwd: Path | None = None) -> Iterator[None]:
    """A server and all its processes, from its first answer to `ping_url`."""
    with tempfile.TemporaryFile() as log:
        started = psutil.Popen(command, env={**os.environ, **settings}, cwd=cwd, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                with contextlib.suppress(requests.RequestException):
                    if requests.get(ping_url, timeout=5).status_code == 200:
                        break
                if started.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    end = log.read()[-3000:].decode(errors="replace")
                    raise RuntimeError(f"{' '.join(command)} did not start:\n{end}")
                time.sleep(0.1)
            yield
        finally:
            family = [started]
            with contextlib.suppress(psutil.NoSuchProcess):
                family += started.children(recursive=True)
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.terminate()
            for member in psutil.wait_procs(family, timeout=20)[1]:
                member.kill()


def with_backend(folder: Path, backend: Backend) -> Path:
    """A model store whose archive's worker takes this backend."""
    store = folder / "store"
    store.mkdir()
    with zipfile.ZipFile(ARCHIVE) as released, zipfile.ZipFile(store / ARCHIVE.name, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in released.namelist():
            content = released.read(name)
            if name == "model-config.yaml":
                content = content.replace(b"runtime: auto", f"runtime: {backend.runtime}".encode())
                content = content.replace(b"precision: auto", f"precision: {backend.precision}".encode())
            copy.writestr(name, content)
    return store
