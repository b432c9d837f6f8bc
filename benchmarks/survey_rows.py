"""How long the end of a very large survey takes, and how much memory: resume, tables, contact sheet and its filter, report.

A few drawn photographs are surveyed; their rows are repeated under new names until there are `--n`, each with a file of its own
and a mask and an overlay (links to the few). Then `crack survey` goes on with that survey: it finds nothing to do, and writes
all results. With 1,000,000 rows the folder takes some 30 GB and 3 million names for the time being.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from model.inference.encoding import jpeg
from model.synthetic import draw_surface
from survey.folder import JOURNAL, Survey
from survey.sheet import NAME

SIZE_HW = (384, 544)
N_DRAWN = 40
LINKS = 10_000  # to one file: file systems have a limit
PER_FOLDER = 10_000
OPEN = "import sys; from pathlib import Path; from survey.folder import Survey; Survey(Path(sys.argv[1]), None).close()"


class Cost(NamedTuple):
    """Of a command. `first_s`: until it has printed its first line."""

    first_s: float
    wall_s: float
    processor_s: float
    memory_gb: float

    def __str__(self) -> str:
        return f"{self.wall_s:.0f} s, {self.processor_s:.0f} s of the processor, {self.memory_gb:.2f} GB at most"


def cost(*command: str) -> Cost:
    """Of a command of Python's; its start is part of it."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise RuntimeError("The command has no output.")
    told = process.stdout.readline()
    first_s = time.perf_counter() - started
    told += process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with {status}: {told}")
    return Cost(first_s, time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)


def prepare(work: Path, n: int) -> tuple[Path, Path]:
    """The photographs, and the folder of a survey that has answered them all."""
    drawn, out = work / "drawn", work / "drawn-cracks"
    drawn.mkdir()
    for seed in range(N_DRAWN):
        (drawn / f"{seed:02}.jpg").write_bytes(jpeg(draw_surface(seed, SIZE_HW).image_hwc_u8))
    command = [sys.executable, "-m", "crack", "survey", str(drawn), "--engine", "local"]
    subprocess.run(command, check=True, capture_output=True)
    few = Survey(out, None)
    rows = list(few.rows(few.files()))
    few.close()
    source, large = work / "bridge", work / "bridge-cracks"
    survey = Survey(large, few.question)
    for number in tqdm(range(n), desc="rows", unit="row", disable=None):
        row = rows[number % N_DRAWN]
        file = f"{number // PER_FOLDER:04}/{number:07}.jpg"
        pairs = [
            (drawn / row.file, source / file),
            (few.pictures.mask(row.file), survey.pictures.mask(file)),
            (few.pictures.overlay(row.file), survey.pictures.overlay(file)),
        ]
        for original, copy in pairs:
            if number % PER_FOLDER == 0:
                copy.parent.mkdir(parents=True)
            if number // N_DRAWN % LINKS == 0 and number >= N_DRAWN:
                content = original.read_bytes()
                original.unlink()
                original.write_bytes(content)  # another file, with links of its own
            os.link(original, copy)
        score = round((row.crack_score or 0) * (1 - number / n), 6)  # or whole pages would be one photograph
        survey.append(dataclasses.replace(row, file=file, crack_score=score, mtime_ns=(source / file).stat().st_mtime_ns))
    survey.close()
    return source, large


def measure(source: Path, out: Path) -> None:
    """Print what opening the journal takes, `crack survey` that finds each photograph answered, and `crack report`."""
    print(f"opening the journal: {cost('-c', OPEN, str(out))}", flush=True)
    whole = cost("-m", "crack", "survey", str(source), "--out", str(out), "--engine", "local")
    print(f"survey: {whole}; {whole.first_s:.0f} s of it until it knows what is left", flush=True)
    print(f"report: {cost('-m', 'crack', 'report', str(out))}", flush=True)
    for path in sorted(out.iterdir()):
        if path.is_file():
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    pages = [path.stat().st_size for path in (out / "sheet").glob("*.html")]
    print(f"sheet/: {len(pages)} pages of {max(pages, default=0) / 1e6:.1f} MB at most")


def look(out: Path, n: int) -> None:
    """Print what opening and filtering the contact sheet takes in Chromium."""
    from tests.pages import chromium

    with chromium() as browser:
        started = time.perf_counter()
        browser.get((out / NAME).as_uri())
        opened_s = time.perf_counter() - started
        times = []
        for text in (f"{n // 2:07}", f"{n // 3:07}"):
            started = time.perf_counter()
            browser.execute_script(
                "const name = document.getElementById('name'); name.value = arguments[0]; name.dispatchEvent(new Event('input',"
                "{bubbles: true}))",
                text,
            )
            while "found" not in browser.execute_script("return document.getElementById('count').textContent"):
                time.sleep(0.02)
            times.append(time.perf_counter() - started)
        heap_mb = browser.execute_script("return performance.memory.usedJSHeapSize") / 1e6
        print(f"contact sheet in Chromium: opened in {opened_s:.1f} s, first filter {times[0]:.1f} s,", end=" ")
        print(f"next {times[1]:.2f} s; {heap_mb:.0f} MB of JavaScript")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survey_rows", description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="rows (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as temporary:
        source, out = prepare(Path(temporary), options.n)
        print(f"{options.n} rows; the journal: {(out / JOURNAL).stat().st_size / 1e6:.0f} MB")
        measure(source, out)
        look(out, options.n)


if __name__ == "__main__":
    main()
