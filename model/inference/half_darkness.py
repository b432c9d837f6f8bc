"""How wide a dark bar is in a profile across it: where its darkness falls to half of that of its middle.

Left to others: what is looked at (`profiles`), the photograph's blur (`widths`).
"""

import numpy as np
from numpy.typing import NDArray

from model.inference.skeleton import Float, Index

Seen = NDArray[np.float32]


def full_width(dark: Seen, across: Seen, within_px: Float) -> tuple[Float, Float, Float, Float]:
    """At each place, the width at half of its bar's darkness, NaN where darkness doesn't fall to that; how far from the line
    that reaches; the darkness of the bar's middle half; and how fast it falls at the edges, by the pixel.

    Args:
        dark: (steps, places), how much darker than the wall.
        across: (steps,), where, in pixels from the line.
        within_px: (places,), how far from the line the darkest place may be.
    """
    places, n_across, step_px = np.arange(dark.shape[1]), len(across), float(across[1] - across[0])
    soft = dark.copy()
    soft[1:-1] = (dark[:-2] + dark[1:-1] + dark[2:]) / 3
    soft[np.abs(across)[:, None] > within_px] = -np.inf
    peak = soft.argmax(axis=0)
    contrast = dark[peak, places].astype(np.float64)
    total = np.zeros((n_across + 1, dark.shape[1]), np.float32)
    for i, each in enumerate(dark):
        np.add(total[i], each, out=total[i + 1])
    for _ in range(2):
        (low, low_drop), (high, high_drop) = (_crossing(dark, across, peak, contrast / 2, side) for side in (-1, 1))
        is_usable = np.isfinite(low + high)
        middle = (np.where(is_usable, (low + high) / 2, across[peak]) - across[0]) / step_px  # in steps
        reach = np.where(is_usable, np.maximum((high - low) / 4, step_px / 2) / step_px, 0.5)
        inner = (_sum_to(middle + reach, dark, total) - _sum_to(middle - reach, dark, total)) / (2 * reach)
        contrast = np.where(is_usable, inner, contrast)
        peak = np.clip(np.rint(middle), 0, n_across - 1).astype(np.int64)
    return high - low, np.maximum(high, -low), contrast, (low_drop + high_drop) / (2 * step_px)


def _sum_to(step: Float, dark: Seen, total: Seen) -> Float:
    """At each place up to a point between two steps, of which each counts for half a step to either side."""
    place = np.clip(step + 0.5, 0, len(dark) - 1e-6)
    whole, places = place.astype(np.int64), np.arange(dark.shape[1])
    return np.asarray(total[whole, places] + (place - whole) * dark[whole, places], np.float64)


def _crossing(dark: Seen, across: Seen, peak: Index, level: Float, side: int) -> tuple[Float, Float]:
    """Where darkness falls below `level` on one side of the peak, NaN where it doesn't; and by how much from step to step."""
    places, n_across = np.arange(dark.shape[1]), len(across)
    level32, peak16 = level.astype(np.float32), peak.astype(np.int16)
    outer = np.full(len(level), -1, np.int16)
    for step in range(n_across - 1, -1, -1) if side > 0 else range(n_across):
        is_below = dark[step] < level32
        is_below &= (peak16 < step) if side > 0 else (peak16 > step)
        np.copyto(outer, step, where=is_below)
    is_there = outer >= 0
    outer = np.maximum(outer, 0).astype(np.int64)
    inner = np.clip(outer - side, 0, n_across - 1)
    drop = dark[inner, places] - dark[outer, places]
    share = np.clip((dark[inner, places] - level) / np.where(drop > 0, drop, 1), 0, 1)
    step_px = across[1] - across[0]
    return np.where(is_there, across[inner] + side * share * step_px, np.nan), drop.astype(np.float64)
