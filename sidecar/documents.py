"""The forms of requests and answers, for the OpenAPI description."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from crack.stores.states import State
from inspection.findings import Mark
from inspection.left_out import Kind
from inspection.workbook import MEDIA_TYPE
from model.inference import headers, standards
from model.inference.errors import ErrorCode
from model.inference.formats import MEDIA_TYPES
from model.inference.options import Quality, Response, Summary
from sidecar.forms import MAX_FIELD_CHARACTERS, MAX_LIST_CHARACTERS
from sidecar.labels import Verdict


class Error(BaseModel):
    """What a client gets instead of an answer; `code` is for programs, `message` for people."""

    status: str
    code: ErrorCode
    message: str
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "error",
                    "code": "image_undecodable",
                    "message": "The image is a JPEG of 3,018 bytes that is cut short or damaged, so it cannot be decoded. "
                    "Send the original file again, from the camera or the card, or save it anew with another program.",
                }
            ]
        }
    )


class Ready(BaseModel):
    status: str
    model_version: str


class Model(BaseModel):
    """The served model: `card` is its model card, `feedback` the number of photographs in each state."""

    name: str
    version: str
    card: dict[str, Any]
    feedback: dict[str, int]


class Saved(BaseModel):
    """The state that the feedback got: `reason` says why in words, `waiting` counts the photographs in each state.
    `own_mask_check` is pending if the model was away: the mask may be the model's own. It is checked when the model is back,
    and not accepted before.
    """

    status: str
    id: str
    state: State
    own_mask_check: Literal["pending"] | None
    reason: str
    waiting: dict[str, int]


class Feedback(BaseModel):
    """`etag` in the item is the header's: send it as If-Match with the decision about what you have seen."""

    item: dict[str, Any]
    history: list[dict[str, Any]]


class FeedbackList(BaseModel):
    """Items, how many photographs are in each state, and how many of all wait for a person."""

    items: list[dict[str, Any]]
    counts: dict[str, int]
    n_waiting: int


class Retraining(BaseModel):
    """The newest retraining, the latest ones including it, and the number of accepted labels that will start the next one
    automatically.
    """

    job: dict[str, Any] | None
    history: list[dict[str, Any]]
    labels_until_next: int


def names_in(body: dict[str, Any]) -> frozenset[str]:
    """The names of a form's fields, as one of the descriptions below has them."""
    return frozenset(body["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"])


def _form(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"multipart/form-data": {"schema": {"type": "object", "required": required, "properties": properties}}}


_FILE = {"type": "string", "format": "binary"}
_TEXT = {"type": "string", "maxLength": MAX_FIELD_CHARACTERS}
_LOOK_ALIKES = {
    "type": "string",
    "maxLength": MAX_LIST_CHARACTERS,
    "example": '[{"box": [12, 80, 420, 163], "kind": "joint"}]',
    "description": "what looks like a crack but is not one: a JSON list of boxes (left, top, right, bottom, in pixels of the "
    f"upright photograph) and kinds ({', '.join(Kind)})",
}
_ABOVE_0 = {"type": "number", "exclusiveMinimum": 0}
_OPTIONS: dict[str, dict[str, Any]] = {
    "response": {
        "type": "string",
        "enum": list(Response),
        "default": Response.JSON,
        "description": "overlay with a scale: each crack in the colour of its width, a legend and a scale bar below",
    },
    "threshold": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "quality": {"type": "string", "enum": list(Quality), "default": Quality.NORMAL},
    "summary": {
        "type": "string",
        "enum": list(Summary),
        "description": "with response=json or full: adds the number of cracks, their total length and the widest",
    },
    "mm_per_px": {
        **_ABOVE_0,
        "description": "how large a pixel is on the surface; needed for millimetres in response=cracks and summary=cracks",
    },
    "distance_m": {
        **_ABOVE_0,
        "description": "distance to the surface; instead of mm_per_px, with the next two fields, or alone if the EXIF "
        "data describe the camera",
    },
    "focal_length_mm": {**_ABOVE_0, "description": "the lens's real focal length, not the one for 35 mm film"},
    "sensor_width_mm": {**_ABOVE_0, "description": "the longer side of the camera's sensor"},
    "marker_size_mm": {
        **_ABOVE_0,
        "example": 50,
        "description": "the side of the printed markers in the photograph; instead of mm_per_px. The scale is then right "
        "in an oblique photograph too, and nothing of the marker is called crack",
    },
    "standard": {
        "type": "string",
        "enum": standards.names(),
        "example": "en-1992-1-1",
        "description": "the standard by which each crack gets a band: a guide value, not a verdict on safety; needs a scale",
    },
    "exposure": {"type": "string", "enum": standards.exposures(), "description": "the row of the standard's table"},
}
_HEADERS: dict[str, dict[str, Any]] = {
    headers.REQUEST_ID: {"schema": {"type": "string"}},
    headers.MODEL_VERSION: {"schema": {"type": "string"}},
    headers.THRESHOLD: {"schema": {"type": "number"}, "description": "lowest probability at which a pixel counts as crack"},
    headers.RATIO: {"schema": {"type": "number"}, "description": "share of the pixels called crack"},
    headers.SCORE: {
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
        "description": "how sure the model is that the photograph shows a crack at all, whatever the threshold",
    },
}

