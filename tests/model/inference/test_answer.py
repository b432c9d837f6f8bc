"""Answers: each response is what the probability map says, encoded as the design promises."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.inference.answer import GRID_CELLS, crack_grid
from model.inference.card import threshold_level
from model.inference.encoding import jpeg as encoded_jpeg
from model.inference.encoding import mask_png
from model.inference.encoding import png as encoded_png
from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options, Response
from model.inference.overlay import draw_overlay
from model.inference.photograph import MEGAPIXEL, Limits
from model.inference.segmenter import Segmenter
from tests.answers import SEGMENTER, ask, ask_json, picture, refusal, striped
from tests.cards import CARD
from tests.photographs import jpeg, noise, png, with_orientation


def sparse_red(height: int, width: int) -> NDArray[np.uint8]:
    """A photograph with red pixels here and there, so that most cells of a grid are empty."""
    image_hwc_u8 = noise(height, width)
    image_hwc_u8[..., 0] = np.where(np.random.default_rng(1).random((height, width)) < 0.003, 255, 0)
    image_hwc_u8[-1, -1, 0] = 255
    return image_hwc_u8


def grid_by_definition(mask_hw: NDArray[np.bool_], n_cells: int) -> list[list[int]]:
    """Row i covers the pixel rows floor(i * H / n) to ceil((i + 1) * H / n), columns alike; in whole numbers."""
    height, width = mask_hw.shape
    return [
        [
            int(
                any(
                    mask_hw[y, x]
                    for y in range(i * height // n_cells, ((i + 1) * height + n_cells - 1) // n_cells)
                    for x in range(j * width // n_cells, ((j + 1) * width + n_cells - 1) // n_cells)
                )
            )
            for j in range(n_cells)
        ]
        for i in range(n_cells)
    ]


# --- the grid


@given(
    size_hw=st.tuples(st.integers(1, 45), st.integers(1, 45)),
    n_cells=st.integers(1, 24),
    crack_ratio=st.sampled_from([0.0, 0.01, 0.1, 1.0]),
    seed=st.integers(0, 9),
)
def test_a_cell_is_1_where_any_of_its_pixels_is_crack(
    size_hw: tuple[int, int], n_cells: int, crack_ratio: float, seed: int
) -> None:
    mask_hw = np.random.default_rng(seed).random(size_hw) < crack_ratio
    assert crack_grid(mask_hw, n_cells).astype(int).tolist() == grid_by_definition(mask_hw, n_cells)


@pytest.mark.parametrize("size_hw", [(16, 16), (20, 33), (127, 129), (128, 128), (131, 200), (300, 257)])
def test_the_answer_holds_128_by_128_cells_of_the_mask(size_hw: tuple[int, int]) -> None:
    image_hwc_u8 = sparse_red(*size_hw)
    body = ask_json(png(image_hwc_u8))
    assert body["shape"] == [GRID_CELLS, GRID_CELLS] == [128, 128]
    assert body["prediction"] == grid_by_definition(image_hwc_u8[..., 0] == 255, GRID_CELLS)


@pytest.mark.parametrize("at", [(0, 0), (499, 299), (250, 7)])
def test_a_single_pixel_of_crack_is_in_the_grid(at: tuple[int, int]) -> None:
    image_hwc_u8 = np.zeros((500, 300, 3), np.uint8)
    image_hwc_u8[at] = 255
    prediction = np.array(ask_json(png(image_hwc_u8))["prediction"])
    assert prediction[at[0] * 128 // 500, at[1] * 128 // 300] == 1
    assert 1 <= prediction.sum() <= 4


# --- JSON


def test_the_answer_holds_every_key_that_clients_are_promised() -> None:
    body = ask_json(png(noise(40, 60)))
    assert body["status"] == "success"
    assert body["image_size"] == [40, 60]
    assert body["threshold"] == CARD.threshold
    assert body["model"] == {"name": "crack", "version": CARD.version, "runtime": "openvino", "precision": "int8"}
    assert body["request_id"] == "r-1"
    assert {"prediction", "shape", "crack_ratio", "crack_score"} <= body.keys()


def test_crack_ratio_is_the_share_of_crack_pixels() -> None:
    image_hwc_u8 = np.zeros((40, 60, 3), np.uint8)
    image_hwc_u8[10:20, 3:15] = 255
    assert ask_json(png(image_hwc_u8))["crack_ratio"] == 10 * 12 / (40 * 60)


@pytest.mark.parametrize("response", ["json", "full"])
def test_a_key_that_came_later_leaves_the_others_in_their_places(response: str) -> None:
    former = ["status", "prediction", "shape", "image_size", "threshold", "crack_ratio", "model", "request_id"]
    assert list(ask_json(png(noise(40, 60)), response=response)) == [*former, "crack_score"]


def test_pictures_are_what_mask_and_probability_alone_make_byte_by_byte() -> None:
    photograph = noise(40, 60)
    prob_hw_u8 = SEGMENTER.probability(photograph)
    mask_hw = prob_hw_u8 >= threshold_level(CARD.threshold)
    for response, content_type, body in (
        ("mask", "image/png", mask_png(mask_hw)),
        ("probability", "image/png", encoded_png(prob_hw_u8)),
        ("overlay", "image/jpeg", encoded_jpeg(draw_overlay(photograph, mask_hw))),
    ):
        told = ask(png(photograph), response=response)
        assert (told.content_type, told.body) == (content_type, body)


def test_the_score_is_of_the_whole_photograph_and_has_six_decimals() -> None:
    image_hwc_u8 = np.zeros((300, 700, 3), np.uint8)
    image_hwc_u8[:4, :128] = 100
    image_hwc_u8[-2:, -128:] = 255  # so that a quarter of the strongest 1024 is none
    assert ask_json(png(image_hwc_u8))["crack_score"] == round((512 * 100 + 256 * 255) / (1024 * 255), 6)


@pytest.mark.parametrize("response", list(Response))
def test_no_threshold_changes_the_score_of_any_response(response: Response) -> None:
    image = png(noise(40, 60) // 2)
    scores = {ask(image, response=response, threshold=text).headers["X-Crack-Score"] for text in ("0.001", "0.5", "0.999")}
    assert scores == {f"{ask_json(image)['crack_score']:.6f}"}


@pytest.mark.parametrize("size_hw", [(16, 16), (17, 31), (90, 61)])
def test_full_is_the_mask_at_the_photographs_own_size(size_hw: tuple[int, int]) -> None:
    image = png(noise(*size_hw))
    body = ask_json(image, response="full")
    assert body["shape"] == body["image_size"] == list(size_hw)
    np.testing.assert_array_equal(np.array(body["prediction"]) * 255, np.asarray(picture(ask(image, response="mask"))))


def test_full_differs_from_the_default_in_prediction_and_shape_alone() -> None:
    image = png(noise(40, 60))
    full, grid = ask_json(image, response="full"), ask_json(image)
    assert full.keys() == grid.keys()
    assert {key for key in full if full[key] != grid[key]} == {"prediction", "shape"}


def test_a_turned_photographs_mask_fits_what_people_see() -> None:
    image = with_orientation(noise(40, 60), 6, "PNG")
    assert ask_json(image)["image_size"] == [60, 40]
    assert picture(ask(image, response="mask")).size == (40, 60)


# --- pictures and headers


def test_mask_is_a_png_of_one_channel_with_0_and_255() -> None:
    image_hwc_u8 = noise(40, 61)
    result = ask(png(image_hwc_u8), response="mask")
    assert result.content_type == "image/png"
    mask = picture(result)
    assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (61, 40))
    np.testing.assert_array_equal(np.asarray(mask), np.where(image_hwc_u8[..., 0] >= 0.4 * 255, 255, 0))


def test_probability_is_a_png_of_one_channel_from_0_to_255() -> None:
    image_hwc_u8 = noise(40, 61)
    result = ask(png(image_hwc_u8), response="probability")
    assert result.content_type == "image/png"
    probability = picture(result)
    assert (probability.format, probability.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(probability), image_hwc_u8[..., 0])


@pytest.mark.parametrize("response", list(Response))
def test_headers_tell_version_threshold_crack_ratio_and_score_of_every_response(response: Response) -> None:
    image_hwc_u8 = np.zeros((80, 60, 3), np.uint8)
    image_hwc_u8[:20] = 255
    assert ask(png(image_hwc_u8), response=response, threshold="0.25").headers == {
        "X-Crack-Model-Version": CARD.version,
        "X-Crack-Threshold": "0.25",
        "X-Crack-Ratio": "0.250000",
        "X-Crack-Score": "1.000000",
    }


def test_the_threshold_in_the_headers_asked_for_again_is_the_same() -> None:
    threshold = 101 / 255
    headers = ask(png(noise(16, 16)), threshold=repr(threshold)).headers
    assert Options.parse({"threshold": headers["X-Crack-Threshold"]}).threshold == threshold


# --- threshold and quality


@pytest.mark.parametrize("threshold", [1e-9, 0.1, 100 / 255, 0.5, 200 / 255, 0.999])
def test_the_mask_is_where_probability_is_at_least_the_threshold(threshold: float) -> None:
    image_hwc_u8 = noise(40, 61)
    image = png(image_hwc_u8)
    mask_hw = np.asarray(picture(ask(image, response="mask", threshold=repr(threshold)))) == 255
    np.testing.assert_array_equal(mask_hw, image_hwc_u8[..., 0] / 255 >= threshold)
    body = ask_json(image, threshold=repr(threshold))
    assert body["threshold"] == threshold
    assert body["crack_ratio"] == pytest.approx(mask_hw.mean(), abs=1e-6)


def test_high_quality_asks_the_network_eight_times() -> None:
    n_calls = 0

    def count(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal n_calls
        n_calls += 1
        return batch_nchw[:, :1]

    ask(png(noise(16, 16)), segmenter=Segmenter(CARD, count), quality="high")
    assert n_calls == 8


# --- cracks


def test_with_a_standard_each_crack_has_its_band_and_the_note_is_said_once() -> None:
    fields = {"standard": "en-1992-1-1", "exposure": "XC4", "mm_per_px": "0.1"}
    result = ask(striped(), response="cracks", **fields)
    body = json.loads(result.body)
    assert (body["standard"]["name"], body["standard"]["limits_mm"]) == ("en-1992-1-1", [0.3])
    assert result.body.count(b"A guide value, not a verdict on safety.") == 1
    assert body["features"][0]["properties"]["band"]["name"] == "EN 1992-1-1: above the recommended width"
    told = ask_json(striped(), summary="cracks", **fields)["summary"]
    assert told["n_by_band"]["EN 1992-1-1: above the recommended width"] == 1
    without = json.loads(ask(striped(), response="cracks", marker_size_mm="50", standard="en-1992-1-1", exposure="XC4").body)
    assert "standard" not in without
    assert "band" not in without["features"][0]["properties"]


def test_a_summary_comes_after_all_that_was_there_without_it() -> None:
    plain, with_summary = ask(striped()).body, ask(striped(), summary="cracks", mm_per_px="2").body
    assert with_summary.startswith(plain[:-1])
    told = json.loads(with_summary)["summary"]
    assert (told["n_cracks"], told["mm_per_px"], told["scale_source"]) == (1, 2.0, "given")
    assert told["length_total_mm"] == pytest.approx(200, abs=4)
    assert told["width_max_mm"] == pytest.approx(12, abs=0.6)


def mesh() -> bytes:
    """A photograph of so many cracks that measuring refuses it."""
    image_hwc_u8 = np.zeros((1200, 1200, 3), np.uint8)
    for start in (0, 1):
        image_hwc_u8[start::20, :, 0] = image_hwc_u8[:, start::20, 0] = 255
    return png(image_hwc_u8)


def test_nothing_is_measured_where_nobody_asks() -> None:
    image = mesh()
    for fields in ({}, {"mm_per_px": "1"}):
        for response in ("json", "full", "mask", "probability"):
            assert ask(image, response=response, **fields).body
    assert ask(image, response="overlay").body
    for fields in ({"response": "cracks"}, {"summary": "cracks"}, {"response": "overlay", "mm_per_px": "1"}):
        assert refusal(image, **fields).code is ErrorCode.IMAGE_TOO_LARGE


# --- limits and failures


LOW_LIMITS = Limits(max_pixels=40_000, max_pixels_full_response=2_000, max_pixels_high_quality=10_000)


@pytest.mark.parametrize(
    ("fields", "size_hw", "stated"),
    [
        ({"response": "full"}, (40, 51), "at most 0.002 are accepted with response=full"),
        ({"quality": "high"}, (100, 101), "at most 0.01 are accepted with quality=high"),
        ({"response": "full", "quality": "high"}, (40, 51), "at most 0.002 are accepted with response=full"),
        ({"response": "mask", "quality": "high"}, (100, 101), "at most 0.01 are accepted with quality=high"),
    ],
    ids=str,
)
def test_a_photograph_above_a_fields_own_limit_is_too_large_and_the_message_names_the_field(
    fields: dict[str, str], size_hw: tuple[int, int], stated: str
) -> None:
    error = refusal(png(noise(*size_hw)), LOW_LIMITS, **fields)
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert error.code.status == 413
    assert f"{size_hw[1]} x {size_hw[0]}" in error.message
    assert stated in error.message


@pytest.mark.parametrize(
    ("fields", "size_hw"),
    [({"response": "full"}, (40, 50)), ({"quality": "high"}, (100, 100)), ({}, (100, 101)), ({"response": "mask"}, (200, 200))],
    ids=str,
)
def test_a_photograph_just_within_the_limit_of_its_fields_is_answered(fields: dict[str, str], size_hw: tuple[int, int]) -> None:
    assert ask(png(noise(*size_hw)), limits=LOW_LIMITS, **fields).body


@pytest.mark.parametrize("fields", [{"response": "full"}, {"quality": "high"}], ids=str)
def test_a_fields_own_limit_never_raises_the_limit_of_all(fields: dict[str, str]) -> None:
    error = refusal(png(noise(40, 50)), Limits(max_pixels=1_000), **fields)
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert "at most 0.001 are accepted. " in error.message


def test_by_default_full_and_high_quality_take_less_than_other_requests() -> None:
    limits = Limits()
    assert limits.max_pixels_full_response < limits.max_pixels_high_quality < limits.max_pixels == 100 * MEGAPIXEL


@pytest.mark.parametrize("rows_too_few", [1, -1])
def test_a_mask_that_does_not_fit_the_photograph_never_leaves(rows_too_few: int) -> None:
    class Misfit(Segmenter):
        def probability(self, image_hwc_u8: NDArray[np.uint8], is_high_quality: bool = False) -> NDArray[np.uint8]:
            return np.zeros((image_hwc_u8.shape[0] - rows_too_few, image_hwc_u8.shape[1]), np.uint8)

    with pytest.raises(RequestError, match=r"The mask has .* the photograph") as caught:
        ask(png(noise(40, 60)), segmenter=Misfit(CARD, lambda batch_nchw: batch_nchw))
    assert caught.value.code is ErrorCode.PREDICTION_FAILED
    assert caught.value.code.status == 500


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"", ErrorCode.IMAGE_MISSING),
        (b"some text", ErrorCode.IMAGE_UNSUPPORTED),
        (jpeg(noise(64, 64))[:400], ErrorCode.IMAGE_UNDECODABLE),
        (png(noise(15, 64)), ErrorCode.IMAGE_TOO_SMALL),
    ],
    ids=["missing", "unsupported", "torn", "too small"],
)
def test_what_is_no_photograph_is_refused_before_the_network_runs(image: bytes, code: ErrorCode) -> None:
    def fail(batch_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError("the network ran")

    with pytest.raises(RequestError) as caught:
        ask(image, segmenter=Segmenter(CARD, fail))
    assert caught.value.code is code


# --- all at once


def test_all_at_once_are_the_pictures_and_cracks_of_the_single_answers() -> None:
    photograph, scale = striped(), {"mm_per_px": "0.2"}
    told = ask_json(photograph, response="all", **scale)
    pictures = {name: base64.b64decode(told[name]) for name in ("mask", "overlay")}
    assert pictures == {"mask": ask(photograph, response="mask").body, "overlay": ask(photograph, response="overlay").body}
    cracks = json.loads(ask(photograph, response="cracks", **scale).body)
    assert told["cracks"] == [feature["properties"] for feature in cracks["features"]]
    assert {name: told[name] for name in ("model", "threshold", "request_id")} == {
        name: cracks[name] for name in ("model", "threshold", "request_id")
    }


def test_all_at_once_with_a_standard_has_each_cracks_band() -> None:
    asked = {"mm_per_px": "0.2", "standard": "en-1992-1-1", "exposure": "XC4"}
    told, cracks = (json.loads(ask(striped(), response=response, **asked).body) for response in ("all", "cracks"))
    assert told["standard"] == cracks["standard"]
    assert [crack["band"] for crack in told["cracks"]] == [feature["properties"]["band"] for feature in cracks["features"]]
