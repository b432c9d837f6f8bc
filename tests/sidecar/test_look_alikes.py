"""What a request may say of look-alikes and zones: boxes within the photograph, of kinds that there are."""

import json

import pytest

from inspection.left_out import Kind, LookAlike
from model.inference.errors import ErrorCode, RequestError
from sidecar.look_alikes import MOST, as_json, read_look_alikes, read_zones

SIZE_HW = (100, 200)
WHOLE = {"box": [0, 0, 200, 100], "kind": "cable"}


def test_what_is_kept_is_read_as_it_was() -> None:
    read = read_look_alikes(json.dumps([WHOLE, {"box": [3, 4, 5, 6], "kind": "other"}]), SIZE_HW)
    assert read == (LookAlike((0, 0, 200, 100), Kind.CABLE), LookAlike((3, 4, 5, 6), Kind.OTHER))
    assert read_look_alikes(as_json(read), SIZE_HW) == read


@pytest.mark.parametrize("text", [None, "", "[]"])
def test_nothing_said_is_none(text: str | None) -> None:
    assert read_look_alikes(text, SIZE_HW) == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[", "not JSON"),
        ("[" * 10_000, "not JSON"),
        ('{"box": [0, 0, 1, 1], "kind": "joint"}', "not a list"),
        (json.dumps([WHOLE] * (MOST + 1)), f"{MOST + 1} entries, at most {MOST}"),
        ("[3]", "entry 1 is not a box and a kind"),
        (json.dumps([WHOLE | {"note": "x"}]), "entry 1 is not a box and a kind"),
        (json.dumps([WHOLE, {"box": [0, 0, 1, 1], "kind": "pipe"}]), "entry 2 has the kind 'pipe', expected one of joint,"),
        (json.dumps([WHOLE | {"box": [0, 0, 1]}]), "entry 1 has no box of four whole numbers"),
        (json.dumps([WHOLE | {"box": [0, 0, 1.5, 2]}]), "entry 1 has no box of four whole numbers"),
        (json.dumps([WHOLE | {"box": [0, 0, True, 2]}]), "entry 1 has no box of four whole numbers"),
        (json.dumps([WHOLE | {"box": [0, 0, 201, 100]}]), "within 200 x 100 pixels"),
        (json.dumps([WHOLE | {"box": [5, 0, 5, 100]}]), "left < right"),
        (json.dumps([WHOLE | {"box": [-1, 0, 5, 100]}]), "within 200 x 100 pixels"),
    ],
)
def test_anything_else_is_refused_with_what_was_found_and_an_example(text: str, found: str) -> None:
    with pytest.raises(RequestError, match="Send a JSON list such as") as caught:
        read_look_alikes(text, SIZE_HW)
    assert caught.value.code is ErrorCode.PARAMETER_INVALID
    assert found in caught.value.message


def test_zones_are_boxes_and_a_wrong_one_is_named_with_an_example() -> None:
    assert read_zones("[[3, 4, 5, 6], [0, 0, 200, 100]]", SIZE_HW) == ((3, 4, 5, 6), (0, 0, 200, 100))
    assert read_zones(None, SIZE_HW) == ()
    with pytest.raises(RequestError, match=r"zones: entry 1 .* within 200 x 100 pixels. Send a JSON list such as \[\[12"):
        read_zones("[[0, 0, 201, 100]]", SIZE_HW)
