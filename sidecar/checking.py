"""Compares masks that came while the model was away with the model's own, once it answers again.

The store remembers them, so they are checked in the end even if a process is killed meanwhile. Left to others: what becomes of
them (`sidecar.feedback`), and how they are compared (`sidecar.labels`).
"""

import asyncio
import logging

from starlette.concurrency import run_in_threadpool

from model.inference.errors import RequestError
from sidecar.decoding import Decoding
from sidecar.feedback import FeedbackStore
from sidecar.items import Item
from sidecar.labels import read_and_compare
from sidecar.predictor import Predictor
from sidecar.readiness import Readiness

logger = logging.getLogger("sidecar.checking")

_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 600.0  # if a photograph can't be predicted: it may be what kills the workers


async def keep_checking(store: FeedbackStore, predictor: Predictor, readiness: Readiness, decoding: Decoding) -> None:
    """Look for unchecked masks until this is cancelled."""
    pause_s = _PAUSE_S
    while True:
        await asyncio.sleep(pause_s)
        try:
            items = await run_in_threadpool(store.unchecked)
            if items:
                await readiness.check()
        except (RequestError, OSError):  # the model is still away, or the store's database is
            continue
        n_left = 0
        for item in items:
            try:
                await _check(item, store, predictor, decoding)
            except (RequestError, OSError, RuntimeError) as error:
                logger.warning("the mask of item=%s was not checked: %s", item.id, error)
                n_left += 1
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S) if n_left else _PAUSE_S


async def _check(item: Item, store: FeedbackStore, predictor: Predictor, decoding: Decoding) -> None:
    image, mask = [await run_in_threadpool(store.read, file) for file in (item.image_file, item.newest_mask_file or "")]
    served, size_hw = await predictor.probability(image), (item.height, item.width)
    read, found = await decoding.call(size_hw, read_and_compare, image, mask, size_hw, served.body, served.threshold)
    checked = await run_in_threadpool(store.check, item, read, found)
    if checked:
        logger.info("checked the mask of item=%s: %s", checked.id, checked.reason)
