"""`photographs.csv` and `cracks.csv`, a line for each, and both in `cracks.xlsx`, with a summary.

No text becomes a formula: in the CSVs by an apostrophe before it, in the workbook because each text is marked as one.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from inspection.findings import Photograph
from inspection.report.summary_sheet import all_sheets, filled
from inspection.spreadsheets import csv_lines
from inspection.tables import WORKBOOK, in_cells
from inspection.workbook import Sheet, Workbook
from survey.findings import Findings
from survey.folder import Results, Survey
from survey.head import INSPECTION, read_inspection

PHOTOGRAPHS, CRACKS = "photographs.csv", "cracks.csv"


@contextmanager
def tables(findings: Findings, with_bom: bool) -> Iterator[Callable[[Photograph], None]]:
    """Yields a function that takes one photograph after the other, in their order; at the end all three files are complete.

    Args:
        with_bom: begin the CSVs with a byte order mark, for programs that otherwise don't recognise UTF-8.
    """
    columns = findings.columns
    with ExitStack() as stack:
        add_crack = stack.enter_context(csv_table(findings.survey, CRACKS, columns.of_cracks, with_bom))
        add_photograph = stack.enter_context(csv_table(findings.survey, PHOTOGRAPHS, columns.of_photographs, with_bom))
        book = stack.enter_context(workbook(findings.survey, WORKBOOK, all_sheets(columns)))
        add_to_book = stack.enter_context(filled(findings, _head(findings.survey), columns, *book))

        def add(photograph: Photograph) -> None:
            add_photograph(columns.line(photograph))
            for line in columns.crack_lines(photograph):
                add_crack(in_cells(line))
            add_to_book(photograph)

        yield add


def _head(survey: Survey) -> dict[str, str]:
    try:
        return read_inspection(survey)
    except ValueError as error:  # the report stops at it; a survey is too long for that
        return {INSPECTION: str(error)}


@contextmanager
def csv_table(survey: Results, name: str, columns: Sequence[str], with_bom: bool) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Yields a function that takes one line after the other; at the end the file is complete. For `with_bom` see `tables`."""
    encoding = "utf-8-sig" if with_bom else "utf-8"
    with survey.whole(name) as path, path.open("w", newline="", encoding=encoding, errors="surrogateescape") as file:
        add = csv_lines(file)
        add(columns)
        yield add


@contextmanager
def workbook(survey: Results, name: str, sheets: Mapping[str, Sequence[str]]) -> Iterator[list[Sheet]]:
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
