"""A block of a mosaic beside the part of an earlier mosaic that shows the same place: lays them over each other, and looks
what each shows of the other's cracks. It runs in one of the processes; left to others: reading the blocks, and what the whole
cracks have come to (`compare`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from model.inference.encoding import jpeg
from survey.changes import Bounds, Change
from survey.changes_page import PANELS, draw
from survey.laying import Features, Float, Picture, lay_over, moved
from survey.processes import Core
from survey.sights import APART, Beside, Sight, Traced, View

_SIDE_PX = 1280  # of the reduced parts that are laid over each other; SIFT takes 0.23 kB of memory for each of their pixels
_MARGIN_RATIO = 0.25  # of a block: where two homographies are held against each other, away from the edges


@dataclass(frozen=True)
class Pair:
    """
    Attributes:
        earlier_hwc_u8, later_hwc_u8: a part of each mosaic, in its own pixels.
        earlier_has_data, later_has_data: which pixels show something, bool (height, width).
        guess: the homography (3, 3) from the earlier part's pixels to the later one's, as far as it is known yet.
    """

    earlier_hwc_u8: Picture
    earlier_has_data: NDArray[np.bool_]
    later_hwc_u8: Picture
    later_has_data: NDArray[np.bool_]
    guess: Float


class Looked(NamedTuple):
    """What is found at each point of the cracks, one crack after the other.

    Attributes:
        to_later: the homography (3, 3); None if the two could not be laid over each other.
        after, before: as in `Sight`, along the later and along the earlier cracks.
        before_xy: the points of the earlier cracks, in the later part's pixels.
        is_clear: whether the later mosaic could show an earlier crack there.
    """

    to_later: Float | None
    after: tuple[NDArray[np.int32], NDArray[np.intp]]
    before: tuple[NDArray[np.int32], NDArray[np.intp]]
    before_xy: Float
    is_clear: NDArray[np.bool_]


def lay(_core: Core, pair: Pair, most_px: float) -> Float | None:
    """The homography from the earlier part's pixels to the later one's; None if there is none that differs from the guess by at
    most so many pixels of the later one.
    """
    earlier, later = (Features.of(image, side_px=_SIDE_PX) for image in (pair.earlier_hwc_u8, pair.later_hwc_u8))
    to_later = lay_over(earlier, later)
    if to_later is None:
        return None
    points_xy = middle_xy(pair.later_has_data.shape)
    guessed_xy = moved(pair.guess @ np.linalg.inv(to_later), points_xy)
    return to_later if np.hypot(*(guessed_xy - points_xy).T).max() <= most_px else None


def middle_xy(size_hw: tuple[int, ...]) -> Float:
    """Points (n, 2) all over the middle of a picture."""
    sides = (np.linspace(_MARGIN_RATIO, 1 - _MARGIN_RATIO, 5) * side for side in size_hw[::-1])
    return np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)


def look(core: Core, pair: Pair, before: Sequence[Traced], after: Sequence[Traced], bounds: Bounds, most_px: float) -> Looked:
    """
    Args:
        before, after: the cracks of both mosaics, in the later part's pixels; those of the earlier by the guess.
        most_px: see `lay`.
    """
    to_later = lay(core, pair, most_px)
    if to_later is None:
        return _not_laid(pair, before, after)
    refined = to_later @ np.linalg.inv(pair.guess)
    before = [replace(crack, lines_xy=[moved(refined, line) for line in crack.lines_xy]) for crack in before]
    former, later = (
        View(np.where(has_data, core.segmenter.probability(image), np.uint8(0)), image, has_data_hw=has_data)
        for image, has_data in (
            (pair.earlier_hwc_u8, pair.earlier_has_data),
            (pair.later_hwc_u8, pair.later_has_data),
        )
    )
    beside = Beside([(former, to_later)], later, before, after, bounds.reach_px)
    is_clear = [part for crack in before for part in beside.is_clear(crack)]
    return Looked(
        to_later,
        _joined([beside.sight_of_later(crack) for crack in after]),
        _joined([beside.sight_of_earlier(crack) for crack in before]),
        _points_xy(before),
        np.concatenate([np.zeros(0, np.bool_), *is_clear]),
    )


def draw_block(
    _core: Core, formers: Sequence[tuple[Picture, Float]], later_hwc_u8: Picture, told: Sequence[Change]
) -> dict[str, bytes]:
    """A JPEG for each of `PANELS`; the arguments are those of `draw`."""
    return {panel: jpeg(picture) for panel, picture in zip(PANELS, draw(formers, later_hwc_u8, told), strict=True)}


def _not_laid(pair: Pair, before: Sequence[Traced], after: Sequence[Traced]) -> Looked:
    """Only whether both mosaics have data there is known, about."""
    size = pair.later_hwc_u8.shape[1::-1]
    shown = cv2.warpPerspective(pair.earlier_has_data.astype(np.uint8), pair.guess, size, flags=cv2.INTER_NEAREST)
    is_shown = (shown > 0) & pair.later_has_data
    x, y = np.clip(_points_xy([*after, *before]), 0, np.array(size) - 1).astype(np.intp).T
    by, points_xy = np.where(is_shown[y, x], 0, -1), _points_xy(before)
    ids = np.full(len(by), APART, np.int32)
    n = len(by) - len(points_xy)
    return Looked(None, (ids[:n], by[:n]), (ids[n:], by[n:]), points_xy, np.zeros(len(points_xy), np.bool_))


def _points_xy(cracks: Sequence[Traced]) -> Float:
    return np.concatenate([np.zeros((0, 2)), *(line for crack in cracks for line in crack.lines_xy)])


def _joined(sights: Sequence[Sight]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    lines = [line for sight in sights for line in sight]
    ids = np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in lines)])
    return ids, np.concatenate([np.zeros(0, np.intp), *(by for _, by in lines)])
