"""Limits the requests per minute of each caller: predictions, changes and reads are counted separately.

In memory, or in the database where several sidecars share one: then each counts what the others answered, too. A clock that is
set back makes nobody wait longer.
"""

import math
import time
from collections import defaultdict, deque
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from crack.stores import requests
from crack.stores.database import Database
from crack.stores.tables import Part
from model.inference.errors import ErrorCode, RequestError
from sidecar.keys import LOCAL, Caller

_PREDICTING = ("/predict", "/photographs")  # how their addresses end
_MINUTE_S = 60.0


class RateLimitedError(RequestError):
    """The next request is accepted after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(ErrorCode.RATE_LIMITED, message)
        self.retry_after_s = retry_after_s


class Rates:
    """Counts the requests of each caller in the last 60 seconds, up to `per_minute` of each kind.

    Without keys nobody is counted: only users of this machine can send requests then, and they all have the same name.

    Args:
        url: of the PostgreSQL with the store's tables; empty for SQLite.
    """

    def __init__(self, per_minute: int, folder: Path, url: str = "") -> None:
        self._per_minute = per_minute
        self._counted: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)  # when, by the monotonic clock
        self._database = Database(Part.REQUESTS, folder, url) if url else None

    def close(self) -> None:
        if self._database:
            self._database.close()

    async def count(self, caller: Caller, request: Request) -> None:
        """Raises RateLimitedError."""
        if caller is LOCAL:
            return
        is_prediction = request.method == "POST" and request.url.path.endswith(_PREDICTING)
        kind = "predictions" if is_prediction else "reads" if request.method == "GET" else "changes"
        counted = run_in_threadpool(self._count_together, self._database, caller.name, kind) if self._database else None
        wait_s = math.ceil(await counted if counted else self._count(caller.name, kind))
        if wait_s:
            raise RateLimitedError(
                f"More than {self._per_minute} {kind} in a minute. Send it again in {wait_s} s.",
                wait_s,
            )

    def _count(self, name: str, kind: str) -> float:
        """Seconds to wait; 0 if it is accepted."""
        now, counted = time.monotonic(), self._counted[name, kind]
        while counted and counted[0] <= now - _MINUTE_S:
            counted.popleft()
        if len(counted) < self._per_minute:
            counted.append(now)
            return 0
        return counted[0] + _MINUTE_S - now

    def _count_together(self, database: Database, name: str, kind: str) -> float:
        with database.counting() as connection:
            return requests.count(connection, f"{kind} {name}", self._per_minute, _MINUTE_S)
