"""Where the milliseconds of one photograph go, on one core, by its size, from decoding to encoding; and the peak memory.

Each size runs in a process of its own, so that its peak memory is its own, with the backend that a worker would choose.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import cv2
import numpy as np

from benchmarks.contenders import ARCHIVE
from export.archive import unpack
from model.inference import answer as answers
from model.inference import runtime
from model.inference.options import Options, Response
from model.inference.segmenter import Segmenter
from model.synthetic import draw_surface
from tests.photographs import jpeg

STAGES = ("decode", "prepare", "run", "blend", "encode")
MEGAPIXELS = (0.2, 1.0, 4.0, 12.0, 24.0, 50.0)
P = ParamSpec("P")
T = TypeVar("T")


def photograph(megapixels: float) -> bytes:
    """A JPEG of this size, 4 to 3: one drawn surface, enlarged."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    surface = draw_surface(20, (384, 512)).image_hwc_u8
    return jpeg(np.asarray(cv2.resize(surface, (round(height * 4 / 3), height)), np.uint8), quality=85)


def measure(archive: Path, megapixels: float, n_repeats: int) -> tuple[str, dict[str, float], float]:
    """The backend, the milliseconds of each stage (the shortest of the repeats), and the peak memory in megabytes."""
    data = photograph(megapixels)
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        card = unpack(archive, Path(work))
        backend, run, _ = runtime.choose(Path(work), card, 1)
        seconds: dict[str, float] = defaultdict(float)

        def timed(stage: str, call: Callable[P, T]) -> Callable[P, T]:
            def timing(*arguments: P.args, **named: P.kwargs) -> T:
                started = time.perf_counter()
                try:
                    return call(*arguments, **named)
                finally:
                    seconds[stage] += time.perf_counter() - started

            return timing

        segmenter = Segmenter(card, timed("run", run))
        segmenter.predict_tile = timed("tile", segmenter.predict_tile)  # type: ignore[method-assign]
        segmenter.probability = timed("network", segmenter.probability)  # type: ignore[method-assign]
        answers.decode = timed("decode", answers.decode)  # type: ignore[attr-defined]
        whole = timed("whole", answers.answer)
        best: dict[str, float] = {}
        for _ in range(n_repeats + 1):
            seconds.clear()
            whole(segmenter, data, Options(response=Response.MASK), backend=backend, request_id="stages")
            found = {
                "decode": seconds["decode"],
                "prepare": seconds["tile"] - seconds["run"],
                "run": seconds["run"],
                "blend": seconds["network"] - seconds["tile"],
                "encode": seconds["whole"] - seconds["network"] - seconds["decode"],
            }
            if not best or sum(found.values()) < sum(best.values()):
                best = found
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return str(backend), {stage: 1000 * value for stage, value in best.items()}, peak_mb


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stages",
        description=__doc__,
        epilog="examples:\n"
        "  python -m benchmarks.stages\n"
        "  python -m benchmarks.stages --megapixels 0.2 12 --archives former.mar model_store/crack.mar\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS, help=f"(default: {MEGAPIXELS})")
    parser.add_argument(
        "--archives", type=Path, nargs="+", default=[ARCHIVE], help="beside each other, in turns (default: the released one)"
    )
    options = parser.parse_args()
    print(f"| megapixels | {' | '.join(f'{stage} ms' for stage in STAGES)} | whole ms | ms a megapixel | peak MB | backend |")
    print(f"|{'---|' * (len(STAGES) + 5)}")
    for megapixels in options.megapixels:
        wholes: list[float] = []
        for archive in options.archives:
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                backend, stages, peak_mb = alone.apply(measure, (archive, megapixels, 5 if megapixels < 12 else 2))
            whole = sum(stages.values())
            wholes.append(whole)
            shares = " | ".join(f"{stages[stage]:.1f} ({stages[stage] / whole:.0%})" for stage in STAGES)
            row = f"| {megapixels:g} | {shares} | {whole:.0f} | {whole / megapixels:.0f} | {peak_mb:.0f} | {backend} |"
            print(
                row + (f" {archive}: {whole / wholes[0]:.2f} times {options.archives[0]}" if len(wholes) > 1 else ""),
                flush=True,
            )


if __name__ == "__main__":
    main()
