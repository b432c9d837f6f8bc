"""`photographs.csv` and `cracks.csv`, a line for each, and both in `cracks.xlsx`.

Spreadsheets run a cell that begins with =, +, - or @ as a formula. In the CSVs such a text gets an apostrophe before it, as
OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection); in the workbook each text is marked as one.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from inspection.findings import Photograph, printable
from inspection.rows import Status
from model.inference.cracks import FIGURES
from model.inference.millimetres import in_mm
from survey.findings import Findings

PHOTOGRAPHS, CRACKS, WORKBOOK = "photographs.csv", "cracks.csv", "cracks.xlsx"
_COLUMNS = ("file", "status", "width", "height", "crack_ratio", "threshold", "model_version", "seconds", "error", "crack_score")
_SCALE_COLUMNS = ("mm_per_px", "scale_source", "scale_note")
_EXIF_COLUMNS = ("taken_at", "latitude", "longitude")
_MAX_ROWS = 2**20 - 1  # of a sheet, below its header
_MAX_CHARACTERS = 32_767  # of a cell
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")  # the last four are the first four at full width
_Table = tuple[Sequence[str], Iterator[Sequence[Any]]]


def write_tables(findings: Findings, with_bom: bool) -> None:
    """Both CSVs and the workbook, each whole or not at all.

    Args:
        with_bom: begin the CSVs by a byte order mark, for programs that take UTF-8 without one for another encoding.
    """
    encoding = "utf-8-sig" if with_bom else "utf-8"
    for name, table in _TABLES.items():
        columns, rows = table(findings)
        with (
            findings.survey.whole(name) as path,
            path.open("w", newline="", encoding=encoding, errors="surrogateescape") as file,
        ):
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(columns)
            lines.writerows([_csv_cell(value) for value in row] for row in rows)
    workbook = Workbook(write_only=True)
    for name, table in _TABLES.items():
        _add_sheets(workbook, name.removesuffix(".csv"), *table(findings))
    with findings.survey.whole(WORKBOOK) as path:
        workbook.save(path)


def _photographs(findings: Findings) -> _Table:
    """A line for each photograph that was asked about, in their order."""
    taken = _EXIF_COLUMNS if findings.about.with_exif else ()
    rows = (
        [
            *(getattr(photograph.row, column) for column in _COLUMNS),
            *(photograph.told_scale.get(column) if _is_measured(photograph) else None for column in _SCALE_COLUMNS),
            *((photograph.taken.at, photograph.taken.latitude, photograph.taken.longitude) if taken else ()),
        ]
        for photograph in findings.photographs()
    )
    return (*_COLUMNS, *_SCALE_COLUMNS, *taken), rows


def _is_measured(photograph: Photograph) -> bool:
    return photograph.row.status is Status.PREDICTED


def _cracks(findings: Findings) -> _Table:
    """A line for each crack, those of a photograph the longest first."""
    columns = dict.fromkeys(["file", *FIGURES, *(in_mm(FIGURES) if findings.about.scale else ())])
    for photograph in findings.predicted():
        for crack in photograph.cracks:
            columns.update(dict.fromkeys(_flat(crack)))
    rows = (
        [photograph.row.file, *(_told(crack.get(column)) for column in list(columns)[1:])]
        for photograph in findings.predicted()
        for crack in map(_flat, photograph.cracks)
    )
    return tuple(columns), rows


_TABLES: dict[str, Callable[[Findings], _Table]] = {CRACKS: _cracks, PHOTOGRAPHS: _photographs}


def _flat(crack: Mapping[str, Any]) -> dict[str, Any]:
    """What is told in parts, such as a band, as figures of their own; without what isn't told."""
    parts: dict[str, Any] = {}
    for name, value in crack.items():
        if value is None:
            continue
        parts |= {f"{name}_{part}": told for part, told in value.items()} if isinstance(value, Mapping) else {name: value}
    return parts


def _told(value: Any) -> Any:
    """Places and boxes as numbers with a space between."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _csv_cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _add_sheets(workbook: Workbook, title: str, columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    """One sheet, or as many as the rows need."""
    number = 1
    while True:
        sheet = workbook.create_sheet(title if number == 1 else f"{title} {number}")
        sheet.freeze_panes = "B2"
        for index, column in enumerate(columns, 1):
            sheet.column_dimensions[get_column_letter(index)].width = 40 if column == "file" else max(10, len(column) + 2)
        sheet.append([_text(sheet, column, Font(bold=True)) for column in columns])
        n_rows = 0
        for row in islice(rows, _MAX_ROWS):
            sheet.append([_text(sheet, value) if isinstance(value, str) else value for value in row])
            n_rows += 1
        if n_rows < _MAX_ROWS:
            return
        number += 1


def _text(sheet: Any, text: str, font: Font | None = None) -> Any:
    cell = WriteOnlyCell(sheet, printable(text)[:_MAX_CHARACTERS])
    cell.data_type = "s"  # openpyxl takes what begins with = for a formula
    if font is not None:
        cell.font = font
    return cell
