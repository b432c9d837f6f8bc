"""How wide a dark bar is that is seen across: where its darkness falls to half of its middle's.

Left to others: what is looked at (`profiles`), the photograph's blur (`widths`).
"""

import numpy as np
from numpy.typing import NDArray

from model.inference.skeleton import Float, Index

Rows = NDArray[np.float32]


def full_width(dark: Rows, across: Rows, within_px: Float) -> tuple[Float, Float, Float, Float]:
    """Of each row, the width at half of its bar's darkness, NaN where darkness doesn't fall to that; how far from the line that
    reaches; the darkness of the bar's middle half; and how fast it falls at the edges, by the pixel.

    Args:
        dark: (n, steps), how much darker than the wall.
        across: (steps,), where, in pixels from the line.
        within_px: (n,), how far from the line the darkest place may be.
    """
    rows, n_across, step_px = np.arange(len(dark)), len(across), float(across[1] - across[0])
    soft = dark.copy()
    soft[:, 1:-1] = (dark[:, :-2] + dark[:, 1:-1] + dark[:, 2:]) / 3
    peak = np.where(np.abs(across) <= within_px[:, None], soft, -np.inf).argmax(axis=1)
    contrast = dark[rows, peak].astype(np.float64)
    total = np.zeros((len(dark), n_across + 1), np.float32)
    np.cumsum(dark, axis=1, out=total[:, 1:])
    for _ in range(2):
        (low, low_drop), (high, high_drop) = (_crossing(dark, across, peak, contrast / 2, side) for side in (-1, 1))
        is_usable = np.isfinite(low + high)
        middle = (np.where(is_usable, (low + high) / 2, across[peak]) - across[0]) / step_px  # in steps
        reach = np.where(is_usable, np.maximum((high - low) / 4, step_px / 2) / step_px, 0.5)
        inner = (_sum_to(middle + reach, dark, total) - _sum_to(middle - reach, dark, total)) / (2 * reach)
        contrast = np.where(is_usable, inner, contrast)
        peak = np.clip(np.rint(middle), 0, n_across - 1).astype(np.int64)
    return high - low, np.maximum(high, -low), contrast, (low_drop + high_drop) / (2 * step_px)


def _sum_to(step: Float, dark: Rows, total: Rows) -> Float:
    """Of each row up to a place between its steps, of which each counts for half a step to either side."""
    place = np.clip(step + 0.5, 0, dark.shape[1] - 1e-6)
    whole, rows = place.astype(np.int64), np.arange(len(dark))
    return np.asarray(total[rows, whole] + (place - whole) * dark[rows, whole], np.float64)


def _crossing(dark: Rows, across: Rows, peak: Index, level: Float, side: int) -> tuple[Float, Float]:
    """Where darkness falls below `level` on one side of the peak, NaN where it doesn't; and by how much from step to step."""
    rows, columns = np.arange(len(dark)), np.arange(len(across), dtype=np.int16)
    is_beside = (columns > peak[:, None]) if side > 0 else (columns < peak[:, None])
    is_below = (dark < level.astype(np.float32)[:, None]) & is_beside
    outer = is_below.argmax(axis=1) if side > 0 else len(across) - 1 - is_below[:, ::-1].argmax(axis=1)
    inner = np.clip(outer - side, 0, len(across) - 1)
    drop = dark[rows, inner] - dark[rows, outer]
    share = np.clip((dark[rows, inner] - level) / np.where(drop > 0, drop, 1), 0, 1)
    step_px = across[1] - across[0]
    return np.where(is_below[rows, outer], across[inner] + side * share * step_px, np.nan), drop.astype(np.float64)
