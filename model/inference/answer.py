"""One answer to one photograph: read the request's fields, predict, and encode the result as JSON or as a picture.

This is the whole of the service but for HTTP, so that any server can mount it; it raises nothing but `RequestError` for
what a client did wrong.
"""

import io
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.inference import cracks
from model.inference.card import Backend
from model.inference.cracks import Scale, ScaleSource
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
_GEOJSON_TYPE = "application/geo+json"
_CAMERA = ("distance_m", "focal_length_mm", "sensor_width_mm")


class Response(StrEnum):
    """What a client may ask for."""

    JSON = "json"  # which of 128 x 128 cells hold crack
    FULL = "full"  # the same, with the mask at the photograph's own size
    MASK = "mask"  # PNG, one channel, 0 or 255
    PROBABILITY = "probability"  # PNG, one channel, 0..255
    OVERLAY = "overlay"  # JPEG, the photograph with its cracks drawn on
    CRACKS = "cracks"  # GeoJSON, each crack with its centre line, length and width


class Quality(StrEnum):
    NORMAL = "normal"
    HIGH = "high"  # averaged over mirror images and quarter turns


class Summary(StrEnum):
    """What a JSON answer may add."""

    CRACKS = "cracks"  # how many, how long together, the widest


@dataclass(frozen=True)
class Options:
    """The fields beside the image; `threshold=None` means the model's own, and without a scale nothing is told in millimetres.

    Attributes:
        mm_per_px: how large a pixel is on the surface; or
        distance_m, focal_length_mm, sensor_width_mm: what the camera tells about that, all three.
    """

    response: Response = Response.JSON
    quality: Quality = Quality.NORMAL
    threshold: float | None = None
    summary: Summary | None = None
    mm_per_px: float | None = None
    distance_m: float | None = None
    focal_length_mm: float | None = None
    sensor_width_mm: float | None = None

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> "Options":
        """Read the fields that are there; others are ignored. Raises RequestError (PARAMETER_INVALID)."""
        options = cls(
            response=_choice("response", Response, fields.get("response", Response.JSON)),
            quality=_choice("quality", Quality, fields.get("quality", Quality.NORMAL)),
            threshold=_threshold(fields["threshold"]) if "threshold" in fields else None,
            summary=_choice("summary", Summary, fields["summary"]) if "summary" in fields else None,
            **{name: _positive(name, fields[name]) for name in ("mm_per_px", *_CAMERA) if name in fields},
        )
        options._check()
        return options

    def fields(self) -> dict[str, str]:
        """As texts that `parse` reads; what is left to its default isn't there."""
        named = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: value if isinstance(value, str) else repr(value) for name, value in named.items()}

    def scale(self, size_hw: tuple[int, ...]) -> Scale | None:
        """The scale of a photograph of that height and width; none where the fields say nothing about it.

        The sensor's width belongs to the photograph's longer side, however the camera was held.
        """
        if self.mm_per_px is not None:
            return Scale(self.mm_per_px, ScaleSource.GIVEN)
        if self.distance_m is None or self.focal_length_mm is None or self.sensor_width_mm is None:
            return None
        # Ground sampling distance: the sensor's pixel, enlarged as distance is to focal length.
        mm_per_px = 1000 * self.distance_m / self.focal_length_mm * self.sensor_width_mm / max(size_hw)
        return Scale(mm_per_px, ScaleSource.CAMERA)

    def _check(self) -> None:
        given = [name for name in _CAMERA if getattr(self, name) is not None]
        if given and self.mm_per_px is not None:
            found = f"mm_per_px and {', '.join(given)}: expected one scale."
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"{found} Send mm_per_px alone, or {', '.join(_CAMERA)}.")
        if given and len(given) < len(_CAMERA):
            missing = ", ".join(name for name in _CAMERA if name not in given)
            found = f"{', '.join(given)} without {missing}: expected all of {', '.join(_CAMERA)}."
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"{found} Send the others too, or mm_per_px.")
        if self.summary and self.response not in (Response.JSON, Response.FULL):
            raise RequestError(
                ErrorCode.PARAMETER_INVALID,
                f"summary={self.summary.value!r} with response={self.response.value!r}: expected response=json or full. "
                "Leave summary out, or ask for one of them.",
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
    model = {
        "name": segmenter.card.name,
        "version": segmenter.card.version,
        "runtime": backend.runtime,
        "precision": backend.precision,
    }
    scale = options.scale(mask_hw.shape)
    found = []
    if options.response == Response.CRACKS or options.summary:
        found = cracks.measure(prob_hw_u8, image_hwc_u8, threshold_level(threshold))
    match options.response:
        case Response.MASK:
            body, content_type = encode_mask(mask_hw), "image/png"
        case Response.PROBABILITY:
            body, content_type = _png(prob_hw_u8), "image/png"
        case Response.OVERLAY:
            body, content_type = _jpeg(draw_overlay(image_hwc_u8, mask_hw)), "image/jpeg"
        case Response.CRACKS:
            collection = {
                "type": "FeatureCollection",
                "coordinates": "pixel",
                **_told(scale),
                "image_size": mask_hw.shape,
                "model": model,
                "threshold": threshold,
                "crack_score": score,
                "request_id": request_id,
                "features": [cracks.feature(crack, scale) for crack in found],
            }
            body, content_type = json.dumps(collection).encode(), _GEOJSON_TYPE
        case Response.JSON | Response.FULL:
            facts: dict[str, object] = {
                "image_size": mask_hw.shape,
                "threshold": threshold,
                "crack_ratio": crack_ratio,
                "model": model,
                "request_id": request_id,
                "crack_score": score,
            }
            if options.summary:
                facts["summary"] = {**_told(scale), **cracks.summary(found, scale)}
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


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise RequestError(ErrorCode.PARAMETER_INVALID, f"{name}={text!r}: expected a number above 0. Leave it out for pixels.")
    return value


def _told(scale: Scale | None) -> dict[str, object]:
    return {"mm_per_px": scale and scale.mm_per_px, "scale_source": scale and scale.source.value}


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


def encode_mask(mask_hw: NDArray[np.bool_]) -> bytes:
    """As `response=mask` answers it: PNG, one channel, 0 or 255."""
    return _png(mask_hw.astype(np.uint8) * 255)


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
