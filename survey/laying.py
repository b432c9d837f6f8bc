"""Lays two photographs of one surface over each other, by what both show."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Picture = NDArray[np.uint8]

_SIDE_PX = 1600  # the longer side of the reduced photographs that are laid over each other
_RATIO = 0.8  # of the distances to the best and to the second best counterpart (Lowe 2004)
_FIT_PX = 4.0  # how far, in the reduced photographs, a point may be from where the homography puts it
_LEAST_COMMON = 25  # points in common; unlike photographs have up to ten by chance


@dataclass(frozen=True)
class Features:
    """Points of a photograph that are found again in another one, and what each looks like (SIFT, Lowe 2004, as RootSIFT,
    Arandjelović and Zisserman 2012).

    Attributes:
        points_xy: float64 (n, 2), in the photograph's own pixels.
        looks: float32 (n, 128).
        px: how many of the photograph's pixels are one of those that were looked at.
        size_wh: the photograph's.
    """

    points_xy: Float
    looks: NDArray[np.float32]
    px: float
    size_wh: tuple[int, int]

    @classmethod
    def of(cls, image_hwc_u8: Picture, n_most: int = 4000, side_px: int = _SIDE_PX) -> "Features":
        height, width = image_hwc_u8.shape[:2]
        px = max(1.0, max(width, height) / side_px)
        reduced = cv2.resize(
            image_hwc_u8, (max(1, round(width / px)), max(1, round(height / px))), interpolation=cv2.INTER_AREA
        )
        grey = cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY)
        grey = cv2.createCLAHE(2.0, (8, 8)).apply(grey)  # concrete has little contrast
        points, looks = cv2.SIFT.create(n_most, contrastThreshold=0.02).detectAndCompute(grey, None)
        if looks is None:
            return cls(np.zeros((0, 2)), np.zeros((0, 128), np.float32), px, (width, height))
        points_xy = (np.array([point.pt for point in points]) + 0.5) * px - 0.5
        return cls(points_xy, np.sqrt(looks / looks.sum(axis=1, keepdims=True)), px, (width, height))


def lay_over(earlier: Features, later: Features) -> Float | None:
    """The homography (3, 3) from the earlier photograph's pixels to the later one's; None if they don't show the same surface,
    or not flat enough.
    """
    alike = _alike(earlier, later)
    if len(alike) < _LEAST_COMMON:
        return None
    from_xy = earlier.points_xy[[match.queryIdx for match in alike]]
    to_xy = later.points_xy[[match.trainIdx for match in alike]]
    fit_px = _FIT_PX * later.px
    to_later, fits = cv2.findHomography(from_xy, to_xy, cv2.USAC_MAGSAC, fit_px, maxIters=5000, confidence=0.999)
    if to_later is None:
        return None
    common_xy = to_xy[fits.ravel().astype(bool)]
    n_common = len(np.unique(np.round(common_xy / (4 * fit_px)), axis=0))  # the same place many times is one
    width, height = earlier.size_wh
    corners = np.array([(0, 0, 1), (width, 0, 1), (width, height, 1), (0, height, 1)]) @ to_later.T
    is_before_camera = bool((corners[:, 2] > 0).all()) and np.linalg.det(to_later) > 0  # and not mirrored
    return np.asarray(to_later, np.float64) if n_common >= _LEAST_COMMON and is_before_camera else None


def n_alike(earlier: Features | None, later: Features | None) -> int:
    """How many points of two photographs look alike, whether or not they fit together."""
    return len(_alike(earlier, later)) if earlier and later else 0


def _alike(earlier: Features, later: Features) -> list[cv2.DMatch]:
    if min(len(earlier.looks), len(later.looks)) < _LEAST_COMMON:
        return []
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(earlier.looks, later.looks, 2)
    return [best for best, second in pairs if best.distance < _RATIO * second.distance]


def px_ratio(earlier_wh: tuple[int, int], later_wh: tuple[int, int], to_later: Float) -> float:
    """How many pixels of the later photograph one of the earlier covers, along a side, in the middle of what both show."""
    return px_at(_grid(later_wh)[covered(earlier_wh, later_wh, to_later)], to_later)


def covered(earlier_wh: tuple[int, int], later_wh: tuple[int, int], to_later: Float) -> NDArray[np.bool_]:
    """Which points of a grid over the later photograph the earlier one shows, bool (n,)."""
    from_later = np.asarray(np.linalg.inv(to_later), np.float64)
    return inside(moved(from_later, _grid(later_wh)), earlier_wh[::-1])


def _grid(size_wh: tuple[int, int]) -> Float:
    along, down = (np.linspace(0, side, 21) for side in size_wh)
    return np.stack(np.meshgrid(along, down), axis=-1).reshape(-1, 2)


def px_at(points_xy: Float, homography: Float) -> float:
    """How many pixels one pixel of a photograph covers where a homography takes it, along a side, at (n, 2) points there: the
    root of its Jacobian determinant.
    """
    depths = np.column_stack([points_xy, np.ones(len(points_xy))]) @ np.linalg.inv(homography)[2]
    return float(np.median(np.sqrt(np.abs(np.linalg.det(homography) * depths**3))))


def moved(homography: Float, points_xy: Float) -> Float:
    return np.asarray(cv2.perspectiveTransform(points_xy[None], homography)[0], np.float64)


def inside(points_xy: Float, size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(((points_xy >= 0) & (points_xy < size_hw[::-1])).all(axis=1))
