"""Makes the report of an inspection, or its workbook, in its own process, from the store on disk.

Left to others: what a report says and looks like (`inspection.report`).
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from anyio import CapacityLimiter, to_thread
from numpy.typing import NDArray

from crack.stores import inspections as table
from crack.stores.database import Connection, Database
from crack.stores.tables import Part
from inspection.findings import Photograph
from inspection.report.summary_sheet import all_sheets, filled
from inspection.report.writing import PAGE, PDF, compose, has_pdf
from inspection.tables import WORKBOOK, Columns
from inspection.workbook import MAX_LINES, MEDIA_TYPE, Workbook
from model.inference.errors import ErrorCode, RequestError
from model.inference.isolation import Isolation
from model.inference.millimetres import Scale
from model.inference.photograph import decode
from model.inference.standards import Standard, find
from sidecar.inspections import Inspection, Kept, kept

FORMS = {"html": (PAGE, "text/html; charset=utf-8"), "pdf": (PDF, "application/pdf"), "xlsx": (WORKBOOK, MEDIA_TYPE)}
MAX_FINDINGS = 200  # that get a page each: some 60 MB of HTML
DEADLINE_S = 300.0
_MAX_BYTES = 4 * 2**30  # of address space: one photograph of the largest size, and all pictures of the report
_MAX_WAITING = 4


class Reporting:
    """Makes one report at a time, of inspections in the store in `folder`, whose tables may be in PostgreSQL at `url`."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self._folder, self._url = folder, url
        self._isolation = Isolation(1, _MAX_BYTES, DEADLINE_S)
        self._threads = CapacityLimiter(1)
        self._n_waiting = 0

    async def report(
        self, inspection: Inspection, form: str, n_findings: int, standard: str | None, exposure: str | None
    ) -> bytes:
        """Make the report; returns its file.

        Args:
            form: one of `FORMS`.
            n_findings: the most that get a page each.

        Raises:
            RequestError: NOT_FOUND, where there is no typst for a PDF, or the inspection was deleted meanwhile; SERVER_BUSY;
                PARAMETER_INVALID, where there is no such standard; PREDICTION_FAILED, where it took too much time or memory.
        """
        if form == "pdf" and not has_pdf():
            raise RequestError(
                ErrorCode.NOT_FOUND, "This server cannot make a PDF without typst. Ask for format=html, and print that."
            )
        if standard is not None:
            find(standard, exposure)
        if self._n_waiting >= _MAX_WAITING:
            raise RequestError(ErrorCode.SERVER_BUSY, f"{self._n_waiting} reports are being made. Ask again in some seconds.")
        self._n_waiting += 1
        call = partial(self._isolation.call, _write, self._folder, self._url, inspection, form, n_findings, standard, exposure)
        try:
            return await to_thread.run_sync(call, limiter=self._threads)
        except RequestError as error:
            if error.code not in (ErrorCode.IMAGE_UNDECODABLE, ErrorCode.SERVER_BUSY):
                raise
            raise RequestError(
                ErrorCode.PREDICTION_FAILED, f"The report could not be made ({error.message}) Ask for fewer findings."
            ) from error
        finally:
            self._n_waiting -= 1

    def close(self) -> None:
        self._isolation.close()


def _write(
    folder: Path, url: str, inspection: Inspection, form: str, n_findings: int, standard: str | None, exposure: str | None
) -> bytes:
    head = {"inspection": inspection.name if inspection.structure else ""}  # else it is the title
    head |= {name: getattr(inspection, name) for name in ("structure", "element", "date", "inspector")}
    with closing(Database(Part.INSPECTIONS, folder, url)) as database, database.reading() as connection:
        findings = KeptFindings(connection, folder, inspection, find(standard, exposure) if standard else None)
        if form == "xlsx":
            return _workbook(findings, head)
        name, _ = FORMS[form]
        try:
            return compose(findings, head, n_findings, forms=[name])[name]
        except (FileNotFoundError, KeyError) as error:
            raise RequestError(
                ErrorCode.NOT_FOUND, f"{error.args[-1]} was deleted meanwhile. Look at the inspection, and ask again."
            ) from error


def _workbook(findings: "KeptFindings", head: Mapping[str, str]) -> bytes:
    """Raises RequestError: PREDICTION_FAILED, where there are too many cracks for it."""
    columns = Columns(findings.inspection.is_position_kept, True, True, True, findings.standard is not None)
    with TemporaryDirectory() as folder:
        path = Path(folder, WORKBOOK)
        book = Workbook(path)
        empty = [book.sheet(title, names) for title, names in all_sheets(columns).items()]
        with filled(findings, head, columns, *empty) as add:
            for photograph in findings.photographs():
                add(photograph)
        book.close()
        if book.is_full:
            raise RequestError(
                ErrorCode.PREDICTION_FAILED, f"A workbook takes at most {MAX_LINES:,} cracks. crack fetch writes them as CSV."
            )
        return path.read_bytes()


@dataclass(frozen=True)
class KeptFindings:
    """An inspection's photographs. Each pass reads them from the tables anew: only a few at a time are in memory."""

    connection: Connection
    folder: Path
    inspection: Inspection
    standard: Standard | None
    scale: Scale | None = None  # each photograph has its own
    elsewhere: str = "the inspection itself"

    @property
    def title(self) -> str:
        return self.inspection.name

    @property
    def quality(self) -> str:
        return ", ".join(table.qualities(self.connection, self.inspection.id)) or "none"

    def photographs(self) -> Iterator[Photograph]:
        rows = table.every_photograph(self.connection, self.inspection.id)
        return (kept(row).told(self.standard) for row in rows)

    def find(self, file: str) -> Photograph:
        return self._kept(file).told(self.standard)

    def picture(self, file: str) -> tuple[NDArray[np.uint8], bool]:
        return decode((self.folder / self._kept(file).image_file).read_bytes()), True

    def _kept(self, file: str) -> Kept:
        row = table.named(self.connection, self.inspection.id, file)
        if row is None:
            raise KeyError(file)
        return kept(row)
