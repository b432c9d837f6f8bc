"""How near a survey (`crack survey`) comes to its limit, in photographs per second, all on one machine.

By http: beside a client that asks the same of the same photographs and throws the answers away, so that the survey's own work
(reading, taking answers apart, the disk) takes processors from the servers. By local or ray: beside the inference core in as
many processes, on the same backend, making the same mask, overlay, thumbnail and measurements of the same photographs, all in
memory. To the finished contact sheet. Limits are without their start; a survey's is that of one with a photograph for each
process or connection.
"""

import argparse
import math
import multiprocessing
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from multiprocessing import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from benchmarks.contenders import ARCHIVE, sidecar
from benchmarks.load import Request, each
from export.archive import unpack
from model.dataset import add_data_option, read_pairs
from model.inference import runtime
from model.inference.options import Options, Response
from model.inference.photograph import Limits
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter
from survey.engines.local import look
from survey.processes import Core

SETS = ("deepcrack", "crack500")


class Cost(NamedTuple):
    """Processor seconds are of all processes together; on a machine that others use too, they tell more than the clock."""

    wall_s: float
    processor_s: float


def survey(folder: Path, out: Path, url: str, concurrency: int) -> float:
    """Seconds of the whole command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "crack", "survey", str(folder), "--out", str(out), "--url", url]
    subprocess.run([*command, "--concurrency", str(concurrency)], check=True, capture_output=True)
    return time.perf_counter() - started


def local_survey(engine: str, folder: Path, out: Path, backend: str, n_processes: int) -> Cost:
    """Of the whole command. Of Ray's processes, which it doesn't wait for, the processor seconds are not known."""
    command = [sys.executable, "-m", "crack", "survey", str(folder), "--out", str(out), "--engine", engine]
    started, before = time.perf_counter(), _processor_s()
    subprocess.run([*command, "--backend", backend, "--concurrency", str(n_processes)], check=True, capture_output=True)
    return Cost(time.perf_counter() - started, _processor_s() - before)


def _processor_s() -> float:
    """Of all processes that this one has started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def core_alone(paths: Sequence[Path], backend: str, n_processes: int) -> Cost:
    """Of the inference core, from memory to memory."""
    context = multiprocessing.get_context("spawn")
    barrier, costs = context.Barrier(n_processes), context.Queue()
    shares = [paths[number::n_processes] for number in range(n_processes)]
    workers = [context.Process(target=_look_at_all, args=(share, backend, n_processes, barrier, costs)) for share in shares]
    for worker in workers:
        worker.start()
    found = [costs.get() for _ in workers]
    for worker in workers:
        worker.join()
    return Cost(max(cost.wall_s for cost in found), sum(cost.processor_s for cost in found))


def _look_at_all(paths: Sequence[Path], backend: str, n_processes: int, barrier: "Barrier", costs: "Queue[Cost]") -> None:
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        card = unpack(ARCHIVE, Path(work))
        name, precision = backend.split()
        n_threads = max(1, n_usable_cores() // n_processes)
        chosen, run, _ = runtime.choose(Path(work), card, n_threads, runtime=name, precision=precision)
        core, photographs = Core(Segmenter(card, run), chosen), [path.read_bytes() for path in paths]
        look(core, photographs[0], Options(), Limits())
        barrier.wait()
        started, used = time.perf_counter(), time.process_time()
        for photograph in photographs:
            look(core, photograph, Options(), Limits())
        costs.put(Cost(time.perf_counter() - started, time.process_time() - used))


def first_ones(paths: Sequence[Path], work: Path, n: int) -> Path:
    """A folder of as many photographs as are under way at a time, so that all processes start."""
    few = work / "few"
    few.mkdir()
    for path in paths[:n]:
        shutil.copy(path, few)
    return few


def compare_local(folder: Path, work: Path, options: argparse.Namespace) -> None:
    paths = sorted(folder.iterdir())
    few = first_ones(paths, work, options.concurrency)
    print("| photographs per second | the core alone | survey | ratio | ms of processor each | survey | ratio | its start, s |")
    print(f"|{'---|' * 8}")
    for number in range(options.rounds):
        core = core_alone(paths, options.backend, options.concurrency)
        start = local_survey(options.engine, few, work / f"few-{number}", options.backend, options.concurrency)
        whole = local_survey(options.engine, folder, work / f"out-{number}", options.backend, options.concurrency)
        n_more = len(paths) - options.concurrency
        most, rate = len(paths) / core.wall_s, n_more / (whole.wall_s - start.wall_s)
        least_ms = 1000 * core.processor_s / len(paths)
        each_ms = 1000 * (whole.processor_s - start.processor_s) / n_more
        if options.engine == "ray":
            each_ms = math.nan
        told = f"{most:.1f} | {rate:.1f} | {rate / most:.2f} | {least_ms:.1f} | {each_ms:.1f} | {least_ms / each_ms:.2f}"
        print(f"| round {number + 1} | {told} | {start.wall_s:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.survey",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.survey\n  python -m benchmarks.survey --n 100 --rounds 1\n"
        "  python -m benchmarks.survey --engine local --concurrency 2 --n 3000\n"
        "  python -m benchmarks.survey --engine ray --concurrency 2 --n 3000\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--n", type=int, default=500, help="photographs (default: 500)")
    parser.add_argument("--rounds", type=int, default=3, help="of both, one after the other (default: 3)")
    parser.add_argument("--concurrency", type=int, default=4, help="of both (default: 4)")
    parser.add_argument("--engine", choices=("http", "local", "ray"), default="http", help="(default: http)")
    parser.add_argument("--backend", default="openvino int8", help="local, ray: of both (default: openvino int8)")
    options = parser.parse_args()
    pairs = [pair for name in SETS for pair in read_pairs(options.data, [name], "train")]
    rates = []
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as temporary:
        work = Path(temporary)
        folder = work / "photographs"
        folder.mkdir()
        for number, pair in enumerate(islice(cycle(pairs), options.n)):
            shutil.copy(pair.image_path, folder / f"{number:05d}{pair.image_path.suffix}")
        if options.engine != "http":
            compare_local(folder, work, options)
            return
        with sidecar(None) as predict_url:
            address, headers = f"{predict_url}?response={Response.ALL}", {"Content-Type": "application/octet-stream"}
            requests = [Request(address, path.read_bytes(), headers) for path in sorted(folder.iterdir())]
            each(requests[:50], concurrency=options.concurrency)  # warm-up
            few = first_ones(sorted(folder.iterdir()), work, options.concurrency)
            for number in tqdm(range(options.rounds), desc="rounds", disable=None):
                limit = each(requests, concurrency=options.concurrency)
                url = predict_url.removesuffix("/predict")
                start_s = survey(few, work / f"few-{number}", url, options.concurrency)
                whole_s = survey(folder, work / f"out-{number}", url, options.concurrency)
                rates.append((limit.per_second, (options.n - options.concurrency) / (whole_s - start_s), start_s))
                if set(limit.codes) != {200}:
                    raise RuntimeError(f"Expected 200 for each photograph, found {limit.codes}.")
    print("| photographs per second | servers alone | survey | ratio | its start, s |\n|---|---|---|---|---|")
    for number, (most, rate, start_s) in enumerate(rates, 1):
        print(f"| round {number} | {most:.1f} | {rate:.1f} | {rate / most:.2f} | {start_s:.1f} |")
    print(f"\nMedian ratio: {statistics.median(rate / most for most, rate, _ in rates):.2f}")


if __name__ == "__main__":
    main()
