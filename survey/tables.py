"""`photographs.csv` and `cracks.csv`, a line for each, and both in `cracks.xlsx`.

No text becomes a formula: in the CSVs by an apostrophe before it, in the workbook because each text is marked as one.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from inspection.findings import Photograph
from inspection.rows import Status
from inspection.spreadsheets import csv_lines
from model.inference.cracks import FIGURES
from model.inference.millimetres import in_mm
from survey.findings import About, Findings
from survey.folder import Survey
from survey.workbook import Sheet, Workbook

PHOTOGRAPHS, CRACKS, WORKBOOK = "photographs.csv", "cracks.csv", "cracks.xlsx"
_COLUMNS = ("file", "status", "width", "height", "crack_ratio", "threshold", "model_version", "seconds", "error", "crack_score")
_SCALE_COLUMNS = ("mm_per_px", "scale_source", "scale_note")
_EXIF_COLUMNS = ("taken_at", "latitude", "longitude")
_MARKER_COLUMNS = ("scale_uncertainty_ratio", "mm_per_px")
_DECIDED_COLUMNS = ("decision", "note")
_BAND_COLUMNS = ("band_name", "band_above_mm", "band_up_to_mm", "band_is_certain")


@contextmanager
def tables(findings: Findings, with_bom: bool) -> Iterator[Callable[[Photograph], None]]:
    """Yields a function that takes one photograph after the other, in their order; at the end all three files are complete.

    Args:
        with_bom: begin the CSVs with a byte order mark, for programs that otherwise don't recognise UTF-8.
    """
    of_cracks, of_photographs = crack_columns(findings), photograph_columns(findings)
    with ExitStack() as stack:
        add_crack = stack.enter_context(csv_table(findings.survey, CRACKS, of_cracks, with_bom))
        add_photograph = stack.enter_context(csv_table(findings.survey, PHOTOGRAPHS, of_photographs, with_bom))
        sheets = {CRACKS.removesuffix(".csv"): of_cracks, PHOTOGRAPHS.removesuffix(".csv"): of_photographs}
        of_book = stack.enter_context(workbook(findings.survey, WORKBOOK, sheets))

        def add(photograph: Photograph) -> None:
            line = photograph_line(photograph, findings.about)
            add_photograph(line)
            of_book[1].add(line)
            if is_measured(photograph):
                for crack in map(flat, photograph.cracks):
                    line = [photograph.row.file, *(_told(crack.get(column)) for column in of_cracks[1:])]
                    add_crack(line)
                    of_book[0].add(line)

        yield add


@contextmanager
def csv_table(survey: Survey, name: str, columns: Sequence[str], with_bom: bool) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Yields a function that takes one line after the other; at the end the file is complete. For `with_bom` see `tables`."""
    encoding = "utf-8-sig" if with_bom else "utf-8"
    with survey.whole(name) as path, path.open("w", newline="", encoding=encoding, errors="surrogateescape") as file:
        add = csv_lines(file)
        add(columns)
        yield add


@contextmanager
def workbook(survey: Survey, name: str, sheets: Mapping[str, Sequence[str]]) -> Iterator[list[Sheet]]:
    """Yields the sheets, by their titles and columns; at the end the file is complete.

    If a sheet has more than `workbook.MAX_LINES`, there is no workbook, and an earlier one is removed.
    """
    with survey.scratch() as scratch:
        book = Workbook(scratch)
        yield [book.sheet(title, columns) for title, columns in sheets.items()]
        book.close()
        if book.is_full:
            survey.remove(name)
        else:
            with survey.whole(name) as path:
                shutil.copyfile(scratch, path)


def photograph_columns(findings: Findings) -> Sequence[str]:
    about = findings.about
    return (
        *_COLUMNS,
        *_SCALE_COLUMNS,
        *(_EXIF_COLUMNS if about.with_exif else ()),
        *(_DECIDED_COLUMNS if about.decided else ()),
    )


def photograph_line(photograph: Photograph, about: About) -> list[Any]:
    row, taken = photograph.row, photograph.taken
    scale = photograph.told_scale if is_measured(photograph) else {}
    return [
        *(getattr(row, column) for column in _COLUMNS),
        *(scale.get(column) for column in _SCALE_COLUMNS),
        *((taken.at, taken.latitude, taken.longitude) if about.with_exif else ()),
        *((photograph.mark and photograph.mark.value, photograph.note) if about.decided else ()),
    ]


def is_measured(photograph: Photograph) -> bool:
    return photograph.row.status is Status.PREDICTED


def crack_columns(findings: Findings) -> Sequence[str]:
    """The same for all surveys with such a scale and standard, whatever was found."""
    columns = ["file", *FIGURES]
    if findings.is_scaled_by_marker:
        columns += _MARKER_COLUMNS
    if findings.is_scaled:
        columns += in_mm(FIGURES)
        if findings.standard:
            columns += _BAND_COLUMNS
    return columns


def flat(crack: Mapping[str, Any]) -> dict[str, Any]:
    """Make each part of a figure with parts, such as a band, a figure of its own."""
    parts: dict[str, Any] = {}
    for name, value in crack.items():
        parts |= {f"{name}_{part}": told for part, told in value.items()} if isinstance(value, Mapping) else {name: value}
    return parts


def _told(value: Any) -> Any:
    """Places and boxes as numbers with a space between."""
    return " ".join(map(str, value)) if isinstance(value, list) else value
