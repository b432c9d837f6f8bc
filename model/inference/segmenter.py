"""A photograph's crack probability: normalise, run the network over its tiles at each scale, stitch, lower what is unsure.

The network itself comes in from outside as a `Run`, so that ONNX Runtime in production and PyTorch in training and evaluation
go through the same code.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.inference.card import ModelCard
from model.inference.certainty import lower_unsure
from model.inference.scales import predict_scales
from model.inference.tiling import predict_tiled

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From a normalised batch, float32 (N, 3, H, W), to crack probability, float32 (N, 1, H, W) in 0..1."""


class Segmenter:
    """One model, ready to predict photographs."""

    def __init__(self, card: ModelCard, run: Run) -> None:
        self.card = card
        self._run = run
        self._scale = 1 / np.asarray(card.deviation, np.float32).reshape(1, 3, 1, 1)
        self._shift = -np.asarray(card.mean, np.float32).reshape(1, 3, 1, 1) * self._scale

    def probability(self, image_hwc_u8: NDArray[np.uint8], is_high_quality: bool = False) -> NDArray[np.uint8]:
        """Crack probability at the photograph's own size: uint8 (height, width), 255 = certain.

        High quality averages over the photograph's eight mirror images and quarter turns, at eight times the cost.
        """
        if not is_high_quality:
            return lower_unsure(self._all_scales(image_hwc_u8), self.card)
        total = np.zeros(image_hwc_u8.shape[:2], np.uint16)
        for n_turns in range(4):
            turned = np.rot90(image_hwc_u8, n_turns)
            total += np.rot90(self._all_scales(turned), -n_turns)
            total += np.rot90(self._all_scales(turned[:, ::-1])[:, ::-1], -n_turns)
        return lower_unsure(((total + 4) // 8).astype(np.uint8), self.card)

    def _all_scales(self, image_hwc_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
        card = self.card
        return predict_scales(
            image_hwc_u8,
            self._single_pass,
            card.reductions,
            least_px=card.least_px,
            wide_px=card.wide_px,
            narrow_px=card.narrow_px,
            sure=card.sure,
        )

    def _single_pass(self, image_hwc_u8: NDArray[np.uint8]) -> NDArray[np.uint8]:
        card = self.card
        return predict_tiled(
            image_hwc_u8, self.predict_tile, tile_px=card.tile_px, overlap_px=card.overlap_px, stride=card.stride
        )

    def predict_tile(self, tile_hwc_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crack probability in 0..1, float32 (height, width), of a tile whose sides are multiples of the card's stride."""
        batch_nchw = np.ascontiguousarray(tile_hwc_u8.transpose(2, 0, 1)[None], dtype=np.float32)
        batch_nchw *= self._scale
        batch_nchw += self._shift
        prob_hw: NDArray[np.float32] = self._run(batch_nchw)[0, 0]
        return prob_hw
