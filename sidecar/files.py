"""A store's folder of files, each complete or absent, even after a kill or a power cut.

A file is written to `incoming/` and renamed to its place (`crack.files`), and a row refers to it only once it is on disk. Its
name is the hash of its content. Files that no row refers to, because of a kill in between, are removed: at the start if one
process owns the store; if several share it, also every hour by one of them, once a file is an hour old. If there are more
than a kill leaves, the tables are probably older than the files, as after a restore: they are moved into `set-aside/`.
"""

import contextlib
import logging
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from crack.files import sync, whole
from crack.stores import folders
from crack.stores.database import Connection, Database
from crack.stores.faults import StoreError, StoreFullError
from model.inference.errors import ErrorCode, RequestError

logger = logging.getLogger("sidecar.files")

INCOMING = "incoming"
SET_ASIDE = "set-aside"
MOST_LEFT = 20  # files by a kill: three of one photograph, and those of some that were being deleted
FOLDER_MODE, FILE_MODE = 0o700, 0o600  # for their owner alone
SWEEP_S = 3600.0


class DurableFiles:
    """Files in sub-folders of `folder`, which are made where they do not exist, and the database whose rows refer to them.

    Args:
        sub_folders: names of those that are swept and counted.
        quota_bytes: the most that they may take together.
        what: what they are, for messages to clients; `advice`: what to do once the quota is reached.

    Raises:
        ValueError: folder and database don't belong together; the message is for people.
    """

    def __init__(
        self, folder: Path, sub_folders: Collection[str], database: Database, quota_bytes: int, what: str, advice: str
    ) -> None:
        self._folder, self._database = folder, database
        self._sub_folders = (*sub_folders, INCOMING)
        self.quota_bytes = quota_bytes
        self._what, self._advice = what, advice
        self._is_closed = threading.Event()
        for name in self._sub_folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        sync(folder)
        with database.writing() as connection:
            folders.claim(connection, database.part, folder, self._sub_folders, database.is_shared)
        self._begin()

    def close(self) -> None:
        self._is_closed.set()

    def write(self, connection: Connection, contents: Mapping[str, bytes], n_bytes_beside: int = 0) -> None:
        """Write `{"images/ab12.jpg": ...}`, to which rows of this transaction will refer; returns once they are safely on disk.

        Args:
            n_bytes_beside: counts towards the quota, but is stored elsewhere.

        Raises:
            RequestError: STORAGE_FULL, if that is more than the quota; nothing was written.
            OSError: the disk is full or cannot be written.
        """
        new = contents.keys() - folders.known_among(connection, self._database.part, contents)
        n_new = sum(len(contents[file]) for file in new)
        n_held = folders.n_bytes(connection, self._database.part) + n_bytes_beside
        if (n_new or n_bytes_beside) and n_held + n_new > self.quota_bytes:
            raise RequestError(
                ErrorCode.STORAGE_FULL,
                f"{self._what} holds {n_held / 1e6:.1f} MB of at most {self.quota_bytes / 1e6:.1f}, and this is "
                f"{n_new / 1e6:.1f} more. Nothing was saved. {self._advice}",
            )
        for file, content in contents.items():
            if file in new or not (self._folder / file).exists():
                self._write(self._folder / file, content)
        if n_new:
            folders.add_bytes(connection, self._database.part, n_new)

    def replace(self, file: str, content: bytes) -> None:
        """Replace an existing file: a kill leaves either the old one or the new one."""
        path = self._folder / file
        n_more = len(content) - path.stat().st_size
        self._write(path, content)
        with self._database.writing() as connection:
            folders.add_bytes(connection, self._database.part, n_more)

    def read(self, file: str) -> bytes:
        return (self._folder / file).read_bytes()

    def n_bytes(self) -> int:
        """The bytes that the files take on disk."""
        with self._database.reading() as connection:
            return folders.n_bytes(connection, self._database.part)

    def n_free_bytes(self) -> int:
        """The free bytes on the disk that holds them."""
        return shutil.disk_usage(self._folder).free

    def released(self, connection: Connection, files: Collection[str]) -> set[str]:
        """Those of `files` that no row refers to any more; call `remove` with them after the transaction."""
        gone = set(files) - folders.known_among(connection, self._database.part, files)
        sizes = [path.stat().st_size for path in (self._folder / file for file in gone) if path.is_file()]
        folders.add_bytes(connection, self._database.part, -sum(sizes))
        return gone

    def remove(self, files: Collection[str]) -> int:
        """Remove those of `files` that no row refers to; returns how many there were."""
        with self._database.writing() as connection:  # none is written meanwhile
            gone = set(files) - folders.known_among(connection, self._database.part, files)
            for file in gone:
                (self._folder / file).unlink(missing_ok=True)
        return len(gone)

    def _set_aside(self, files: Collection[str]) -> None:
        with self._database.writing() as connection:
            gone = set(files) - folders.known_among(connection, self._database.part, files)
            for file in gone:
                place = self._folder / SET_ASIDE / file
                place.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
                (self._folder / file).replace(place)
        logger.error(
            "%s knows nothing of %d files in %s, more than a kill leaves: they are in %s now. If older tables were restored, "
            "stop the sidecar, and put the newer ones and these files back. If nobody needs them, remove them",
            *(self._database.where, len(gone), self._folder, self._folder / SET_ASIDE),
        )

    def _begin(self) -> None:
        """Remove what a kill left behind, count the rest, and log the files that rows refer to but that are missing."""
        n_swept = self._sweep()
        if n_swept:
            logger.warning("removed %d files that a kill had left behind in %s", n_swept, self._folder)
        with self._database.reading() as connection:
            known = folders.known(connection, self._database.part)
        paths = {file: self._folder / file for file in known}
        sizes = {file: path.stat().st_size for file, path in paths.items() if path.is_file()}
        for file in sorted(known - sizes.keys()):
            logger.error("%s is missing: another program changed %s", paths[file], self._folder)
        if self._database.is_shared:
            threading.Thread(target=self._sweep_each_hour, name="sweep", daemon=True).start()
        else:
            with self._database.writing() as connection:
                folders.set_bytes(connection, self._database.part, sum(sizes.values()))

    def _sweep_each_hour(self) -> None:
        while not self._is_closed.wait(SWEEP_S):
            try:
                self._sweep()
            except OSError:
                logger.exception("leftover files in %s were not removed: the next try is in an hour", self._folder)

    def _sweep(self) -> int:
        """Remove files that no row refers to, or set them aside; returns how many were removed."""
        with self._database.sweeping() as is_alone:
            if not is_alone:
                return 0
            lying = set(self._lying(SWEEP_S if self._database.is_shared else 0))
            with self._database.reading() as connection:
                lying -= folders.known(connection, self._database.part)
            if len(lying) > MOST_LEFT:
                self._set_aside(lying)
                return 0
            return self.remove(lying) if lying else 0

    def _lying(self, least_age_s: float) -> Iterator[str]:
        newest = time.time() - least_age_s
        for name in self._sub_folders:
            for entry in os.scandir(self._folder / name):
                with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                    if not least_age_s or entry.stat().st_mtime <= newest:
                        yield f"{name}/{entry.name}"

    def _write(self, path: Path, content: bytes) -> None:
        with whole(path, incoming=self._folder / INCOMING / uuid.uuid4().hex) as file:
            file.write(content)


@contextlib.contextmanager
def full_disk_named(what: str) -> Iterator[None]:
    """Turns an error of a full or read-only disk into one that clients can act on.

    Args:
        what: the store that is written to, such as "The feedback store".
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError) and not isinstance(error, StoreFullError):
            raise
        logger.exception("%s cannot be written", what)
        raise RequestError(
            ErrorCode.STORAGE_FULL,
            f"{what} cannot be written ({error}). Nothing was saved. Free its disk, then send it again.",
        ) from error


def tighten(folder: Path, but: Path) -> int:
    """Close a folder and its contents, `but` one file, to everybody except the owner; returns how many files and folders were
    open. Those of another owner stay as they are: on a mounted volume that may be the folder itself.
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
