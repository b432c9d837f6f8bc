"""Decodes photographs and masks for the stores, in other processes and a limited number of megapixels at once."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from model.inference.errors import ErrorCode, RequestError
from model.inference.isolation import Isolation
from model.inference.photograph import MEGAPIXEL, Limits

N_PROCESSES = 2

_Result = TypeVar("_Result")


class Decoding:
    """Calls functions that decode photographs, within a limit for all pixels together.

    Args:
        limits: of one photograph.
        max_pixels_at_once: of all that are being decoded or wait for it.
    """

    def __init__(self, limits: Limits, max_pixels_at_once: int) -> None:
        self._isolation = Isolation.for_photographs(N_PROCESSES, limits)
        self._threads = CapacityLimiter(N_PROCESSES)
        self._max_pixels_at_once = max_pixels_at_once
        self._n_pixels = 0

    async def call(self, size_hw: tuple[int, int], function: Callable[..., _Result], *arguments: object) -> _Result:
        """The function's result, computed in another process. Raises RequestError: SERVER_BUSY, or as `Isolation.call` does."""
        n_pixels = size_hw[0] * size_hw[1]
        if self._n_pixels + n_pixels > self._max_pixels_at_once:
            raise RequestError(
                ErrorCode.SERVER_BUSY,
                f"{self._n_pixels / MEGAPIXEL:.4g} megapixels are being decoded, and this photograph has "
                f"{n_pixels / MEGAPIXEL:.4g}; at most {self._max_pixels_at_once / MEGAPIXEL:.4g} are decoded at once. "
                "Nothing was saved. Send it again in some seconds.",
            )
        self._n_pixels += n_pixels
        try:
            return await to_thread.run_sync(partial(self._isolation.call, function, *arguments), limiter=self._threads)
        finally:
            self._n_pixels -= n_pixels

    def close(self) -> None:
        self._isolation.close()
