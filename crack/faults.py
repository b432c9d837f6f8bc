"""The system's errors in words: what is wrong with a file or a disk, and what to do."""

import errno
import os
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM)
_LET = "Let this user read and write there, or name another folder."


def is_full(error: Exception) -> bool:
    """Whether a disk, or somebody's part of it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def in_words(error: Exception) -> str:
    """The error; a full disk, a missing permission and a folder in a file's place, of which the system names nothing else, with
    what to do.
    """
    if is_full(error):
        return f"{error}. Free space on that disk and in TMPDIR, then run the same command again."
    if isinstance(error, OSError) and error.errno in _DENIED and isinstance(error.filename, str | os.PathLike):
        return f"{error}. {_whose(Path(error.filename))}"
    if isinstance(error, IsADirectoryError) and error.filename is not None:
        return f"{error.filename} is a folder, expected a file. Restore the file from a backup, or move the folder away."
    return str(error)


def _whose(path: Path) -> str:
    """Whose the file is, or the first folder above it that can be seen, and who asks."""
    for place in (path, *path.absolute().parents):
        try:
            status = place.stat()
        except OSError:
            continue
        whose = f"{place} belongs to user {status.st_uid} (mode {status.st_mode & 0o777:o}), and this is user {os.geteuid()}."
        return f"{whose} {_LET}"
    return _LET
