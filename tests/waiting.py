"""Waiting for what must come: a test looks until it is so, however long that takes."""

import time
from collections.abc import Callable
from typing import TypeVar

# Ends a test that hangs, and nothing else: no machine, however slow and busy, comes near it.
PATIENCE_S = 600

T = TypeVar("T")


def eventually(check: Callable[[], T], *passing: type[Exception]) -> T:
    """What `check` gives, as soon as it is true; until then it may raise what is in `passing`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = check()
        except passing:
            if time.monotonic() > deadline:
                raise
        else:
            if found:
                return found
            assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
