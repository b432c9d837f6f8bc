"""One answer to one photograph: predict, and encode the result as JSON or as a picture.

This is the whole of the service but for HTTP, so that any server can mount it; it raises nothing but `RequestError` for
what a client did wrong.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.inference import headers, width_overlay
from model.inference.card import Backend, threshold_level
from model.inference.cracks import Crack, measure
from model.inference.encoding import JPEG_MAX_SIDE_PX, jpeg, mask_png, png
from model.inference.errors import ErrorCode, RequestError
from model.inference.examining import examine_pixels
from model.inference.findings import feature, properties, summary
from model.inference.observation import Observation, brightness, confidence, sharpness
from model.inference.options import Options, Quality, Response
from model.inference.overlay import draw_overlay
from model.inference.photograph import MEGAPIXEL, Limits, decode
from model.inference.score import crack_score
from model.inference.segmenter import Segmenter
from model.inference.standards import NOTE, Standard
from model.inference.surface import Surface, look_at
from model.inference.width_classes import BY_WIDTH
from model.inference.width_overlay import Legend

GRID_CELLS = 128
_JSON_TYPE = "application/json"
_GEOJSON_TYPE = "application/geo+json"


@dataclass(frozen=True)
class Answer:
    """What goes back to the client."""

    body: bytes
    content_type: str
    headers: dict[str, str]
    observation: Observation


@dataclass(frozen=True)
class Prediction:
    """What a photograph shows, before it is encoded for anybody.

    Attributes:
        image_hwc_u8: upright, RGB.
        prob_hw_u8: crack probability, 255 = certain; 0 on the paper of markers.
        mask_hw: where that is at least `threshold`.
        crack_ratio: the mask's share, to six places.
        score: see `score.crack_score`, to six places.
        decode_s, run_s: seconds that it took.
    """

    image_hwc_u8: NDArray[np.uint8]
    prob_hw_u8: NDArray[np.uint8]
    mask_hw: NDArray[np.bool_]
    surface: Surface
    threshold: float
    crack_ratio: float
    score: float
    decode_s: float
    run_s: float


def predict(segmenter: Segmenter, image: bytes, options: Options, limits: Limits) -> Prediction:
    """Decode a photograph's file and find its cracks and its scale.

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
    surface = look_at(image, image_hwc_u8, options)
    if surface.scale:
        surface.scale.clear(prob_hw_u8)
    threshold = segmenter.card.threshold if options.threshold is None else options.threshold
    mask_hw = prob_hw_u8 >= threshold_level(threshold)
    return Prediction(
        image_hwc_u8,
        prob_hw_u8,
        mask_hw,
        surface,
        threshold,
        round(float(mask_hw.mean()), 6),
        round(crack_score(prob_hw_u8), 6),
        decoded - started,
        predicted - decoded,
    )


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
        image: a photograph's file, as `photograph.decode` reads it.
        backend: what the segmenter runs on, for the client to know.

    Raises:
        RequestError: see `predict`.
    """
    started = time.perf_counter()
    seen = predict(segmenter, image, options, limits)
    image_hwc_u8, prob_hw_u8, mask_hw = seen.image_hwc_u8, seen.prob_hw_u8, seen.mask_hw
    surface, threshold = seen.surface, seen.threshold
    model = {
        "name": segmenter.card.name,
        "version": segmenter.card.version,
        "runtime": backend.runtime,
        "precision": backend.precision,
    }
    found: list[Crack] = []
    is_classed = options.response == Response.OVERLAY and options.asks_for_scale
    if options.response == Response.CRACKS or options.summary or is_classed:
        found = measure(prob_hw_u8, image_hwc_u8, threshold_level(threshold))
    told = [properties(crack, surface.scale, mask_hw.shape[1]) for crack in found]
    standard = options.judged_by() if surface.scale else None
    judged: dict[str, object] = {"standard": standard.told()} if standard else {}
    if standard:
        told = [{**figures, "band": standard.band(figures)} for figures in told]
    match options.response:
        case Response.MASK:
            body, content_type = mask_png(mask_hw), "image/png"
        case Response.PROBABILITY:
            body, content_type = png(prob_hw_u8), "image/png"
        case Response.OVERLAY if is_classed:
            legend = _legend(surface, standard)
            body, content_type = jpeg(width_overlay.draw(image_hwc_u8, mask_hw, found, told, legend)), "image/jpeg"
        case Response.OVERLAY:
            body, content_type = jpeg(draw_overlay(image_hwc_u8, mask_hw)), "image/jpeg"
        case Response.CRACKS:
            collection = {
                "type": "FeatureCollection",
                "coordinates": "pixel",
                **surface.told(),
                **judged,
                "image_size": mask_hw.shape,
                "model": model,
                "threshold": threshold,
                "crack_score": seen.score,
                "request_id": request_id,
                "features": [feature(crack, figures) for crack, figures in zip(found, told, strict=True)],
            }
            body, content_type = json.dumps(collection).encode(), _GEOJSON_TYPE
        case Response.ALL:
            about = {**judged, "model": model, "request_id": request_id}
            body, content_type = json.dumps({"status": "success", **_everything(seen, standard), **about}).encode(), _JSON_TYPE
        case Response.JSON | Response.FULL:
            facts: dict[str, object] = {
                "image_size": mask_hw.shape,
                "threshold": threshold,
                "crack_ratio": seen.crack_ratio,
                "model": model,
                "request_id": request_id,
                "crack_score": seen.score,
            }
            if options.summary:
                facts["summary"] = {**surface.told(), **judged, **summary(told, surface.scale, standard)}
            body, content_type = _json(crack_grid(mask_hw) if options.response == Response.JSON else mask_hw, facts), _JSON_TYPE
    named = {
        headers.MODEL_VERSION: segmenter.card.version,
        headers.THRESHOLD: repr(threshold),
        headers.RATIO: f"{seen.crack_ratio:.6f}",
        headers.SCORE: f"{seen.score:.6f}",
    }
    observation = Observation(
        decode_s=seen.decode_s,
        run_s=seen.run_s,
        encode_s=time.perf_counter() - started - seen.decode_s - seen.run_s,
        crack_ratio=seen.crack_ratio,
        confidence=confidence(prob_hw_u8),
        brightness=brightness(image_hwc_u8),
        sharpness=sharpness(image_hwc_u8),
        megapixels=mask_hw.size / MEGAPIXEL,
    )
    return Answer(body, content_type, named, observation)


def _everything(seen: Prediction, standard: Standard | None) -> dict[str, Any]:
    """What is kept of a photograph, so that whoever keeps it need neither decode nor measure it again; pictures in base64."""
    examined = examine_pixels(seen.image_hwc_u8, seen.prob_hw_u8, seen.threshold, seen.surface)
    facts = examined.facts
    if standard and facts["cracks"] is not None:
        facts["cracks"] = [{**figures, "band": standard.band(figures)} for figures in facts["cracks"]]
    pictures = {"mask": mask_png(seen.mask_hw), "overlay": jpeg(draw_overlay(seen.image_hwc_u8, seen.mask_hw))}
    encoded = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
    return {**facts, "crack_ratio": seen.crack_ratio, "crack_score": seen.score, **encoded}


def error_body(error: RequestError) -> bytes:
    """The JSON that a client gets instead of an answer."""
    return json.dumps({"status": "error", "code": error.code.value, "message": error.message}).encode()


def crack_grid(mask_hw: NDArray[np.bool_], n_cells: int = GRID_CELLS) -> NDArray[np.bool_]:
    """Which of `n_cells` x `n_cells` cells hold crack, however thin.

    Cell row i covers the pixel rows floor(i * height / n_cells) to ceil((i + 1) * height / n_cells), columns alike, so
    neighbouring cells share a pixel row where the height is no multiple.
    """
    return _any_per_cell(_any_per_cell(mask_hw, n_cells).T, n_cells).T


def _any_per_cell(mask_hw: NDArray[np.bool_], n_cells: int) -> NDArray[np.bool_]:
    length = mask_hw.shape[0]
    return np.stack([mask_hw[i * length // n_cells : -(-(i + 1) * length // n_cells)].any(axis=0) for i in range(n_cells)])


def _limits_for(options: Options, limits: Limits) -> Limits:
    if options.response == Response.FULL and limits.max_pixels_full_response < limits.max_pixels:
        limits = replace(limits, max_pixels=limits.max_pixels_full_response, purpose=" with response=full")
    if options.quality == Quality.HIGH and limits.max_pixels_high_quality < limits.max_pixels:
        limits = replace(limits, max_pixels=limits.max_pixels_high_quality, purpose=" with quality=high")
    if options.response == Response.OVERLAY:
        legend_px = width_overlay.MAX_LEGEND_PX if options.asks_for_scale else 0
        limits = replace(limits, max_side_px=JPEG_MAX_SIDE_PX - legend_px)
    return limits


def _legend(surface: Surface, standard: Standard | None) -> Legend:
    if surface.scale is None:
        return Legend("Crack widths", notes=[surface.note])
    place = "" if surface.scale.is_even else "at the marker"
    if standard is None:
        return Legend("Crack widths, 95th percentile of each crack", BY_WIDTH, surface.scale.mm_per_px, place)
    title = f"{standard.title}; {standard.exposure}: {standard.exposure_title}"
    return Legend(title, standard.bands, surface.scale.mm_per_px, place, [NOTE])


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
