"""What capacity is worked out from (docs/operations/scaling.md): what a photograph costs each process, and a saved label.

Processor seconds, not wall clock: they change little with what else the machine does. Photographs are drawn surfaces repeated
to their size, with as many bytes a pixel as real ones.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import requests

from benchmarks.contenders import start_sidecar, start_torchserve
from benchmarks.load import Request, ask, load
from crack.stores import feedback
from model.synthetic import draw_surface
from sidecar.feedback import FeedbackStore
from sidecar.items import Submission
from sidecar.labels import Mask, Photograph
from tests.photographs import jpeg

MEGAPIXELS = (0.2, 1.0, 12.0, 24.0)
QUALITY = 92  # 0.2 to 0.35 bytes a pixel, as phones' and the data sets' photographs have
KINDS = {"Java": "java", "workers": "model_service_worker", "sidecar": "-m crack sidecar"}
WARM_UP_S = 6.0
N_KNOWN = (0, 10_000, 100_000)
N_SAVED = 50


@dataclass(frozen=True)
class Clock:
    """Processor seconds since `start`, by kind of process."""

    start: dict[str, float]

    @classmethod
    def now(cls) -> "Clock":
        return cls(_processor_seconds())

    def seconds(self) -> dict[str, float]:
        return {kind: now - self.start[kind] for kind, now in _processor_seconds().items()}


def _processor_seconds() -> dict[str, float]:
    found = dict.fromkeys(KINDS, 0.0)
    for started in psutil.Process().children(recursive=True):
        command, times = " ".join(started.cmdline()), started.cpu_times()
        kind = next((kind for kind, mark in KINDS.items() if mark in command), None)
        if kind:
            found[kind] += times.user + times.system
    return found


def photograph(megapixels: float) -> bytes:
    """A JPEG of this size, 4 to 3."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    surface = draw_surface(20, (384, 544)).image_hwc_u8
    shape = height, round(height * 4 / 3)
    n_tall, n_wide = (-(-wanted // side) for wanted, side in zip(shape, surface.shape, strict=False))
    return jpeg(np.tile(surface, (n_tall, n_wide, 1))[: shape[0], : shape[1]], quality=QUALITY)


def predictions(url: str, megapixels: float, seconds: float) -> str:
    """A row of the table."""
    image = photograph(megapixels)
    request = Request(f"{url}/predict?response=mask", image, {"Content-Type": "image/jpeg"})
    status, mask = ask(request)
    if status != 200:
        raise RuntimeError(f"{megapixels} megapixels were answered with {status}: {mask[:200]!r}")
    clock = Clock.now()
    found = load(request, concurrency=4, seconds=seconds)
    costs = {kind: 1000 * spent / found.n_answers for kind, spent in clock.seconds().items()}
    return (
        f"| {megapixels:g} | {found.n_answers} | {costs['workers']:.0f} | {costs['Java']:.1f} | {costs['sidecar']:.1f} "
        f"| {len(image) / 1e6:.2f} | {len(mask) / 1e6:.3f} | {max(found.codes)} |"
    )


def labels(n_known: int, n_saved: int) -> str:
    """What the feedback store does in a second with so many photographs in it, one save after the other, on this disk."""
    surfaces = [draw_surface(seed, (384, 544)) for seed in range(20)]
    with tempfile.TemporaryDirectory(dir=".", prefix=".costs-") as folder:
        store = FeedbackStore(Path(folder), quota_bytes=10**12, is_review_required=True)
        hashes = np.random.default_rng(0).integers(0, 2**63, n_known)
        known = {
            "state": "noted",
            "reason": "",
            "image_file": "",
            "created_at": "",
            "updated_at": "",
            "height": 384,
            "width": 544,
        }
        event = {"at": "", "who": "", "action": feedback.SAVED, "state": "noted", "reason": ""}
        with store._database.writing() as connection:
            for number, value in enumerate(hashes):
                item = {"id": f"{number}", "perceptual_hash": f"{value:016x}", "near_group": f"{number}", **known}
                feedback.put(connection, item, event, is_new=True)
        submissions = []
        for number in range(n_saved):
            surface = surfaces[number % len(surfaces)]
            image = surface.image_hwc_u8.copy()
            image[0, 0] = number % 256, number // 256, 0
            read = Photograph.read(jpeg(image, quality=QUALITY))
            submissions.append((read, Submission(None, Mask.of(surface.mask_hw))))
        started, processor = time.perf_counter(), time.process_time()
        for read, submission in submissions:
            store.save(read, submission, "costs", read.data)
        wall, processor = time.perf_counter() - started, time.process_time() - processor
        store.close()
    return f"| {n_known} | {n_saved / wall:.0f} | {1000 * processor / n_saved:.1f} |"


def n_series(url: str) -> int:
    """Of a server, at Prometheus."""
    lines = requests.get(f"{url}/metrics", timeout=30).text.splitlines()
    return sum(not line.startswith("#") for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.costs",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.costs\n  python -m benchmarks.costs --megapixels 0.2 --seconds 10\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS, help=f"(default: {MEGAPIXELS})")
    parser.add_argument("--seconds", type=float, default=30, help="of load for each size (default: 30)")
    options = parser.parse_args()
    with start_torchserve(None) as behind, start_sidecar(behind) as url:
        load(Request(f"{url}/predict", photograph(0.2), {"Content-Type": "image/jpeg"}), concurrency=4, seconds=WARM_UP_S)
        print("| megapixels | answers | workers ms | Java ms | sidecar ms | MB in | MB out, PNG | status |\n|" + "---|" * 8)
        for megapixels in options.megapixels:
            print(predictions(url, megapixels, options.seconds), flush=True)
        print(f"\nSeries: {n_series(behind.metrics_url)} of TorchServe, {n_series(url)} of the sidecar.\n")
    print("| photographs in the store | saves per second | processor ms of each |\n|" + "---|" * 3)
    for n_known in N_KNOWN:
        print(labels(n_known, N_SAVED), flush=True)


if __name__ == "__main__":
    main()
