"""Cells of CSV files as spreadsheets read them: a text that begins with =, +, - or @ would run as a formula.

Such a text gets an apostrophe before it, as OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from typing import Any

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four are the first four at full width


def as_text(value: Any) -> Any:
    """A cell: texts that would run get an apostrophe before them, everything else stays as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
