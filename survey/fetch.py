"""Fetches an inspection that a server keeps into a survey's folder: `crack fetch --help`.

Each photograph comes with its cracks as the server tells them, with the mask as people left it, and with what they decided.
From then on the folder is a survey's. Left to others: waiting while the server is away or busy (`engines.http`), the folder
(`folder`) and its tables (`results`).
"""

import argparse
import hashlib
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import urllib3
from numpy.typing import NDArray
from tqdm import tqdm

from crack.faults import in_words
from crack.files import write_whole
from crack.instance import of_instance
from inspection.findings import Mark, file_name, printable
from inspection.left_out import covered
from inspection.rows import Row, Status
from model.inference import standards
from model.inference.card import threshold_level
from model.inference.encoding import jpeg, mask_png
from model.inference.errors import RequestError
from model.inference.overlay import draw_overlay
from model.inference.photograph import decode
from model.masks import read_mask
from survey.arguments import address, key_in, ways_out
from survey.decided import Decided
from survey.engines import MissingError, SurveyError
from survey.engines.http import FACTS, Patience, message, reason
from survey.findings import About, Findings
from survey.folder import Survey
from survey.head import NAMED, write_inspection
from survey.results import write_results
from survey.sources import FolderSource
from survey.stopping import DONE, INTERRUPTED, NOT_POSSIBLE, stopped_by_signals
from survey.task import in_threads

PHOTOGRAPHS = "photographs"  # the folder
_AT_ONCE, _PER_PAGE = 4, 500
_PICTURES = (".jpg", ".jpeg", ".png")  # what a server keeps; of other formats it keeps a PNG
_AGAIN = "Run the same command again: it fetches what is missing."
_STOPPED = f"Stopped. {_AGAIN}"
_REJECTED = "Rejected by the inspector."
_ADDRESS = "Give the sidecar's address by --url."


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        url = of_instance(os.environ)["BACKEND_URL"]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_POSSIBLE
    parser = argparse.ArgumentParser(
        prog="crack fetch",
        description="Fetch an inspection that the server keeps into a folder of this machine, as if it was surveyed there:\n"
        f"{PHOTOGRAPHS}/, masks/ as people left them, overlays/, the tables (Excel, CSV, GeoJSON, DXF, COCO) and the contact\n"
        "sheet. Then crack report and crack compare take the folder, without the server. The same command fetches what has\n"
        "changed since.",
        epilog="examples:\n"
        "  crack fetch                       list the inspections\n"
        "  crack fetch 'Spring 2026'\n"
        "  crack fetch 'Spring 2026' --out bridge-7-2026 --also dxf,coco\n"
        "  crack fetch 5f0c --url https://cracks.example --key-file crew-7.key\n\n"
        "exit codes:\n"
        "  0    all photographs are there\n"
        "  2    it cannot start or continue: wrong usage, no server, no right, no such inspection, no space\n"
        "  130  stopped by Ctrl-C\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inspection", nargs="?", metavar="INSPECTION", help="its name, or the beginning of its id")
    parser.add_argument("--out", type=Path, help="folder of the results (default: the inspection's name)")
    parser.add_argument("--url", default=url, help="address of the sidecar (default: BACKEND_URL, now %(default)s)")
    parser.add_argument("--key-file", type=Path, help="file with the API key (default: the key in CRACK_API_KEY)")
    parser.add_argument(
        "--standard", metavar="NAME", help=f"add each crack's band by this standard: {', '.join(standards.names())}"
    )
    parser.add_argument("--exposure", metavar="NAME", help="the row of the standard's table, such as humidity")
    parser.add_argument("--also", type=ways_out, default=(), metavar="dxf,coco", help="further formats, as of crack survey")
    parser.add_argument(
        "--bom", action="store_true", help="begin the CSV files with a byte order mark, for old versions of Excel"
    )
    chosen = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    stopping = threading.Event()
    try:
        server = Server(address(chosen.url), key_in(chosen.key_file), stopping)
        if chosen.inspection is None:
            _list(server)
            return DONE
        return _fetch(chosen, server, stopping)
    except KeyboardInterrupt:
        print(f"\n{_STOPPED}")
        return INTERRUPTED
    except BlockingIOError:
        parser.exit(
            NOT_POSSIBLE, "error: Another command is writing to that folder. Wait for it, or choose another by --out.\n"
        )
    except (SurveyError, RequestError, ValueError, OSError) as error:
        parser.exit(NOT_POSSIBLE, f"error: {in_words(error)}\n")


