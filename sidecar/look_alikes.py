"""Reads the boxes that a person sent with a photograph: look-alikes, and zones that count in no figure."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from inspection.left_out import Box, Kind, LookAlike
from model.inference.errors import ErrorCode, RequestError

MOST = 300  # of each, in one photograph
_LOOK_ALIKES = '[{"box": [12, 80, 420, 163], "kind": "joint"}]'
_ZONES = "[[12, 80, 420, 163]]"
_Read = TypeVar("_Read")


def read_look_alikes(text: str | None, size_hw: tuple[int, int]) -> tuple[LookAlike, ...]:
    """The look-alikes of a photograph of this height and width; none if the field is empty.

    Raises:
        RequestError: PARAMETER_INVALID, it is not a JSON list of boxes within the photograph and their kinds.
    """
    return _read("look_alikes", text, _LOOK_ALIKES, lambda said, where: _look_alike(said, where, size_hw))


def read_zones(text: str | None, size_hw: tuple[int, int]) -> tuple[Box, ...]:
    """The zones of a photograph of this height and width, which count in no figure; none if the field is empty.

    Raises:
        RequestError: PARAMETER_INVALID, it is not a JSON list of boxes within the photograph.
    """
    return _read("zones", text, _ZONES, lambda said, where: _box(said, where, size_hw))


def as_json(look_alikes: tuple[LookAlike, ...]) -> str:
    return json.dumps([asdict(each) for each in look_alikes])


def _read(field: str, text: str | None, example: str, read: Callable[[Any, str], _Read]) -> tuple[_Read, ...]:
    try:
        said = json.loads(text or "[]")
        if not isinstance(said, list):
            raise ValueError("not a list")
        if len(said) > MOST:
            raise ValueError(f"{len(said)} entries, at most {MOST} are accepted")
        return tuple(read(each, f"entry {number}") for number, each in enumerate(said, start=1))
    except (ValueError, RecursionError) as error:
        found = str(error) if type(error) is ValueError else "not JSON"
        raise RequestError(ErrorCode.PARAMETER_INVALID, f"{field}: {found}. Send a JSON list such as {example}.") from error


def _look_alike(said: Any, where: str, size_hw: tuple[int, int]) -> LookAlike:
    if not isinstance(said, dict) or set(said) != {"box", "kind"}:
        raise ValueError(f"{where} is not a box and a kind")
    if said["kind"] not in list(Kind):
        raise ValueError(f"{where} has the kind {str(said['kind'])[:40]!r}, expected one of {', '.join(Kind)}")
    return LookAlike(_box(said["box"], where, size_hw), Kind(said["kind"]))


def _box(said: Any, where: str, size_hw: tuple[int, int]) -> Box:
    if not isinstance(said, list) or len(said) != 4 or not all(type(value) is int for value in said):
        raise ValueError(f"{where} has no box of four whole numbers")
    left, top, right, bottom = said
    height, width = size_hw
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"{where} has the box {said}, expected left < right and top < bottom within {width} x {height} pixels")
    return left, top, right, bottom
