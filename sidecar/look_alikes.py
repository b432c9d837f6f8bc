"""What looks like a crack in a photograph and is none, as somebody marked it: a box, and what it is."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from model.inference.errors import ErrorCode, RequestError

MOST = 300  # in one photograph
_EXAMPLE = '[{"box": [12, 80, 420, 163], "kind": "joint"}]'


class Kind(StrEnum):
    JOINT = "joint"
    LANE_MARKING = "lane_marking"
    CABLE = "cable"
    OTHER = "other"


@dataclass(frozen=True)
class LookAlike:
    """`box`: left, top, right, bottom in pixels of the upright photograph; right and bottom are the first that are outside."""

    box: tuple[int, int, int, int]
    kind: Kind


def read_look_alikes(text: str | None, size_hw: tuple[int, int]) -> tuple[LookAlike, ...]:
    """Those of a photograph of this height and width; none where nothing was said.

    Raises:
        RequestError: PARAMETER_INVALID, it is no JSON list of boxes within the photograph and their kinds.
    """
    try:
        said = json.loads(text or "[]")
    except (json.JSONDecodeError, RecursionError) as error:
        raise _invalid("no JSON") from error
    if not isinstance(said, list) or len(said) > MOST:
        raise _invalid("no list" if not isinstance(said, list) else f"{len(said)} entries, at most {MOST} are accepted")
    return tuple(_read(each, f"entry {number}", size_hw) for number, each in enumerate(said, start=1))


def as_json(look_alikes: tuple[LookAlike, ...]) -> str:
    return json.dumps([asdict(each) for each in look_alikes])


def _read(said: Any, where: str, size_hw: tuple[int, int]) -> LookAlike:
    if not isinstance(said, dict) or set(said) != {"box", "kind"}:
        raise _invalid(f"{where} is not a box and a kind")
    box, kind = said["box"], said["kind"]
    if kind not in list(Kind):
        raise _invalid(f"{where} has the kind {str(kind)[:40]!r}, expected one of {', '.join(Kind)}")
    if not isinstance(box, list) or len(box) != 4 or not all(type(value) is int for value in box):
        raise _invalid(f"{where} has no box of four whole numbers")
    left, top, right, bottom = box
    height, width = size_hw
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise _invalid(f"{where} has the box {box}, expected left < right and top < bottom within {width} x {height} pixels")
    return LookAlike((left, top, right, bottom), Kind(kind))


def _invalid(found: str) -> RequestError:
    return RequestError(ErrorCode.PARAMETER_INVALID, f"look_alikes: {found}. Send a JSON list such as {_EXAMPLE}.")
