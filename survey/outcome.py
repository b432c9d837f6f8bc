"""What a survey keeps of a photograph: two pictures and the figures of its row. Every engine ends here."""

from dataclasses import dataclass
from typing import Any

from model.inference.encoding import jpeg, mask_png
from model.inference.examining import Examined
from model.inference.overlay import draw_overlay


@dataclass(frozen=True)
class Outcome:
    """Files, and the fields of a `Row` that come from the answer."""

    mask_png: bytes
    overlay_jpeg: bytes
    facts: dict[str, Any]


def outcome(examined: Examined, *, crack_ratio: float, crack_score: float | None, model_version: str) -> Outcome:
    """Draw and encode the pictures; the named arguments are as in the model's answer."""
    told = {"crack_ratio": crack_ratio, "crack_score": crack_score, "model_version": model_version}
    overlay = draw_overlay(examined.image_hwc_u8, examined.mask_hw)
    return Outcome(mask_png(examined.mask_hw), jpeg(overlay), {**examined.facts, **told})
