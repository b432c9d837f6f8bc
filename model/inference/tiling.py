"""A photograph of any size through a network of limited size: overlapping tiles, blended where they overlap.

The photograph is never scaled. Tiles of one photograph are all of one size, cut so that they cover it with little more than
the wanted overlap, and are finished row by row: beside photograph and result only one row of tiles is in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From a tile, uint8 (height, width, 3), to its crack probability, float32 (height, width) in 0..1."""

PROBABILITY_TOLERANCE = 1e-3  # under half a level of the 256


@dataclass(frozen=True)
class Axis:
    """How one side of a photograph is cut: tiles of `size` pixels that begin at `starts`."""

    size: int
    starts: tuple[int, ...]

    @classmethod
    def cut(cls, length: int, tile_px: int, overlap_px: int, stride: int) -> "Axis":
        """Cut `length` pixels into the fewest tiles of at most `tile_px`, all of one size, a multiple of `stride`.

        A side that fits into one tile is one tile, at most `stride - 1` pixels longer than the side.
        """
        n_tiles = max(1, -(-(length - overlap_px) // (tile_px - overlap_px)))
        size = -(-(length + (n_tiles - 1) * overlap_px) // (n_tiles * stride)) * stride
        last_start = max(length - size, 0)
        return cls(size, tuple(round(index * last_start / max(n_tiles - 1, 1)) for index in range(n_tiles)))

    def weights(self) -> NDArray[np.float32]:
        """Weight of each pixel of each tile, (n_tiles, size); over all tiles that hold a pixel they add up to one."""
        weights = np.ones((len(self.starts), self.size), np.float32)
        for index in range(len(self.starts) - 1):
            n_shared = self.starts[index] + self.size - self.starts[index + 1]
            rising = (np.arange(n_shared, dtype=np.float32) + 0.5) / n_shared
            weights[index, self.size - n_shared :] -= rising
            weights[index + 1, :n_shared] = rising
        return weights


def predict_tiled(
    image_hwc_u8: NDArray[np.uint8], predict: Predict, *, tile_px: int, overlap_px: int, stride: int
) -> NDArray[np.uint8]:
    """Crack probability at the photograph's own size, uint8 (height, width), 255 = certain.

    Args:
        image_hwc_u8: any height and width.
        predict: called with one tile after the other; every tile has the same height and width, multiples of `stride`.

    Raises:
        ValueError: `predict` gave something other than probabilities.
    """
    height, width = image_hwc_u8.shape[:2]
    rows = Axis.cut(height, tile_px, overlap_px, stride)
    columns = Axis.cut(width, tile_px, overlap_px, stride)
    image_hwc_u8 = _pad(image_hwc_u8, rows.size, columns.size)
    row_weights, column_weights = rows.weights(), columns.weights()
    prob_hw_u8 = np.empty(image_hwc_u8.shape[:2], np.uint8)
    shared_with_next = np.zeros((0, image_hwc_u8.shape[1]), np.float32)
    for index, top in enumerate(rows.starts):
        band = np.zeros((rows.size, image_hwc_u8.shape[1]), np.float32)
        for left, weights in zip(columns.starts, column_weights, strict=True):
            tile = image_hwc_u8[top : top + rows.size, left : left + columns.size]
            band[:, left : left + columns.size] += predict(tile) * weights
        band *= row_weights[index][:, None]
        band[: len(shared_with_next)] += shared_with_next
        # NaN, or what overshoots, would wrap round to "no crack" below.
        if not (band.min() >= -PROBABILITY_TOLERANCE and band.max() <= 1 + PROBABILITY_TOLERANCE):
            raise ValueError(f"The network gave {band.min()} to {band.max()}, expected probabilities from 0 to 1.")
        is_last = index == len(rows.starts) - 1
        n_finished = rows.size if is_last else rows.starts[index + 1] - top
        prob_hw_u8[top : top + n_finished] = np.rint(band[:n_finished] * 255)
        shared_with_next = band[n_finished:]
    return np.ascontiguousarray(prob_hw_u8[:height, :width])


def _pad(image_hwc_u8: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Mirror the photograph at its lower and right edge where it is smaller than one tile."""
    missing = (max(height - image_hwc_u8.shape[0], 0), max(width - image_hwc_u8.shape[1], 0))
    if missing == (0, 0):
        return image_hwc_u8
    return np.pad(image_hwc_u8, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect")
