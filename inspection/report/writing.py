"""The report of many photographs as `report.html` and `report.pdf`: the same content through two templates.

typst makes the PDF; its package contains the compiler and fonts. Texts reach it as data and never as markup; in the page,
Jinja escapes them.
"""

import base64
import datetime
import importlib.util
import json
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from inspection.findings import Findings, Photograph, printable
from inspection.report import content, pictures
from inspection.report.changes import COLUMNS, NOT_COMPARED, Changes, table_row, title
from inspection.report.changes import told as told_change
from inspection.report.content import Found
from inspection.report.ranking import RULE, scale_at

PAGE, PDF = "report.html", "report.pdf"
_PDF_STANDARDS = ["a-2a", "ua-1"]  # for archives, and for people who have it read aloud
_CHANGED = "The photograph has changed since the survey, or is gone. This is the survey's own picture, with its mask in red."


def has_pdf() -> bool:
    """Whether typst is installed, which makes the PDF."""
    return importlib.util.find_spec("typst") is not None


def compose(
    findings: Findings,
    given: Mapping[str, str],
    n_pages: int,
    gone: Sequence[str] = (),
    forms: Collection[str] = (PAGE, PDF),
    changes: Changes | None = None,
) -> dict[str, bytes]:
    """The files of the report by their names.

    Args:
        given: lines of the cover, by their names.
        n_pages: the most findings that get a page each; the next ones get a line of a table.
        gone: photographs that have been removed since.
        forms: which of the two files.
        changes: since an earlier inspection, if there was a comparison.
    """
    with tempfile.TemporaryDirectory(prefix="crack-report-") as temporary:
        work = Path(temporary)
        told = _tell(findings, given, n_pages, gone, changes, work)
        return {form: _FORMS[form](told, work) for form in forms}


def _tell(
    findings: Findings, given: Mapping[str, str], n_pages: int, gone: Sequence[str], changes: Changes | None, work: Path
) -> dict[str, Any]:
    """All that both templates need: texts, and the names of pictures in `work`."""
    seen = content.look(findings, n_pages + content.MAX_IN_TABLE)
    pages, lines = seen.first[:n_pages], seen.first[n_pages:]
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, found in enumerate(pages, 1):
        numbers[found.file].append(number)
    became = changes.of_cracks() if changes else {}
    drawings = {f"histogram-{number}.svg": drawn for number, drawn in enumerate(content.histograms(seen), 1)}
    site = content.place_map(seen, numbers)
    of_folders = content.folders(seen)
    told_change_of = became if changes else None
    for name, drawn in (drawings | ({"map.svg": site} if site else {})).items():
        (work / name).write_text(drawn, encoding="utf-8")
    return {
        "title": printable(given.get("structure") or findings.title),
        "subtitle": printable(given.get("element", "")),
        "made": datetime.date.today().isoformat(),
        "cover": content.cover(given, findings, seen),
        "notes": [*content.notes(findings.scale), RULE],
        "summary": content.summary(seen, findings.standard, len(pages)),
        "histograms": list(drawings),
        "map": "map.svg" if site else None,
        "folder_columns": content.FOLDER_COLUMNS,
        "folders": of_folders[: content.MAX_FOLDERS],
        "n_more_folders": len(of_folders[content.MAX_FOLDERS :]),
        "changes": _changes(changes, n_pages, work) if changes else None,
        "findings": sorted(
            _findings(findings, pages, changes.earlier if changes else "", became, work), key=lambda told: int(told["number"])
        ),
        "columns": [*content.TABLE_COLUMNS, *(["Change"] if changes else [])],
        "list": _table(findings, pages, 1, told_change_of) if len(pages) > 1 else [],
        "table": _table(findings, lines, len(pages) + 1, told_change_of),
        "n_more": seen.n_cracks - len(seen.first),
        "elsewhere": findings.elsewhere,
        "left_out": content.left_out(seen, gone, findings.elsewhere),
    }


