"""A store's index: a SQLite file that one process owns, and whose commits survive a power cut."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crack.files import sync
from model.inference.errors import ErrorCode, RequestError

logger = logging.getLogger("sidecar.index")

FILE = "index.sqlite3"


class Index:
    """Opens the index in `folder`, which exists, and makes what of `schema` isn't there. Who uses it takes a lock of its own.

    Raises:
        BlockingIOError: another process has it open; `filename` is the folder.
        OSError: it cannot be kept there; a sentence.
    """

    def __init__(self, folder: Path, schema: str) -> None:
        self._owner = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._owner)
            if isinstance(error, BlockingIOError):
                raise BlockingIOError(error.errno, "another process has it open", str(folder)) from error
            raise OSError(
                f"{folder} is where no file can be locked ({error.strerror}), as on some network shares. Expected a folder on "
                "a disk of this machine, which SQLite needs, too."
            ) from error
        self._connection = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(schema)
        sync(folder)

    def close(self) -> None:
        self._connection.close()
        os.close(self._owner)

    def execute(self, command: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        return self._connection.execute(command, values)

    def add_columns(self, table: str, columns: Collection[str]) -> None:
        """Those that an index of an earlier version lacks."""
        there = {row["name"] for row in self.execute(f"PRAGMA table_info({table})")}
        for column in columns:
            if column not in there:
                self.execute(f"ALTER TABLE {table} ADD COLUMN {column}")

    def insert(self, command: str, values: Mapping[str, Any]) -> None:
        """`command` is `INSERT INTO table`, or `INSERT OR REPLACE INTO table`."""
        self.execute(f"{command} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values()))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is executed within, or nothing of it."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise


@contextmanager
def full_disk_named(what: str) -> Iterator[None]:
    """A disk that is full, or may not be written, as the error that clients can act on.

    Args:
        what: is written, such as "The feedback store".
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        logger.exception("%s cannot be written", what)
        raise RequestError(
            ErrorCode.STORAGE_FULL,
            f"{what} cannot be written ({error}). Nothing was saved. Free its disk, then send it again.",
        ) from error
