"""How wide a dark bar is that is seen across: where its darkness falls to half of its middle's.

Left to others: what is looked at (`profiles`), the photograph's blur (`widths`).
"""

import numpy as np
from numpy.typing import NDArray

from model.inference.skeleton import Float, Index

Rows = NDArray[np.float32]


def full_width(dark: Rows, across: Rows, within_px: Float) -> tuple[Float, Float, Float, Float]:
    """Of each row, the width at half of its bar's darkness, NaN where darkness doesn't fall to that; how far from the line that
    reaches; the darkness of the bar's middle half; and how fast it falls at both edges together, by the pixel.

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
    low = high = np.full(len(dark), np.nan)
    for _ in range(2):
        low, high = (_crossing(dark, across, peak, contrast / 2, side) for side in (-1, 1))
        is_usable = np.isfinite(low + high)
        middle = (np.where(is_usable, (low + high) / 2, across[peak]) - across[0]) / step_px  # in steps
        reach = np.where(is_usable, np.maximum((high - low) / 4, step_px / 2) / step_px, 0.5)
        first = np.clip(np.ceil(middle - reach), 0, n_across - 1).astype(np.int64)
        last = np.clip(np.floor(middle + reach), first, n_across - 1).astype(np.int64)
        contrast = np.where(is_usable, (total[rows, last + 1] - total[rows, first]) / (last + 1 - first), contrast)
        peak = np.clip(np.rint(middle), 0, n_across - 1).astype(np.int64)
    slope = np.zeros(len(dark))
    for edge in (low, high):
        at = np.where(np.isfinite(edge), edge, 0)
        slope += np.abs(_between(dark, across, at - 0.25) - _between(dark, across, at + 0.25))
    return high - low, np.maximum(high, -low), contrast, slope


def _between(dark: Rows, across: Rows, at: Float) -> Float:
    """Each row's value at a place across the line."""
    place = np.clip((at - across[0]) / (across[1] - across[0]), 0, len(across) - 1.001)
    inner = place.astype(np.int64)
    rows = np.arange(len(dark))
    return np.asarray(dark[rows, inner] + (place - inner) * (dark[rows, inner + 1] - dark[rows, inner]))


def _crossing(dark: Rows, across: Rows, peak: Index, level: Float, side: int) -> Float:
    """Where darkness falls below `level` on one side of the peak; NaN where it doesn't."""
    rows, columns = np.arange(len(dark)), np.arange(len(across), dtype=np.int16)
    is_beside = (columns > peak[:, None]) if side > 0 else (columns < peak[:, None])
    is_below = (dark < level.astype(np.float32)[:, None]) & is_beside
    outer = is_below.argmax(axis=1) if side > 0 else len(across) - 1 - is_below[:, ::-1].argmax(axis=1)
    inner = np.clip(outer - side, 0, len(across) - 1)
    drop = dark[rows, inner] - dark[rows, outer]
    share = np.clip((dark[rows, inner] - level) / np.where(drop > 0, drop, 1), 0, 1)
    step_px = across[1] - across[0]
    return np.asarray(np.where(is_below[rows, outer], across[inner] + side * share * step_px, np.nan), np.float64)
