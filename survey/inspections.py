"""Compares two inspections that a server keeps, for the page, which starts `python -m survey.inspections`: it needs neither the
model nor a terminal.

It is told on standard input, one JSON object per line: first `url` and `key` of the server, `earlier` and `later` (ids) and
`folder`, where it works; then `key` whenever that has changed. It ends when the input ends. On standard output it tells, in the
same way, what it is `doing`, with `n` of `of` photographs done; last an `error` (a sentence) or a `result` (`_result`).
The folder belongs to whoever started it, and is removed by them.

Left to others: fetching (`fetch`), comparing (`comparing`), the report (`report`).
"""

import io
import json
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from inspection.findings import file_name, printable
from inspection.report.changes import COLUMNS, table_row
from inspection.report.writing import PAGE as REPORT
from inspection.report.writing import PDF
from inspection.rows import Row
from model.inference.errors import RequestError
from survey.changes import Kind
from survey.changes_page import CONTRADICTING
from survey.changes_record import PICTURES
from survey.comparing import Looked, Outcome, compare, look, small_features
from survey.engines import MissingError, SurveyError
from survey.fetch import PHOTOGRAPHS, Server, fetch
from survey.findings import About, Findings
from survey.folder import Survey
from survey.laying import Features
from survey.report import write_report
from survey.results import CHANGES, CHANGES_BOOK, CHANGES_PAGE

_N_FINDINGS = 30  # with a page each in the report
_NICE = 10  # whoever else uses this machine has priority

_Result = TypeVar("_Result")
_Tell = Callable[..., None]


def main() -> int:
    os.nice(_NICE)
    told = json.loads(sys.stdin.readline())
    tell, sys.stdout = partial(_tell, sys.stdout), sys.stderr  # what the commands print goes into the log
    server = Server(told["url"].rstrip("/"), told["key"], threading.Event())
    threading.Thread(target=_listen, args=(server,), daemon=True).start()
    try:
        tell(result=_compare(server, told["earlier"], told["later"], Path(told["folder"]), tell))
    except MissingError:
        tell(error="An inspection or a photograph was deleted meanwhile. Look at the list, then start again.")
    except (SurveyError, RequestError) as error:
        tell(error=error.message)
    except OSError as error:
        tell(error=f"The page cannot keep files ({error.strerror or error}). Ask whoever runs it to make room.")
    return 0


def _listen(server: Server) -> None:
    for line in sys.stdin:
        server.key = json.loads(line)["key"]
    os._exit(1)  # whoever started this has ended it, or has ended


def _tell(out: TextIO, **said: Any) -> None:
    out.write(f"{json.dumps(said)}\n")
    out.flush()


class _Bar(tqdm):  # type: ignore[type-arg]
    """Tells the progress instead of drawing it."""

    def __init__(self, iterable: Any = None, *, tell: _Tell, doing: str = "", **settings: Any) -> None:
        self._told = tell
        super().__init__(iterable, **settings | {"desc": doing or settings["desc"], "disable": False, "file": io.StringIO()})

    def display(self, *_: Any, **__: Any) -> None:
        self._told(doing=self.desc, n=self.n, of=self.total)


class _Here:
    """One photograph after the other is looked at in this process, as the server sees it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def look(self, candidates: Sequence[tuple[bytes, Row]], later: bytes, row: Row) -> Looked | None:
        return look(lambda photograph, _: self._server.probability(photograph), candidates, later, row)

    def small_features(self, photograph: bytes) -> Features:
        return small_features(photograph)

    def in_order(self, calls: Iterable[Callable[[], _Result]]) -> Iterator[_Result]:
        return (call() for call in calls)


def _compare(server: Server, earlier: str, later: str, folder: Path, tell: _Tell) -> dict[str, Any]:
    heads = [server.told(f"/{each}") for each in (earlier, later)]
    places = [folder / "earlier", folder / "later"]
    for head, place in zip(heads, places, strict=True):
        bar = partial(_Bar, tell=tell, doing=f"fetching {printable(head['name'])}")
        fetch(server, head, place, threading.Event(), n_at_once=1, bar=bar)
    (scratch := folder / "scratch").mkdir()
    with ExitStack() as stack:
        both = [_findings(stack, place) for place in places]
        outcome = compare(both[0], both[1], _Here(server), scratch, bar=partial(_Bar, tell=tell))
    tell(doing="writing the report")
    write_report(places[1], {}, _N_FINDINGS)
    for head in heads:
        server.told(f"/{head['id']}")  # nothing is shown of what was deleted meanwhile
    result = _result(outcome, places[1], folder, file_name(heads[1]["name"]))
    for place in (places[0], scratch, *(places[1] / name for name in (PHOTOGRAPHS, "masks", "overlays"))):
        shutil.rmtree(place)
    return result


def _findings(stack: ExitStack, place: Path) -> Findings:
    survey = Survey(place, None)
    stack.callback(survey.close)
    return Findings(survey, About.load(survey), survey.files())


def _result(outcome: Outcome, place: Path, folder: Path, name: str) -> dict[str, Any]:
    """What the page shows: what holds for all, `photographs` with the `lines` of their cracks by `columns`, what was not
    compared, and the paths of pictures, and of files in `folder` whose names begin with the inspection's.
    """
    packed, book, report = (folder / f"{name}-{what}" for what in ("changes.zip", CHANGES_BOOK, PDF))
    pictures = sorted((place / PICTURES).glob("*.jpg"))
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (*(place / each for each in (CHANGES_PAGE, CHANGES_BOOK, CHANGES, REPORT, PDF)), *pictures):
            archive.write(path, path.relative_to(place))
    (place / CHANGES_BOOK).rename(book)
    (place / PDF).rename(report)
    return {
        "counts": outcome.counts,
        "made": outcome.made,
        "scales": CONTRADICTING if outcome.n_contradicting else "",
        "columns": COLUMNS,
        "photographs": [_photograph(each, place) for each in outcome.record["photographs"]],
        "without": [[printable(file), reason] for file, reason in outcome.without.items()],
        "not_used": list(map(printable, outcome.not_used)),
        "files": {"zip": str(packed), "xlsx": str(book), "pdf": str(report)},
    }


def _photograph(compared: Mapping[str, Any], place: Path) -> dict[str, Any]:
    return {
        "file": printable(compared["file"]),
        "earlier_file": printable(compared["earlier_file"]),
        "note": compared["note"],
        "is_changed": compared["is_changed"],
        "pictures": {panel: str(place / name) for panel, name in compared["pictures"].items()},
        "lines": [table_row(line) for line in compared["told"]],
        "n_same": sum(line["change"] == Kind.SAME for line in compared["lines"]),
    }


if __name__ == "__main__":
    sys.exit(main())
