"""A batch as one ZIP, for whoever hands it over: masks, overlays, and tables of all photographs, of those that failed too."""

import io
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradio_app.pictures import Drawn, Found
from inspection.findings import Photograph, file_name
from inspection.report.summary_sheet import all_sheets, filled
from inspection.rows import Row, Status
from inspection.spreadsheets import csv_lines
from inspection.tables import WORKBOOK, Columns
from inspection.taken import Taken
from inspection.workbook import Workbook
from model.inference.card import threshold_level
from model.inference.millimetres import ScaleSource

COLUMNS = [
    "name",
    "crack_ratio",
    "threshold",
    "is_corrected",
    "left_out_ratio",
    "model_version",
    "request_id",
    "crack_score",
    "problem",
]


def pack(
    path: Path,
    photographs: Sequence[Mapping[str, Any]],
    find: Callable[[Mapping[str, Any]], Found],
    draw: Callable[[Found], Drawn],
) -> None:
    """Write the ZIP, one photograph after the other. With more lines than a workbook takes, it has none.

    Args:
        photographs: as the page's script sends them; those with a `problem` only get a line of the tables.
    """
    table = io.StringIO()
    add_line = csv_lines(table)
    add_line(COLUMNS)
    columns = Columns(is_scaled=any(photograph.get("scale") for photograph in photographs))
    book_path = path.with_name(WORKBOOK)
    book = Workbook(book_path)
    empty = [book.sheet(title, names) for title, names in all_sheets(columns).items()]
    qualities = sorted({photograph["quality"] for photograph in photographs if photograph.get("quality")})
    examination = _Examination(", ".join(qualities) or "unknown")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        with filled(examination, {}, columns, *empty) as add_to_book:
            for number, photograph in enumerate(photographs, start=1):
                if photograph.get("problem"):
                    add_line(_line(photograph))
                    row = Row(photograph["name"], Status.FAILED, 0, 0, "", error=photograph["problem"])
                    add_to_book(Photograph(row, None, Taken()))
                    continue
                name = f"{number:03d}-{file_name(Path(photograph['name']).stem)}"
                found = find(photograph)
                drawn = draw(found)
                packed.writestr(_entry(f"masks/{name}.png"), drawn.mask_png)
                packed.writestr(_entry(f"overlays/{name}.jpg"), drawn.overlay_jpeg)
                is_models_own = found.level == threshold_level(photograph["threshold"])
                threshold = photograph["threshold"] if is_models_own else round(found.level / 255, 4)
                share = round(drawn.crack_ratio, 6)
                facts = {"crack_ratio": share, "threshold": threshold, "is_corrected": bool(found.mask_png)}
                add_line(_line({**photograph, **facts, "left_out_ratio": round(drawn.left_out_ratio, 6)}))
                add_to_book(Photograph(_row(photograph, drawn, threshold, share), None, Taken(), zones=found.zones))
        packed.writestr(_entry("photographs.csv"), table.getvalue().encode("utf-8-sig", "replace"))  # Excel needs the mark
        book.close()
        if not book.is_full:
            packed.writestr(_entry(WORKBOOK), book_path.read_bytes())
    book_path.unlink()


@dataclass(frozen=True)
class _Examination:
    """As `inspection.findings.Examination`: each photograph has its own scale, and the page names no standard."""

    quality: str
    scale: None = None
    standard: None = None


def _entry(name: str) -> zipfile.ZipInfo:
    now = time.localtime()  # 1970 on a machine whose clock was not set: a ZIP knows the years from 1980 to 2107
    entry = zipfile.ZipInfo(name, now[:6] if 1980 <= now.tm_year < 2108 else (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o600 << 16
    return entry


def _line(photograph: Mapping[str, Any]) -> list[Any]:
    return [photograph.get(column, "") for column in COLUMNS]


def _row(photograph: Mapping[str, Any], drawn: Drawn, threshold: float, crack_ratio: float) -> Row:
    scale = photograph.get("scale")
    return Row(
        photograph["name"],
        Status.PREDICTED,
        *(0, 0, ""),  # of the file, which no table tells
        width=drawn.size_wh[0],
        height=drawn.size_wh[1],
        crack_ratio=crack_ratio,
        threshold=threshold,
        model_version=photograph["model_version"],
        error=drawn.unmeasured,
        crack_score=photograph.get("crack_score"),
        cracks=drawn.cracks,
        lines=None if drawn.cracks is None else [],  # they are in no table
        scale=scale
        and {
            "mm_per_px": float(scale["mm_per_px"]),
            "scale_source": ScaleSource.GIVEN,
            "scale_note": str(scale.get("source") or ""),
        },
    )
