"""Answers per second and latency: this system, its limit, and what one would use instead, in turn, in one run.

All of them answer the same photograph with the same weights, decoding, tiling and PNG encoding. The limit is the inference core
in processes of its own, one a core, without any server. Each contender is started for real, warmed up, asked at each
concurrency and stopped before the next one starts; rounds repeat the whole series. `--sweep` looks for each peer's best
settings first and keeps them for later runs.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks.contenders import ARCHIVE, FASTAPI, PEERS, Peer, Settings, sidecar, torchserve
from benchmarks.load import Load, Request, ask, load
from export.archive import unpack
from model.inference import runtime
from model.inference.answer import answer
from model.inference.card import Backend
from model.inference.headers import of_options
from model.inference.options import Options, Response
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter
from model.synthetic import draw_surface
from tests.photographs import jpeg

RESULTS = Path("benchmarks/results")
WARM_UP_S = 6.0  # Java compiles what runs often
PYTORCH = Backend("pytorch", "fp32")


@dataclass(frozen=True)
class Contender:
    """Something that answers: its address while it runs, and how it is asked and its mask read."""

    name: str
    backend: Backend
    start: Callable[[], contextlib.AbstractContextManager[str]]
    request: Callable[[str, bytes], Request]
    mask: Callable[[bytes], bytes] = lambda body: body


def ours(name: str, backend: Backend, start: Callable[[Backend], contextlib.AbstractContextManager[str]]) -> Contender:
    """The photograph as the body; what is asked for, in a header for TorchServe and in the query for the sidecar."""
    headers = {"Content-Type": "image/jpeg", **of_options(Options(response=Response.MASK))}
    return Contender(
        name, backend, lambda: start(backend), lambda url, photograph: Request(f"{url}?response=mask", photograph, headers)
    )


def peers(peer: Peer, backend: Backend, settings: Settings) -> Contender:
    return Contender(peer.name, backend, lambda: peer.start(backend, settings), peer.request, peer.mask)


def photograph() -> bytes:
    """A JPEG of 544 x 384 pixels, as DeepCrack's are."""
    return jpeg(draw_surface(20, (384, 544)).image_hwc_u8, quality=85)


def in_process(backend: Backend, image: bytes, seconds: float) -> float:
    """Answers per second of the inference core on all cores, without a server."""
    with multiprocessing.get_context("spawn").Pool(n_usable_cores()) as workers:
        counts = workers.starmap(_answer_for, [(backend, image, seconds)] * n_usable_cores(), chunksize=1)
    return sum(counts) / seconds


def _answer_for(backend: Backend, image: bytes, seconds: float) -> int:
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as work:
        segmenter = Segmenter(unpack(ARCHIVE, Path(work)), runtime.load(Path(work), backend, 1))
        options, n_answers = Options(response=Response.MASK), 0
        warm = time.perf_counter() + WARM_UP_S
        while time.perf_counter() < warm:
            answer(segmenter, image, options, backend=backend, request_id="limit")
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            answer(segmenter, image, options, backend=backend, request_id="limit")
            n_answers += 1
    return n_answers


def ask_each(contender: Contender, image: bytes, concurrencies: Sequence[int], seconds: float) -> tuple[bytes, dict[int, Load]]:
    """A contender's mask of the photograph, and its loads by concurrency. Raises RuntimeError if it answers an error."""
    with contender.start() as address:
        request = contender.request(address, image)
        status, body = ask(request)
        if status != 200:
            raise RuntimeError(f"{contender.name} answered {status}: {body[:500]!r}")
        load(request, concurrency=max(concurrencies), seconds=WARM_UP_S)
        loads = {concurrency: load(request, concurrency=concurrency, seconds=seconds) for concurrency in concurrencies}
    failed = [one.codes for one in loads.values() if set(one.codes) != {200}]
    if failed:
        raise RuntimeError(f"{contender.name} did not answer each time: {failed}")
    return contender.mask(body), loads


