"""From a crack mask to its connected parts, and to their skeletons of one pixel's width.

NumPy on what is crack instead of the picture: scikit-image's skeleton looks through 12 megapixels once for
each pixel of the widest crack (0.2 to 0.8 s), this takes time by the pixels that are crack, and no image needs another package.
Left to others: lines along the skeletons (`centre_lines`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Index = NDArray[np.int64]
Words = NDArray[np.uint64]

MIN_LENGTH_PX = 16  # a part whose bounding box has a shorter diagonal is a speck ...
MAX_FILL = 0.25  # ... and so is one that fills more of its diagonal's square: it is less than four times as long as wide
_BITS, _ONE, _LAST = 64, np.uint64(1), np.uint64(63)
_AT_ONCE = 4096  # words: what is asked of them stays in the processor's cache


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

    64 pixels of a row are one word, and what is asked of each is asked of all of them at once. Only words near a change are
    looked at again.
    """
    if not len(parts.at):
        return parts.at
    row = -(-parts.width // _BITS) + 2  # words, an empty one at either end
    y, x = np.divmod(parts.at, parts.width)
    word, bit = (y + 1) * row + 1 + x // _BITS, _ONE << (x % _BITS).astype(np.uint64)
    (first,) = np.nonzero(np.append(True, np.diff(word) != 0))
    words = np.zeros((height + 2) * row, np.uint64)
    words[word[first]] = np.bitwise_or.reduceat(bit, first)
    is_to_do = np.zeros((2, len(words)), np.bool_)  # in the first and the second half of a pass
    is_to_do[:, word[first]] = True
    around = np.add.outer([-row, 0, row], [-1, 0, 1]).ravel()
    half = n_idle = 0
    while n_idle < 2:
        listed = np.flatnonzero(is_to_do[half])
        listed = listed[words.take(listed) > 0]
        some = (listed[at : at + _AT_ONCE] for at in range(0, max(len(listed), 1), _AT_ONCE))
        goes = np.concatenate([_going(words, each, row, half) for each in some])
        words[listed] &= ~goes
        is_to_do[half] = False
        changed = listed[goes > 0]
        for offset in around:
            is_to_do[:, changed + offset] = True
        n_idle = 0 if len(listed) else n_idle + 1
        half = 1 - half
    return np.asarray(parts.at[words.take(word) & bit > 0])


def _going(words: Words, listed: Index, row: int, half: int) -> Words:
    """Of these words the pixels that go in this half of a pass, by their eight neighbours."""

    def row_of(offset: int) -> tuple[Words, Words, Words]:
        """The pixels to the left of each one, itself, and those to the right of it."""
        middle = words.take(listed + offset)
        left = middle << _ONE | words.take(listed + offset - 1) >> _LAST
        return left, middle, middle >> _ONE | words.take(listed + offset + 1) << _LAST

    (above_left, above, above_right), (left, itself, right), (below_left, below, below_right) = map(row_of, (-row, 0, row))
    ring = [above, above_right, right, below_right, below, below_left, left, above_left]
    following = [*ring[1:], ring[0]]
    pairs = [one & other for one, other in zip(ring, following, strict=True)]
    begins = has_begun = has_twice = has_three = np.zeros_like(itself)
    is_closed = ~begins  # no two neighbours in a row are missing: more than six are there
    for i, (one, other) in enumerate(zip(ring, following, strict=True)):
        begins = other & ~one
        has_twice = has_twice | has_begun & begins
        has_begun = has_begun | begins
        has_three = has_three | pairs[i] & pairs[i - 1]
        is_closed = is_closed & (one | other)
    keeps = (above & right & below) | (right & below & left) if half == 0 else (above & right & left) | (above & below & left)
    return np.asarray(itself & has_begun & ~has_twice & has_three & ~is_closed & ~keeps)
