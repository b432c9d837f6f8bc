"""Survey a folder of photographs: `python -m sidecar.batch --help`.

Each photograph is asked of a running sidecar once, however often the survey is killed and begun again: what was answered stands
in the journal of the survey's folder (`survey`). The address may have many servers behind it.
"""

import argparse
import base64
import hashlib
import io
import os
import shlex
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm
from urllib3.util import parse_url

from crack.instance import of_instance
from model.inference.answer import JPEG_MAX_SIDE_PX, Options, Quality, Response, draw_overlay, encode_mask
from model.inference.cracks import measure
from model.inference.errors import RequestError
from model.inference.photograph import decode
from model.inference.segmenter import threshold_level
from sidecar.client import LONGEST_WAIT_S, REFUSED, Client, StoppedError, SurveyError, message
from sidecar.survey import CRACKS_TABLE, FINAL, JOURNAL, SHEET, TABLE, Row, Status, Survey

SUFFIXES = (".jpg", ".jpeg", ".png")
THUMBNAIL_PX = 192
DONE, SOME_MISSING, NOT_POSSIBLE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Surveyor:
    """Takes one photograph after the other from its file to its row, from any number of threads."""

    folder: Path
    survey: Survey
    client: Client
    stopping: threading.Event

    def predict(self, file: str) -> Row:
        """Ask for a photograph and keep its pictures.

        Raises:
            StoppedError: nothing was asked, or the waiting was cut short.
            SurveyError: see there.
            OSError: the pictures cannot be written.
        """
        if self.stopping.is_set():
            raise StoppedError
        path = self.folder / file
        try:
            status, photograph = path.stat(), path.read_bytes()
        except OSError as error:
            return Row(file, Status.FAILED, 0, 0, "", error=f"The file cannot be read ({error.strerror}).")
        identity = (len(photograph), status.st_mtime_ns, hashlib.sha256(photograph).hexdigest())
        started = time.monotonic()
        try:
            answer = self.client.predict(photograph)
        except TimeoutError as error:
            return Row(file, Status.UNANSWERED, *identity, error=str(error))
        seconds = round(time.monotonic() - started, 3)
        if answer.status != 200:
            kind = Status.REFUSED if answer.status in REFUSED else Status.FAILED
            return Row(file, kind, *identity, seconds=seconds, error=message(answer))
        try:
            image_hwc_u8 = decode(photograph)
            prob_hw_u8 = np.ascontiguousarray(decode(answer.data)[..., 0])
        except RequestError as error:
            return Row(file, Status.FAILED, *identity, seconds=seconds, error=error.message)
        threshold = float(answer.headers["X-Crack-Threshold"])
        mask_hw = prob_hw_u8 >= threshold_level(threshold)
        if mask_hw.shape != image_hwc_u8.shape[:2]:
            found = f"The mask has {mask_hw.shape} pixels (height, width), the photograph {image_hwc_u8.shape[:2]}."
            return Row(file, Status.FAILED, *identity, seconds=seconds, error=f"{found} Report this with the photograph.")
        if max(mask_hw.shape) > JPEG_MAX_SIDE_PX:
            found = (
                f"{mask_hw.shape[1]} x {mask_hw.shape[0]} pixels; an overlay, which is a JPEG, holds {JPEG_MAX_SIDE_PX} a side."
            )
            return Row(file, Status.REFUSED, *identity, seconds=seconds, error=f"{found} Cut it into parts.")
        cracks, unmeasured = None, ""
        try:
            cracks = [crack.figures for crack in measure(prob_hw_u8, image_hwc_u8, threshold_level(threshold))]
        except RequestError as error:
            unmeasured = error.message
        self.survey.keep(file, encode_mask(mask_hw), _encoded(draw_overlay(image_hwc_u8, mask_hw), quality=90))
        return Row(
            file,
            Status.PREDICTED,
            *identity,
            width=mask_hw.shape[1],
            height=mask_hw.shape[0],
            crack_ratio=float(answer.headers["X-Crack-Ratio"]),
            crack_score=float(answer.headers["X-Crack-Score"]) if "X-Crack-Score" in answer.headers else None,
            threshold=threshold,
            model_version=answer.headers["X-Crack-Model-Version"],
            seconds=seconds,
            thumbnail=base64.b64encode(thumbnail(image_hwc_u8, mask_hw)).decode(),
            error=unmeasured,
            cracks=cracks,
        )

    def is_answered(self, file: str) -> bool:
        """Whether the journal has the answer to this file as it is, and its pictures are there."""
        row = self.survey.find(file)
        if row is None or row.status not in FINAL:
            return False
        return not self.is_changed(file) and (row.status is Status.REFUSED or self.survey.has_pictures(file))

    def is_changed(self, file: str) -> bool:
        """Whether the file has other bytes than those that were asked about."""
        row, path = self.survey.find(file), self.folder / file
        if row is None:
            return False
        try:
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) == (row.n_bytes, row.mtime_ns):
                return False
            return hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256
        except OSError:
            return False


