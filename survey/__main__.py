"""Survey a folder of photographs: `python -m survey --help`.

Each photograph is looked at once, however often the survey is killed and begun again: what was answered stands in the journal
of the survey's folder (`folder`). By whom is told by `--engine`: a running sidecar, or this machine by itself.
"""

import argparse
import io
import os
import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tqdm import tqdm
from urllib3.util import parse_url

from crack.instance import of_instance
from crack.serving import served
from inspection.rows import Status
from model.inference import standards
from model.inference.cracks import Scale, ScaleSource
from model.inference.errors import RequestError
from model.inference.options import Options, Quality
from survey import coco, geojson
from survey.engines import Engine, SurveyError
from survey.engines.http import LONGEST_WAIT_S, HttpEngine
from survey.findings import About, Findings
from survey.folder import SHEET, Survey
from survey.surveyor import Surveyor, ask_all, photographs
from survey.tables import CRACKS, PHOTOGRAPHS, WORKBOOK, write_tables

# What each photograph's own scale is found by, while it is measured: another one needs another --out.
SCALES = {
    "distance_m": "from the camera to the surface, in place of --mm-per-px; the rest is in most photographs' EXIF, or in:",
    "focal_length_mm": "of the lens, its own",
    "sensor_width_mm": "of the camera's sensor, its longer side",
    "marker_size_mm": "of the printed markers that photographs show (python -m survey.markers), in place of --mm-per-px",
}
DONE, SOME_MISSING, NOT_POSSIBLE, INTERRUPTED = 0, 1, 2, 130


