"""Checks whether the model answers now, by a tiny photograph; rarely, however many clients ask."""

import asyncio
import time

import numpy as np

from model.inference.encoding import png
from model.inference.errors import ErrorCode, RequestError
from sidecar.predictor import Predictor

FRESH_S = 3  # how long a result is reused
TIMEOUT_S = 30  # the most that a tiny photograph may take, behind others
_SIDE_PX = 32


class Readiness:
    """One probe at a time; everybody who asks meanwhile and soon after gets its result."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._photograph = png(np.full((_SIDE_PX, _SIDE_PX), 128, np.uint8))
        self._lock = asyncio.Lock()
        self._fresh_until = 0.0
        self._found: str | RequestError = ""

    async def check(self) -> str:
        """The version that answers. Raises RequestError, MODEL_UNAVAILABLE."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._found = await self._probe()
                self._fresh_until = time.monotonic() + FRESH_S
            found = self._found
        if isinstance(found, RequestError):
            raise RequestError(found.code, found.message)  # one that is raised repeatedly collects tracebacks
        return found

    async def _probe(self) -> str | RequestError:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                prediction = await self._predictor.predict([self._photograph], is_probe=True)
        except RequestError as error:
            return error
        except TimeoutError:
            return RequestError(
                ErrorCode.MODEL_UNAVAILABLE,
                f"A small test prediction took more than {TIMEOUT_S} s. Send it again in some seconds.",
            )
        if prediction.status != 200:
            return RequestError(ErrorCode.MODEL_UNAVAILABLE, "A small test prediction failed. Send it again in some seconds.")
        return prediction.model_version
