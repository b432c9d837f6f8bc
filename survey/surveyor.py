"""From a photograph's file to its row and its pictures in the survey's folder, any number at a time.

Left to others: what looks at it (`engines`), what the folder holds (`folder`), and the command line (`__main__`).
"""

import hashlib
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inspection.rows import FINAL, Row, Status
from model.inference.formats import EXPECTED, SUFFIXES, UnsupportedError, recognise
from survey.engines import Engine, NotPredictedError, StoppedError, SurveyError
from survey.folder import JOURNAL, Survey, is_about_all

_FIRST_BYTES = 4096  # by which a file is known
_OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini")  # Windows puts them into any folder


@dataclass(frozen=True)
class Surveyor:
    """Takes one photograph after the other from its file to its row, from any number of threads."""

    folder: Path
    survey: Survey
    engine: Engine
    stopping: threading.Event

    def predict(self, file: str) -> Row:
        """Ask for a photograph and keep its pictures; what is wrong with it alone becomes its row's error.

        Raises:
            StoppedError: nothing was asked, or the waiting was cut short.
            SurveyError: see there.
            OSError: no photograph's pictures can be written.
        """
        try:
            return self._predict(file)
        except (StoppedError, SurveyError):
            raise
        except Exception as error:  # one photograph must not end the survey of all others, whatever it hit
            if isinstance(error, OSError):
                if is_about_all(error):
                    raise
                return Row(file, Status.FAILED, 0, 0, "", error=f"Its pictures cannot be written ({error.strerror}).")
            return Row(file, Status.FAILED, 0, 0, "", error=f"It failed ({error!r}). Report this with the photograph.")

    def _predict(self, file: str) -> Row:
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
            seen = self.engine.look(photograph)
        except NotPredictedError as error:
            seconds = None if error.status is Status.UNANSWERED else round(time.monotonic() - started, 3)
            return Row(file, error.status, *identity, seconds=seconds, error=error.sentence)
        seconds = round(time.monotonic() - started, 3)
        self.survey.keep(file, seen.mask_png, seen.overlay_jpeg)
        return Row(file, Status.PREDICTED, *identity, seconds=seconds, **seen.facts)

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


def photographs(folder: Path, out: Path) -> tuple[list[str], dict[str, str]]:
    """The photographs of a folder and its sub-folders, sorted, by their names or else by their first bytes; and all else that
    lies there, with the reason why it is left out.

    Hidden files, what Windows puts beside them, `out` and the folders of other surveys are nobody's photographs, and no reason.
    """
    found: list[str] = []
    others: dict[str, str] = {}

    def name(path: str | Path) -> str:
        return Path(path).relative_to(folder).as_posix()

    def unreadable(error: OSError) -> None:
        others[f"{name(error.filename)}/"] = f"The folder cannot be read ({error.strerror})."

    for current, sub_folders, files in os.walk(folder, onerror=unreadable):
        if JOURNAL in files or Path(current) == out:
            sub_folders.clear()
            continue
        sub_folders[:] = [each for each in sub_folders if not each.startswith(".")]
        links = [each for each in sub_folders if os.path.islink(Path(current, each))]  # whatever the length of its path
        others |= {f"{name(Path(current, each))}/": "A link to a folder is not followed. Survey that folder." for each in links}
        for path in (Path(current, each) for each in files if not each.startswith(".") and each.lower() not in _OF_SYSTEMS):
            reason = _no_photograph(path)
            if reason:
                others[name(path)] = reason
            else:
                found.append(name(path))
    return sorted(found), dict(sorted(others.items()))


def _no_photograph(path: Path) -> str:
    """Why it is none; empty where it is one, or is called like one."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "It is no file but a pipe, a socket or a device."
        if not status.st_size:
            return "It is empty. Copy it from the camera or the card again."
        if path.suffix.lower() in SUFFIXES:
            return ""
        with path.open("rb") as file:
            recognise(file.read(_FIRST_BYTES))
    except OSError as error:
        return f"The file cannot be read ({error.strerror})."
    except UnsupportedError as error:
        return f"It is {error.found}, no photograph ({EXPECTED}). {error.advice}"
    return ""


def ask_all(surveyor: Surveyor, files: Sequence[str], bar: "tqdm[Any]") -> str | None:
    """Ask for each photograph and note what became of it, until all are, or `surveyor.stopping` is set.

    Returns:
        Why it makes no sense to go on, where that is so.
    """
    remaining, under_way = iter(files), set[Future[Row]]()
    concurrency = surveyor.engine.n_at_once
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
                    reason = reason or f"{surveyor.engine.name} has answered none of the last {len(latest)} photographs."
                    surveyor.stopping.set()
