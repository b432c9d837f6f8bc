"""What of a probability map is sure enough to be called crack; the rest is lowered, and so stays out of the mask.

On a surface that it has never seen, a network calls some specks and joints crack and is sure of none of them, while a real
crack is sure somewhere along its way. So pixels are taken together with what lies next to them, and a group with too few sure
pixels is lowered: Canny's hysteresis (1986), by the number of sure pixels instead of by one.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inference.card import ModelCard, threshold_level

Plane = NDArray[np.uint8]


class Cells:
    """A picture in squares of `card.cell_px`, which is about how near two pieces of a crack must be to count as one.

    A cell is part of a group where one of its pixels is seen, together with the cells around it of which that is true. The
    picture may be given in strips, so that a mosaic larger than the memory is judged as a photograph is.

    Args:
        size_hw: of the picture, in pixels.
        card: what is `seen`, what is `sure`, and `least_sure_px`, how many sure pixels a group needs.
    """

    def __init__(self, size_hw: tuple[int, ...], card: ModelCard) -> None:
        self._side, self._least = card.cell_px, card.least_sure_px
        self._seen, self._sure = threshold_level(card.seen), threshold_level(card.sure)
        height, width = (-(-length // self._side) for length in size_hw)
        self._is_seen = np.zeros((height, width), bool)
        self._n_sure = np.zeros((height, width), np.uint16)
        self._is_unsure = np.zeros((height, width), np.uint8)

    def add(self, prob_hw_u8: Plane, top: int = 0) -> None:
        """Look at a strip of the picture that begins at row `top`."""
        rows = slice(top // self._side, -(-(top + len(prob_hw_u8)) // self._side))
        above, n_columns = top % self._side, self._is_seen.shape[1]
        missing = ((above, -(above + len(prob_hw_u8)) % self._side), (0, -prob_hw_u8.shape[1] % self._side))
        padded = np.pad(prob_hw_u8, missing).reshape(-1, self._side, n_columns * self._side)
        columns = (-1, n_columns, self._side)
        self._is_seen[rows] |= padded.max(axis=1).reshape(columns).max(axis=2) >= self._seen
        self._n_sure[rows] += (padded >= self._sure).sum(axis=1, dtype=np.uint16).reshape(columns).sum(axis=2, dtype=np.uint16)

    def group(self) -> None:
        """Find the groups, once the whole picture was added."""
        n_groups, groups = cv2.connectedComponents(self._is_seen.astype(np.uint8), connectivity=8)
        n_sure = np.bincount(groups.ravel(), self._n_sure.ravel(), n_groups)
        is_unsure = n_sure < self._least
        is_unsure[0] = False  # what is not seen
        self._is_unsure = is_unsure.astype(np.uint8)[groups]

    def lower(self, prob_hw_u8: Plane, top: int = 0) -> Plane:
        """That strip with the pixels of all groups that are not sure enough lowered to just below `card.seen`."""
        first, last = top // self._side, -(-(top + len(prob_hw_u8)) // self._side)
        is_unsure = self._is_unsure[first:last]
        if not is_unsure.any():
            return prob_hw_u8
        size = (is_unsure.shape[1] * self._side, is_unsure.shape[0] * self._side)
        in_pixels = cv2.resize(is_unsure, size, interpolation=cv2.INTER_NEAREST)[top - first * self._side :]
        is_lowered = in_pixels[: prob_hw_u8.shape[0], : prob_hw_u8.shape[1]].astype(bool)
        return np.where(is_lowered, np.minimum(prob_hw_u8, np.uint8(self._seen - 1)), prob_hw_u8)


def lower_unsure(prob_hw_u8: Plane, card: ModelCard) -> Plane:
    """A photograph's probability, uint8 (height, width), 255 = certain, with all groups lowered that are not sure enough.

    A threshold below `card.seen` still shows them.
    """
    if not card.least_sure_px:
        return prob_hw_u8
    cells = Cells(prob_hw_u8.shape, card)
    cells.add(prob_hw_u8)
    cells.group()
    return cells.lower(prob_hw_u8)
