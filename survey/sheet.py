"""The contact sheet: `index.html`, and further pages in `sheet/` where there are more photographs than one page takes.

Photographs are ranked by `crack_score`, the highest first; then come those without a score, by their share of crack, and those
that were not predicted, with the reason. Filtering reaches all photographs: with further pages their names and shares are in
`sheet/all.js`, which is loaded when somebody filters. Photographs after the first ones show their overlays in place of
thumbnails: to read a million of these from the journal by rank would take an hour.
"""

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import jinja2
import orjson
from markupsafe import Markup

from inspection.findings import Photograph, printable
from inspection.rows import Status
from survey.folder import Results, Survey
from survey.pictures import mask_name, overlay_name

NAME, PAGES = "index.html", "sheet"
PER_PAGE = 1000  # with some 8 KB each a phone still opens it
_N_THUMBNAILS = 50 * PER_PAGE
_RESULTS = re.compile(rb'(<span id="results">).*?(</span>)')
_MAX_MISSING = 1000  # all are in photographs.csv


class ContactSheet:
    """Takes one photograph after the other, and is then written."""

    def __init__(self) -> None:
        self._ranked: list[tuple[float, float, str]] = []
        self._missing: list[tuple[str, str]] = []
        self._n_missing = 0

    def add(self, photograph: Photograph) -> None:
        row = photograph.row
        if row.status is Status.PREDICTED:
            rank = math.inf if row.crack_score is None else -row.crack_score
            self._ranked.append((rank, -(row.crack_ratio or 0.0), row.file))
            return
        self._n_missing += 1
        if self._n_missing <= _MAX_MISSING:
            self._missing.append((row.file, row.error))

    def write(self, survey: Survey, title: str, asked: str, results: Sequence[str] = ()) -> str:
        """All pages, the first one last; those of a larger survey before it are removed. Returns the first one.

        Args:
            title: what was surveyed.
            asked: a line about how.
            results: files beside the sheet, which its first page links.
        """
        self._ranked.sort()
        n_pages = max(1, math.ceil(len(self._ranked) / PER_PAGE))
        template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
            Path(__file__).with_name("contact_sheet.html").read_text(encoding="utf-8")
        )
        if n_pages > 1:
            with survey.whole(f"{PAGES}/all.js") as path:
                path.write_bytes(b"all(" + orjson.dumps(self._all()) + b")\n")
        for number in range(n_pages, 0, -1):
            page = template.stream(
                title=title,
                asked=asked,
                n_predicted=len(self._ranked),
                n_missing=self._n_missing,
                n_without_score=sum(rank == math.inf for rank, _, _ in self._ranked),
                missing=self._missing if number == 1 else (),
                page=number,
                n_pages=n_pages,
                top="" if number == 1 else "../",
                page_name=_page_name,
                results=_links(results),
                rows=self._rows(survey, number),
            )
            with survey.whole(_page_name(number)) as path:
                page.dump(str(path), encoding="utf-8", errors="replace")
        _remove_after(survey, n_pages)
        return survey.place(NAME)

    def _rows(self, survey: Survey, page: int) -> Iterator[dict[str, object]]:
        first = (page - 1) * PER_PAGE
        for number, (rank, share, file) in enumerate(self._ranked[first : first + PER_PAGE], first):
            row = survey.find(file) if number < _N_THUMBNAILS else None
            yield {
                "file": file,
                "score": None if rank == math.inf else -rank,
                "share": -share,
                "thumbnail": row.thumbnail if row else None,
                "mask": _link(mask_name(file)),
                "overlay": _link(overlay_name(file)),
            }

    def _all(self) -> dict[str, object]:
        """By rank: names, shares and scores, and links of those whose names don't give them."""
        links = {}
        for number, (_, _, file) in enumerate(self._ranked):
            mask, overlay = mask_name(file), overlay_name(file)
            if (mask, overlay) != (f"masks/{file}.png", f"overlays/{file}.jpg") or printable(file) != file:
                links[str(number)] = [_link(mask), _link(overlay)]
        return {
            "files": [printable(file) for _, _, file in self._ranked],
            "shares": [-share for _, share, _ in self._ranked],
            "scores": [None if rank == math.inf else -rank for rank, _, _ in self._ranked],
            "links": links,
        }


def link_results(survey: Results, results: Sequence[str]) -> None:
    """Link these files, and no others, on the first page of the sheet that is there; without one, do nothing."""
    try:
        page = survey.read(NAME)
    except FileNotFoundError:
        return
    linked = _RESULTS.sub(lambda found: found[1] + _links(results).encode() + found[2], page, count=1)
    with survey.whole(NAME) as path:
        path.write_bytes(linked)


def _links(names: Sequence[str]) -> Markup:
    return Markup(", ").join(Markup('<a href="{}">{}</a>').format(_link(name), name) for name in names)


def _page_name(number: int) -> str:
    return NAME if number == 1 else f"{PAGES}/{number}.html"


def _link(name: str) -> str:
    return quote(os.fsencode(name))


def _remove_after(survey: Survey, n_pages: int) -> None:
    for name in survey.names(PAGES):
        number, _, suffix = name.partition(".")
        if n_pages == 1 or (suffix == "html" and int(number) > n_pages):
            survey.remove(f"{PAGES}/{name}")
