"""From a crack mask to its connected parts, and to their skeletons of one pixel's width.

NumPy on the list of crack pixels instead of the picture: scikit-image's skeleton looks through 12 megapixels once for
each pixel of the widest crack (0.2 to 0.8 s), this takes time by the pixels that are crack, and no image needs another package.
Left to others: lines along the skeletons (`centre_lines`).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]

MIN_LENGTH_PX = 16  # a part whose bounding box has a shorter diagonal is a speck ...
MAX_FILL = 0.25  # ... and so is one that fills more of its diagonal's square: it is less than four times as long as wide


@dataclass(frozen=True)
class Parts:
    """The mask's connected parts that are no specks.

    Attributes:
        at: flat indices of their pixels, rising, in a picture of `width` pixels a row.
        part: of each of them, 0 to n - 1.
        area_px: of each part.
        boxes_px: (n, 4), left, top, right and bottom of each part.
    """

    at: Index
    part: Index
    area_px: Index
    boxes_px: Index
    width: int


def find_parts(mask_hw: NDArray[np.bool_]) -> Parts:
    """Pixels that touch, by side or corner, are one part; specks are left out (`MIN_LENGTH_PX`, `MAX_FILL`)."""
    height, width = mask_hw.shape
    at = np.flatnonzero(mask_hw)
    if not len(at):
        return Parts(at, at, at, np.empty((0, 4), np.int64), width)
    is_start = np.append(True, np.diff(at) != 1)
    rows = np.searchsorted(at, np.arange(height) * width)
    is_start[rows[rows < len(at)]] = True
    first = np.flatnonzero(is_start)
    n_pixels = np.diff(np.append(first, len(at)))
    y, left = np.divmod(at[first], width)
    right = left + n_pixels
    # Rows with one empty pixel between them, so that a run's neighbours are those of the rows above and below alone.
    begin, end = y * (width + 1) + left, y * (width + 1) + right - 1
    low = np.searchsorted(end, begin + width)  # the first run of the next row that reaches this one or its corners
    high = np.searchsorted(begin, end + width + 2, side="right")
    upper, lower = expand(low, np.maximum(high - low, 0))
    root = _connected(len(first), upper, lower)
    _, run_part = np.unique(root, return_inverse=True)
    n_parts = int(run_part.max()) + 1
    boxes_px = np.repeat([[width, height, 0, 0]], n_parts, axis=0)
    for column, extreme, values in ((0, np.minimum, left), (1, np.minimum, y), (2, np.maximum, right), (3, np.maximum, y + 1)):
        extreme.at(boxes_px[:, column], run_part, values)
    area_px = np.bincount(run_part, n_pixels, n_parts).astype(np.int64)
    diagonal2 = ((boxes_px[:, 2:] - boxes_px[:, :2]) ** 2.0).sum(axis=1)
    is_kept = (diagonal2 >= MIN_LENGTH_PX**2) & (area_px <= MAX_FILL * diagonal2)
    number = np.where(is_kept, np.cumsum(is_kept) - 1, -1)
    part = np.repeat(number[run_part], n_pixels)
    is_chosen = part >= 0
    return Parts(at[is_chosen], part[is_chosen], area_px[is_kept], boxes_px[is_kept], width)


def expand(first: Index, count: Index, step: int = 1) -> tuple[Index, Index]:
    """For each i `count[i]` pairs: (i, first[i]), (i, first[i] + step) and so on."""
    left = np.repeat(np.arange(len(first)), count)
    offset = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    return left, first[left] + step * offset


def _connected(n: int, left: Index, right: Index) -> Index:
    """The smallest number that each of 0 to n - 1 is connected with by the pairs."""
    root = np.arange(n)
    while True:
        pair_low = np.minimum(root[left], root[right])
        pair_high = np.maximum(root[left], root[right])
        if (pair_low == pair_high).all():
            return root
        np.minimum.at(root, pair_high, pair_low)
        while (root != root[root]).any():
            root = root[root]


def thin(parts: Parts, height: int) -> Index:
    """The skeleton's pixels: lines of one pixel, connected as the parts are (Zhang and Suen 1984, with Lü
    and Wang's change of 1986, without which lines at 45 degrees vanish).

    Only pixels whose neighbours have changed are looked at; those that the next half of a pass may take are kept for it.
    """
    padded = parts.width + 2
    plane = np.zeros((height + 2) * padded, np.uint8)
    pixels = (parts.at // parts.width + 1) * padded + parts.at % parts.width + 1
    plane[pixels] = 1
    inner = cv2.erode(plane.reshape(height + 2, padded), np.ones((3, 3), np.uint8)).ravel()
    around = np.array([-padded, -padded + 1, 1, padded + 1, padded, padded - 1, -1, -padded - 1])  # clockwise from above
    tables = _thinning_tables()
    either = tables[0] | tables[1]

    def with_codes(at: Index) -> tuple[Index, NDArray[np.uint8]]:
        code = np.zeros(len(at), np.uint8)
        for bit, offset in enumerate(around):
            code |= plane.take(at + offset) << np.uint8(bit)
        may_go = either.take(code)
        return at[may_go], code[may_go]

    changed, code = with_codes(pixels[inner.take(pixels) == 0])
    unchanged, step = changed[:0], 0
    while len(changed) or len(unchanged):
        goes = tables[step].take(code)
        taken = np.concatenate([changed[goes], unchanged])
        plane[taken] = 0
        found = []
        for offset in around:
            beside = taken + offset
            beside = beside[plane.take(beside) == 1]
            plane[beside] = 3  # found: none is there twice
            found.append(beside)
        left = changed[~goes]  # the other table lets them go, if their neighbours stay
        unchanged = left[plane.take(left) == 1]
        beside = np.concatenate(found)
        plane[beside] = 1
        changed, code = with_codes(beside)
        step = 1 - step
    remaining = pixels[plane.take(pixels) == 1]
    return np.asarray((remaining // padded - 1) * parts.width + remaining % padded - 1)


def _thinning_tables() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether a pixel goes, by its eight neighbours as bits, in the first and in the second half of a pass."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    count = bits.sum(axis=1)
    n_rises = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    above, right, below, left = (bits[:, i] == 1 for i in (0, 2, 4, 6))
    goes = (count >= 3) & (count <= 6) & (n_rises == 1)
    return (
        goes & ~(above & right & below) & ~(right & below & left),
        goes & ~(above & right & left) & ~(above & below & left),
    )
