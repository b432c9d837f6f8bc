"""Crack probability over all of a mosaic, with the seams of a photograph: the same tiles, blended by the same code.

Files beside the results hold what doesn't fit into memory: the reduced mosaics, and the probability of each pass. A pass is
done when its file is complete; an interrupted one continues with the row of tiles before the one it was at. Left to others:
using the probability (`blocks`, `writing`).
"""

import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.inference.card import ModelCard
from model.inference.certainty import Cells
from model.inference.scales import join, passes
from model.inference.tiling import Grid, padded
from survey.mosaic.raster import Raster
from survey.processes import Core, Processes

_STRIP_PX = 512  # rows at a time, a multiple of every reduction
_MARGIN_PX = 32  # rows beyond the strip, a multiple of every reduction: opening and enlarging reach less far


class Plane:
    """An 8-bit picture in a file, (height, width) or with channels, written from top to bottom."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._row_bytes = int(np.prod(shape[1:]))
        self._file = path.open("r+b" if path.exists() else "w+b")

    @property
    def n_rows(self) -> int:
        """The number of rows written so far."""
        return self._file.seek(0, os.SEEK_END) // self._row_bytes

    def write(self, top: int, rows: NDArray[np.uint8]) -> None:
        """Write rows directly below the written ones, or over them."""
        self._file.seek(top * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._file.flush()

    def read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        self._file.seek(top * self._row_bytes)
        rows = np.frombuffer(self._file.read((bottom - top) * self._row_bytes), np.uint8)
        return rows.reshape(bottom - top, *self.shape[1:])

    def close(self) -> None:
        self._file.close()


class Passes:
    """Everything from the mosaic's pixels to their probability.

    Args:
        folder: for its files; those of an interrupted run of the same mosaic and model are continued.
        advance: called with the number of tiles that have been done since.
    """

    def __init__(self, raster: Raster, processes: Processes, folder: Path, advance: Callable[[int], object]) -> None:
        self._raster, self._processes, self._advance = raster, processes, advance
        self._card: ModelCard = processes.card
        height, width = raster.size_hw
        factors = passes(raster.size_hw, self._card.reductions, self._card.least_px)
        self._sizes = {factor: (-(-height // factor), -(-width // factor)) for factor in factors}
        self._grids = {
            factor: Grid.cut(size_hw, self._card.tile_px, self._card.overlap_px, self._card.stride)
            for factor, size_hw in self._sizes.items()
        }
        self._reduced = {factor: Plane(folder / f"reduced-{factor}", (*self._sizes[factor], 4)) for factor in factors[1:]}
        self._probs = {factor: Plane(folder / f"probability-{factor}", size_hw) for factor, size_hw in self._sizes.items()}
        joined = {factor: Plane(folder / f"joined-{factor}", self._sizes[factor]) for factor in factors[:-1]}
        self._joined = {**joined, factors[-1]: self._probs[factors[-1]]}

    @property
    def n_tiles(self) -> int:
        return sum(len(grid.rows.starts) * len(grid.columns.starts) for grid in self._grids.values())

    def close(self) -> None:
        for plane in (*self._reduced.values(), *self._probs.values(), *self._joined.values()):
            plane.close()

    def run(self) -> None:
        """Raises StoppedError, and what the processes raise."""
        self._reduce()
        for factor in self._sizes:
            self._predict(factor)

    def join(self) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.bool_]]]:
        """Join the passes once all are done; yields each strip's first row, its probability (height, width; 255 = certain, 0
        without data), and which pixels have data. Afterwards `read` returns joined rows. May be called again.
        """
        for former, factor in pairwise(sorted(self._sizes, reverse=True)):
            for top, bottom in self._strips(factor):
                self._joined[factor].write(top, self._join(factor, former, top, bottom))
        cells = Cells(self._raster.size_hw, self._card)
        for top, bottom in self._strips(1):
            cells.add(self._with_data(top, bottom)[0], top)
        cells.group()
        for top, bottom in self._strips(1):
            prob_hw_u8, is_valid = self._with_data(top, bottom)
            prob_hw_u8 = cells.lower(prob_hw_u8, top)
            self._joined[1].write(top, prob_hw_u8)
            yield top, prob_hw_u8, is_valid

    def read(self, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows of the joined probability."""
        return self._joined[1].read(top, bottom)

    def _strips(self, factor: int) -> Iterator[tuple[int, int]]:
        height = self._sizes[factor][0]
        return ((top, min(top + _STRIP_PX, height)) for top in range(0, height, _STRIP_PX))

    def _join(self, factor: int, former: int, top: int, bottom: int) -> NDArray[np.uint8]:
        """Rows of the pass reduced by `factor`, joined with the one reduced by `former`, which is joined itself."""
        first, last = max(top - _MARGIN_PX, 0), min(bottom + _MARGIN_PX, self._sizes[factor][0])
        ratio, card = former // factor, self._card
        reduced = self._joined[former].read(first // ratio, -(-last // ratio))
        joined = join(self._probs[factor].read(first, last), reduced, ratio, card.wide_px, card.narrow_px, card.sure)
        return joined[top - first : bottom - first]

    def _with_data(self, top: int, bottom: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        is_valid = self._raster.read_valid(top, bottom - top)
        return np.where(is_valid, self.read(top, bottom), np.uint8(0)), is_valid

    def _reduce(self) -> None:
        height, width = self._raster.size_hw
        done = [plane.n_rows * factor for factor, plane in self._reduced.items()]
        for top in range(min(done, default=height) // _STRIP_PX * _STRIP_PX, height, _STRIP_PX):
            n_rows = min(_STRIP_PX, height - top)
            image_hwc_u8, is_valid = self._raster.read(top, 0, n_rows, width)
            for factor, plane in self._reduced.items():
                rows = np.empty((-(-n_rows // factor), plane.shape[1], 4), np.uint8)
                rows[..., :3] = np.asarray(Image.fromarray(image_hwc_u8).reduce(factor))
                rows[..., 3] = np.asarray(Image.fromarray(is_valid.astype(np.uint8) * 255).reduce(factor)) > 0
                plane.write(top // factor, rows)

    def _predict(self, factor: int) -> None:
        grid, plane = self._grids[factor], self._probs[factor]
        height, width = plane.shape
        tops = grid.rows.starts
        begun = sum(plane.n_rows >= bottom for bottom in (*tops[1:], height))
        first = max(begun - 1, 0)
        self._advance(first * len(grid.columns.starts))
        if begun == len(tops):
            self._advance(len(grid.columns.starts))
            return
        tiles = self._processes.in_order(self._tiles(factor, first))
        for index, rows in enumerate(grid.stitch(tiles, first), first):
            if index >= begun:
                plane.write(tops[index], rows[: height - tops[index], :width])

    def _tiles(self, factor: int, first_row: int) -> Iterator[Callable[[], NDArray[np.float32] | None]]:
        grid = self._grids[factor]
        height, width = self._sizes[factor]
        for top in grid.rows.starts[first_row:]:
            bottom = min(top + grid.rows.size, height)
            if factor == 1:
                image_hwc_u8, is_valid = self._raster.read(top, 0, bottom - top, width)
            else:
                rows = self._reduced[factor].read(top, bottom)
                image_hwc_u8, is_valid = rows[..., :3], rows[..., 3] > 0
            image_hwc_u8 = padded(image_hwc_u8, grid.rows.size, grid.columns.size)
            for left in grid.columns.starts:
                part = slice(left, left + grid.columns.size)
                yield self._call(np.ascontiguousarray(image_hwc_u8[:, part]), bool(is_valid[:, part].any()))

    def _call(self, tile_hwc_u8: NDArray[np.uint8], has_data: bool) -> Callable[[], NDArray[np.float32] | None]:
        def call() -> NDArray[np.float32] | None:
            prob_hw = self._processes.call(_predict_tile, tile_hwc_u8) if has_data else None
            self._advance(1)
            return prob_hw

        return call


def _predict_tile(core: Core, tile_hwc_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
    return core.segmenter.predict_tile(tile_hwc_u8)
