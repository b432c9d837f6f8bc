"""Writes files that are complete or absent, even after a kill or a power cut; everything that writes such files uses this
module.

Left to others: a survey's journal, which grows (`survey.folder`), and its pictures, which are made again if they are missing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole(path: Path, mode: int | None = None, incoming: Path | None = None) -> Iterator[BinaryIO]:
    """A new file to write to. At the end it is synced to disk and replaces the file at `path`; its name is synced too. If
    anything fails, `path` stays as it was, and nothing else is left.

    Args:
        mode: its exact permissions; without it the umask decides.
        incoming: where to write before the replacement, on the same file system; by default beside `path`.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    incoming = incoming or path.with_name(f".{path.name}.tmp")
    incoming.unlink(missing_ok=True)  # left by a process that was killed
    try:
        with os.fdopen(os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        incoming.replace(path)
    except BaseException:
        incoming.unlink(missing_ok=True)
        raise
    sync(path.parent)


def take_place(incoming: Path, path: Path) -> None:
    """Put a finished file, written by another program, in the place of what was at `path`, as `whole` does. Raises OSError."""
    with incoming.open("rb") as file:
        os.fsync(file.fileno())
    incoming.replace(path)
    sync(path.parent)


def write_whole(path: Path, content: bytes, mode: int | None = None) -> None:
    """As `whole` does."""
    with whole(path, mode) as file:
        file.write(content)


def sync_everything() -> None:
    """Make all that other programs wrote survive a power cut, where they don't sync it themselves."""
    os.sync()


def sync(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
