"""Files as other systems write them: how their names are spelled, and how their text is encoded."""

import codecs
import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a text in UTF-8, or in UTF-16 with a byte order mark, as Windows' PowerShell and Excel write it.

    Args:
        errors: what to do with bytes that are not UTF-8, as in `bytes.decode`.

    Raises OSError, and UnicodeError if it is neither.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig", errors)


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