def sweep(backend: Backend, seconds: float) -> None:
    """Measure each peer with several settings; the table and the best of each, by answers per second at 4 and 16, are kept."""
    n = n_usable_cores()
    candidates = [Settings(n, 1, 1), Settings(n + 1, 1, 1), Settings(1, n, 1), Settings(1, 1, n)]
    best: dict[str, Settings] = {}
    lines = [
        "| peer | processes x photographs at a time x threads | p50 ms at 1 | answers per second at 4 | at 16 |",
        "|---|---|---|---|---|",
    ]
    jobs = [(FASTAPI, PYTORCH), *((peer, backend) for peer in PEERS)]
    with tqdm(total=len(jobs) * len(candidates), desc="settings", unit="setting") as progress:
        for peer, used in jobs:
            rates: dict[Settings, float] = {}
            for settings in candidates:
                _, loads = ask_each(peers(peer, used, settings), photograph(), (1, 4, 16), seconds)
                rates[settings] = loads[4].per_second + loads[16].per_second
                figures = f"{loads[1].p50_ms:.0f} | {loads[4].per_second:.1f} | {loads[16].per_second:.1f}"
                lines.append(f"| {peer.name}, {used} | {settings} | {figures} |")
                progress.update()
            best[_key(peer, used)] = max(rates, key=rates.__getitem__)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sweep.md").write_text("\n".join(lines) + "\n")
    (RESULTS / "settings.json").write_text(json.dumps({key: asdict(value) for key, value in best.items()}, indent=2) + "\n")
    print("\n".join(lines))


def _key(peer: Peer, backend: Backend) -> str:
    return f"{peer.key} {backend.runtime}" if backend == PYTORCH else peer.key


def contenders(backends: Sequence[Backend], wanted: Sequence[str]) -> list[Contender]:
    found = json.loads((RESULTS / "settings.json").read_text())
    series = [peers(FASTAPI, PYTORCH, Settings(**found[_key(FASTAPI, PYTORCH)]))]
    for backend in backends:
        series += [peers(peer, backend, Settings(**found[_key(peer, backend)])) for peer in PEERS]
        series.append(ours("TorchServe", backend, torchserve))
    series.append(ours("sidecar and TorchServe", backends[-1], sidecar))
    return [one for one in series if not wanted or one.name in wanted]


Limits = dict[Backend, list[float]]
Loads = dict[tuple[str, Backend], dict[int, list[Load]]]


def measure(
    series: Sequence[Contender], backends: Sequence[Backend], n_rounds: int, seconds: float, concurrencies: Sequence[int]
) -> tuple[Limits, Loads, dict[Backend, NDArray[np.uint8]]]:
    """Answers per second of each backend's limit, each contender's loads by concurrency, and each backend's mask.

    Raises:
        RuntimeError: a contender failed, or its mask differs from another's with the same backend.
    """
    image = photograph()
    limits: Limits = {backend: [] for backend in backends}
    loads: Loads = {}
    masks: dict[Backend, tuple[str, bytes]] = {}
    for _ in tqdm(range(n_rounds), desc="rounds", unit="round"):
        for backend in backends:
            limits[backend].append(in_process(backend, image, seconds))
        for contender in tqdm(series, desc="contenders", unit="contender", leave=False):
            mask, measured = ask_each(contender, image, concurrencies, seconds)
            first, expected = masks.setdefault(contender.backend, (contender.name, mask))
            if mask != expected:
                raise RuntimeError(f"{contender.name} and {first} gave different masks with {contender.backend}.")
            for concurrency, one in measured.items():
                loads.setdefault((contender.name, contender.backend), {}).setdefault(concurrency, []).append(one)
    pictures = {backend: np.asarray(Image.open(io.BytesIO(mask))) for backend, (_, mask) in masks.items()}
    return limits, loads, pictures


