"""Options: each field of a request is read, and what cannot be meant is refused with a sentence."""

import pytest

from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options, Quality, Response


def refusal(**fields: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        Options.parse(fields)
    return caught.value


def test_without_fields_the_answer_is_the_grid_at_normal_quality_with_the_models_threshold() -> None:
    assert Options.parse({}) == Options(Response.JSON, Quality.NORMAL, None)


def test_each_field_is_read() -> None:
    fields = {"response": "overlay", "quality": "high", "threshold": "0.25"}
    assert Options.parse(fields) == Options(Response.OVERLAY, Quality.HIGH, 0.25)


def test_the_fields_of_a_request_read_again_are_the_same() -> None:
    fields = {"response": "json", "quality": "high", "threshold": "0.25", "summary": "cracks", "mm_per_px": "0.2"}
    assert Options.parse(Options.parse(fields).fields()) == Options.parse(fields)


def test_fields_that_nobody_knows_are_ignored() -> None:
    assert Options.parse({"note": "north pier"}) == Options()


def test_fields_that_nobody_filled_in_are_left_to_their_defaults() -> None:
    fields = dict.fromkeys(("response", "quality", "threshold", "summary", "mm_per_px", "standard", "exposure"), "")
    assert Options.parse({**fields, "threshold": " 0.25\r\n"}) == Options(threshold=0.25)


@pytest.mark.parametrize("text", ["0", "1", "0.0", "1.0", "7", "-0.5", "nan", "inf", "abc", "0,5", "50%"])
def test_a_threshold_that_is_no_number_between_0_and_1_is_refused_with_a_sentence(text: str) -> None:
    error = refusal(threshold=text)
    assert error.code is ErrorCode.PARAMETER_INVALID
    assert error.code.status == 400
    assert error.message.startswith(f"threshold={text!r}: expected a number between 0 and 1, both excluded, such as 0.5.")


@pytest.mark.parametrize("text", ["foo", "MASK", "True"])
def test_an_unknown_response_is_refused_with_those_there_are(text: str) -> None:
    error = refusal(response=text)
    assert error.code is ErrorCode.PARAMETER_INVALID
    assert error.message == f"response={text!r}: expected one of json, full, mask, probability, overlay, cracks, all."


@pytest.mark.parametrize("text", ["foo", "HIGH"])
def test_an_unknown_quality_is_refused_with_those_there_are(text: str) -> None:
    error = refusal(quality=text)
    assert error.code is ErrorCode.PARAMETER_INVALID
    assert error.message == f"quality={text!r}: expected one of normal, high."


@pytest.mark.parametrize("name", ["mm_per_px", "distance_m", "focal_length_mm", "sensor_width_mm", "marker_size_mm"])
@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "abc", "0,5", "1 mm"])
def test_a_scale_that_is_no_number_above_0_is_refused_with_a_sentence(name: str, text: str) -> None:
    error = refusal(**{name: text})
    assert (error.code, error.code.status) == (ErrorCode.PARAMETER_INVALID, 400)
    assert error.message.startswith(f"{name}={text!r}: expected a number above 0, such as 0.2.")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"distance_m": "2", "focal_length_mm": "4"}, "distance_m, focal_length_mm without sensor_width_mm: expected all of"),
        ({"focal_length_mm": "4"}, "focal_length_mm without distance_m, sensor_width_mm: expected all of"),
        ({"mm_per_px": "1", "sensor_width_mm": "6"}, "mm_per_px, sensor_width_mm: expected one scale."),
        ({"mm_per_px": "1", "marker_size_mm": "50"}, "mm_per_px, marker_size_mm: expected one scale."),
        ({"summary": "cracks", "response": "mask"}, "summary='cracks' with response='mask': expected response=json or full."),
        ({"summary": "all"}, "summary='all': expected one of cracks."),
    ],
    ids=str,
)
def test_fields_that_do_not_go_together_are_refused_with_a_sentence(fields: dict[str, str], sentence: str) -> None:
    error = refusal(**fields)
    assert error.code is ErrorCode.PARAMETER_INVALID
    assert error.message.startswith(sentence)
