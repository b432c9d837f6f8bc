"""A folder of files that are there whole or not at all, whatever is killed and whenever the power fails.

A file is written to `incoming/` and renamed to its place (`crack.files`). Its name says its content,
so what is there already stays. What no index refers to, because a kill came between, is swept.
"""

import contextlib
import logging
import os
import shutil
import stat
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path

from crack.files import sync, whole
from model.inference.errors import ErrorCode, RequestError

logger = logging.getLogger("sidecar.files")

INCOMING = "incoming"
FOLDER_MODE, FILE_MODE = 0o700, 0o600  # for their owner alone


class DurableFiles:
    """Files in sub-folders of `folder`, which are made where they do not exist.

    Args:
        sub_folders: names of those that are swept and counted.
        quota_bytes: what they may take together.
        what: they are, as clients are told, and `advice` what to do where the quota is reached.
    """

    def __init__(self, folder: Path, sub_folders: Collection[str], quota_bytes: int, what: str, advice: str) -> None:
        self._folder = folder
        self._sub_folders = (*sub_folders, INCOMING)
        self.quota_bytes = quota_bytes
        self._what, self._advice = what, advice
        for name in self._sub_folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        sync(folder)
        self.n_bytes = 0

    def write(self, contents: Mapping[str, bytes], n_bytes_beside: int = 0) -> None:
        """Write `{"images/ab12.jpg": ...}`; returns when they would survive a power cut.

        Args:
            n_bytes_beside: of the quota, taken by what lies elsewhere.

        Raises:
            RequestError: STORAGE_FULL, if that is more than the quota; nothing was written.
            OSError: the disk is full or cannot be written.
        """
        new = {file: content for file, content in contents.items() if not (self._folder / file).exists()}
        n_new = sum(map(len, new.values()))
        n_held = self.n_bytes + n_bytes_beside
        if n_held + n_new > self.quota_bytes:
            raise RequestError(
                ErrorCode.STORAGE_FULL,
                f"{self._what} holds {n_held / 1e6:.1f} MB of at most {self.quota_bytes / 1e6:.1f}, and this is "
                f"{n_new / 1e6:.1f} more. Nothing was saved. {self._advice}",
            )
        for file, content in new.items():
            self._write(self._folder / file, content)
        for file in contents.keys() - new.keys():  # a sync may have failed after the rename
            sync((self._folder / file).parent)

    def replace(self, file: str, content: bytes) -> None:
        """Write a file anew that is there: a kill leaves either the old one or the new one."""
        path = self._folder / file
        self.n_bytes -= path.stat().st_size
        self._write(path, content)

    def read(self, file: str) -> bytes:
        return (self._folder / file).read_bytes()

    def n_free_bytes(self) -> int:
        """What is free on the disk that they lie on."""
        return shutil.disk_usage(self._folder).free

    def sweep(self, known: Collection[str]) -> int:
        """Remove every file but the known ones; returns how many there were."""
        n_swept, n_bytes = 0, 0
        for name in self._sub_folders:
            for entry in os.scandir(self._folder / name):
                if f"{name}/{entry.name}" in known:
                    n_bytes += entry.stat().st_size
                else:
                    os.unlink(entry)
                    n_swept += 1
        self.n_bytes = n_bytes
        return n_swept

    def begin(self, known: Collection[str]) -> None:
        """At the start: remove what a kill left behind, and name in the log what is known and isn't there."""
        n_swept = self.sweep(known)
        if n_swept:
            logger.warning("swept %d files that a kill had left behind in %s", n_swept, self._folder)
        for file in sorted(known):
            if not (self._folder / file).is_file():
                logger.error("%s is missing: another program changed %s", self._folder / file, self._folder)

    def _write(self, path: Path, content: bytes) -> None:
        with whole(path, incoming=self._folder / INCOMING / uuid.uuid4().hex) as file:
            file.write(content)
        self.n_bytes += len(content)


def tighten(folder: Path, but: Path) -> int:
    """Take a folder and what lies in it, `but` one file, from everybody except their owner; how much was open to others.

    What belongs to somebody else stays as it is: of a mounted volume that may be the folder itself.
    """
    n_open, folder, but = 0, folder.resolve(), but.resolve()
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # SQLite removes files of its own when another process closes them
            status = path.lstat()
            is_open = bool(status.st_mode & 0o077) and not stat.S_ISLNK(status.st_mode)
            if is_open and status.st_uid == os.geteuid() and path != but:
                path.chmod(FOLDER_MODE if stat.S_ISDIR(status.st_mode) else FILE_MODE)
                n_open += 1
    return n_open
