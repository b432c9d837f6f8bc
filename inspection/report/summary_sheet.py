"""The workbook's sheet with what the report's first and last pages say: how it was made, totals, and what was left out.

Left to others: the words (`content`), the other sheets (`inspection.tables`), the format (`inspection.workbook`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from inspection.findings import Examination, Photograph
from inspection.report import content
from inspection.report.content import Overview, Total
from inspection.report.ranking import RULE
from inspection.tables import Columns, into, sheets
from inspection.workbook import Sheet
from model.inference.width_classes import classes

TITLE, COLUMNS = "summary", ("section", "what", "value", "cracks", "length_mm", "length_px")


def all_sheets(columns: Columns) -> dict[str, tuple[str, ...]]:
    """The workbook's sheets by their titles."""
    return {**sheets(columns), TITLE: COLUMNS}


@contextmanager
def filled(
    examination: Examination,
    given: Mapping[str, str],
    columns: Columns,
    of_cracks: Sheet,
    of_photographs: Sheet,
    of_summary: Sheet,
) -> Iterator[Callable[[Photograph], None]]:
    """Yields a function that adds one photograph to all sheets; the summary is written at the end.

    Args:
        given: lines of the report's cover, by their names.
    """
    seen, add_lines = Overview(), into(columns, of_cracks, of_photographs)

    def add(photograph: Photograph) -> None:
        content.add(seen, photograph)
        add_lines(photograph)

    yield add
    for line in _lines(examination, given, seen):
        of_summary.add(line)


def _lines(examination: Examination, given: Mapping[str, str], seen: Overview) -> Iterator[list[Any]]:
    for name, told in content.cover(given, examination, seen):
        yield ["cover", name, told]
    for name, told in content.summary(seen, None, seen.n_cracks):
        yield ["totals", name, int(told) if told.isdecimal() else told]
    for unit in content.UNITS:
        for of_width in classes(unit) if seen.of_class[unit] else ():
            total = seen.length_of_class[unit].get(of_width.rank, 0.0)
            yield _line("width (95th percentile)", of_width.name, Total(0, seen.of_class[unit][of_width.rank], {unit: total}))
    for name, band in content.bands(seen, examination.standard):
        yield _line("band, a guide value", name, band)
    for name, folder in sorted(seen.folders.items()) if len(seen.folders) > 1 else ():
        yield _line("folder", name or "(no folder)", folder)
    for name, reason in content.left_out(seen, (), "the sheet photographs"):
        yield ["left out", name, reason]
    for note in (*content.notes(examination.scale), RULE):
        yield ["note", "", note]


def _line(section: str, name: str, total: Total) -> list[Any]:
    photographs = f"{total.n_photographs} photographs" if total.n_photographs else None
    lengths = (round(total.length[unit], 1) if unit in total.length else None for unit in content.UNITS)
    return [section, name, photographs, total.n_cracks, *lengths]
