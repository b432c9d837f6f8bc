"""How this system behaves: cold start, idle latency, latency at 80% of the highest throughput, and photographs of
24 megapixels, alone and beside small ones.
"""

import argparse
import contextlib
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from benchmarks.contenders import ARCHIVE, start_torchserve
from benchmarks.load import Request, load, paced, repeated
from benchmarks.serving import photograph
from benchmarks.stages import photograph as photograph_of
from crack.torchserve import predictions_url
from export.archive import unpack
from handler.serve import Server
from model.inference import runtime
from model.inference.answer import answer
from model.inference.headers import of_options
from model.inference.options import Options, Response
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter

HEADERS = {"Content-Type": "image/jpeg", **of_options(Options(response=Response.MASK))}
LARGE_MEGAPIXELS = 24


def cold_start(server: Server, started: float) -> str:
    """Until TorchServe answers at all, a worker is READY, and a photograph is answered; in seconds since the start."""
    while True:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{server.inference_url}/ping", timeout=5).status_code == 200:
                break
        time.sleep(0.02)
    up = time.perf_counter()
    while not server.is_ready():
        time.sleep(0.02)
    ready = time.perf_counter()
    requests.post(predictions_url(server.inference_url), data=photograph(), headers=HEADERS, timeout=60).raise_for_status()
    answered = time.perf_counter()
    return (
        f"TorchServe up {up - started:.1f} s, a worker READY {ready - started:.1f} s, first answer {answered - started:.1f} s"
    )


def peak_mb() -> float:
    """The most memory that any worker ever had."""
    statuses = [Path(f"/proc/{member.pid}/status").read_text() for member in psutil.Process().children(recursive=True)]
    peaks = [re.search(r"VmHWM:\s+(\d+)", status) for status in statuses if status.startswith("Name:\tpython")]
    return max(int(peak[1]) for peak in peaks if peak) / 1024


def one_thread_seconds(image: bytes) -> tuple[float, float]:
    """Seconds for one photograph in process, on one thread and on all cores."""
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        card = unpack(ARCHIVE, Path(work))
        backend = runtime.choose(Path(work), card, 1)[0]
        seconds = []
        for n_threads in (1, n_usable_cores()):
            segmenter = Segmenter(card, runtime.load(Path(work), backend, n_threads))
            started = time.perf_counter()
            answer(segmenter, image, Options(response=Response.MASK), backend=backend, request_id="alone")
            seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


@contextlib.contextmanager
def kept_in_flight(request: Request, n_requests: int) -> Iterator[None]:
    """So many large photographs are being answered, each followed by the next."""

    def send(_: threading.Event) -> None:
        requests.post(request.url, data=request.body, headers=request.headers, timeout=600)

    with repeated(send, n_requests):
        time.sleep(1)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.behaviour",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.behaviour\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each load (default: 20)")
    options = parser.parse_args()
    large = photograph_of(LARGE_MEGAPIXELS)
    started = time.perf_counter()
    with start_torchserve(None) as server:
        print("cold start:", cold_start(server, started))
        small = Request(predictions_url(server.inference_url), photograph(), HEADERS)
        load(small, concurrency=16, seconds=options.seconds)
        idle = load(small, concurrency=1, seconds=options.seconds)
        print(f"idle: p50 {idle.p50_ms:.0f} ms, p95 {idle.p95_ms:.0f}, p99 {idle.p99_ms:.0f}")
        highest = load(small, concurrency=16, seconds=options.seconds)
        at_80 = paced(small, per_second=0.8 * highest.per_second, seconds=options.seconds)
        print(
            f"at 80% of the highest throughput ({highest.per_second:.1f} per second), random moments: by status {at_80.codes}"
        )
        print(f"  p50 {at_80.p50_ms:.0f} ms, {at_80.p50_ms / idle.p50_ms:.1f} times idle")
        print(f"  p95 {at_80.p95_ms:.0f} ms, {at_80.p95_ms / idle.p95_ms:.1f} times idle")
        whole = Request(small.url, large, HEADERS)
        with kept_in_flight(whole, 2):
            beside = load(small, concurrency=1, seconds=options.seconds)
        print(
            f"beside two of {LARGE_MEGAPIXELS} megapixels: p50 {beside.p50_ms:.0f} ms, p95 {beside.p95_ms:.0f}, "
            f"p99 {beside.p99_ms:.0f}"
        )
        alone = load(whole, concurrency=1, seconds=0.1)
        print(f"a worker's peak memory: {peak_mb():.0f} MB so far", end=", ")
        load(Request(small.url, photograph_of(50), HEADERS), concurrency=1, seconds=0.1)
        print(f"{peak_mb():.0f} MB after a photograph of 50 megapixels")
    one, all_cores = one_thread_seconds(large)
    print(
        f"one of {LARGE_MEGAPIXELS} megapixels: {alone.p50_ms / 1000:.2f} s at the idle server; in process {one:.2f} s on one "
        f"thread, {all_cores:.2f} s on all cores, ratio {one / all_cores:.2f}"
    )


if __name__ == "__main__":
    main()
