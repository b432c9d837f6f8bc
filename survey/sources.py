"""Where a survey's photographs come from: their list, and the bytes of each.

A folder of this machine, or some of its files; `remote` has those behind a URL. Left to others: examining them (`task`,
`surveyor`).
"""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inspection.passed_over import is_hidden, why_copy
from model.inference.formats import EXPECTED, SUFFIXES, Format, UnsupportedError, recognise
from survey.folder import JOURNAL

FIRST_BYTES = 4096  # by which a file is known
_LINK = "A link to a folder is not followed. Survey that folder."
GLOB = frozenset("*?[")
Found = tuple[list[str], dict[str, str]]


class Source(Protocol):
    """Files are named by their paths below it, with /. It can be sent to another process."""

    @property
    def name(self) -> str:
        """A name for all of its photographs together."""

    @property
    def results(self) -> Path:
        """The folder of results where none is named."""

    def read(self, file: str) -> tuple[bytes, int]:
        """A file's bytes, and when it was changed (ns). Raises OSError."""

    def state(self, file: str) -> tuple[int, int]:
        """A file's size, and when it was changed (ns). Raises OSError."""

    def photographs(self, out: Path | str) -> Found:
        """The photographs, sorted, recognised by their suffix or else by their first bytes; and all other files, each with the
        reason why it is left out, copies of photographs too.

        Hidden files and folders, those of the system, `out` and the folders of other surveys are passed over.

        Raises OSError if it can't be read at all.
        """

    def gone(self, files: Iterable[str]) -> list[str]:
        """Those that are known not to be there any more."""


def is_photograph(path: Path) -> bool:
    """Whether this one file is a photograph, by its first bytes. A TIFF is none here: it may be an orthomosaic."""
    try:
        with path.open("rb") as file:
            return recognise(file.read(FIRST_BYTES)) is not Format.TIFF
    except (OSError, UnsupportedError):
        return False


def no_photograph(name: str, n_bytes: int | None, first_bytes: Callable[[], bytes]) -> str:
    """Why a file is not a photograph, as a sentence; empty if it is one, or has a photograph's suffix.

    Args:
        n_bytes: its size, None if it isn't known.
        first_bytes: reads its first FIRST_BYTES. Raises OSError.
    """
    if n_bytes == 0:
        return "It is empty. Copy it from the camera or the card again."
    if name.lower().endswith(tuple(SUFFIXES)):
        return ""
    if reason := why_copy(name):
        return reason
    try:
        recognise(first_bytes())
    except OSError as error:
        return f"The file cannot be read ({error.strerror or error})."
    except UnsupportedError as error:
        return f"It is {error.found}, not a photograph ({EXPECTED}). {error.advice}"
    return ""


@dataclass(frozen=True)
class FolderSource:
    """A folder of this machine, and its sub-folders.

    Attributes:
        only: the chosen files; all if none is named.
    """

    folder: Path
    only: tuple[str, ...] = ()

    def __reduce__(self) -> "tuple[type[FolderSource], tuple[Path]]":
        return FolderSource, (self.folder,)  # another process gets the names one at a time

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def results(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-cracks")

    def __str__(self) -> str:
        return str(self.folder)

    def read(self, file: str) -> tuple[bytes, int]:
        mtime_ns = self.state(file)[1]  # first: if the file changes while it is read, the next survey reads it again
        return (self.folder / file).read_bytes(), mtime_ns

    def state(self, file: str) -> tuple[int, int]:
        status = (self.folder / file).stat()
        return status.st_size, status.st_mtime_ns

    def photographs(self, out: Path | str) -> Found:
        if self.only:
            reasons = {name: reason for name in self.only if (reason := _no_photograph(self.folder / name))}
            return [name for name in self.only if name not in reasons], reasons
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
            sub_folders[:] = [each for each in sub_folders if not is_hidden(each)]
            links = [each for each in sub_folders if os.path.islink(Path(current, each))]  # whatever the length of its path
            others |= {f"{name(Path(current, each))}/": _LINK for each in links}
            for path in (Path(current, each) for each in files if not is_hidden(each)):
                reason = _no_photograph(path)
                if reason:
                    others[name(path)] = reason
                else:
                    found.append(name(path))
        return sorted(found), dict(sorted(others.items()))

    def gone(self, files: Iterable[str]) -> list[str]:
        return [file for file in files if not os.path.lexists(self.folder / file)] if self.folder.is_dir() else []


def _no_photograph(path: Path) -> str:
    """Why it is not a photograph; empty if it is one, or has a photograph's suffix."""
    try:
        status = path.stat()
    except OSError as error:
        return f"The file cannot be read ({error.strerror})."
    if not stat.S_ISREG(status.st_mode):
        return "It is not a file but a pipe, a socket or a device."

    def first_bytes() -> bytes:
        with path.open("rb") as file:
            return file.read(FIRST_BYTES)

    return no_photograph(path.name, status.st_size, first_bytes)
