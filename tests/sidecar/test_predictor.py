"""What the sidecar makes of whatever answers in TorchServe's place."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from crack.torchserve import TorchServe
from model.inference.errors import ErrorCode, RequestError
from sidecar.kept import KeptPredictions
from sidecar.predictor import Predictor
from sidecar.readiness import Readiness
from tests.same import answering


def answered(url: str, ask: Callable[[Predictor], Awaitable[Any]]) -> Any:
    async def asked() -> Any:
        async with TorchServe(url, url) as torchserve:
            return await ask(Predictor(torchserve, KeptPredictions(0, 0)))

    return asyncio.run(asked())


@pytest.mark.parametrize(
    "ask",
    [
        lambda predictor: predictor.predict([b"a photograph"]),
        lambda predictor: predictor.probability(b"a photograph"),
        lambda predictor: Readiness(predictor).check(),
        Predictor.default,
        Predictor.served,
    ],
    ids=["predict", "probability", "ready", "default", "served"],
)
@pytest.mark.parametrize("body", [b"<title>It works</title>", b"[]", b"{}", b"null", b"[1]"])
def test_another_server_in_its_place_is_no_model_server(ask: Callable[[Predictor], Awaitable[Any]], body: bytes) -> None:
    with answering(200, body) as url, pytest.raises(RequestError) as raised:
        answered(url, ask)
    assert raised.value.code is ErrorCode.MODEL_UNAVAILABLE
