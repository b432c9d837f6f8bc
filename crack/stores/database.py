"""Opens one part of the stores' tables: in SQLite, whose commits survive a power cut, or in PostgreSQL.

In SQLite one process owns a store of photographs; in PostgreSQL any number shares it, and whoever writes has the part's lock
until the commit. In both, data that a write reads cannot change before it is done. Left to others: the tables, and the
queries.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as Connection  # what the functions beside this module take
from sqlalchemy import Engine, NullPool, Pool, create_engine, event, func, make_url, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from crack.files import sync
from crack.stores import schema
from crack.stores.faults import told
from crack.stores.tables import SQLITE_FILES, Part

POSTGRESQL_FILE = "postgresql.id"  # in the folder of a store whose tables are in PostgreSQL
_PATIENCE_S = 10  # while SQLite's file is locked, or PostgreSQL does not accept a connection
_LOCKS = 0x63726163  # the first number of our advisory locks in PostgreSQL; the second is the part's
_SWEEP_LOCKS = _LOCKS + 1
# If a process disappears or hangs in the middle of a write, the others wait this long.
_WRITE_SETTINGS = {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "60s"}


class Database:
    """The tables of `part` of the store in `folder`; they are created, or migrated to this version, if needed.

    Args:
        url: of PostgreSQL; if empty, SQLite in the folder.
        is_owner: whether to keep other processes from owning it meanwhile; ignored for PostgreSQL.

    Raises:
        BlockingIOError: another process owns it; `filename` is the folder.
        StoreError: it cannot be used.
        ValueError: it cannot be migrated, or `url` is invalid; the message is for people.
        OSError: no store can be kept in this folder; the message is for people.
    """

    def __init__(self, part: Part, folder: Path, url: str = "", *, is_owner: bool = False) -> None:
        self.part, self.is_shared = part, bool(url)
        self._lock = threading.RLock()
        self._owner: int | None = None
        pool = NullPool if part is Part.JOBS else None  # short-lived processes ask for jobs, and rarely
        if url:
            address = _address(url)
            self.where = address.render_as_string()  # without the password
            self._engine = _postgresql(address, pool)
        else:
            _refuse_half_moved(folder)
            if is_owner:
                self._owner = _own(folder)
            path = folder / SQLITE_FILES[part]
            self.where = str(path)
            path.touch(0o600)
            self._engine = _sqlite(path, pool)
        try:
            with self._faults_told():
                schema.bring_up_to_date(self._engine, part, self.where, self._migrating)
        except BaseException:
            self.close()
            raise
        if not url:
            sync(folder)

    def close(self) -> None:
        self._engine.dispose()
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Raises StoreError."""
        with self._faults_told(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: all of its changes are written, or none; nobody else writes to the part meanwhile.

        Raises:
            StoreError: nothing was written, or, where the connection broke at the very end, all of it.
        """
        for_writing = self._engine.execution_options(is_writing=True)
        with self._lock, self._faults_told(), for_writing.begin() as connection:
            if self.is_shared:
                _wait_for_turn(connection, self.part)
            yield connection

    @contextmanager
    def counting(self) -> Iterator[Connection]:
        """A transaction that writes without waiting for its turn. Raises StoreError."""
        with self.reading() as connection:
            yield connection

    @contextmanager
    def sweeping(self) -> Iterator[bool]:
        """Whether this process may sweep the part's files; until the block ends, no other process may begin."""
        if not self.is_shared:
            yield True
            return
        with self.reading() as connection:
            yield bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_SWEEP_LOCKS, list(Part).index(self.part)))))

    def forget_deleted(self) -> None:
        """Remove deleted rows from SQLite's log, too. PostgreSQL does that by itself."""
        if not self.is_shared:
            with self._faults_told(), self._engine.connect() as connection:
                connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _migrating(self) -> Iterator[Connection]:
        with self.writing() as connection:
            if self.is_shared:  # the versions of all parts are in one table
                connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, len(Part))))
            yield connection

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, NoConnectionError) as error:
            raise told(error, self.where) from error


def _sqlite(path: Path, pool: type[Pool] | None) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": _PATIENCE_S}, poolclass=pool)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # otherwise Python's sqlite3 begins and commits by itself
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_writing = connection.get_execution_options().get("is_writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


def _address(url: str) -> URL:
    try:
        return make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError) as error:  # which may repeat the password
        raise ValueError("CRACK_STORE_URL cannot be read: expected postgresql://USER:PASSWORD@HOST/DATABASE.") from error


def _postgresql(address: URL, pool: type[Pool] | None) -> Engine:
    # A connection that has broken since its last use is replaced.
    return create_engine(address, poolclass=pool, pool_pre_ping=True, connect_args={"connect_timeout": _PATIENCE_S})


def _wait_for_turn(connection: Connection, part: Part) -> None:
    settings = [func.set_config(name, value, True) for name, value in _WRITE_SETTINGS.items()]
    # A server's "off" is only a default: what is acknowledged here survives a power cut.
    is_synced = func.coalesce(func.nullif(func.current_setting("synchronous_commit"), "off"), "on")
    connection.execute(select(*settings, func.set_config("synchronous_commit", is_synced, True)))
    connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, list(Part).index(part))))


def _own(folder: Path) -> int:
    owner = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(owner)
        if isinstance(error, BlockingIOError):
            raise BlockingIOError(error.errno, "another process has it open", str(folder)) from error
        raise OSError(
            f"no file in {folder} can be locked ({error.strerror}), as on some network shares. SQLite needs that, too: name a "
            "folder on a disk of this machine, or set CRACK_STORE_URL to keep the tables in PostgreSQL."
        ) from error
    return owner


def _refuse_half_moved(folder: Path) -> None:
    if (folder / POSTGRESQL_FILE).exists():
        raise ValueError(
            f"{folder} holds the files of a store whose tables are in PostgreSQL. Set CRACK_STORE_URL to that database, or "
            "name another folder."
        )
