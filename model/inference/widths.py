"""How wide cracks are, from the brightness across them: at half of the darkness, without the photograph's blur.

Where the photograph shows no clear darkness, the width is the mask's at even probability, less what that is too wide.
Left to others: what is seen across them (`profiles`).
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from model.inference.profiles import APART, Profiles
from model.inference.skeleton import Float, Index

_TOO_WIDE_PX = 0.6  # the mask at even probability
_LEAST_BLURS = 2.4  # a bar's width over the blur's standard deviation, below which its standard error is over a quarter
_SYSTEMATIC_PX = 0.15  # the figures of docs/findings.md
_MASK_LIMIT_PX = 3.0
_MASK_UNCERTAINTY_PX = 1.0


@dataclass(frozen=True)
class Widths:
    """In pixels.

    Attributes:
        width_px: (n,), at the places of the profiles.
        uncertainty_px: (cracks,), standard error of one of them.
        limit_px: (cracks,), what is narrower can't be told from a line without width, by the blur and contrast there.
    """

    width_px: Float
    uncertainty_px: Float
    limit_px: Float


def resolve(profiles: Profiles, crack: Index, n_cracks: int) -> Widths:
    """From what is seen across the cracks' lines to widths, without the photograph's blur.

    Args:
        crack: (n,), whose each profile is; rising.
    """
    dark_px, n_places = profiles.dark_px, np.bincount(crack, minlength=n_cracks)
    is_clear = np.isfinite(dark_px)
    is_dark = 2 * np.bincount(crack[is_clear], minlength=n_cracks) > n_places
    bar, seen, steep = _blurred_bars()
    (steepness,) = quantiles(profiles.steepness[is_clear], crack[is_clear], n_cracks, 0.5)
    (usual_px,) = quantiles(dark_px[is_clear], crack[is_clear], n_cracks, 0.5)
    ratio = np.interp(steepness, steep, bar)
    blur_px = usual_px / np.interp(ratio, bar, seen)
    is_wide = ratio >= _LEAST_BLURS  # otherwise blur and width can't be separated, and it is narrower than it appears
    limit_px = np.where(is_wide, _LEAST_BLURS * blur_px, usual_px)
    blur_there_px = blur_px[crack]
    bar_px = np.where(is_wide[crack], blur_there_px * np.interp(dark_px / blur_there_px, seen, bar), 0)
    by_mask_px = np.maximum(profiles.mask_px - _TOO_WIDE_PX, 0)
    width_px = np.where(is_dark[crack] & is_clear, bar_px, by_mask_px)
    is_same = crack[APART:] == crack[:-APART]
    apart_px = np.abs(width_px[APART:] - width_px[:-APART])[is_same]
    (median_px,) = quantiles(apart_px, crack[APART:][is_same], n_cracks, 0.5)
    random_px = 1.4826 / math.sqrt(2) * median_px
    random_px = np.where(np.isfinite(random_px), random_px, _MASK_UNCERTAINTY_PX)
    uncertainty_px = np.where(is_dark, np.hypot(random_px, _SYSTEMATIC_PX), _MASK_UNCERTAINTY_PX)
    return Widths(width_px, uncertainty_px, np.where(is_dark, limit_px, _MASK_LIMIT_PX))


def quantiles(values: Float, group: Index, n_groups: int, *shares: float) -> list[Float]:
    """Of each group's values, (n_groups,) for each share, linear between two; NaN where it has none.

    Args:
        group: of each value; rising.
    """
    first = np.searchsorted(group, np.arange(n_groups + 1))
    n = np.diff(first)
    rising = np.append(values, np.nan)
    for low, high in pairwise(first.tolist()):
        rising[low:high].sort()
    found = []
    for share in shares:
        place = first[:-1] + share * np.maximum(n - 1, 0)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(first[1:] - 1, low))
        found.append(np.where(n > 0, rising[low] + (place - low) * (rising[high] - rising[low]), np.nan))
    return found


@cache
def _blurred_bars() -> tuple[Float, Float, Float]:
    """Dark bars seen through a blur of 1 px (Gaussian): their widths, the widths at half of the darkness, the steepness.

    Darkness is that of the middle half, as the profiles have it (`half_darkness.full_width`).
    """
    bars = np.concatenate([np.linspace(0.02, 8, 200), np.geomspace(8.1, 800, 60)])
    seen, steep = [], []
    middle = np.linspace(-0.5, 0.5, 21)
    for bar in bars.tolist():

        def dark(at: float, bar: float = bar) -> float:
            return (math.erf((at + bar / 2) / math.sqrt(2)) - math.erf((at - bar / 2) / math.sqrt(2))) / 2

        contrast, edge = dark(0), 0.0
        for _ in range(2):
            low, high = 0.0, bar / 2 + 3
            for _ in range(40):
                edge = (low + high) / 2
                low, high = (edge, high) if dark(edge) > contrast / 2 else (low, edge)
            contrast = sum(dark(edge * share) for share in middle) / len(middle)
        slope = (math.exp(-((edge - bar / 2) ** 2) / 2) - math.exp(-((edge + bar / 2) ** 2) / 2)) / math.sqrt(2 * math.pi)
        seen.append(2 * edge)
        steep.append(2 * edge * slope / contrast)
    return bars, np.array(seen), np.array(steep)
