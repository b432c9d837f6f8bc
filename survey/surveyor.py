"""From a photograph's file to its row and its pictures in the survey's folder, any number at a time.

Left to others: asking (`client`), what the folder holds (`folder`), and the command line (`__main__`).
"""

import base64
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

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from model.inference.cracks import measure
from model.inference.encoding import jpeg, mask_png
from model.inference.errors import RequestError
from model.inference.findings import lines, properties
from model.inference.formats import EXPECTED, SUFFIXES, UnsupportedError, recognise
from model.inference.options import Options
from model.inference.overlay import draw_overlay
from model.inference.photograph import decode
from model.inference.segmenter import threshold_level
from model.inference.surface import look_at
from survey.client import REFUSED, Client, StoppedError, SurveyError, message
from survey.folder import FINAL, JOURNAL, Row, Status, Survey, is_about_all

THUMBNAIL_PX = 192
_FIRST_BYTES = 4096  # by which a file is known
_OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini")  # Windows puts them into any folder


@dataclass(frozen=True)
class Surveyor:
    """Takes one photograph after the other from its file to its row, from any number of threads.

    Attributes:
        scales: what each photograph's own scale is found by; `mm_per_px`, which may change later, isn't for here.
    """

    folder: Path
    survey: Survey
    client: Client
    stopping: threading.Event
    scales: Options

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
            if isinstance(error, OSError) and is_about_all(error):
                raise
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
        surface = look_at(photograph, image_hwc_u8, self.scales)
        cracks, drawn, unmeasured = None, None, ""
        try:
            measured = measure(prob_hw_u8, image_hwc_u8, threshold_level(threshold))
            cracks = [properties(crack, surface.scale, mask_hw.shape[1]) for crack in measured]
            drawn = [lines(crack) for crack in measured]
        except RequestError as error:
            unmeasured = error.message
        self.survey.keep(file, mask_png(mask_hw), jpeg(draw_overlay(image_hwc_u8, mask_hw)))
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
            scale=surface.told() if surface.scale or surface.note else None,
            lines=drawn,
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
        links = [each for each in sub_folders if Path(current, each).is_symlink()]
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
        if not stat.S_ISREG(path.stat().st_mode):
            return "It is no file but a pipe, a socket or a device."
        if path.suffix.lower() in SUFFIXES:
            return ""
        with path.open("rb") as file:
            recognise(file.read(_FIRST_BYTES))
    except OSError as error:
        return f"The file cannot be read ({error.strerror})."
    except UnsupportedError as error:
        return f"It is {error.found}, no photograph ({EXPECTED}). {error.advice}"
    return ""


def thumbnail(image_hwc_u8: NDArray[np.uint8], mask_hw: NDArray[np.bool_]) -> bytes:
    """The photograph as a small JPEG, each of its pixels marked that holds crack, however thin."""
    small = Image.fromarray(image_hwc_u8)
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), reducing_gap=2.0)
    for axis, length in enumerate((small.height, small.width)):
        mask_hw = np.logical_or.reduceat(mask_hw, np.arange(length) * mask_hw.shape[axis] // length, axis=axis)
    return jpeg(draw_overlay(np.asarray(small), mask_hw), 60)


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
