"""Where a survey's photographs come from: their list, and the bytes of each. Left to others: examining them (`task`,
`surveyor`).
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from model.inference.formats import EXPECTED, SUFFIXES, UnsupportedError, recognise
from survey.folder import JOURNAL

_FIRST_BYTES = 4096  # by which a file is known
_OF_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini")  # Windows puts them into any folder


@dataclass(frozen=True)
class FolderSource:
    """A folder of this machine, and its sub-folders. Names of files are below it, with /."""

    folder: Path

    def read(self, file: str) -> tuple[bytes, int]:
        """A file's bytes, and when it was changed (ns). Raises OSError."""
        mtime_ns = self.state(file)[1]  # before: what is changed while it is read is read again by the next survey
        return (self.folder / file).read_bytes(), mtime_ns

    def state(self, file: str) -> tuple[int, int]:
        """A file's size, and when it was changed (ns). Raises OSError."""
        status = (self.folder / file).stat()
        return status.st_size, status.st_mtime_ns

    def photographs(self, out: Path) -> tuple[list[str], dict[str, str]]:
        """The photographs, sorted, by their names or else by their first bytes; and all else that lies there, with the reason
        why it is left out.

        Hidden files, Windows' own files, `out` and the folders of other surveys are passed over.
        """
        found: list[str] = []
        others: dict[str, str] = {}

        def name(path: str | Path) -> str:
            return Path(path).relative_to(self.folder).as_posix()

        def unreadable(error: OSError) -> None:
            others[f"{name(error.filename)}/"] = f"The folder cannot be read ({error.strerror})."

        for current, sub_folders, files in os.walk(self.folder, onerror=unreadable):
            if JOURNAL in files or Path(current) == out:
                sub_folders.clear()
                continue
            sub_folders[:] = [each for each in sub_folders if not each.startswith(".")]
            links = [each for each in sub_folders if os.path.islink(Path(current, each))]  # whatever the length of its path
            others |= {
                f"{name(Path(current, each))}/": "A link to a folder is not followed. Survey that folder." for each in links
            }
            for path in (Path(current, each) for each in files if not each.startswith(".") and each.lower() not in _OF_SYSTEMS):
                reason = _no_photograph(path)
                if reason:
                    others[name(path)] = reason
                else:
                    found.append(name(path))
        return sorted(found), dict(sorted(others.items()))


def _no_photograph(path: Path) -> str:
    """Why it is no photograph; empty if it is one, or has a photograph's suffix."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "It is no file but a pipe, a socket or a device."
        if not status.st_size:
            return "It is empty. Copy it from the camera or the card again."
        if path.suffix.lower() in SUFFIXES:
            return ""
        with path.open("rb") as file:
            recognise(file.read(_FIRST_BYTES))
    except OSError as error:
        return f"The file cannot be read ({error.strerror})."
    except UnsupportedError as error:
        return f"It is {error.found}, no photograph ({EXPECTED}). {error.advice}"
    return ""
