"""Requests per second and latency: this system, its limit, and what one would use instead, in turn, in one run.

All of them answer the same photograph with the same weights, decoding, tiling and PNG encoding. The limit is the inference core
in processes of its own, one a core, without any server. Each contender is started for real, warmed up, asked at each
concurrency and stopped before the next one starts; rounds repeat the whole series.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
from tqdm import tqdm

from benchmarks.load import Load, ask, load, multipart
from handler.serve import Server
from model.inference import card, runtime
from model.inference.answer import Options, Response, answer
from model.inference.card import Backend, ModelCard
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter
from model.synthetic import draw_surface
from tests.photographs import jpeg
from tests.ports import free_ports

ARCHIVE = Path("model_store/crack.mar")
START_TIMEOUT_S = 120
WARM_UP_S = 3.0

Address = str


@dataclass(frozen=True)
class Contender:
    """Something that answers, with what computes it; `start` yields the address to post photographs to."""

    name: str
    start: Callable[[], contextlib.AbstractContextManager[Address]]


@contextlib.contextmanager
def torchserve(backend: Backend | None) -> Iterator[Address]:
    """This system, as `make up` starts it; `backend=None` lets it choose."""
    ports = free_ports(5)
    names = ("inference_address", "management_address", "metrics_address")
    settings = {name: f"http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=False)}
    settings |= {"grpc_inference_port": str(ports[3]), "grpc_management_port": str(ports[4])}
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        if backend is not None:
            settings["model_store"] = str(with_backend(Path(work), backend))
        server = Server(Path("config.properties"), Path(work, "logs"), settings)
        try:
            server.wait_until_ready()
            yield f"{server.inference_url}/predictions/crack"
        finally:
            server.stop()


@contextlib.contextmanager
def sidecar(backend: Backend | None) -> Iterator[Address]:
    """This system through its door."""
    (port,) = free_ports(1)
    with torchserve(backend) as behind, tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        settings = {
            "CRACK_SIDECAR_PORT": str(port),
            "CRACK_FEEDBACK_DIR": work,
            "CRACK_DATA_DIR": "",
            "CRACK_REQUESTS_PER_MINUTE": "1000000",
            "TORCHSERVE_URL": behind.removesuffix("/predictions/crack"),
        }
        with process([sys.executable, "-m", "sidecar"], settings, f"http://127.0.0.1:{port}/ping"):
            yield f"http://127.0.0.1:{port}/predict"


@contextlib.contextmanager
def fastapi(backend: Backend, n_workers: int, n_threads: int) -> Iterator[Address]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "benchmarks.peers.fastapi_app:app", "--port", str(port)]
    settings = {"PEER_BACKEND": str(backend), "PEER_THREADS": str(n_threads)}
    with process([*command, "--workers", str(n_workers)], settings, f"http://127.0.0.1:{port}/ping"):
        yield f"http://127.0.0.1:{port}/predict"


@contextlib.contextmanager
def process(command: Sequence[str], settings: dict[str, str], ping_url: str) -> Iterator[None]:
    with subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as started:
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                with contextlib.suppress(requests.RequestException):
                    if requests.get(ping_url, timeout=5).status_code == 200:
                        break
                if started.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} did not start.")
                time.sleep(0.1)
            yield
        finally:
            family = [*psutil.Process(started.pid).children(recursive=True), psutil.Process(started.pid)]
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


def unpack(folder: Path) -> ModelCard:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return ModelCard.read(folder / card.FILE_NAME)


def in_process(backend: Backend, photograph: bytes, seconds: float) -> float:
    """Answers per second of the inference core on all cores, without a server."""
    with multiprocessing.get_context("spawn").Pool(n_usable_cores()) as workers:
        counts = workers.starmap(_answer_for, [(backend, photograph, seconds)] * n_usable_cores(), chunksize=1)
    return sum(counts) / seconds


def _answer_for(backend: Backend, photograph: bytes, seconds: float) -> int:
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        segmenter = Segmenter(unpack(Path(work)), runtime.load(Path(work), backend, 1))
        options, n_answers = Options(response=Response.MASK), 0
        warm = time.perf_counter() + WARM_UP_S
        while time.perf_counter() < warm:
            answer(segmenter, photograph, options, backend=backend, request_id="limit")
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            answer(segmenter, photograph, options, backend=backend, request_id="limit")
            n_answers += 1
    return n_answers


def contenders(backends: Sequence[Backend]) -> list[Contender]:
    """Peers run as one process a core with one thread each, as TorchServe's workers do here."""
    n_cores = n_usable_cores()
    pytorch = Backend("pytorch", "fp32")
    found = [Contender(f"FastAPI, {pytorch}", lambda: fastapi(pytorch, n_cores, 1))]
    for backend in backends:
        found += [
            Contender(f"FastAPI, {backend}", lambda backend=backend: fastapi(backend, n_cores, 1)),  # type: ignore[misc]
            Contender(f"TorchServe, {backend}", lambda backend=backend: torchserve(backend)),  # type: ignore[misc]
            Contender(f"sidecar and TorchServe, {backend}", lambda backend=backend: sidecar(backend)),  # type: ignore[misc]
        ]
    return found


