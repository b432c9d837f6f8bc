"""Ordinary photographs beside an attack: slow connections, pictures of a few kilobytes that would take gigabytes, and JPEGs of
thousands of scans, all at the sidecar at once. Latency before, during and after, and the memory of all processes.
"""

import argparse
import contextlib
import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import psutil
import requests
from PIL import Image

from benchmarks.contenders import sidecar
from benchmarks.load import Load, load, multipart, repeated
from model.synthetic import draw_surface
from tests.photographs import jpeg
from tests.security.test_bombs import flood_of_scans

HALF_A_REQUEST = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\nabc"
SETTLED_S = 10.0


def wide_png(side_px: int) -> bytes:
    """White, one bit for each pixel: 12 KB for 100 megapixels."""
    file = io.BytesIO()
    Image.new("1", (side_px, side_px), 1).save(file, "PNG")
    return file.getvalue()


def memory_mb() -> float:
    """Proportional set size of this process's descendants: TorchServe, its workers, the sidecar and its children."""
    total = 0
    for member in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_full_info().pss
    return total / 1e6


def slow_connections(url: str, n: int) -> AbstractContextManager[None]:
    """Each has sent half a request; those that the server closes are made again."""
    address = urlsplit(url)

    def hold(is_over: threading.Event) -> None:
        with contextlib.suppress(OSError), socket.create_connection((address.hostname, address.port), timeout=5) as held:
            held.sendall(HALF_A_REQUEST)
            held.settimeout(1)
            while not is_over.is_set():
                with contextlib.suppress(TimeoutError):
                    if not held.recv(4096):
                        break
        is_over.wait(0.5)

    return repeated(hold, n)


def kept_sending(send: Callable[[], int], n: int, codes: Counter[int]) -> AbstractContextManager[None]:
    """`n` clients, each sending again as soon as it is answered; `codes` counts what they were answered."""

    def count(_: threading.Event) -> None:
        with contextlib.suppress(requests.RequestException):
            codes[send()] += 1

    return repeated(count, n)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.siege",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.siege\n  python -m benchmarks.siege --seconds 20 --slow 1000\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60, help="of the attack (default: 60)")
    parser.add_argument("--slow", type=int, default=200, help="slow connections (default: 200)")
    parser.add_argument("--bombs", type=int, default=6, help="clients that send pictures of 100 megapixels (default: 6)")
    parser.add_argument("--floods", type=int, default=3, help="clients that send JPEGs of 5,000 scans (default: 3)")
    options = parser.parse_args()
    photograph = jpeg(draw_surface(20, (384, 544)).image_hwc_u8, quality=85)
    bomb, flood = wide_png(10_000), flood_of_scans(2000, 5000)
    with sidecar(None) as url:
        save = url.replace("/predict", "/save-for-retrain")

        def send_bomb() -> int:
            files = {"image": bomb, "mask": bomb}
            return requests.post(save, files=files, data={"verdict": "other"}, timeout=120).status_code

        def send_flood() -> int:
            return requests.post(url, files={"image": flood}, timeout=120).status_code

        request = multipart(url, photograph, response="mask")
        rows = {"before": load(request, concurrency=1, seconds=10)}
        memory, peak, is_over = memory_mb(), [0.0], threading.Event()

        def watch() -> None:
            while not is_over.wait(0.2):
                peak[0] = max(peak[0], memory_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        bombs, floods = Counter[int](), Counter[int]()
        with (
            slow_connections(url, options.slow),
            kept_sending(send_bomb, options.bombs, bombs),
            kept_sending(send_flood, options.floods, floods),
        ):
            rows["during"] = load(request, concurrency=1, seconds=options.seconds)
        time.sleep(SETTLED_S)
        rows[f"{SETTLED_S:.0f} s after"] = load(request, concurrency=1, seconds=10)
        is_over.set()
        watcher.join()
        after = memory_mb()
    print(f"{options.slow} slow connections, {options.bombs} clients with pictures of {len(bomb)} bytes for 100 megapixels")
    print(f"(answered {dict(bombs)}), {options.floods} with JPEGs of {len(flood)} bytes and 5,000 scans")
    print(f"(answered {dict(floods)}).\n")
    print("| ordinary photographs | answers | p50 ms | p95 ms | p99 ms | codes |\n|---|---|---|---|---|---|")
    for name, measured in rows.items():
        print(f"| {name} | {_row(measured)} |")
    print(f"\nMemory of all processes: {memory:.0f} MB before, {peak[0]:.0f} at most, {after:.0f} after.")


def _row(measured: Load) -> str:
    times = " | ".join(f"{value:.0f}" for value in (measured.p50_ms, measured.p95_ms, measured.p99_ms))
    return f"{measured.n_answers} | {times} | {measured.codes}"


if __name__ == "__main__":
    main()
