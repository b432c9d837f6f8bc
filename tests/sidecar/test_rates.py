"""Limits of requests, as one sidecar counts them by itself."""

import asyncio
import time
from pathlib import Path

import pytest
from starlette.requests import Request

from sidecar.keys import Caller, Right
from sidecar.rates import RateLimitedError, Rates


def test_a_clock_that_is_set_back_makes_nobody_wait_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates, caller = Rates(2, tmp_path), Caller("crew-7", frozenset(Right))
    request = Request({"type": "http", "method": "GET", "path": "/feedback", "headers": []})
    for _ in range(2):
        asyncio.run(rates.count(caller, request))
    before = time.time
    monkeypatch.setattr(time, "time", lambda: before() - 3600)
    with pytest.raises(RateLimitedError) as refused:
        asyncio.run(rates.count(caller, request))
    assert 0 < refused.value.retry_after_s <= 60