def to_markdown(limits: Limits, loads: Loads, masks: Mapping[Backend, NDArray[np.uint8]]) -> str:
    """Medians over the rounds; the ratio is to the limit of the same backend, round by round."""
    lines = [f"Limit, {backend}: {_spread(rates)} answers per second." for backend, rates in limits.items()]
    lines += [
        "",
        "| contender | concurrency | answers per second | of the limit | p50 ms | p95 ms | p99 ms | generator's cores |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for (name, backend), by_concurrency in loads.items():
        for concurrency, measured in by_concurrency.items():
            rates = [one.per_second for one in measured]
            ratios = [rate / limit for rate, limit in zip(rates, limits[backend], strict=True)] if backend in limits else []
            p50, p95, p99, own = (
                statistics.median(getattr(one, field) for one in measured)
                for field in ("p50_ms", "p95_ms", "p99_ms", "own_cpu_ratio")
            )
            ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
            latencies = f"{p50:.0f} | {p95:.0f} | {p99:.0f}"
            lines.append(f"| {name}, {backend} | {concurrency} | {_spread(rates)} | {ratio} | {latencies} | {own:.2f} |")
    return "\n".join(lines)


def _spread(rates: Sequence[float]) -> str:
    return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def draw(limits: Limits, loads: Loads, path: Path) -> None:
    """Answers per second at the middle concurrency, a bar for each contender, with each backend's limit as a line."""
    names = sorted(loads, key=lambda key: statistics.median(one.per_second for one in loads[key][_middle(loads[key])]))
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(names) + 1.2), layout="constrained")
    colours = {backend: f"C{index}" for index, backend in enumerate(dict.fromkeys(backend for _, backend in loads))}
    for row, key in enumerate(names):
        rates = [one.per_second for one in loads[key][_middle(loads[key])]]
        middle = statistics.median(rates)
        spread = [[middle - min(rates)], [max(rates) - middle]]
        axes.barh(row, middle, xerr=spread, color=colours[key[1]], alpha=1 if "TorchServe" in key[0] else 0.5, capsize=3)
    for backend, rates in limits.items():
        axes.axvline(statistics.median(rates), color=colours[backend], linestyle="--", label=f"limit, {backend}")
    axes.set_yticks(range(len(names)), [f"{name}, {backend}" for name, backend in names])
    axes.set_xlabel(f"answers per second at concurrency {_middle(loads[names[0]])}")
    axes.legend(loc="lower right")
    figure.savefig(path)


def _middle(by_concurrency: dict[int, list[Load]]) -> int:
    return sorted(by_concurrency)[len(by_concurrency) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.serving --sweep\n  python -m benchmarks.serving\n"
        "  python -m benchmarks.serving --rounds 1 --seconds 4 --only TorchServe FastAPI\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sweep", action="store_true", help="look for the peers' best settings, and stop")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--seconds", type=float, default=8, help="at each concurrency (default: 8)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16], help="(default: 1 4 16)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="contenders to measure (default: all)")
    parser.add_argument(
        "--backends",
        nargs="+",
        default=["onnxruntime fp32", "openvino int8+bf16"],
        metavar="'RUNTIME PRECISION'",
        help="that the archive holds (default: 'onnxruntime fp32' 'openvino int8+bf16')",
    )
    options = parser.parse_args()
    backends = [Backend(*text.split()) for text in options.backends]
    if options.sweep or not (RESULTS / "settings.json").is_file():
        sweep(backends[-1], options.seconds / 2)
    if options.sweep:
        return
    series = contenders(backends, options.only)
    limits, loads, masks = measure(series, backends, options.rounds, options.seconds, options.concurrency)
    table = to_markdown(limits, loads, masks)
    print(table)
    if not options.only:
        (RESULTS / "serving.md").write_text(table + "\n")
        draw(limits, loads, RESULTS / "serving.svg")


if __name__ == "__main__":
    main()