def photographs(folder: Path, out: Path) -> tuple[list[str], Counter[str]]:
    """The JPEG and PNG files of a folder by their names, sorted, and how many files of other kinds lie there, by suffix.

    Hidden files, `out` and the folders of other surveys are left out.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    for current, sub_folders, files in os.walk(folder, onerror=lambda error: print(f"left out: {error}")):
        if JOURNAL in files or Path(current) == out:
            sub_folders.clear()
            continue
        sub_folders[:] = [name for name in sub_folders if not name.startswith(".")]
        for path in (Path(current, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() in SUFFIXES:
                found.append(path.relative_to(folder).as_posix())
            else:
                others[path.suffix.lower() or "no suffix"] += 1
    return sorted(found), others


def thumbnail(image_hwc_u8: NDArray[np.uint8], mask_hw: NDArray[np.bool_]) -> bytes:
    """The photograph as a small JPEG, each of its pixels marked that holds crack, however thin."""
    small = Image.fromarray(image_hwc_u8)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), reducing_gap=2.0)
    for axis, length in enumerate((small.height, small.width)):
        mask_hw = np.logical_or.reduceat(mask_hw, np.arange(length) * mask_hw.shape[axis] // length, axis=axis)
    return _encoded(draw_overlay(np.asarray(small), mask_hw), quality=60)


def ask_all(surveyor: Surveyor, files: Sequence[str], concurrency: int, bar: "tqdm[Any]") -> str | None:
    """Ask for each photograph and note what became of it, until all are, or `surveyor.stopping` is set.

    Returns:
        Why it makes no sense to go on, where that is so.
    """
    remaining, under_way = iter(files), set[Future[Row]]()
    latest: deque[Status] = deque(maxlen=max(concurrency, 3))
    reason: str | None = None
    with ThreadPoolExecutor(concurrency) as pool:
        while True:
            if not surveyor.stopping.is_set():
                under_way |= {
                    pool.submit(surveyor.predict, file) for file in islice(remaining, 2 * concurrency - len(under_way))
                }
            if not under_way:
                return reason
            answered, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in answered:
                try:
                    row = future.result()
                    surveyor.survey.append(row)
                except StoppedError:
                    continue
                except (SurveyError, OSError) as error:
                    reason = reason or str(error)
                    surveyor.stopping.set()
                    continue
                latest.append(row.status)
                bar.update()
                if row.error:
                    bar.write(f"{row.file}: {row.error}")
                if len(latest) == latest.maxlen and set(latest) == {Status.UNANSWERED}:
                    reason = reason or f"{surveyor.client.url} has answered none of the last {len(latest)} photographs."
                    surveyor.stopping.set()


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
        prog="python -m sidecar.batch",
        description="Find the cracks in each JPEG and PNG of a folder and its sub-folders, by a running sidecar.\n\n"
        f"OUT then holds masks/, overlays/, {TABLE} (a line for each photograph), {CRACKS_TABLE} (a line for each crack),\n"
        f"and {SHEET}, a contact sheet with the surest cracks first.\n"
        "The same command goes on where a survey was stopped or killed: what was added, changed or not answered since is\n"
        "asked about, and nothing else again.",
        epilog="examples:\n"
        "  python -m sidecar.batch photographs\n"
        "  python -m sidecar.batch /media/card/DCIM --out bridge-7 --threshold 0.5\n"
        "  python -m sidecar.batch photographs --url https://cracks.example --key-file crew-7.key --concurrency 32\n\n"
        "exit codes:\n"
        "  0    each photograph is predicted\n"
        "  1    some are not; the table says why\n"
        "  2    it cannot be done or gone on with: wrong usage, no server, no right, no space\n"
        "  130  stopped by Ctrl-C\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of photographs; nothing in it is changed")
    parser.add_argument("--out", type=Path, help="folder of what is found (default: FOLDER-cracks)")
    parser.add_argument(
        "--url",
        default=of_instance(os.environ)["BACKEND_URL"],
        help="address of the sidecar, or one behind which many stand (default: BACKEND_URL, now %(default)s)",
    )
    parser.add_argument("--key-file", type=Path, help="file that holds the API key (default: the key in CRACK_API_KEY)")
    parser.add_argument("--quality", choices=list(Quality), default=Quality.NORMAL, help="high takes eight times the time")
    parser.add_argument("--threshold", help="probability from which a pixel is called crack (default: the model's own)")
    parser.add_argument(
        "--mm-per-px",
        help=f"how large a pixel is on the surface, for millimetres in {CRACKS_TABLE}; given later or changed, nothing "
        "is asked again",
    )
    parser.add_argument(
        "--concurrency",
        type=_positive,
        default=4,
        help="photographs under way at a time: twice as many as the servers have processors together keep them busy, more only "
        "make others wait; each takes 14 bytes a pixel here (default: %(default)s)",
    )
    parser.add_argument(
        "--retries",
        type=_positive,
        default=10,
        help=f"tries more while the server is away or busy, with up to {LONGEST_WAIT_S} s between them (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        return survey_folder(chosen)
    except (SurveyError, RequestError, ValueError, OSError) as error:
        parser.exit(NOT_POSSIBLE, f"error: {error}\n")
    except KeyboardInterrupt:
        print(f"\nStopped. {_how_to_go_on()}")
        return INTERRUPTED


def survey_folder(chosen: argparse.Namespace) -> int:
    """What `main` was asked for; the exit code. Raises what `main` catches."""
    given = {name: getattr(chosen, name) for name in ("quality", "threshold", "mm_per_px")}
    options = Options.parse({name: value for name, value in given.items() if value is not None})
    folder = chosen.folder.resolve()
    if not folder.is_dir():
        raise SurveyError(f"{chosen.folder}: expected a folder of photographs.")
    out = chosen.out.resolve() if chosen.out else folder.with_name(f"{folder.name}-cracks")
    if out == folder:
        raise SurveyError(f"--out {chosen.out} is the folder of photographs itself. Choose another.")
    files, others = photographs(folder, out)
    left_out = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
    if not files:
        raise SurveyError(f"{folder} holds no JPEG or PNG, by their suffixes ({left_out or 'it is empty'}).")
    stopping = threading.Event()
    asked_for = Options(
        Response.PROBABILITY, options.quality, options.threshold
    )  # cracks are measured here, from the same answer
    client = Client(_address(chosen.url), _key(chosen.key_file), asked_for, chosen.retries, stopping)
    question = {"quality": options.quality.value, "threshold": options.threshold or "of the model"}
    try:
        survey = Survey(out, question)
    except BlockingIOError as error:
        raise SurveyError(f"Another survey is writing {out}. Wait for it, or choose another folder by --out.") from error
    try:
        surveyor = Surveyor(folder, survey, client, stopping)
        remaining = [file for file in files if not surveyor.is_answered(file)]
        print(f"{folder}: {len(files)} photographs, {len(files) - len(remaining)} of them done. Results: {out}")
        if left_out:
            print(f"Left out, as JPEG and PNG alone are read: {left_out}")
        changed = [file for file in remaining if surveyor.is_changed(file)]
        if changed:
            print(f"{len(changed)} have changed since they were asked about, and are again: {', '.join(changed[:5])}")
        reason = None
        if remaining:
            print(f"{client.url} serves model {client.check()}.")
            progress = tqdm(
                total=len(files),
                initial=len(files) - len(remaining),
                desc="surveying",
                unit="photo",
                smoothing=0.1,
                dynamic_ncols=True,
            )
            with progress as bar, stopped_by_signals(stopping):
                reason = ask_all(surveyor, remaining, chosen.concurrency, bar)
        counts, versions = _counted(survey, files)
        models = ", ".join(f"{version} ({count})" if len(versions) > 1 else version for version, count in versions.items())
        asked = f"quality {question['quality']}, threshold {question['threshold']}, model {models or 'none'}"
        survey.write_table(files)
        survey.write_cracks(files, options.scale(()))
        predicted = (row for row in survey.rows(files) if row.status is Status.PREDICTED)
        n_unmeasured = sum(row.cracks is None and not row.error for row in predicted)
        sheet = survey.write_sheet(files, folder.name, asked)
        n_remaining = sum(not surveyor.is_answered(file) for file in remaining) if stopping.is_set() else 0
    finally:
        survey.close()
    print(f"{', '.join(f'{counts[status]} {status}' for status in Status if counts[status])}; {asked}.")
    if len(versions) > 1:
        print("The model was changed between: their shares of crack need not compare.")
    if n_unmeasured:
        print(
            f"{n_unmeasured} were answered by an older version: to have their cracks in {CRACKS_TABLE}, choose another --out."
        )
    print(f"{sheet}")
    if reason:
        raise SurveyError(f"{reason} {_how_to_go_on()}")
    if n_remaining:
        print(f"Stopped, {n_remaining} remain. {_how_to_go_on()}")
        return INTERRUPTED
    return DONE if counts[Status.PREDICTED] == len(files) else SOME_MISSING


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


def _key(file: Path | None) -> str | None:
    return file.read_text().strip() if file else os.environ.get("CRACK_API_KEY")


def _how_to_go_on() -> str:
    return f"Go on with: python -m sidecar.batch {shlex.join(sys.argv[1:])}"


def _encoded(image_hwc_u8: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image_hwc_u8).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive whole number.")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
