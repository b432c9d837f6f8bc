"""One answer to one photograph: read the request's fields, predict, and encode the result as JSON or as a picture.

This is the whole of the service but for HTTP, so that any server can mount it; it raises nothing but `RequestError` for
what a client did wrong.
"""

import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.inference.card import Backend
from model.inference.errors import ErrorCode, RequestError
from model.inference.observation import Observation, brightness, confidence, sharpness
from model.inference.photograph import MEGAPIXEL, Limits, decode
from model.inference.score import crack_score
from model.inference.segmenter import Segmenter, threshold_level

GRID_CELLS = 128
JPEG_MAX_SIDE_PX = 65_500  # libjpeg's own limit
_Choice = TypeVar("_Choice", bound=StrEnum)
_CRACK_COLOUR = np.array([255, 0, 64], np.float32)
_CRACK_OPACITY = 0.65
_JSON_TYPE = "application/json"


class Response(StrEnum):
    """What a client may ask for."""

    JSON = "json"  # which of 128 x 128 cells hold crack
    FULL = "full"  # the same, with the mask at the photograph's own size
    MASK = "mask"  # PNG, one channel, 0 or 255
    PROBABILITY = "probability"  # PNG, one channel, 0..255
    OVERLAY = "overlay"  # JPEG, the photograph with its cracks drawn on


class Quality(StrEnum):
    NORMAL = "normal"
    HIGH = "high"  # averaged over mirror images and quarter turns


@dataclass(frozen=True)
class Options:
    """The fields beside the image; `threshold=None` means the model's own."""

    response: Response = Response.JSON
    quality: Quality = Quality.NORMAL
    threshold: float | None = None

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> "Options":
        """Read the fields that are there; others are ignored. Raises RequestError (PARAMETER_INVALID)."""
        return cls(
            response=_choice("response", Response, fields.get("response", Response.JSON)),
            quality=_choice("quality", Quality, fields.get("quality", Quality.NORMAL)),
            threshold=_threshold(fields["threshold"]) if "threshold" in fields else None,
        )


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    body: bytes
    content_type: str
    headers: dict[str, str]
    observation: Observation


def answer(
    segmenter: Segmenter,
    image: bytes,
    options: Options,
    *,
    backend: Backend,
    request_id: str,
    limits: Limits = Limits(),  # noqa: B008
) -> Answer:
    """Predict the crack mask of one photograph and encode it as `options.response` asks.

    Args:
        image: the bytes of a JPEG or PNG file.
        backend: what the segmenter runs on, for the client to know.

    Raises:
        RequestError: see `photograph.decode`; PREDICTION_FAILED if the mask does not fit the photograph.
    """
    started = time.perf_counter()
    image_hwc_u8 = decode(image, _limits_for(options, limits))
    decoded = time.perf_counter()
    prob_hw_u8 = segmenter.probability(image_hwc_u8, options.quality == Quality.HIGH)
    predicted = time.perf_counter()
    if prob_hw_u8.shape != image_hwc_u8.shape[:2]:
        raise RequestError(
            ErrorCode.PREDICTION_FAILED,
            f"The mask has {prob_hw_u8.shape} pixels (height, width), the photograph {image_hwc_u8.shape[:2]}. "
            "Report this with the photograph.",
        )
    threshold = segmenter.card.threshold if options.threshold is None else options.threshold
    mask_hw = prob_hw_u8 >= threshold_level(threshold)
    crack_ratio = round(float(mask_hw.mean()), 6)
    score = round(crack_score(prob_hw_u8), 6)
    match options.response:
        case Response.MASK:
            body, content_type = _png(mask_hw.astype(np.uint8) * 255), "image/png"
        case Response.PROBABILITY:
            body, content_type = _png(prob_hw_u8), "image/png"
        case Response.OVERLAY:
            body, content_type = _jpeg(draw_overlay(image_hwc_u8, mask_hw)), "image/jpeg"
        case Response.JSON | Response.FULL:
            facts = {
                "image_size": mask_hw.shape,
                "threshold": threshold,
                "crack_ratio": crack_ratio,
                "model": {
                    "name": segmenter.card.name,
                    "version": segmenter.card.version,
                    "runtime": backend.runtime,
                    "precision": backend.precision,
                },
                "request_id": request_id,
                "crack_score": score,
            }
            body, content_type = _json(crack_grid(mask_hw) if options.response == Response.JSON else mask_hw, facts), _JSON_TYPE
    headers = {
        "X-Crack-Model-Version": segmenter.card.version,
        "X-Crack-Threshold": repr(threshold),
        "X-Crack-Ratio": f"{crack_ratio:.6f}",
        "X-Crack-Score": f"{score:.6f}",
    }
    observation = Observation(
        decode_s=decoded - started,
        run_s=predicted - decoded,
        encode_s=time.perf_counter() - predicted,
        crack_ratio=crack_ratio,
        confidence=confidence(prob_hw_u8),
        brightness=brightness(image_hwc_u8),
        sharpness=sharpness(image_hwc_u8),
        megapixels=mask_hw.size / MEGAPIXEL,
    )
    return Answer(body, content_type, headers, observation)


