"""Tables as a workbook (Office Open XML, ECMA-376), written line by line.

openpyxl takes 15 microseconds for a cell, this 0.5: a survey's end would be mostly that.
"""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from inspection.findings import printable

MAX_LINES = 250_000  # of a sheet: programs that read workbooks hold it in memory, and give up at a million
_MAX_CHARACTERS = 32_767  # of a cell
_SPREADSHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # what a reader would take for a character's number
_BOLD = ' s="1"'
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_SPREADSHEET}"><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="2"><xf xfId="0"/><xf fontId="1" applyFont="1" xfId="0"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)


class Sheet:
    """One table, at `path` until it is put into a workbook.

    Attributes:
        n_lines: below its header.
    """

    def __init__(self, title: str, path: Path, columns: Sequence[str]) -> None:
        self.title = title
        self.path = path
        self.n_lines = 0
        self._file = path.open("w", encoding="utf-8")
        widths = "".join(
            f'<col min="{number}" max="{number}" width="{width}" customWidth="1"/>'
            for number, width in enumerate([40 if column == "file" else max(10, len(column) + 2) for column in columns], 1)
        )
        self._file.write(
            f'{_XML}<worksheet xmlns="{_SPREADSHEET}"><sheetViews><sheetView workbookViewId="0"><pane xSplit="1" ySplit="1" '
            'topLeftCell="B2" activePane="bottomRight" state="frozen"/></sheetView></sheetViews>'
            f"<cols>{widths}</cols><sheetData>"
        )
        self._file.write(f"<row>{''.join(_cell(column, _BOLD) for column in columns)}</row>")

    def add(self, line: Sequence[Any]) -> None:
        """Numbers, texts and None; nothing any more beyond `MAX_LINES`."""
        self.n_lines += 1
        if self.n_lines <= MAX_LINES:
            self._file.write(f"<row>{''.join(map(_cell, line))}</row>")

    def close(self) -> None:
        self._file.write("</sheetData></worksheet>")
        self._file.close()


def _cell(value: Any, style: str = "") -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, str):
        # As text, whatever it begins with: a spreadsheet runs none of it.
        told = _ESCAPE.sub("_x005F_", escape(printable(value)[:_MAX_CHARACTERS]))
        return f'<c t="inlineStr"{style}><is><t xml:space="preserve">{told}</t></is></c>'
    if isinstance(value, bool):
        return f'<c t="b"><v>{value:d}</v></c>'
    return f"<c><v>{value}</v></c>"


def write(path: Path, sheets: Sequence[Sheet]) -> None:
    """Put closed sheets into a workbook at `path`."""
    numbers = range(1, len(sheets) + 1)
    names = "".join(
        f'<sheet name="{sheet.title}" sheetId="{n}" r:id="rId{n}"/>' for n, sheet in zip(numbers, sheets, strict=True)
    )
    sheet_type, content = f"{_OFFICE}/worksheet", "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{content}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{content}.styles+xml"/>'
        + "".join(f'<Override PartName="/xl/sheet{n}.xml" ContentType="{content}.worksheet+xml"/>' for n in numbers)
        + "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_SPREADSHEET}" xmlns:r="{_OFFICE}"><sheets>{names}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        + "".join(f'<Relationship Id="rId{n}" Type="{sheet_type}" Target="sheet{n}.xml"/>' for n in numbers)
        + f'<Relationship Id="rId0" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": _STYLES.removeprefix(_XML),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, text in parts.items():
            packed.writestr(name, _XML + text)
        for n, sheet in zip(numbers, sheets, strict=True):
            packed.write(sheet.path, f"xl/sheet{n}.xml")
