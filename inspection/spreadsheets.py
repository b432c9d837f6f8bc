"""Cells of CSV files as spreadsheets read them: a text that begins with =, +, - or @ would run as a formula.

Such a text gets an apostrophe before it, as OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection). So does what
follows a semicolon, a tab or the end of a line within a text: where the comma is the decimal sign, as in German, spreadsheets
take the semicolon for the separator, and a quote in the middle of a line for a character.
"""

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TextIO

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are the first four at full width
_LATER = re.compile(r'[;\t\r\n][\s"]*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])')


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
    """A cell: what would run gets an apostrophe before it, everything else stays as it is."""
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(_FORMULA) else "") + _LATER.sub(lambda before: f"{before[0]}'", value)