def error_body(error: RequestError) -> bytes:
    """The JSON that a client gets instead of an answer."""
    return json.dumps({"status": "error", "code": error.code.value, "message": error.message}).encode()


def crack_grid(mask_hw: NDArray[np.bool_], n_cells: int = GRID_CELLS) -> NDArray[np.bool_]:
    """Which of `n_cells` x `n_cells` cells hold crack, however thin.

    Cell row i covers the pixel rows floor(i * height / n_cells) to ceil((i + 1) * height / n_cells), columns alike, so
    neighbouring cells share a pixel row where the height is no multiple.
    """
    return _any_per_cell(_any_per_cell(mask_hw, n_cells).T, n_cells).T


def draw_overlay(image_hwc_u8: NDArray[np.uint8], mask_hw: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photograph with its cracks tinted; uint8 (height, width, 3), a copy."""
    overlay = image_hwc_u8.copy()
    overlay[mask_hw] = np.rint(overlay[mask_hw] * (1 - _CRACK_OPACITY) + _CRACK_COLOUR * _CRACK_OPACITY)
    return overlay


def _any_per_cell(mask_hw: NDArray[np.bool_], n_cells: int) -> NDArray[np.bool_]:
    length = mask_hw.shape[0]
    return np.stack([mask_hw[i * length // n_cells : -(-(i + 1) * length // n_cells)].any(axis=0) for i in range(n_cells)])


def _choice(name: str, choices: type[_Choice], text: str) -> _Choice:
    try:
        return choices(text)
    except ValueError as error:
        raise RequestError(ErrorCode.PARAMETER_INVALID, f"{name}={text!r}: expected one of {', '.join(choices)}.") from error


def _threshold(text: str) -> float:
    try:
        threshold = float(text)
    except ValueError:
        threshold = float("nan")
    if not 0 < threshold < 1:
        raise RequestError(
            ErrorCode.PARAMETER_INVALID,
            f"threshold={text!r}: expected a number between 0 and 1, both excluded. Leave it out for the model's own.",
        )
    return threshold


def _limits_for(options: Options, limits: Limits) -> Limits:
    if options.response == Response.FULL and limits.max_pixels_full_response < limits.max_pixels:
        limits = replace(limits, max_pixels=limits.max_pixels_full_response, purpose=" with response=full")
    if options.quality == Quality.HIGH and limits.max_pixels_high_quality < limits.max_pixels:
        limits = replace(limits, max_pixels=limits.max_pixels_high_quality, purpose=" with quality=high")
    if options.response == Response.OVERLAY:
        limits = replace(limits, max_side_px=JPEG_MAX_SIDE_PX)
    return limits


def _png(picture_hw_u8: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture_hw_u8).save(buffer, "PNG", compress_level=1)  # twice as fast as the default, 1.3 times the size
    return buffer.getvalue()


def _jpeg(picture_hwc_u8: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture_hwc_u8).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _json(prediction_hw: NDArray[np.bool_], facts: Mapping[str, object]) -> bytes:
    rest = json.dumps({"shape": prediction_hw.shape, **facts}).encode()
    return b'{"status": "success", "prediction": ' + _json_array(prediction_hw) + b", " + rest[1:]


def _json_array(mask_hw: NDArray[np.bool_]) -> bytes:
    """`[[0,1,...],...]`, written as one block of bytes: json.dumps takes seconds for millions of pixels."""
    height, width = mask_hw.shape
    text = np.full((height, 2 * width + 2), ord(","), np.uint8)
    text[:, 0] = ord("[")
    text[:, 1:-2:2] = mask_hw.astype(np.uint8) + ord("0")
    text[:, -2] = ord("]")
    return b"[" + text.tobytes()[:-1] + b"]"
