"""What has changed since an earlier inspection, as a report tells it. Left to others: comparing (`survey.compare`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inspection.findings import printable
from inspection.report.content import Pairs
from inspection.report.ranking import figure, length

NOT_COMPARED = "not compared"
COLUMNS = ["Crack", "Change", "Length", "Of it new or gone", "Of it not known", "Median width"]


@dataclass(frozen=True)
class Changed:
    """A photograph beside earlier ones.

    Attributes:
        note: what a reader must know about it.
        pictures: each picture's name for `Changes.read`, by what it shows.
        lines: of the table of changes, by its columns, for each crack.
    """

    file: str
    earlier_file: str
    note: str
    pictures: Mapping[str, str]
    lines: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Changes:
    """
    Attributes:
        earlier: what the earlier inspection is called.
        rows: what holds for all photographs.
        photographs: those that have changed come first.
        read: a picture's bytes.
    """

    earlier: str
    rows: Pairs
    photographs: Sequence[Changed]
    read: Callable[[str], bytes]

    def of_cracks(self) -> dict[tuple[str, int], Mapping[str, Any]]:
        """The line of each crack, by its photograph and number."""
        return {
            (photograph.file, line["id"]): line
            for photograph in self.photographs
            for line in photograph.lines
            if line["id"] is not None
        }


def told(line: Mapping[str, Any] | None) -> str:
    """What became of a crack; None is one that was not compared."""
    if line is None:
        return NOT_COMPARED
    change: str = line["change"]
    if change == "longer":
        return f"longer, by {_value(line, 'changed', length)}"
    if change == "wider":
        return f"wider: median {_value(line, 'width_before', _width)} before, {_value(line, 'width', _width)} now"
    return f"{change}. {line['reason']}" if line["reason"] else change


def table_row(line: Mapping[str, Any]) -> list[str]:
    """The values of `COLUMNS`."""
    before, now = _value(line, "width_before", _width), _value(line, "width", _width)
    return [
        str(line["id"])
        if line["id"] is not None
        else f"{line['earlier_ids']} of {printable(line.get('whose', 'the earlier survey'))}",
        f"{line['change']}. {line['reason']}" if line["reason"] else line["change"],
        _value(line, "length", length),
        _value(line, "changed", length) if line["changed_px"] else "",
        _value(line, "unknown", length) if line["unknown_px"] else "",
        f"{before} before, {now} now" if before and now else f"{before} before" if before else now,
    ]


def title(photograph: Changed) -> str:
    return f"{printable(photograph.file)}, before: {printable(photograph.earlier_file)}"


def _value(line: Mapping[str, Any], name: str, write: Callable[[float, str], str]) -> str:
    unit = "mm" if line[f"{name}_mm"] is not None else "px"
    value = line[f"{name}_{unit}"]
    return "" if value is None else write(value, unit)


def _width(value: float, unit: str) -> str:
    return f"{figure(value)} {unit}"