def _by_photograph(findings: Findings, told: Sequence[Found], first: int) -> Iterator[tuple[Photograph, list[tuple[int, int]]]]:
    """Each photograph once, with its findings: their numbers, from `first` on, and their indices among its cracks.

    By rank, a photograph's findings alternate with those of others, and each one would read and decode it again.
    """
    numbered = sorted(enumerate(told, first), key=lambda each: each[1].file)
    for file, group in groupby(numbered, key=lambda each: each[1].file):
        yield findings.find(file), [(number, found.index) for number, found in group]


def _table(
    findings: Findings, lines: Sequence[Found], first: int, became: Mapping[tuple[str, int], Mapping[str, Any]] | None
) -> list[list[str]]:
    """A line for each of these cracks, in their order; `first` is the number of the first one."""
    rows = []
    for photograph, numbered in _by_photograph(findings, lines, first):
        for number, index in numbered:
            row = content.table_row(photograph, index, number)
            if became is not None:
                line = became.get((photograph.row.file, photograph.cracks[index]["id"]))
                row.append(line["change"] if line else NOT_COMPARED)
            rows.append(row)
    return sorted(rows, key=lambda row: int(row[0]))


def _changes(changes: Changes, n_most: int, work: Path) -> dict[str, Any]:
    changed = []
    for each in changes.photographs:
        lines = [line for line in each.lines if line["change"] != "unchanged"]
        if lines:
            changed.append((each, lines))
    shown = []
    for number, (each, lines) in enumerate(changed[:n_most], 1):
        pictures = []
        for name, place in each.pictures.items():
            (work / f"{name}-{number}.jpg").write_bytes(changes.read(place))
            pictures.append((name, f"{name}-{number}.jpg"))
        shown.append(
            {"title": title(each), "note": each.note, "pictures": pictures, "table": [table_row(line) for line in lines]}
        )
    return {"rows": changes.rows, "columns": COLUMNS, "photographs": shown, "n_more": len(changed) - len(shown)}


def _findings(
    findings: Findings, pages: Sequence[Found], earlier: str, became: Mapping[tuple[str, int], Mapping[str, Any]], work: Path
) -> Iterator[dict[str, Any]]:
    for photograph, numbered in _by_photograph(findings, pages, 1):
        file, lines = photograph.row.file, photograph.row.lines or []
        image_hwc_u8, is_own = findings.picture(file)
        overview = pictures.Overview(image_hwc_u8, lines, photograph.zones)
        for number, index in numbered:
            crack = photograph.cracks[index]
            mm_per_px = scale_at(crack, photograph.scale)
            box = pictures.close_up_box((image_hwc_u8.shape[1], image_hwc_u8.shape[0]), crack, lines[index])
            drawn = {
                "overview": overview.of(index, box, mm_per_px),
                "close_up": pictures.close_up(image_hwc_u8, crack, lines[index], box, mm_per_px),
            }
            for name, jpeg in drawn.items():
                (work / f"{name}-{number}.jpg").write_bytes(jpeg)
            yield {
                "number": number,
                "title": f"Crack {crack['id']} of {printable(file)}",
                "rows": [
                    *content.finding_rows(photograph, index),
                    *([(f"Since {earlier}", told_change(became.get((file, crack["id"]))))] if earlier else []),
                ],
                "has_arrows": not crack["is_width_below_limit"],
                "note": "" if is_own else _CHANGED,
                **{name: f"{name}-{number}.jpg" for name in drawn},
            }


def _page(told: Mapping[str, Any], work: Path) -> bytes:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["inline"] = lambda name: base64.b64encode((work / name).read_bytes()).decode()
    environment.filters["read"] = lambda name: (work / name).read_text(encoding="utf-8")
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    return template.render(told).encode()


def _pdf(told: Mapping[str, Any], work: Path) -> bytes:
    import typst  # not every container image has it

    (work / "content.json").write_text(json.dumps(told), encoding="utf-8")
    (work / "report.typ").write_bytes(Path(__file__).with_name("report.typ").read_bytes())

    def compiled(standards: Any) -> bytes:
        return bytes(typst.compile(work / "report.typ", root=work, format="pdf", pdf_standards=standards))

    try:
        return compiled(_PDF_STANDARDS)
    except typst.TypstError:  # a name has a character that no font here has: the standards forbid that, readers show a box
        return compiled([])


_FORMS = {PAGE: _page, PDF: _pdf}
