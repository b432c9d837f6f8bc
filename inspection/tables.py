"""The two tables of a survey or an inspection, a line for each photograph and each crack: their columns, lines and sheets.

Left to others: the files in a survey's folder (`survey.tables`, `survey.parquet`), and the workbook's format (`workbook`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inspection.findings import Mark, Photograph
from inspection.rows import Status
from inspection.workbook import Sheet
from model.inference.cracks import FIGURES
from model.inference.millimetres import in_mm

WORKBOOK = "cracks.xlsx"
_COLUMNS = ("file", "status", "width", "height", "crack_ratio", "threshold", "model_version", "seconds", "error", "crack_score")
_SCALE_COLUMNS = ("mm_per_px", "scale_source", "scale_note")
_TAKEN_COLUMNS = ("taken_at", "latitude", "longitude")
_DECIDED_COLUMNS = ("decision", "decided_by", "decided_at", "note")
_MARKER_COLUMNS = ("scale_uncertainty_ratio", "mm_per_px")
_BAND_COLUMNS = ("band_name", "band_above_mm", "band_up_to_mm", "band_is_certain")


@dataclass(frozen=True)
class Columns:
    """Which columns the tables have, whatever was found in the photographs.

    Attributes:
        with_taken: when and where photographs were taken.
        is_decided: what people decided about them.
        is_scaled: cracks may have figures in millimetres ...
        is_scaled_by_marker: ... each with a scale of its own ...
        has_bands: ... and a standard's bands.
    """

    with_taken: bool = False
    is_decided: bool = False
    is_scaled: bool = False
    is_scaled_by_marker: bool = False
    has_bands: bool = False

    @property
    def of_photographs(self) -> tuple[str, ...]:
        of_taken, of_people = _TAKEN_COLUMNS if self.with_taken else (), _DECIDED_COLUMNS if self.is_decided else ()
        return (*_COLUMNS, *_SCALE_COLUMNS, *of_taken, *of_people)

    @property
    def of_cracks(self) -> tuple[str, ...]:
        columns = ["file", *FIGURES]
        if self.is_scaled_by_marker:
            columns += _MARKER_COLUMNS
        if self.is_scaled:
            columns += [*in_mm(FIGURES), *(_BAND_COLUMNS if self.has_bands else ())]
        return (*columns, "crack_score")

    def line(self, photograph: Photograph) -> list[Any]:
        row, taken = photograph.row, photograph.taken
        scale = photograph.told_scale if _is_measured(photograph) else {}
        return [
            *(getattr(row, column) for column in _COLUMNS),
            *(scale.get(column) for column in _SCALE_COLUMNS),
            *((taken.at, taken.latitude, taken.longitude) if self.with_taken else ()),
            *((photograph.mark and photograph.mark.value, *photograph.decided, photograph.note) if self.is_decided else ()),
        ]

    def crack_lines(self, photograph: Photograph) -> Iterator[list[Any]]:
        """None of a photograph that was rejected or not predicted."""
        if _is_measured(photograph):
            columns = self.of_cracks[1:-1]
            for crack in map(flat, photograph.cracks):
                yield [photograph.row.file, *(crack.get(column) for column in columns), photograph.row.crack_score]


def in_cells(line: list[Any]) -> list[Any]:
    """The line for tables without lists: places and boxes as numbers with a space between."""
    return [" ".join(map(str, value)) if isinstance(value, list) else value for value in line]


def sheets(columns: Columns) -> dict[str, tuple[str, ...]]:
    """The workbook's sheets by their titles."""
    return {"cracks": columns.of_cracks, "photographs": columns.of_photographs}


def into(columns: Columns, of_cracks: Sheet, of_photographs: Sheet) -> Callable[[Photograph], None]:
    """A function that adds one photograph to both sheets."""

    def add(photograph: Photograph) -> None:
        of_photographs.add(columns.line(photograph))
        for line in columns.crack_lines(photograph):
            of_cracks.add(in_cells(line))

    return add


def _is_measured(photograph: Photograph) -> bool:
    return photograph.row.status is Status.PREDICTED and photograph.mark is not Mark.REJECTED


def flat(crack: Mapping[str, Any]) -> dict[str, Any]:
    """Make each part of a figure with parts, such as a band, a figure of its own."""
    parts: dict[str, Any] = {}
    for name, value in crack.items():
        parts |= {f"{name}_{part}": told for part, told in value.items()} if isinstance(value, Mapping) else {name: value}
    return parts
