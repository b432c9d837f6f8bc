"""Writes a survey's results in one pass over its journal: tables, map, contact sheet, and the summary at the end.

Left to others: each of the forms (`tables`, `parquet`, `geojson`, `sheet`, `coco`, `dxf`).
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from inspection.findings import Photograph
from inspection.rows import Status
from inspection.tables import WORKBOOK
from survey import coco
from survey.findings import Findings
from survey.folder import Results
from survey.geojson import NAME as MAP
from survey.geojson import geojson
from survey.pictures import DRAWINGS
from survey.sheet import ContactSheet
from survey.tables import CRACKS, PHOTOGRAPHS, tables

CHANGES_PAGE, CHANGES, CHANGES_BOOK = "changes.html", "changes.csv", "changes.xlsx"  # what `compare` writes


@dataclass
class Tally:
    """
    Attributes:
        counts: photographs by status.
        versions: predicted photographs by the version of the model.
        n_unmeasured: predicted by a version that measured less.
    """

    counts: Counter[Status] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    n_unmeasured: int = 0

    def add(self, photograph: Photograph) -> None:
        row = photograph.row
        self.counts[row.status] += 1
        if row.status is Status.PREDICTED:
            self.versions[row.model_version] += 1
            self.n_unmeasured += row.lines is None and not row.error

    @property
    def models(self) -> str:
        one = len(self.versions) == 1
        return ", ".join(version if one else f"{version} ({count})" for version, count in self.versions.items()) or "none"


def write_results(findings: Findings, with_bom: bool, also: Sequence[str], asked: str) -> tuple[Tally, str, str]:
    """
    Args:
        with_bom: see `tables`.
        also: further formats, of "coco" and "dxf".
        asked: how the photographs were examined, in words, without the model.

    Returns:
        The tally, `asked` with the model, and where the contact sheet is.
    """
    tally, sheet = Tally(), ContactSheet()
    from survey.parquet import parquet  # a third of a second

    with ExitStack() as stack:
        written = [tables(findings, with_bom), parquet(findings), geojson(findings)]
        forms = [tally.add, sheet.add, *map(stack.enter_context, written)]
        for photograph in findings.photographs():
            for add in forms:
                add(photograph)
    if "coco" in also:
        coco.write_coco(findings)
    if "dxf" in also:
        from survey.dxf import write_dxfs  # half a second, and it looks for all fonts of the machine

        write_dxfs(findings)
    asked = f"{asked}, model {tally.models}"
    return tally, asked, sheet.write(findings.survey, findings.title, asked, present(findings.survey))


def present(survey: Results) -> list[str]:
    """The results that are there, whichever command wrote them, without pictures: reports, tables, map, and other formats."""
    from inspection.report.writing import PAGE, PDF
    from survey import parquet

    tables = (WORKBOOK, PHOTOGRAPHS, CRACKS, MAP, parquet.PHOTOGRAPHS, parquet.CRACKS, coco.NAME)
    names = (PAGE, PDF, CHANGES_PAGE, CHANGES_BOOK, CHANGES, *tables, f"{DRAWINGS}/")
    there = survey.listing()
    return [name for name in names if name in there]
