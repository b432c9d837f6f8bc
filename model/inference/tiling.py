"""A photograph of any size through a network of limited size: overlapping tiles, blended where they overlap.

The photograph is never scaled. Tiles of one photograph are all of one size, cut so that they cover it with little more than
the wanted overlap, and are finished row by row: beside photograph and result only one row of tiles is in memory.
"""

from collections.abc import Callable, Iterable, Iterator
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


@dataclass(frozen=True)
class Grid:
    """How a picture is cut both ways, its tiles row by row from the top left."""

    rows: Axis
    columns: Axis

    @classmethod
    def cut(cls, size_hw: tuple[int, int], tile_px: int, overlap_px: int, stride: int) -> "Grid":
        return cls(*(Axis.cut(length, tile_px, overlap_px, stride) for length in size_hw))

    def stitch(self, probs_hw: Iterable[NDArray[np.float32] | None], first_row: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Rows of the whole picture, (n, width), as soon as they are finished; 255 = certain crack.

        Args:
            probs_hw: the crack probability of one tile after the other, from the row of tiles `first_row` on; None is none.
                What `first_row` finishes lacks what the row of tiles above would add to its top.

        Raises:
            ValueError: these are no probabilities.
        """
        probs_hw = iter(probs_hw)
        row_weights, column_weights = self.rows.weights(), self.columns.weights()
        tops, width = self.rows.starts, self.columns.starts[-1] + self.columns.size
        shared_with_next = np.zeros((0, width), np.float32)
        for index in range(first_row, len(tops)):
            band = np.zeros((self.rows.size, width), np.float32)
            for left, weights in zip(self.columns.starts, column_weights, strict=True):
                prob_hw = next(probs_hw)
                if prob_hw is not None:
                    band[:, left : left + self.columns.size] += prob_hw * weights
            band *= row_weights[index][:, None]
            band[: len(shared_with_next)] += shared_with_next
            # NaN, or values out of range, would wrap round to "no crack" below.
            if not (band.min() >= -PROBABILITY_TOLERANCE and band.max() <= 1 + PROBABILITY_TOLERANCE):
                raise ValueError(f"The network gave {band.min()} to {band.max()}, expected probabilities from 0 to 1.")
            is_last = index == len(tops) - 1
            n_finished = self.rows.size if is_last else tops[index + 1] - tops[index]
            yield np.rint(band[:n_finished] * 255).astype(np.uint8)
            shared_with_next = band[n_finished:]


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
    grid = Grid.cut((height, width), tile_px, overlap_px, stride)
    rows, columns = grid.rows, grid.columns
    image_hwc_u8 = padded(image_hwc_u8, rows.size, columns.size)
    prob_hw_u8 = np.empty(image_hwc_u8.shape[:2], np.uint8)
    tiles = (image_hwc_u8[top : top + rows.size, left : left + columns.size] for top in rows.starts for left in columns.starts)
    finished = 0
    for band in grid.stitch(map(predict, tiles)):
        prob_hw_u8[finished : finished + len(band)] = band
        finished += len(band)
    return np.ascontiguousarray(prob_hw_u8[:height, :width])


def padded(image_hwc_u8: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Mirror the photograph at its lower and right edge where it is smaller than one tile."""
    missing = (max(height - image_hwc_u8.shape[0], 0), max(width - image_hwc_u8.shape[1], 0))
    if missing == (0, 0):
        return image_hwc_u8
    return np.pad(image_hwc_u8, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect")
