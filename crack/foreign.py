"""Files as other systems write them, or as people changed them: how their names are spelled, how their text is encoded, and
what is said of one that is damaged.
"""

import codecs
import csv
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SPLIT_COLUMNS = ("image", "mask", "split", "group")  # of the split.csv of a set of training photographs


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a text in UTF-8, or in UTF-16 with a byte order mark, as Windows' PowerShell and Excel write it.

    Args:
        errors: what to do with bytes that are not UTF-8, as in `bytes.decode`.

    Raises OSError, and UnicodeError if it is neither.
    """
    return decode(path.read_bytes(), errors)


def decode(data: bytes, errors: str = "strict") -> str:
    """A text's bytes, as `read_text` takes them. Raises UnicodeError."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig", errors)


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV table, as Excel saves it, too: with a byte order mark, or semicolons, or as "Unicode Text".

    Raises OSError, and ValueError if it is no text or has other columns.
    """
    try:
        text = read_text(path)
    except UnicodeError as error:
        raise ValueError(f"{path}: {error}, expected UTF-8. In Excel, save it as 'CSV UTF-8'.") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if rows.fieldnames != list(columns):
        raise ValueError(f"{path}: columns {rows.fieldnames!r}, expected {','.join(columns)}.")
    return [row for row in rows if any(row.values())]


@contextmanager
def damage_named(place: str, advice: str) -> Iterator[None]:
    """Turns what comes of a file that is torn, that somebody changed, or that is a folder, into a ValueError for people.

    Args:
        place: where the file is.
        advice: sentences: what was expected, if that helps, and what to do.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IsADirectoryError) as error:
        match error:
            case UnicodeDecodeError():
                found = f"from its byte {error.start} on it is no text in UTF-8"
            case json.JSONDecodeError():
                found = f"{error}" if error.doc.strip() else "it is empty"
            case KeyError():
                found = f"it lacks {error}"
            case ValueError():
                found = str(error)
            case IsADirectoryError():
                found = "it is a folder"
            case _:
                found = "it has another form"
        raise ValueError(f"{place} cannot be read ({found}). {advice}") from error


def finder(folder: Path) -> Callable[[str], Path]:
    """Returns a function from a name to its path in `folder`. If no file has exactly that name, it finds one whose name reads
    the same: macOS and some archives write an umlaut as two characters (NFD), others as one (NFC), and Linux takes these for
    different names. Then it finds a name in other capitals, which are the same on Windows and macOS, if only one file has it.
    An unknown name stays as it is.
    """
    there = os.listdir(folder) if folder.is_dir() else []
    spelled = {_composed(name): name for name in there} | dict(zip(there, there, strict=True))
    n_alike = Counter(map(_folded, there))
    in_capitals = {_folded(name): name for name in there if n_alike[_folded(name)] == 1}

    def find(name: str) -> Path:
        return folder / (spelled.get(name) or spelled.get(_composed(name)) or in_capitals.get(_folded(name), name))

    return find


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
