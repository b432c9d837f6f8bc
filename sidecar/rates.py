"""Limits the requests per minute of each caller: predictions, changes and reads are counted separately.

In memory, or in the database where several sidecars share one: then each counts what the others answered, too.
"""

import math
import time
from pathlib import Path

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
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
        url: of the PostgreSQL that has the store's tables, if it has.
    """

    def __init__(self, per_minute: int, folder: Path, url: str = "") -> None:
        self._per_minute = per_minute
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
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
        if self._limiter.hit(self._limit, name, kind):
            return 0
        return max(1, self._limiter.get_window_stats(self._limit, name, kind).reset_time - time.time())

    def _count_together(self, database: Database, name: str, kind: str) -> float:
        with database.counting() as connection:
            return requests.count(connection, f"{kind} {name}", self._per_minute, _MINUTE_S)
