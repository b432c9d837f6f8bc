"""Turns the model's answer about a photograph of an inspection into what is stored, and does it again when a person changes
the mask.

The functions that decode run in other processes (`sidecar.decoding`), because a client's files can't be trusted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspection.examining import examine
from inspection.findings import Mark
from inspection.left_out import Box, covered
from inspection.rows import Row, Status
from inspection.taken import Taken, read_taken
from model.inference.encoding import mask_png, png
from model.inference.errors import ErrorCode, RequestError
from model.inference.examining import Examined
from model.inference.formats import Format, recognise
from model.inference.millimetres import ScaleSource
from model.inference.options import Options
from model.inference.photograph import Limits
from model.masks import read_mask
from sidecar.inspections import Kept
from sidecar.labels import without_position
from sidecar.prediction import Prediction


@dataclass(frozen=True)
class Looked:
    """The findings in a photograph: fields of its row, and its file as it is stored, without position."""

    facts: dict[str, Any]
    stored: bytes
    extension: str
    taken: Taken


def look(image: bytes, probability_png: bytes, threshold: float, options: Options, limits: Limits) -> Looked:
    """Find what is stored of a photograph. Raises RequestError as `examine` does; PREDICTION_FAILED."""
    is_kept = recognise(image) in (Format.JPEG, Format.PNG)
    found = _examined(image, probability_png, threshold, options, None, limits)
    stored = without_position(image) if is_kept else png(found.image_hwc_u8)
    return Looked(found.facts, stored, "jpg" if recognise(stored) is Format.JPEG else "png", read_taken(image))


def look_again(
    image: bytes,
    probability_png: bytes,
    threshold: float,
    options: Options,
    mask: bytes | None,
    zones: Sequence[Box],
    size_hw: tuple[int, int],
    limits: Limits,
) -> tuple[dict[str, Any], bytes | None]:
    """The facts at another threshold or for a painted mask, without the zones; and the painted mask as it is stored, with them.

    Raises:
        RequestError: MASK_INVALID; as `examine` does.
    """
    mask_hw = None if mask is None else read_mask(mask, size_hw)
    found = _examined(image, probability_png, threshold, options, mask_hw, limits, zones)
    n_counted = max(1, found.mask_hw.size - int(covered(zones, size_hw).sum()))
    facts = found.facts | {"crack_ratio": round(int(found.mask_hw.sum()) / n_counted, 6)}
    return facts, None if mask_hw is None else mask_png(mask_hw)


def new(inspection_id: str, photograph_id: str, name: str, options: Options, prediction: Prediction, looked: Looked) -> Kept:
    """A photograph as it is first stored, with the scale of `options`. `photograph_id`: the `digest` of the uploaded file."""
    facts = dict(looked.facts)
    if options.mm_per_px is not None:
        facts["scale"] = given_scale(options.mm_per_px, "")
    row = Row(
        name,
        Status.PREDICTED,
        len(looked.stored),
        0,
        hashlib.sha256(looked.stored).hexdigest(),
        crack_ratio=prediction.crack_ratio,
        model_version=prediction.model_version,
        crack_score=prediction.crack_score,
        **facts,
    )
    return Kept(
        inspection_id,
        photograph_id,
        Mark.UNSEEN,
        row,
        looked.taken,
        f"images/{row.sha256}.{looked.extension}",
        f"levels/{hashlib.sha256(prediction.body).hexdigest()}.png",
        None,
        prediction.threshold,
        options.marker_size_mm,
        options.quality.value,
    )


def measured_anew(photograph: Kept, facts: dict[str, Any], mask: bytes | None) -> Kept:
    """The photograph with new facts. Its scale stays, unless it comes from markers, which were searched for again."""
    if not is_scaled_by_marker(photograph):
        facts = facts | {"scale": photograph.row.scale}
    return replace(photograph, row=replace(photograph.row, **facts), mask_file=mask_file(mask) if mask else None)


def scales_of(photograph: Kept) -> Options:
    """How the photograph's cracks get a scale: from its markers, if they give one."""
    return Options(marker_size_mm=photograph.marker_size_mm if is_scaled_by_marker(photograph) else None)


def is_scaled_by_marker(photograph: Kept) -> bool:
    return (photograph.row.scale or {}).get("scale_source") == ScaleSource.MARKER


def given_scale(mm_per_px: float, note: str) -> dict[str, Any]:
    return {"mm_per_px": mm_per_px, "scale_source": ScaleSource.GIVEN.value, **({"scale_note": note} if note else {})}


def mask_file(mask: bytes) -> str:
    return f"masks/{hashlib.sha256(mask).hexdigest()}.png"


def _examined(
    image: bytes,
    probability_png: bytes,
    threshold: float,
    options: Options,
    mask_hw: NDArray[np.bool_] | None,
    limits: Limits,
    zones: Sequence[Box] = (),
) -> Examined:
    scales = replace(options, mm_per_px=None, standard=None, exposure=None)  # these apply when figures are shown
    try:
        return examine(image, probability_png, threshold, scales, mask_hw, limits, zones)
    except ValueError as error:
        raise RequestError(ErrorCode.PREDICTION_FAILED, str(error)) from error
