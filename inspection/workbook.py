"""Tables as a workbook, written line by line in bounded memory. A text never becomes a formula or a link."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError

from inspection.findings import printable

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MAX_LINES = 250_000  # of a sheet: programs that read workbooks hold it in memory, and give up at a million
_MAX_CHARACTERS = 32_767  # of a cell
_WIDTHS = {"file": 40, "earlier_file": 40, "change": 28, "band_name": 36, "bbox_px": 22}  # of columns of texts
_WIDTHS |= {"error": 60, "scale_note": 40, "taken_at": 26, "decided_at": 26, "note": 60, "section": 24, "what": 56, "value": 90}
_WRAPPED = ("error", "note", "value")
_PAGE_WIDTH = 220  # characters, across an A4 page on its side, still to be read
_ROW, _MAX_ROW = 15, 409  # points
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
        self._top = self._book.add_format({"valign": "top"})
        self._wrapped = self._book.add_format({"text_wrap": True, "valign": "top"})
        self._sheets: list[Sheet] = []
        self._truth = self._book.add_format({"num_format": '"TRUE";"TRUE";"FALSE"'})  # LibreOffice shows 1 and 0 without it

    def sheet(self, title: str, columns: Sequence[str]) -> "Sheet":
        sheet = self._book.add_worksheet(title)
        widths = [_WIDTHS.get(column, max(10, len(column) + 3)) for column in columns]
        n_fixed = 2 if list(columns[1:2]) == ["id"] else 1  # what names a line stays in view, and is on each page
        sheet.freeze_panes(1, n_fixed)
        sheet.hide_gridlines(0)  # so they are printed, too
        sheet.set_landscape()
        sheet.set_paper(_A4)
        sheet.repeat_rows(0)  # on every printed page
        sheet.repeat_columns(0, n_fixed - 1)
        sheet.fit_to_pages(math.ceil(sum(widths) / _PAGE_WIDTH), 0)
        for number, (column, width) in enumerate(zip(columns, widths, strict=True)):
            sheet.set_column(number, number, width, self._wrapped if column in _WRAPPED else self._top)
            sheet.write_string(0, number, column, self._bold)
        wrapped = {number: widths[number] for number, column in enumerate(columns) if column in _WRAPPED}
        self._sheets.append(Sheet(self, sheet, self._truth, len(columns), wrapped))
        return self._sheets[-1]

    def close(self) -> None:
        """Raises OSError."""
        for sheet in self._sheets:
            sheet.close()
        try:
            self._book.close()
        except FileCreateError as error:  # it wraps the OSError
            raise error.args[0] from error


class Sheet:
    """One table.

    Args:
        wrapped: the columns whose texts take several lines, with their widths.
    """

    def __init__(self, book: Workbook, sheet: Any, truth: Any, n_columns: int, wrapped: Mapping[int, int]) -> None:
        self._book = book
        self._sheet = sheet
        self._truth = truth
        self._n_columns = n_columns
        self._wrapped = wrapped
        self._n_lines = 0

    def add(self, line: Sequence[Any]) -> None:
        """Write a line of numbers, texts, truths and None."""
        self._n_lines += 1
        self._book.is_full |= self._n_lines > MAX_LINES
        if self._book.is_full:
            return
        n_rows = max((math.ceil(len(str(line[column] or "")) / width) for column, width in self._wrapped.items()), default=1)
        if n_rows > 1:  # LibreOffice doesn't make a line higher by itself
            self._sheet.set_row(self._n_lines, min(_ROW * n_rows, _MAX_ROW))
        for column, value in enumerate(line):
            told = printable(value)[:_MAX_CHARACTERS] if isinstance(value, str) else value
            self._sheet.write(self._n_lines, column, told, self._truth if isinstance(value, bool) else None)

    def close(self) -> None:
        self._sheet.autofilter(0, 0, self._n_lines, self._n_columns - 1)
