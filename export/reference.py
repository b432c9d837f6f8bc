"""What drift in production is measured against: how the watched figures spread over validation photographs.

Each figure becomes the histogram that the handler (`handler/metrics.yaml`) would have published, had it answered these
photographs, so that Prometheus can hold one against the other. Left to others: how far apart is too far (`monitoring`).
"""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from model.dataset import LabelledPhotograph
from model.inference.card import threshold_level
from model.inference.observation import brightness, confidence, sharpness
from model.inference.segmenter import Segmenter

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0)  # those of TorchServe's that a ratio can fall into


def measure_reference(segmenter: Segmenter, photographs: Sequence[LabelledPhotograph]) -> dict[str, dict[str, float]]:
    """By figure, the number of photographs at or below each bucket's bound, `+Inf` for all of them, and their `sum`."""
    level = threshold_level(segmenter.card.threshold)
    seen: dict[str, list[float]] = {
        name: [] for name in ("area_ratio", "confidence_ratio", "brightness_ratio", "sharpness_ratio")
    }
    for photograph in tqdm(photographs, desc="measuring the reference", unit="photo", leave=False):
        prob_hw_u8 = segmenter.probability(photograph.image_hwc_u8)
        seen["area_ratio"].append(float((prob_hw_u8 >= level).mean()))
        seen["confidence_ratio"].append(confidence(prob_hw_u8))
        seen["brightness_ratio"].append(brightness(photograph.image_hwc_u8))
        seen["sharpness_ratio"].append(sharpness(photograph.image_hwc_u8))
    return {name: _histogram(np.array(values)) for name, values in seen.items()}


def _histogram(values: np.ndarray) -> dict[str, float]:
    counts = {str(bound): int((values <= bound).sum()) for bound in BUCKETS}
    return counts | {"+Inf": len(values), "sum": round(float(values.sum()), 4)}
