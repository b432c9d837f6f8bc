"""More than it can take: what the sidecar and TorchServe answer, whether memory grows, and how soon latency is normal again.

Connections that each ask again as soon as they are answered, three times as many as the queue is long, so that most requests
meet a full queue.
"""

import argparse
import threading
import time
from pathlib import Path

import psutil

from benchmarks.contenders import sidecar
from benchmarks.load import ask, load, multipart
from model.synthetic import draw_surface
from tests.photographs import jpeg

QUEUE_LENGTH = int(
    next(line for line in Path("config.properties").read_text().splitlines() if line.startswith("job_queue_size")).split("=")[1]
)


def memory_mb() -> float:
    """Of this process's descendants: TorchServe, its workers, the sidecar."""
    return sum(member.memory_info().rss for member in psutil.Process().children(recursive=True)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.overload\n  python -m benchmarks.overload --seconds 20\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60, help="(default: 60)")
    options = parser.parse_args()
    photograph = jpeg(draw_surface(20, (384, 544)).image_hwc_u8, quality=85)
    with sidecar(None) as url:
        request = multipart(url, photograph, response="mask")
        before = load(request, concurrency=1, seconds=5)
        memory: list[float] = []
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(2):
                memory.append(memory_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        during = load(request, concurrency=3 * QUEUE_LENGTH, seconds=options.seconds)
        ended = time.perf_counter()
        is_over.set()
        watcher.join()
        while True:
            asked = time.perf_counter()
            status, _ = ask(request)
            answered = time.perf_counter()
            if status == 200 and 1000 * (answered - asked) < 2 * before.p50_ms:
                break
        after = load(request, concurrency=1, seconds=5)
    third = max(1, len(memory) // 3)
    print(f"alone before: {before.per_second:.1f} per second, p50 {before.p50_ms:.0f} ms")
    print(f"{during.concurrency} connections for {during.seconds:.0f} s: by status {during.codes}, p99 {during.p99_ms:.0f} ms")
    print(f"memory: {sum(memory[:third]) / third:.0f} MB in the first third, {sum(memory[-third:]) / third:.0f} in the last")
    print(f"normal latency {answered - ended:.1f} s after; alone again p50 {after.p50_ms:.0f} ms")


if __name__ == "__main__":
    main()