@contextmanager
def stopped_by_signals(stopping: threading.Event) -> Iterator[None]:
    """Ctrl-C, and what containers are stopped with, set `stopping`; another Ctrl-C ends the process where it stands."""

    def stop(*_: object) -> None:
        if stopping.is_set():
            os._exit(INTERRUPTED)
        stopping.set()
        os.write(2, b"\nStopping when those under way are answered; Ctrl-C again stops at once.\n")  # print may be under way

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m survey",
        description="Find the cracks in each photograph of a folder and its sub-folders, by a sidecar or without one.\n\n"
        f"OUT then holds masks/, overlays/, {PHOTOGRAPHS} (a line for each photograph), {CRACKS} (a line for each crack),\n"
        f"both in {WORKBOOK} too, {geojson.NAME} for a GIS, and {SHEET}, a contact sheet with the surest cracks first.\n"
        "python -m survey.report turns OUT into a report.\n"
        "The same command goes on where a survey was stopped or killed: what was added, changed or not answered since is\n"
        "asked about, and nothing else again.",
        epilog="examples:\n"
        "  python -m survey photographs\n"
        "  python -m survey /media/card/DCIM --out bridge-7 --threshold 0.5\n"
        "  python -m survey photographs --engine local\n"
        "  python -m survey photographs --mm-per-px 0.2 --exif --also dxf,coco\n"
        "  python -m survey photographs --mm-per-px 0.2 --standard aci-224r-01 --exposure humidity\n"
        "  python -m survey photographs --url https://cracks.example --key-file crew-7.key --concurrency 32\n\n"
        "exit codes:\n"
        "  0    each photograph is predicted\n"
        "  1    some are not, or files were left out: photographs.csv says which and why\n"
        "  2    it cannot be done or gone on with: wrong usage, no server, no right, no space\n"
        "  130  stopped by Ctrl-C\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    try:
        places = of_instance(os.environ)
    except ValueError as error:
        parser.exit(NOT_POSSIBLE, f"error: {error}\n")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of photographs; nothing in it is changed")
    parser.add_argument("--out", type=Path, help="folder of what is found (default: FOLDER-cracks)")
    parser.add_argument(
        "--engine",
        choices=("http", "local"),
        default="http",
        help="what looks at the photographs. http: a running sidecar; local: processes on this machine's cores, without any "
        "server (default: %(default)s)",
    )
    parser.add_argument(
        "--url",
        default=places["BACKEND_URL"],
        help="address of the sidecar, or one behind which many stand (default: BACKEND_URL, now %(default)s)",
    )
    parser.add_argument("--key-file", type=Path, help="file that holds the API key (default: the key in CRACK_API_KEY)")
    parser.add_argument("--archive", type=Path, help="local: the model (default: what is served from the model store)")
    parser.add_argument(
        "--backend",
        default="auto",
        metavar="'RUNTIME PRECISION'",
        help="local: what computes it, such as 'openvino int8'; a server's answers name theirs (default: the fastest here)",
    )
    parser.add_argument("--quality", choices=list(Quality), default=Quality.NORMAL, help="high takes eight times the time")
    parser.add_argument("--threshold", help="probability from which a pixel is called crack (default: the model's own)")
    parser.add_argument(
        "--mm-per-px",
        help="how large a pixel is on the surface, for millimetres in all that is written; given later or changed, nothing "
        "is asked again",
    )
    for name, what in SCALES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="M" if name.endswith("_m") else "MM", help=what)
    parser.add_argument(
        "--standard",
        metavar="NAME",
        help=f"tell each crack's band by it, a guide value: one of {', '.join(standards.names())}; needs a scale, and with "
        "--exposure may be given later or changed, too",
    )
    parser.add_argument("--exposure", metavar="NAME", help="the row of the standard's table, such as humidity")
    parser.add_argument(
        "--exif",
        action="store_true",
        help="tell when and where each photograph was taken, by its EXIF (without it no file says so)",
    )
    parser.add_argument(
        "--also",
        type=_ways_out,
        default=(),
        metavar="dxf,coco",
        help=f"write dxf/NAME.dxf for each photograph with cracks, and {coco.NAME} with each crack's pixels, or one of both",
    )
    parser.add_argument("--bom", action="store_true", help="begin the CSVs by a byte order mark, which old Excels need")
    parser.add_argument(
        "--concurrency",
        type=_positive,
        help="photographs under way at a time. http: twice as many as the servers have processors keep them busy, more only "
        "make others wait; each takes 14 bytes a pixel here (default: 4). local: processes (default: the processors, "
        "fewer where there is less than 1.5 GB of memory for each)",
    )
    parser.add_argument(
        "--retries",
        type=_positive,
        default=10,
        help=f"http: tries more while the server is away or busy, up to {LONGEST_WAIT_S} s apart (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        return survey_folder(chosen, Path(places["CRACK_MODEL_STORE"]))
    except (SurveyError, RequestError, ValueError, OSError) as error:
        parser.exit(NOT_POSSIBLE, f"error: {error}\n")
    except KeyboardInterrupt:
        print(f"\nStopped. {_how_to_go_on()}")
        return INTERRUPTED


def survey_folder(chosen: argparse.Namespace, model_store: Path) -> int:
    """What `main` was asked for; the exit code. Raises what `main` catches."""
    given = {name: getattr(chosen, name) for name in ("quality", "threshold", "mm_per_px", "standard", "exposure", *SCALES)}
    options = Options.parse({name: value for name, value in given.items() if value is not None})
    folder = chosen.folder.resolve()
    if not folder.is_dir():
        raise SurveyError(f"{chosen.folder}: expected a folder of photographs.")
    out = chosen.out.resolve() if chosen.out else folder.with_name(f"{folder.name}-cracks")
    if out == folder:
        raise SurveyError(f"--out {chosen.out} is the folder of photographs itself. Choose another.")
    files, others = photographs(folder, out)
    if not files:
        found = "; ".join(f"{name}: {reason}" for name, reason in islice(others.items(), 3)) or "it is empty"
        raise SurveyError(f"{folder} holds no photograph ({found}).")
    all_files, stopping = sorted([*files, *others]), threading.Event()
    question = {"quality": options.quality.value, "threshold": options.threshold or "of the model"}
    question |= {name: value for name in SCALES if (value := getattr(options, name)) is not None}
    try:
        survey = Survey(out, question)
    except BlockingIOError as error:
        raise SurveyError(f"Another survey is writing {out}. Wait for it, or choose another folder by --out.") from error
    try:
        engine = _engine(chosen, replace(options, mm_per_px=None, standard=None, exposure=None), model_store, stopping)
    except BaseException:
        survey.close()
        raise
    try:
        surveyor = Surveyor(folder, survey, engine, stopping)
        remaining = [file for file in files if not surveyor.is_answered(file)]
        print(f"{folder}: {len(files)} photographs, {len(files) - len(remaining)} of them done. Results: {out}")
        if others:
            survey.leave_out(others)
            print(f"{len(others)} left out, as {PHOTOGRAPHS} tells: {', '.join(islice(others, 5))}")
        changed = [file for file in remaining if surveyor.is_changed(file)]
        if changed:
            print(f"{len(changed)} have changed since they were asked about, and are again: {', '.join(changed[:5])}")
        reason = None
        if remaining:
            print(f"{engine.name} answers by model {engine.check()}.", flush=True)
            progress = tqdm(
                total=len(files),
                initial=len(files) - len(remaining),
                desc="surveying",
                unit="photo",
                smoothing=0.1,
                dynamic_ncols=True,
            )
            with progress as bar, stopped_by_signals(stopping):
                reason = ask_all(surveyor, remaining, bar)
        counts, versions = _counted(survey, all_files)
        models = ", ".join(f"{version} ({count})" if len(versions) > 1 else version for version, count in versions.items())
        asked = f"quality {question['quality']}, threshold {question['threshold']}, model {models or 'none'}"
        given_scale = None if options.mm_per_px is None else Scale(options.mm_per_px, ScaleSource.GIVEN)
        about = About(folder, given_scale, chosen.exif, options.judged_by())
        about.save(survey)
        findings = Findings(survey, about, all_files)
        write_tables(findings, chosen.bom)
        geojson.write_geojson(findings)
        if "coco" in chosen.also:
            coco.write_coco(findings)
        if "dxf" in chosen.also:
            from survey.dxf import write_dxfs  # half a second, and it looks for all fonts of the machine

            write_dxfs(findings)
        n_unmeasured = sum(found.row.lines is None and not found.row.error for found in findings.predicted())
        sheet = survey.write_sheet(all_files, folder.name, asked)
        n_remaining = sum(not surveyor.is_answered(file) for file in remaining) if stopping.is_set() else 0
    finally:
        engine.close()
        survey.close()
    print(f"{', '.join(f'{counts[status]} {status}' for status in Status if counts[status])}; {asked}.")
    if len(versions) > 1:
        print("The model was changed between: their shares of crack need not compare.")
    if n_unmeasured:
        print(
            f"{n_unmeasured} were answered by an older version, which told less of their cracks: for all of it, choose "
            "another --out."
        )
    print(f"{sheet}")
    if reason:
        raise SurveyError(f"{reason} {_how_to_go_on()}")
    if n_remaining:
        print(f"Stopped, {n_remaining} remain. {_how_to_go_on()}")
        return INTERRUPTED
    return DONE if counts[Status.PREDICTED] == len(all_files) else SOME_MISSING


def _engine(chosen: argparse.Namespace, options: Options, model_store: Path, stopping: threading.Event) -> Engine:
    if chosen.engine == "http":
        key = chosen.key_file.read_text().strip() if chosen.key_file else os.environ.get("CRACK_API_KEY")
        return HttpEngine(_address(chosen.url), key, options, chosen.concurrency or 4, chosen.retries, stopping)
    from survey.engines.local import LocalEngine  # a runtime and POSIX, which a client of a server needs none of
    from survey.processes import default_n

    archive = chosen.archive or model_store / served(model_store)
    return LocalEngine(archive, options, chosen.concurrency or default_n(), chosen.backend, stopping)


def _counted(survey: Survey, files: Sequence[str]) -> tuple[Counter[Status], Counter[str]]:
    """How many photographs have which status, and how many each version of the model predicted."""
    counts: Counter[Status] = Counter()
    versions: Counter[str] = Counter()
    for row in survey.rows(files):
        counts[row.status] += 1
        if row.status is Status.PREDICTED:
            versions[row.model_version] += 1
    return counts, versions


def _address(text: str) -> str:
    parts = parse_url(text)
    if parts.scheme not in ("http", "https") or not parts.host:
        raise SurveyError(f"{text!r} is no address of a server. Give one such as http://127.0.0.1:8000.")
    return text.rstrip("/")


def _how_to_go_on() -> str:
    return f"Go on with: python -m survey {shlex.join(sys.argv[1:])}"


def _ways_out(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= {"dxf", "coco"}:
        raise argparse.ArgumentTypeError(f"{text!r}: expected dxf, coco, or dxf,coco.")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive whole number.")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
