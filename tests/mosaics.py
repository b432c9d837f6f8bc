"""Orthomosaics of any size, drawn strip by strip: a wall with cracks of exact place and width, in the coordinates of a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window

from model.synthetic_cracks import fracture
from model.synthetic_wall import build_wall

Float = NDArray[np.float64]

STRIP_PX = 512
TEXTURE_PX = 512
SMOOTH = 15  # points of a path, some 2 px apart
DARKNESS = 0.75
PLACE = (565_000.0, 5_934_000.0)  # of the top left corner, in EPSG:25832: Hamburg


@dataclass(frozen=True)
class Crack:
    """A band along a line, (n, 2), x and y in pixels, (0, 0) the top-left corner of the top-left one."""

    path_xy: Float
    width_px: float

    @property
    def length_px(self) -> float:
        return float(np.hypot(*np.diff(self.path_xy, axis=0).T).sum())

    def distance(self, xy: Float) -> Float:
        """Of points, (n, 2), from its middle line."""
        nearest = np.full(len(xy), np.inf)
        for leg in _legs(self.path_xy):
            nearest = np.minimum(nearest, _distance(xy[:, 0], xy[:, 1], *leg))
        return nearest


def crack(seed: int, corners_xy: Sequence[tuple[float, float]], width_px: float) -> Crack:
    """One that bends on its way: a straight one is no crack to the model, and one that breaks at each pixel has no length."""
    path_xy = fracture(np.random.default_rng(seed), np.array(corners_xy), 0.12).astype(np.float64)
    kernel = np.full(SMOOTH, 1 / SMOOTH)
    return Crack(np.stack([np.convolve(axis, kernel, mode="valid") for axis in path_xy.T], axis=1)[::4], width_px)


def transform(m_per_px: float, turn_deg: float = 0.0) -> Affine:
    return Affine.translation(*PLACE) @ Affine.rotation(turn_deg) @ Affine.scale(m_per_px, -m_per_px)


def write_mosaic(
    path: Path,
    size_hw: tuple[int, int],
    cracks: Sequence[Crack],
    to_map: Affine,
    *,
    crs: str | None = "EPSG:25832",
    n_without_px: int = 0,
) -> None:
    """RGB and, with `n_without_px`, an opacity of 0 in as many columns at the left, more from row to row."""
    height, width = size_hw
    profile = {"driver": "GTiff", "height": height, "width": width, "dtype": "uint8", "tiled": True, "compress": "deflate"}
    profile |= {"count": 4, "alpha": "unspecified"} if n_without_px else {"count": 3}
    profile |= {"crs": crs, "transform": to_map, "zlevel": 1}

    with rasterio.open(path, "w", photometric="RGB", **profile) as file:
        for top in range(0, height, STRIP_PX):
            strip_hwc = draw(top, min(STRIP_PX, height - top), width, cracks)
            window = Window(0, top, width, len(strip_hwc))
            if n_without_px:
                rows = np.arange(top, top + len(strip_hwc))[:, None]
                has_data = np.arange(width) >= n_without_px + rows // 8
                strip_hwc[~has_data] = 0
                file.write(has_data.astype(np.uint8) * 255, 4, window=window)
            file.write(np.moveaxis(strip_hwc, -1, 0), [1, 2, 3], window=window)


def draw(top: int, n_rows: int, width: int, cracks: Sequence[Crack]) -> NDArray[np.uint8]:
    """Rows of the picture, RGB."""
    texture_hwc = _texture()
    rows, columns = np.arange(top, top + n_rows) % len(texture_hwc), np.arange(width) % len(texture_hwc)
    light_hwc = texture_hwc[rows[:, None], columns]
    for crack in cracks:
        for begin, end in _legs(crack.path_xy):
            margin = crack.width_px + 2
            low, high = np.minimum(begin, end) - margin, np.maximum(begin, end) + margin
            # Of a long leg only what lies in these rows.
            y = np.clip(np.array([top, top + n_rows]), low[1], high[1])
            if y[0] >= y[1]:
                continue
            if end[1] != begin[1]:
                at = begin[0] + np.clip((y + np.array([-margin, margin]) - begin[1]) / (end[1] - begin[1]), 0, 1) * (
                    end[0] - begin[0]
                )
                low[0], high[0] = max(low[0], at.min() - 3 * margin), min(high[0], at.max() + 3 * margin)
            left, right = np.clip([int(low[0]), int(high[0]) + 1], 0, width)
            first, last = np.clip([int(y[0]), int(np.ceil(y[1]))], top, top + n_rows) - top
            x, y = np.arange(left, right) + 0.5, np.arange(first, last)[:, None] + top + 0.5
            cover = np.clip(crack.width_px / 2 - _distance(x, y, begin, end) + 0.5, 0, 1)[..., None]
            part = light_hwc[first:last, left:right]
            np.minimum(part, texture_hwc[rows[first:last, None], columns[left:right]] * (1 - DARKNESS * cover), out=part)
    return (255 * np.clip(light_hwc, 0, 1) + 0.5).astype(np.uint8)


@cache
def _texture() -> Float:
    albedo_hwc = build_wall(np.random.default_rng(0), (TEXTURE_PX, TEXTURE_PX), "concrete").albedo_hwc
    albedo_hwc = albedo_hwc * (0.55 / albedo_hwc.mean())
    mirrored = np.concatenate([albedo_hwc, albedo_hwc[::-1]])
    return np.asarray(np.concatenate([mirrored, mirrored[:, ::-1]], axis=1), np.float32)


def _legs(path_xy: Float) -> list[tuple[Float, Float]]:
    return list(pairwise(path_xy))


def _distance(x: Float, y: Float, begin: Float, end: Float) -> Float:
    """From the stretch between two points."""
    way = end - begin
    share = np.clip(((x - begin[0]) * way[0] + (y - begin[1]) * way[1]) / (way @ way), 0, 1)
    return np.hypot(x - begin[0] - share * way[0], y - begin[1] - share * way[1])
