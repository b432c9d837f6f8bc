"""What one answer shows of the photograph, the model and the time it took, as figures to watch over many answers.

Left to others: how they are counted and published (`handler`), and what is worth an alarm (`monitoring`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SAMPLE_PX = 256
SUSPECTED_LEVEL = 26  # a tenth


@dataclass(frozen=True)
class Observation:
    """All but the times and the size are from 0 to 1.

    Attributes:
        decode_s, run_s, encode_s: seconds from the file's bytes to pixels, to probabilities, and to the answer's bytes.
        crack_ratio: share of the pixels called crack.
        confidence: see `confidence`.
        brightness, sharpness: see the functions of that name.
        megapixels: of the photograph.
    """

    decode_s: float
    run_s: float
    encode_s: float
    crack_ratio: float
    confidence: float
    brightness: float
    sharpness: float
    megapixels: float


def confidence(prob_hw_u8: NDArray[np.uint8]) -> float:
    """How certain a model is where it suspects a crack (a probability above a tenth): 1 is sure of every such pixel, also if
    there is none; 0 has no idea. Mean of abs(2p - 1); uint8, 255 = certain crack.
    """
    n_by_level = np.asarray(Image.fromarray(prob_hw_u8).histogram()[SUSPECTED_LEVEL:], np.float64)
    levels = np.arange(SUSPECTED_LEVEL, 256) / 255
    n_suspected = n_by_level.sum()
    return float(n_by_level @ np.abs(2 * levels - 1) / n_suspected) if n_suspected else 1.0


def brightness(image_hwc_u8: NDArray[np.uint8]) -> float:
    """Mean of the channels over some ten thousand pixels, evenly spread: 0 is black, 1 white."""
    height, width = image_hwc_u8.shape[:2]
    sample = image_hwc_u8[:: max(1, height // 128), :: max(1, width // 128)]
    return float(sample.mean()) / 255


def sharpness(image_hwc_u8: NDArray[np.uint8]) -> float:
    """Mean absolute Laplacian of the green channel in the middle of the photograph, at its own scale, as a share of 255.

    A photograph out of focus, or moved while it was taken, has little of it.
    """
    height, width = image_hwc_u8.shape[:2]
    top, left = max(0, (height - SAMPLE_PX) // 2), max(0, (width - SAMPLE_PX) // 2)
    green = image_hwc_u8[top : top + SAMPLE_PX, left : left + SAMPLE_PX, 1].astype(np.int16)
    around = green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:]
    return float(np.abs(around - 4 * green[1:-1, 1:-1]).mean()) / (4 * 255)
