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
_ALL = ~np.uint64(0)
_OUTER = _ONE | _ONE << _LAST  # a word's leftmost and its rightmost pixel
_AT_ONCE = 8192  # words: what is asked of them stays in the processor's cache


@dataclass(frozen=True)
class Parts:
    """The mask's connected parts that are no specks, as runs: pixels side by side in a row.

    Attributes:
        first: flat indices of the runs' first pixels, rising, in a picture of `width` pixels a row.
        n_pixels: of each run.
        part: whose each run is, 0 to n - 1.
        area_px: of each part.
        boxes_px: (n, 4), left, top, right and bottom of each part.
    """

    first: Index
    n_pixels: Index
    part: Index
    area_px: Index
    boxes_px: Index
    width: int

    def pixels(self, group: Index, n_groups: int) -> list[Index]:
        """Of each group of parts, the flat indices of its pixels.

        Args:
            group: of each part, 0 to n_groups - 1; `n_groups` for none.
        """
        of_run = group[self.part]
        runs = np.argsort(of_run, kind="stable")
        bounds = np.searchsorted(of_run[runs], np.arange(n_groups + 1))
        runs = runs[: bounds[-1]]
        _, at = expand(self.first[runs], self.n_pixels[runs])
        return np.split(at, np.append(0, np.cumsum(self.n_pixels[runs]))[bounds[1:-1]])


def find_parts(mask_hw: NDArray[np.bool_]) -> Parts:
    """Pixels that touch, by side or corner, are one part; specks are left out (`MIN_LENGTH_PX`, `MAX_FILL`)."""
    height, width = mask_hw.shape
    is_bound = np.empty((height, width + 1), np.bool_)  # rows with one empty pixel between them
    np.not_equal(mask_hw[:, 1:], mask_hw[:, :-1], out=is_bound[:, 1:-1])
    is_bound[:, 0], is_bound[:, -1] = mask_hw[:, 0], mask_hw[:, -1]
    begin, end = np.flatnonzero(is_bound).reshape(-1, 2).T
    y, left = np.divmod(begin, width + 1)
    n_pixels, right = end - begin, left + end - begin
    low = np.searchsorted(end, begin + width + 1)  # the first run of the next row that reaches this one or its corners
    high = np.searchsorted(begin, end + width + 1, side="right")
    upper, lower = expand(low, np.maximum(high - low, 0))
    root = _connected(len(begin), upper, lower)
    is_root = root == np.arange(len(root))
    part = (np.cumsum(is_root) - 1)[root]
    n_parts = int(np.count_nonzero(is_root))
    boxes_px = np.repeat([[width, height, 0, 0]], n_parts, axis=0)
    for column, extreme, values in ((0, np.minimum, left), (1, np.minimum, y), (2, np.maximum, right), (3, np.maximum, y + 1)):
        extreme.at(boxes_px[:, column], part, values)
    area_px = np.bincount(part, n_pixels, n_parts).astype(np.int64)
    diagonal2 = ((boxes_px[:, 2:] - boxes_px[:, :2]) ** 2.0).sum(axis=1)
    is_kept = (diagonal2 >= MIN_LENGTH_PX**2) & (area_px <= MAX_FILL * diagonal2)
    is_chosen = is_kept[part]
    part = (np.cumsum(is_kept) - 1)[part[is_chosen]]
    return Parts((begin - y)[is_chosen], n_pixels[is_chosen], part, area_px[is_kept], boxes_px[is_kept], width)


