"""The network in 8-bit integers (post-training quantisation), and the gate: which backends' masks are as good as float32's."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from tqdm import tqdm

from model.checkpoint import REFERENCE
from model.dataset import LabelledPhotograph
from model.inference import runtime
from model.inference.card import Backend, ModelCard, threshold_level
from model.inference.segmenter import Segmenter
from model.metrics import count_levels, scores_at

# NNCF reports each quantisation to its maker unless it takes this for a machine of theirs.
os.environ.setdefault("NNCF_CI", "1")

import nncf


def write_int8(folded: onnx.ModelProto, card: ModelCard, photographs: Sequence[LabelledPhotograph], path: Path) -> None:
    """Write a `folded` network with the convolutions that gain from it in 8 bits: weights by channel, activations unsigned.

    Ranges are those met on `photographs`, and what quantising shifts on the mean goes into the biases (NNCF's
    `quantize`, Kozlov et al. 2020, https://arxiv.org/abs/2002.08679).
    """
    batches: list[dict[str, np.ndarray]] = []

    def keep(batch_nchw: np.ndarray) -> np.ndarray:
        batches.append({"batch_nchw": batch_nchw.copy()})
        return np.zeros_like(batch_nchw[:, :1])

    for photograph in photographs:
        Segmenter(card, keep).probability(photograph.image_hwc_u8)
    quantised = nncf.quantize(folded, nncf.Dataset(batches), subset_size=len(batches))
    onnx.checker.check_model(quantised, full_check=True)
    onnx.save(quantised, path)


def measure(folder: Path, card: ModelCard, photographs: Sequence[LabelledPhotograph], n_threads: int) -> dict[Backend, float]:
    """The crack IoU, counts pooled over all photographs at the card's threshold, with each backend this processor has."""
    iou: dict[Backend, float] = {}
    for backend in filter(runtime.is_usable, runtime.BACKENDS):
        segmenter = Segmenter(card, runtime.load(folder, backend, n_threads))
        levels = [
            count_levels(segmenter.probability(photograph.image_hwc_u8), photograph.mask_hw)
            for photograph in tqdm(photographs, desc=f"measuring {backend}", unit="photo", leave=False)
        ]
        iou[backend] = scores_at(np.stack(levels), threshold_level(card.threshold)).iou
    return iou


def passed(iou: dict[Backend, float], largest_loss: float) -> tuple[Backend, ...]:
    """The backends whose crack IoU is at most `largest_loss` below float32's."""
    return tuple(backend for backend, value in iou.items() if value >= iou[REFERENCE] - largest_loss)
