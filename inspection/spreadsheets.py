"""Cells of CSV files as spreadsheets read them: a text that begins with =, +, - or @ would run as a formula.

Such a text gets an apostrophe before it, as OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection).
"""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TextIO

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are the first four at full width


def csv_lines(file: TextIO) -> Callable[[Iterable[Any]], None]:
    """Returns a function that writes one line of cells, each as `as_text` says.

    Args:
        file: opened with newline="".
    """
    lines = csv.writer(_Lines(file))  # it quotes a name with a CR only if lines end with CR LF
    return lambda cells: lines.writerow(map(as_text, cells))


@dataclass(frozen=True)
class _Lines:
    file: TextIO

    def write(self, line: str) -> None:
        self.file.write(line.removesuffix("\r\n") + "\n")


def as_text(value: Any) -> Any:
    """A cell: texts that would run get an apostrophe before them, everything else stays as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