Limits = dict[Backend, list[float]]
Loads = dict[str, dict[int, list[Load]]]


def measure(
    backends: Sequence[Backend], n_rounds: int, seconds: float, concurrencies: Sequence[int]
) -> tuple[Limits, Loads, dict[str, bytes]]:
    """Answers per second of each backend's limit, each contender's loads by concurrency, and its mask of the photograph."""
    photograph = jpeg(draw_surface(20, (384, 544)).image_hwc_u8, quality=85)
    body, content_type = multipart(photograph, response="mask")
    limits: Limits = {backend: [] for backend in backends}
    loads: Loads = {}
    masks: dict[str, bytes] = {}
    series = contenders(backends)
    for _ in tqdm(range(n_rounds), desc="rounds", unit="round"):
        for backend in backends:
            limits[backend].append(in_process(backend, photograph, seconds))
        for contender in tqdm(series, desc="contenders", unit="contender", leave=False):
            with contender.start() as url:
                status, masks[contender.name] = ask(url, body, content_type)
                if status != 200:
                    raise RuntimeError(f"{contender.name} answered {status}: {masks[contender.name]!r}")
                load(url, body, content_type, concurrency=max(concurrencies), seconds=WARM_UP_S)
                for concurrency in concurrencies:
                    measured = load(url, body, content_type, concurrency=concurrency, seconds=seconds)
                    loads.setdefault(contender.name, {}).setdefault(concurrency, []).append(measured)
    return limits, loads, masks


def to_markdown(limits: Limits, loads: Loads, masks: dict[str, bytes]) -> str:
    lines = []
    for backend, rates in limits.items():
        is_one = len({mask for name, mask in masks.items() if name.endswith(f", {backend}")}) == 1
        lines.append(f"{backend}: limit {statistics.median(rates):.1f} a second; masks {'equal' if is_one else 'DIFFER'}.")
    lines += ["", "| contender | concurrency | answers a second | spread | p50 ms | p95 ms | p99 ms | generator's cores |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name, by_concurrency in loads.items():
        for concurrency, measured in by_concurrency.items():
            rates = [one.per_second for one in measured]
            p50, p95, p99 = (
                statistics.median(getattr(one, field) for one in measured) for field in ("p50_ms", "p95_ms", "p99_ms")
            )
            own = statistics.median(one.own_cpu_ratio for one in measured)
            figures = (
                f"{statistics.median(rates):.1f} | {min(rates):.1f} to {max(rates):.1f} | {p50:.0f} | {p95:.0f} | {p99:.0f}"
            )
            lines.append(f"| {name} | {concurrency} | {figures} | {own:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.serving\n  python -m benchmarks.serving --rounds 1 --seconds 4\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--seconds", type=float, default=8, help="at each concurrency (default: 8)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16], help="(default: 1 4 16)")
    parser.add_argument(
        "--backends",
        nargs="+",
        default=["onnxruntime fp32", "openvino int8+bf16"],
        metavar="'RUNTIME PRECISION'",
        help="that the archive holds (default: 'onnxruntime fp32' 'openvino int8+bf16')",
    )
    options = parser.parse_args()
    backends = [Backend(*text.split()) for text in options.backends]
    print(to_markdown(*measure(backends, options.rounds, options.seconds, options.concurrency)))


if __name__ == "__main__":
    main()
