"""Tables as a workbook, written line by line in bounded memory. A text never becomes a formula or a link."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError

from inspection.findings import printable

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MAX_LINES = 250_000  # of a sheet: programs that read workbooks hold it in memory, and give up at a million
_MAX_CHARACTERS = 32_767  # of a cell
_WIDTHS = {"file": 40, "earlier_file": 40, "change": 28, "band_name": 36, "bbox_px": 22}  # of columns of texts
_WIDTHS |= {"error": 60, "scale_note": 40, "taken_at": 26, "note": 60}
_A4 = 9


class Workbook:
    """A workbook; its file is complete once it is closed.

    Attributes:
        is_full: a sheet got more than `MAX_LINES`; nothing is written any more.
    """

    def __init__(self, path: Path) -> None:
        self.is_full = False
        options = {"constant_memory": True, "tmpdir": str(path.parent), "strings_to_formulas": False, "strings_to_urls": False}
        self._book = xlsxwriter.Workbook(str(path), options)
        self._bold = self._book.add_format({"bold": True})
        self._truth = self._book.add_format({"num_format": '"TRUE";"TRUE";"FALSE"'})  # LibreOffice shows 1 and 0 without it

    def sheet(self, title: str, columns: Sequence[str]) -> "Sheet":
        sheet = self._book.add_worksheet(title)
        sheet.freeze_panes(1, 1)
        sheet.hide_gridlines(0)  # so they are printed, too
        sheet.set_landscape()
        sheet.set_paper(_A4)
        sheet.repeat_rows(0)  # on every printed page
        sheet.repeat_columns(0)
        for number, column in enumerate(columns):
            sheet.set_column(number, number, _WIDTHS.get(column, max(10, len(column) + 3)))
            sheet.write_string(0, number, column, self._bold)
        return Sheet(self, sheet, self._truth)

    def close(self) -> None:
        """Raises OSError."""
        try:
            self._book.close()
        except FileCreateError as error:  # it wraps the OSError
            raise error.args[0] from error


class Sheet:
    """One table."""

    def __init__(self, book: Workbook, sheet: Any, truth: Any) -> None:
        self._book = book
        self._sheet = sheet
        self._truth = truth
        self._n_lines = 0

    def add(self, line: Sequence[Any]) -> None:
        """Write a line of numbers, texts, truths and None."""
        self._n_lines += 1
        self._book.is_full |= self._n_lines > MAX_LINES
        if self._book.is_full:
            return
        for column, value in enumerate(line):
            told = printable(value)[:_MAX_CHARACTERS] if isinstance(value, str) else value
            self._sheet.write(self._n_lines, column, told, self._truth if isinstance(value, bool) else None)
