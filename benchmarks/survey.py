"""How near a survey (`python -m survey`) comes to what the servers can do: photographs a second from its start to the
finished contact sheet, beside a client that sends the same photographs and throws the masks away. All on one machine, so that
the survey's own work (decoding, overlays, thumbnails, the disk) takes processors from the servers.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from tqdm import tqdm

from benchmarks.contenders import sidecar
from benchmarks.load import Request, each
from model.dataset import add_data_option, read_pairs

SETS = ("deepcrack", "crack500")


def survey(folder: Path, out: Path, url: str, concurrency: int) -> float:
    """Photographs a second of the whole command."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "survey", str(folder), "--out", str(out), "--url", url]
    subprocess.run([*command, "--concurrency", str(concurrency)], check=True, capture_output=True)
    return len(list(folder.iterdir())) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.survey",
        description=__doc__,
        epilog="examples:\n  python -m benchmarks.survey\n  python -m benchmarks.survey --n 100 --rounds 1\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--n", type=int, default=500, help="photographs (default: 500)")
    parser.add_argument("--rounds", type=int, default=3, help="of both, one after the other (default: 3)")
    parser.add_argument("--concurrency", type=int, default=4, help="of both (default: 4)")
    options = parser.parse_args()
    pairs = [pair for name in SETS for pair in read_pairs(options.data, [name], "train")]
    rates = []
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as temporary:
        work = Path(temporary)
        folder = work / "photographs"
        folder.mkdir()
        for number, pair in enumerate(islice(cycle(pairs), options.n)):
            shutil.copy(pair.image_path, folder / f"{number:05d}{pair.image_path.suffix}")
        with sidecar(None) as predict_url:
            address, headers = f"{predict_url}?response=mask", {"Content-Type": "application/octet-stream"}
            requests = [Request(address, path.read_bytes(), headers) for path in sorted(folder.iterdir())]
            each(requests[:50], concurrency=options.concurrency)  # warm-up
            for number in tqdm(range(options.rounds), desc="rounds", disable=None):
                limit = each(requests, concurrency=options.concurrency)
                rate = survey(folder, work / f"out-{number}", predict_url.removesuffix("/predict"), options.concurrency)
                rates.append((limit.per_second, rate))
                if set(limit.codes) != {200}:
                    raise RuntimeError(f"Expected 200 for each photograph, found {limit.codes}.")
    print("| photographs a second | servers alone | survey | ratio |\n|---|---|---|---|")
    for number, (most, rate) in enumerate(rates, 1):
        print(f"| round {number} | {most:.1f} | {rate:.1f} | {rate / most:.2f} |")
    print(f"\nMedian ratio: {statistics.median(rate / most for most, rate in rates):.2f}")


if __name__ == "__main__":
    main()