PREDICT_BODY: dict[str, Any] = {
    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _OPTIONS.items()],
    "requestBody": {
        "required": True,
        "content": {
            **_form(["image"], image=_FILE, **_OPTIONS),
            **{kind: {"schema": _FILE} for kind in MEDIA_TYPES},
        },
    },
    "responses": {
        "200": {
            "description": "The cracks.",
            "headers": _HEADERS,
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {
                        "status": "success",
                        "prediction": [[0, 0, 1]],
                        "shape": [128, 128],
                        "image_size": [384, 544],
                        "threshold": 0.5,
                        "crack_ratio": 0.0488,
                        "model": {"name": "crack", "version": "20261124-090000", "runtime": "openvino", "precision": "int8"},
                        "request_id": "bb33316f-498e-4c64-a6fd-65eda493eb74",
                        "crack_score": 0.98315,
                    },
                },
                "application/geo+json": {
                    "schema": {"type": "object"},
                    "example": {
                        "type": "FeatureCollection",
                        "coordinates": "pixel",
                        "mm_per_px": 0.2,
                        "scale_source": "given",
                        "standard": standards.find("en-1992-1-1", "XC4").told(),
                        "image_size": [384, 544],
                        "model": {"name": "crack", "version": "20261124-090000", "runtime": "openvino", "precision": "int8"},
                        "threshold": 0.5,
                        "crack_score": 0.98315,
                        "request_id": "bb33316f-498e-4c64-a6fd-65eda493eb74",
                        "features": [
                            {
                                "type": "Feature",
                                "geometry": {"type": "LineString", "coordinates": [[12.5, 80.5], [16.4, 81.3], [20.3, 82.0]]},
                                "properties": {
                                    "id": 1,
                                    "length_px": 412.6,
                                    "width_mean_px": 4.31,
                                    "width_median_px": 4.28,
                                    "width_p95_px": 5.4,
                                    "width_max_px": 5.9,
                                    "width_max_at": [208.4, 117.9],
                                    "width_uncertainty_px": 0.24,
                                    "width_limit_px": 2.5,
                                    "is_width_below_limit": False,
                                    "area_px": 2310,
                                    "orientation_deg": 168.4,
                                    "bbox_px": [11, 77, 420, 163],
                                    "n_branches": 1,
                                    "touches_edge": False,
                                    "probability_mean": 0.91,
                                    "length_mm": 82.52,
                                    "width_mean_mm": 0.862,
                                    "width_median_mm": 0.856,
                                    "width_p95_mm": 1.08,
                                    "width_max_mm": 1.18,
                                    "width_uncertainty_mm": 0.048,
                                    "width_limit_mm": 0.5,
                                    "area_mm2": 92.4,
                                    "band": {
                                        "name": "EN 1992-1-1: above the recommended width",
                                        "above_mm": 0.3,
                                        "up_to_mm": None,
                                        "is_certain": True,
                                    },
                                },
                            }
                        ],
                    },
                },
                "image/png": {"schema": _FILE},
                "image/jpeg": {"schema": _FILE},
            },
        }
    },
}
SAVE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": _form(
            ["image"],
            image=_FILE,
            mask={
                **_FILE,
                "description": "PNG, TIFF, BMP or WebP of the upright photograph's size, of two colours: black or transparent "
                "where there is no crack, any other where there is",
            },
            verdict={"type": "string", "enum": list(Verdict)},
            request_id=_TEXT,
            model_version=_TEXT,
            note=_TEXT,
            look_alikes=_LOOK_ALIKES,
        ),
    }
}
REVIEW_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": _form([], decision={"type": "string", "enum": ["accept", "reject"]}, reason=_TEXT, mask=_FILE),
    }
}

_SCALES = ("mm_per_px", "distance_m", "focal_length_mm", "sensor_width_mm", "marker_size_mm")
_OF_A_PHOTOGRAPH = {name: _OPTIONS[name] for name in ("threshold", "quality", *_SCALES)}
KEEP_BODY: dict[str, Any] = {
    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _OF_A_PHOTOGRAPH.items()],
    "requestBody": {
        "required": True,
        "content": {
            **_form(["image"], image=_FILE, **_OF_A_PHOTOGRAPH),
            **{kind: {"schema": _FILE} for kind in MEDIA_TYPES},
        },
    },
}
CHANGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": _form(
            [],
            state={"type": "string", "enum": list(Mark)},
            note=_TEXT,
            mask={**_FILE, "description": "as for /save-for-retrain; sent empty, a painted mask is dropped"},
            threshold={**_TEXT, "description": "between 0 and 1; sent empty, the model's own"},
            mm_per_px={**_TEXT, "description": "above 0; sent empty, none"},
            scale_note={**_TEXT, "description": "where the scale comes from"},
            look_alikes=_LOOK_ALIKES,
            zones={
                "type": "string",
                "maxLength": MAX_LIST_CHARACTERS,
                "example": "[[12, 80, 420, 163]]",
                "description": "boxes that are left out of all figures: a JSON list of boxes as in look_alikes",
            },
        ),
    }
}
REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report.",
        "content": {
            "text/html": {"schema": {"type": "string"}},
            "application/pdf": {"schema": _FILE},
            MEDIA_TYPE: {"schema": _FILE},
        },
    }
}

ETAG: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "ETag": {
                "schema": {"type": "string"},
                "description": "identifies the item's state, masks and revision; send it as If-Match with a decision",
            }
        }
    }
}

FILE: dict[int | str, dict[str, Any]] = {
    **ETAG,
    206: {"description": "The part that the header Range asks for, to go on with a download."},
    416: {"description": "The file ends before the part that Range asks for; Content-Range says how long it is."},
}

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": ", ".join(code.value for code in ErrorCode if code.status == status)}
    for status in sorted({code.status for code in ErrorCode})
}