class Server:
    """The sidecar at `url`, asked by any number of threads; `stopping` ends all waiting while it is away or busy.

    Attributes:
        key: an API key or a token, if the sidecar requires one.
    """

    def __init__(self, url: str, key: str | None, stopping: threading.Event) -> None:
        self.url = url
        self.key = key
        self._patience = Patience(
            stopping,
            allowed_methods=None,  # a prediction may be asked for twice
            backoff_factor=0.5,
            backoff_max=30,
            status_forcelist=(429, 502, 503, 504),
        )
        self._n_retries = 3  # until it has answered once
        timeout = urllib3.Timeout(connect=5.0, read=600.0)
        self._pool = urllib3.PoolManager(timeout=timeout, maxsize=_AT_ONCE)

    def get(self, route: str) -> bytes:
        """What a route below /inspections answers. Raises SurveyError for anything but an answer."""
        return self._ask("GET", f"/inspections{route}", None)

    def probability(self, photograph: bytes) -> NDArray[np.uint8]:
        """What the served model sees, uint8 (height, width), 255 = certain. Raises SurveyError, as `get` does."""
        return np.ascontiguousarray(decode(self._ask("POST", "/predict?response=probability", photograph))[..., 0])

    def _ask(self, method: str, route: str, body: bytes | None) -> bytes:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        try:
            retries = self._patience.new(total=self._n_retries)
            url = f"{self.url}{route}"
            answer = self._pool.request(method, url, body=body, headers=headers, retries=retries, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise SurveyError(f"{self.url} does not answer ({reason(error)}).", _ADDRESS) from error
        if answer.status != 200:
            raise (MissingError if answer.status == 404 else SurveyError)(message(answer))
        self._n_retries = 10
        return answer.data

    def told(self, route: str) -> dict[str, Any]:
        """As `get`, of a route that answers with JSON."""
        content = self.get(route)
        try:
            said = json.loads(content)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise SurveyError(f"{self.url} answers, but not as a sidecar does.", _ADDRESS)
        return said

    def all(self, route: str) -> list[dict[str, Any]]:
        """All items of a list."""
        items: list[dict[str, Any]] = []
        while True:
            page = self.told(f"{route}?limit={_PER_PAGE}&offset={len(items)}")
            items += page["items"]
            if len(items) >= page["total"] or not page["items"]:
                return items

    def inspection(self, named: str) -> dict[str, Any]:
        """The only inspection of this name, or whose id begins so. Raises SurveyError where there is none, or more than one."""
        items = self.all("")
        found = [each for each in items if each["name"] == named] or [each for each in items if each["id"].startswith(named)]
        if len(found) == 1:
            return found[0]
        told = "\n".join(map(_line, found or items[:20])) or "  none"
        what = f"fits {len(found)} inspections. Name one by its id" if found else f"fits no inspection at {self.url}. There are"
        raise SurveyError(f"{named!r} {what}:\n{told}")


def _list(server: Server) -> None:
    items = server.all("")
    print("\n".join(map(_line, items)) if items else f"{server.url} keeps no inspection. Begin one on the page.")


def _line(told: Mapping[str, Any]) -> str:
    about = " · ".join(printable(told[name]) for name in ("name", *NAMED) if told[name])
    return f"  {told['id'][:12]}  {about} ({_photographs(told['n_photographs'])})"


def _photographs(n: int) -> str:
    return "1 photograph" if n == 1 else f"{n} photographs"


def _fetch(chosen: argparse.Namespace, server: Server, stopping: threading.Event) -> int:
    if chosen.exposure and not chosen.standard:
        raise SurveyError(f"--exposure {chosen.exposure} without --standard: give both, or neither.")
    standard = standards.find(chosen.standard, chosen.exposure) if chosen.standard else None
    head = server.inspection(chosen.inspection)
    out = (chosen.out or Path(_safe(head["name"]))).resolve()
    fetch(server, head, out, stopping, standard=standard, with_bom=chosen.bom, also=chosen.also)
    if stopping.is_set():
        print(_STOPPED)
        return INTERRUPTED
    return DONE


def fetch(
    server: Server,
    head: Mapping[str, Any],
    out: Path,
    stopping: threading.Event,
    *,
    standard: standards.Standard | None = None,
    with_bom: bool = False,
    also: Sequence[str] = (),
    n_at_once: int = _AT_ONCE,
    bar: "Callable[..., tqdm[Any]]" = tqdm,
) -> None:
    """Fetch an inspection into the folder `out`, whole or what has changed since; `bar` shows the progress.

    Raises:
        SurveyError: it holds no photograph, or the server ended it in the middle.
        BlockingIOError, OSError: see `Survey`.
    """
    route = f"/{head['id']}/photographs"
    listed = server.all(route)
    if not listed:
        raise SurveyError(f"{head['name']!r} holds no photograph yet.")
    survey = Survey(out, {"inspection": head["id"]})
    try:
        photographs = FolderSource(out / PHOTOGRAPHS)
        photographs.folder.mkdir(exist_ok=True)
        kept = _by_file(listed)
        _forget(survey, photographs, [file for file in survey.files() if file not in kept])
        decided = {file: each for file, each in _former(survey).items() if file in kept}

        def is_there(file: str) -> bool:
            noted, former = survey.noted(file), decided.get(file)
            if noted is None or former is None or former.etag != kept[file]["etag"] or photographs.gone([file]):
                return False
            if former.changed_at != kept[file]["changed_at"]:  # fetched by a version that didn't note it
                return False
            return noted.status is Status.LEFT_OUT or survey.pictures.has(file)

        tasks = [_Task(server, f"{route}/{told['id']}", survey, file) for file, told in kept.items() if not is_there(file)]
        n, n_there = len(kept), len(kept) - len(tasks)
        print(f"{printable(head['name'])}: {_photographs(n)}, {n_there} already here. Results: {out}")
        failure: Exception | None = None
        progress = bar(total=n, initial=n_there, desc="fetching", unit="photo", dynamic_ncols=True)
        with progress, stopped_by_signals(stopping):
            try:
                for got in in_threads(_Task.fetch, iter(tasks), n_at_once, stopping):
                    survey.append(got.row)
                    decided[got.row.file] = got.decided
                    progress.update()
            except (SurveyError, RequestError, OSError) as error:
                failure = error
        about = About(photographs, None, head["is_position_kept"], standard, printable(head["name"]), decided)
        about.save(survey)
        write_inspection(survey, head)
        asked = f"an inspection kept by {server.url}"
        _, _, sheet = write_results(Findings(survey, about, sorted(decided)), with_bom, also, asked)
    finally:
        survey.close()
    n_rejected = sum(each.state is Mark.REJECTED for each in decided.values())
    if n_rejected:
        print(f"{n_rejected} rejected: their photographs are in {PHOTOGRAPHS}/, and nothing of them is in the tables.")
    print(sheet)
    if isinstance(failure, SurveyError):
        raise type(failure)(failure.message, f"{failure.advice} {_AGAIN}".lstrip()) from failure
    if failure:
        raise SurveyError(in_words(failure), _AGAIN) from failure


class Got(NamedTuple):
    """What is noted of a photograph whose files are in place."""

    row: Row
    decided: Decided


@dataclass(frozen=True)
class _Task:
    """One photograph of an inspection."""

    server: Server
    route: str
    survey: Survey
    file: str

    def fetch(self) -> Got:
        """Write its files. Raises SurveyError, StoppedError, OSError."""
        told = self.server.told(self.route)
        while True:
            image, mask = (
                self.server.get(f"{self.route}/{name}") for name in ("image", "mask" if told["has_mask"] else "levels")
            )
            told, former = self.server.told(self.route), told
            if told["etag"] == former["etag"]:  # nobody has changed it meanwhile
                return self._keep(told, image, mask)

    def _keep(self, told: Mapping[str, Any], image: bytes, mask: bytes) -> Got:
        path = self.survey.folder / PHOTOGRAPHS / self.file
        write_whole(path, image)
        decided = Decided.of(told)
        identity = (len(image), path.stat().st_mtime_ns, hashlib.sha256(image).hexdigest())
        if decided.state is Mark.REJECTED:
            self.survey.pictures.remove(self.file)
            return Got(Row(self.file, Status.LEFT_OUT, *identity, error=_REJECTED), decided)
        image_hwc_u8 = decode(image)
        mask_hw = _mask(mask, told, decided, image_hwc_u8.shape[:2])
        self.survey.pictures.keep(self.file, mask_png(mask_hw), jpeg(draw_overlay(image_hwc_u8, mask_hw)))
        facts = {name: value for name, value in told.items() if name in FACTS}
        return Got(Row(self.file, Status.PREDICTED, *identity, **facts), decided)


def _mask(png: bytes, told: Mapping[str, Any], decided: Decided, size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask from which the server measured, bool (height, width), from what was painted or from the model's probability."""
    if told["has_mask"]:
        mask_hw = read_mask(png, (size_hw[0], size_hw[1]))
    else:
        mask_hw = decode(png)[..., 0] >= threshold_level(told["threshold"])
    return np.asarray(mask_hw & ~covered(decided.zones, size_hw))


def _by_file(listed: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The photographs by the names of their files here, in which every system can have them."""
    kept: dict[str, Mapping[str, Any]] = {}
    lower = set[str]()  # on some systems two names that differ only in this are one
    for told in listed:
        name = _safe(told["name"])
        if Path(name).suffix and not name.lower().endswith(_PICTURES):
            name += ".png"
        if name.lower() in lower:
            name = f"{Path(name).stem}-{told['id'][:8]}{Path(name).suffix}"
        lower.add(name.lower())
        kept[name] = told
    return kept


def _safe(name: str) -> str:
    return file_name(name).strip(". ") or "photograph"


def _former(survey: Survey) -> Mapping[str, Decided]:
    """What the fetch before has noted; nothing, so that all is fetched again, where that was killed or its file is torn."""
    try:
        return About.load(survey).decided
    except ValueError:
        return {}


def _forget(survey: Survey, photographs: FolderSource, files: Sequence[str]) -> None:
    """Remove what the server has deleted. The journal still knows of it, and the report says that it is gone."""
    for file in files:
        (photographs.folder / file).unlink(missing_ok=True)
        survey.pictures.remove(file)


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("fetch"))
