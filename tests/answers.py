"""Answers without a server, for tests: a request's fields and a photograph go in, where red counts as crack."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.inference.answer import Answer, answer
from model.inference.card import Backend
from model.inference.errors import RequestError
from model.inference.options import Options
from model.inference.photograph import Limits
from model.inference.segmenter import Segmenter
from tests.cards import CARD
from tests.photographs import png

BACKEND = Backend("openvino", "int8")
SEGMENTER = Segmenter(CARD, lambda batch_nchw: batch_nchw[:, :1])  # crack is where the photograph is red


def ask(image: bytes, segmenter: Segmenter = SEGMENTER, limits: Limits | None = None, **fields: str) -> Answer:
    return answer(segmenter, image, Options.parse(fields), backend=BACKEND, request_id="r-1", limits=limits or Limits())


def ask_json(image: bytes, **fields: str) -> dict[str, Any]:
    result = ask(image, **fields)
    assert result.content_type == "application/json"
    return json.loads(result.body)


def picture(result: Answer) -> Image.Image:
    return Image.open(io.BytesIO(result.body))


def refusal(image: bytes = b"", limits: Limits | None = None, **fields: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        ask(image, limits=limits, **fields)
    return caught.value


def striped() -> bytes:
    """A dark band of 6 by 100 pixels, which `CARD`'s network, that takes red for crack, sees as one."""
    image_hwc_u8 = np.zeros((64, 120, 3), np.uint8)
    image_hwc_u8[..., 1] = 150
    image_hwc_u8[30:36, 10:110] = (255, 30, 0)
    return png(image_hwc_u8)
