"""A batch as one ZIP, for whoever hands it over: masks, overlays, and a table of all photographs, of those that failed too."""

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gradio_app.pictures import Found
from inspection.findings import file_name
from inspection.spreadsheets import csv_lines
from model.inference.card import threshold_level

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
    photographs: Iterable[Mapping[str, Any]],
    find: Callable[[Mapping[str, Any]], Found],
    draw: Callable[[Found], tuple[bytes, bytes, float, float]],
) -> None:
    """Write the ZIP, one photograph after the other.

    Args:
        photographs: as the page's script sends them; those with a `problem` only get a line of the table.
        draw: as `pictures.mask_and_overlay`.
    """
    table = io.StringIO()
    add_line = csv_lines(table)
    add_line(COLUMNS)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        for number, photograph in enumerate(photographs, start=1):
            if photograph.get("problem"):
                add_line(_line(photograph))
                continue
            name = f"{number:03d}-{file_name(Path(photograph['name']).stem)}"
            found = find(photograph)
            mask, overlay, share, left_out = draw(found)
            packed.writestr(f"masks/{name}.png", mask)
            packed.writestr(f"overlays/{name}.jpg", overlay)
            is_models_own = found.level == threshold_level(photograph["threshold"])
            threshold = photograph["threshold"] if is_models_own else round(found.level / 255, 4)
            facts = {"crack_ratio": round(share, 6), "threshold": threshold, "is_corrected": bool(found.mask_png)}
            add_line(_line({**photograph, **facts, "left_out_ratio": round(left_out, 6)}))
        packed.writestr("photographs.csv", table.getvalue().encode("utf-8-sig", "replace"))  # Excel needs the mark


def _line(photograph: Mapping[str, Any]) -> list[Any]:
    return [photograph.get(column, "") for column in COLUMNS]
