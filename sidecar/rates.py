"""How many requests a minute somebody may send: predictions, changes and reads are counted apart."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from model.inference.errors import ErrorCode, RequestError
from sidecar.keys import LOCAL, Caller

_PREDICTING = ("/predict", "/photographs")  # how their addresses end


class RateLimitedError(RequestError):
    """The next request is let in after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(ErrorCode.RATE_LIMITED, message)
        self.retry_after_s = retry_after_s


class Rates:
    """Counts the requests of each caller in the last 60 seconds, up to `per_minute` of each kind.

    Whoever needs no key, as nobody but this machine's own users can come in, is not counted: they are many under one name.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._limit = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def count(self, caller: Caller, request: Request) -> None:
        """Raises RateLimitedError."""
        if caller is LOCAL:
            return
        is_prediction = request.method == "POST" and request.url.path.endswith(_PREDICTING)
        kind = "predictions" if is_prediction else "reads" if request.method == "GET" else "changes"
        if not self._limiter.hit(self._limit, caller.name, kind):
            seconds = self._limiter.get_window_stats(self._limit, caller.name, kind).reset_time - time.time()
            wait_s = max(1, math.ceil(seconds))
            raise RateLimitedError(
                f"More than {self._per_minute} {kind} in a minute. Send it again in {wait_s} s.",
                wait_s,
            )
