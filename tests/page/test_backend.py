"""The page's client, where what answers is no sidecar: one sentence for each failure."""

from collections.abc import Callable
from typing import Any

import pytest

from gradio_app.backend import Backend, BackendError
from tests.same import answering

ASKED = pytest.mark.parametrize(
    "ask",
    [lambda backend: backend.predict(b"a photograph"), Backend.model, lambda backend: backend.file("1", "image")],
    ids=["predict", "model", "file"],
)


@ASKED
def test_a_page_where_the_sidecar_should_be_is_told(ask: Callable[[Backend], Any]) -> None:
    with answering(200, b"<title>Log in</title>") as url, pytest.raises(BackendError, match="BACKEND_URL must name"):
        ask(Backend(url))


@ASKED
@pytest.mark.parametrize("body", [b"<h1>Bad gateway</h1>", b"[]", b'"down"', b"{}", b""])
def test_an_error_in_another_form_is_told_by_its_status(ask: Callable[[Backend], Any], body: bytes) -> None:
    with answering(502, body) as url, pytest.raises(BackendError, match="answered with status 502"):
        ask(Backend(url))
