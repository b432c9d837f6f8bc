"""What a person leaves out of a photograph's figures: boxes, and things that look like a crack but aren't one.

Left to others: reading what was sent (`sidecar.look_alikes`), and using it (`examining`, `report`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

# Left, top, right, bottom in pixels of the upright photograph; right and bottom are just outside.
Box = tuple[int, int, int, int]


class Kind(StrEnum):
    """What looks like a crack but isn't one."""

    JOINT = "joint"
    LANE_MARKING = "lane_marking"
    CABLE = "cable"
    OTHER = "other"


@dataclass(frozen=True)
class LookAlike:
    box: Box
    kind: Kind


def covered(zones: Iterable[Box], size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels are in one of the boxes: bool (height, width)."""
    covered_hw = np.zeros(size_hw, np.bool_)
    for left, top, right, bottom in zones:
        covered_hw[top:bottom, left:right] = True
    return covered_hw


def counted(look_alikes: Sequence[LookAlike]) -> str:
    """In words, such as "2 joints, 1 cable"."""
    of_kind = Counter(each.kind for each in look_alikes)
    return ", ".join(
        f"{n} {kind.replace('_', ' ')}{'s' if n > 1 and kind is not Kind.OTHER else ''}"
        for kind in Kind
        if (n := of_kind[kind])
    )