def expand(first: Index, count: Index, step: int = 1) -> tuple[Index, Index]:
    """For each i `count[i]` pairs: (i, first[i]), (i, first[i] + step) and so on."""
    left = np.repeat(np.arange(len(first)), count)
    right = np.repeat(first - step * (np.cumsum(count) - count), count)
    right += np.arange(0, step * len(right), step)
    return left, right


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
    """The skeleton's pixels, rising: lines of one pixel, connected as the parts are (Zhang and Suen 1984, with Lü
    and Wang's change of 1986, without which lines at 45 degrees vanish).

    64 pixels of a row are one word, and what is asked of each is asked of all of them at once. Only words near a change are
    looked at again.
    """
    row = -(-parts.width // _BITS) + 2  # words, an empty one at either end
    words = _words(parts, row, height)
    is_to_do = np.repeat((words > 0)[None], 2, axis=0)  # in the first and the second half of a pass
    half = n_idle = 0
    while n_idle < 2:
        listed = np.flatnonzero(is_to_do[half])
        listed = listed[words.take(listed) > 0]
        some = (listed[at : at + _AT_ONCE] for at in range(0, max(len(listed), 1), _AT_ONCE))
        goes = np.concatenate([_going(words, each, row, half) for each in some])
        words[listed] &= ~goes
        is_to_do[half] = False
        beside = listed[goes & _OUTER > 0]
        near = np.concatenate([listed[goes > 0], beside - 1, beside + 1])
        for both in is_to_do:
            for offset in (-row, 0, row):
                both[near + offset] = True
        n_idle = 0 if len(listed) else n_idle + 1
        half = 1 - half
    return _pixels(words, row, parts.width)


def _words(parts: Parts, row: int, height: int) -> Words:
    """The parts' pixels as bits, the leftmost one of a word its lowest; an empty row above and below.

    Args:
        row: words of one row, an empty one at either end among them.
    """
    y, left = np.divmod(parts.first, parts.width)
    right = left + parts.n_pixels - 1
    run, column = expand(left // _BITS, right // _BITS - left // _BITS + 1)
    low = np.maximum(left[run] - column * _BITS, 0).astype(np.uint64)
    high = np.minimum(right[run] - column * _BITS, _BITS - 1).astype(np.uint64)
    bits = _ALL << low & _ALL >> _LAST - high
    word = (y[run] + 1) * row + 1 + column
    (first,) = np.nonzero(np.diff(word, prepend=-1))
    words = np.zeros((height + 2) * row, np.uint64)
    words[word[first]] = np.bitwise_or.reduceat(bits, first) if len(first) else bits
    return words


def _pixels(words: Words, row: int, width: int) -> Index:
    """The flat indices of what is set in `_words`."""
    eights = words.astype("<u8", copy=False).view(np.uint8)
    (some,) = np.nonzero(eights != 0)
    at = np.flatnonzero(np.unpackbits(eights[some], bitorder="little").view(np.bool_))
    y, x = np.divmod(some[at // 8] * 8 + at % 8, row * _BITS)
    return np.asarray((y - 1) * width + x - _BITS)


def _going(words: Words, listed: Index, row: int, half: int) -> Words:
    """Of these words the pixels that go in this half of a pass, by their eight neighbours."""

    def row_of(offset: int) -> tuple[Words, Words, Words]:
        """The pixels to the left of each one, itself, and those to the right of it."""
        middle = words.take(listed + offset)
        left, right = middle << _ONE, middle >> _ONE
        left |= words.take(listed + offset - 1) >> _LAST
        right |= words.take(listed + offset + 1) << _LAST
        return left, middle, right

    (above_left, above, above_right), (left, itself, right), (below_left, below, below_right) = map(row_of, (-row, 0, row))
    ring = [above, above_right, right, below_right, below, below_left, left, above_left]
    has_begun, has_twice, *has_pair = np.zeros((4, len(listed)), np.uint64)
    is_closed = ~has_begun  # no two neighbours in a row are missing: more than six are there
    for i, (one, other) in enumerate(zip(ring, [*ring[1:], ring[0]], strict=True)):
        either = one | other
        is_closed &= either
        has_pair[i % 2] |= one & other
        begins = np.bitwise_xor(either, one, out=either)
        has_twice |= has_begun & begins
        has_begun |= begins
    has_three = has_pair[0] & has_pair[1]  # of pairs that follow each other, as it begins but once
    keeps = right & below & (above | left) if half == 0 else above & left & (right | below)
    return np.asarray(itself & has_three & ~(has_twice | is_closed | keeps))
