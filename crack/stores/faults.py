"""What can go wrong with a store's database.

OSError
 +- StoreError          it cannot be used as it is: a damaged file, a fault of ours
     +- StoreFullError  its disk is full or cannot be written to
     +- StoreAwayError  it does not answer, or is locked: trying again may help
"""

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError


class StoreError(OSError):
    """Its message names the store and quotes the database."""


class StoreFullError(StoreError):
    pass


class StoreAwayError(StoreError):
    pass


_SQLITE_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_SQLITE_AWAY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_FULL = ("53100",)
# No connection, read only, idle for too long, a deadlock, too many connections, locked, stopped.
_POSTGRESQL_AWAY = ("08", "25006", "25P03", "40", "53", "55", "57")


def told(error: DBAPIError | NoConnectionError, where: str) -> StoreError:
    """The database's error as one of ours; `where` names the store for people."""
    cause = getattr(error, "orig", None)
    sentence = f"{where}: {str(cause or error).strip()}"
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the lowest byte says the kind
        kind = StoreFullError if code in _SQLITE_FULL else StoreAwayError if code in _SQLITE_AWAY else StoreError
    else:
        state = getattr(cause, "sqlstate", None)
        is_away = isinstance(error, NoConnectionError) or error.connection_invalidated or not state
        is_away = is_away or str(state).startswith(_POSTGRESQL_AWAY)
        kind = StoreFullError if state in _POSTGRESQL_FULL else StoreAwayError if is_away else StoreError
    return kind(sentence)
