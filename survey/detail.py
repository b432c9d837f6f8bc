"""How much of one photograph's detail another one of the same surface shows, place by place.

A photograph that is blurred, too bright, too dark or coarser has little of it. Left to others: what that means for a crack
(`changes`).
"""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from survey.laying import Float, Picture

_WINDOW_PX = 49  # the side of the window that is looked at
_APART_PX = 13  # the side of the square around a crack that is not looked at
_LEAST_FREE = 0.1  # of a window without cracks; with less the whole photograph decides
_LEAST_CONTRAST = 0.5  # of 255: a plain surface shows no detail in any photograph
_MOST_PX = 25e6  # of larger photographs, half as many pixels along a side are looked at


class Detail:
    """
    Args:
        own_hwc_u8: the photograph that shows a crack.
        other_hwc_u8: the one that may be unable to show it.
        to_own: the homography from the other one's pixels to this one's.
        is_crack_hw: where either shows cracks, in this one's pixels: their edges are not detail that both have.
    """

    def __init__(self, own_hwc_u8: Picture, other_hwc_u8: Picture, to_own: Float, is_crack_hw: NDArray[np.bool_]) -> None:
        self._own, self._other, self._to_own, self._is_crack = own_hwc_u8, other_hwc_u8, to_own, is_crack_hw
        self._ratios: dict[int, NDArray[np.float32]] = {}

    def ratio(self, points_xy: Float, width_px: float) -> NDArray[np.float32]:
        """At (n, 2) points in this photograph: the contrast of the other one's detail that is about as fine as a crack of this
        width, as a part of this one's; 0 is a crack too fine to be measured.
        """
        octave = max(0, round(np.log2(max(1.0, width_px / 4))))
        while self._is_crack.size / 4**octave > _MOST_PX:
            octave += 1
        if octave not in self._ratios:
            self._ratios[octave] = self._map(octave)
        ratio = self._ratios[octave]
        x, y = np.minimum(points_xy / 2**octave, np.array(ratio.shape[::-1]) - 1).astype(np.intp).T
        return np.asarray(ratio[y, x], np.float32)

    @cached_property
    def _greys(self) -> tuple[Picture, Picture, Picture]:
        """This photograph, the other one laid over it, and 1 where both show a surface without a crack."""
        size = (self._own.shape[1], self._own.shape[0])
        own, other = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (self._own, self._other))
        is_shown = cv2.warpPerspective(np.ones_like(other), self._to_own, size, flags=cv2.INTER_NEAREST)
        laid = cv2.warpPerspective(other, self._to_own, size, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(own, np.uint8), np.asarray(laid, np.uint8), np.where(self._is_crack, 0, is_shown).astype(np.uint8)

    def _map(self, octave: int) -> NDArray[np.float32]:
        height, width = self._is_crack.shape
        size = (max(1, width >> octave), max(1, height >> octave))
        own, other, is_free = (
            np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8) for grey in self._greys
        )
        free = np.asarray(cv2.erode(is_free, np.ones((_APART_PX, _APART_PX), np.uint8)), np.float32)
        share = np.asarray(cv2.blur(free, (_WINDOW_PX, _WINDOW_PX)), np.float32)
        shown, also = (self._contrast(grey, free, share) for grey in (own, other))
        return np.where(shown < _LEAST_CONTRAST, 1.0, also / np.maximum(shown, _LEAST_CONTRAST)).astype(np.float32)

    @staticmethod
    def _contrast(grey_hw_u8: Picture, free: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
        """The standard deviation of what is one to three pixels fine, the difference of two Gaussians, where it is free."""
        grey = grey_hw_u8.astype(np.float32)
        squares = (cv2.GaussianBlur(grey, (0, 0), 0.6) - cv2.GaussianBlur(grey, (0, 0), 1.8)) ** 2 * free
        near = np.maximum(cv2.blur(squares, (_WINDOW_PX, _WINDOW_PX)), 0) / np.maximum(share, _LEAST_FREE)
        everywhere = squares.sum() / max(1.0, float(free.sum()))
        return np.asarray(np.sqrt(np.where(share < _LEAST_FREE, everywhere, near)), np.float32)
