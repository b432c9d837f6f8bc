"""Answers: each response is what the probability map says, encoded as the design promises."""

import io
import json
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from model.inference.answer import GRID_CELLS, Answer, answer, crack_grid, error_body
from model.inference.card import Backend
from model.inference.errors import ErrorCode, RequestError
from model.inference.markers import DICTIONARY, SINGLE
from model.inference.options import Options, Quality, Response
from model.inference.overlay import draw_overlay
from model.inference.photograph import MEGAPIXEL, Limits
from model.inference.segmenter import Segmenter
from model.inference.width_overlay import MAX_LEGEND_PX
from tests.cards import CARD
from tests.photographs import jpeg, noise, png, with_orientation

BACKEND = Backend("openvino", "int8")
SEGMENTER = Segmenter(CARD, lambda batch_nchw: batch_nchw[:, :1])  # crack is where the photograph is red


def ask(image: bytes, segmenter: Segmenter = SEGMENTER, limits: Limits | None = None, **fields: str) -> Answer:
    return answer(segmenter, image, Options.parse(fields), backend=BACKEND, request_id="r-1", limits=limits or Limits())


def ask_json(image: bytes, **fields: str) -> dict[str, Any]:
    result = ask(image, **fields)
    assert result.content_type == "application/json"
    return json.loads(result.body)


def picture(result: Answer) -> Image.Image:
    return Image.open(io.BytesIO(result.body))


def refusal(image: bytes = b"", limits: Limits | None = None, **fields: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        ask(image, limits=limits, **fields)
    return caught.value


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


def test_a_key_that_came_later_leaves_the_others_in_their_places() -> None:
    assert list(ask_json(png(noise(40, 60))))[-3:] == ["model", "request_id", "crack_score"]


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


# --- pictures


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


def test_overlay_is_a_jpeg_that_differs_from_the_photograph_on_its_cracks_alone() -> None:
    image_hwc_u8 = np.full((64, 96, 3), (90, 120, 110), np.uint8)
    image_hwc_u8[16:48, 32:64] = (150, 120, 110)  # crack, as it is red enough
    result = ask(png(image_hwc_u8), response="overlay", threshold="0.5")
    assert result.content_type == "image/jpeg"
    overlay = picture(result)
    assert (overlay.format, overlay.mode, overlay.size) == ("JPEG", "RGB", (96, 64))
    difference_hw = np.abs(np.asarray(overlay).astype(int) - image_hwc_u8).max(axis=2)
    assert difference_hw[20:44, 36:60].min() > 40
    difference_hw[12:52, 28:68] = 0  # the crack and four pixels around it, where JPEG mixes colours
    assert difference_hw.max() < 12


def test_draw_overlay_tints_cracks_red_and_leaves_every_other_pixel_and_its_input_alone() -> None:
    image_hwc_u8 = noise(20, 30)
    mask_hw = noise(20, 30, seed=1)[..., 0] > 200
    overlay = draw_overlay(image_hwc_u8, mask_hw)
    assert overlay.dtype == np.uint8
    np.testing.assert_array_equal(image_hwc_u8, noise(20, 30))
    np.testing.assert_array_equal(overlay[~mask_hw], image_hwc_u8[~mask_hw])
    assert (overlay[mask_hw][:, 0] >= 165).all()
    assert (overlay[mask_hw][:, 1] <= 90).all()


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


# --- fields


def test_without_fields_the_answer_is_the_grid_at_normal_quality_with_the_models_threshold() -> None:
    assert Options.parse({}) == Options(Response.JSON, Quality.NORMAL, None)


def test_each_field_is_read() -> None:
    fields = {"response": "overlay", "quality": "high", "threshold": "0.25"}
    assert Options.parse(fields) == Options(Response.OVERLAY, Quality.HIGH, 0.25)


def test_the_fields_of_a_request_read_again_are_the_same() -> None:
    fields = {"response": "json", "quality": "high", "threshold": "0.25", "summary": "cracks", "mm_per_px": "0.2"}
    assert Options.parse(Options.parse(fields).fields()) == Options.parse(fields)


@pytest.mark.parametrize("name", ["mm_per_px", "distance_m", "focal_length_mm", "sensor_width_mm", "marker_size_mm"])
@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "abc", "", "0,5", "1 mm"])
def test_a_scale_that_is_no_number_above_0_is_refused_with_a_sentence(name: str, text: str) -> None:
    error = refusal(**{name: text})
    assert (error.code, error.code.status) == (ErrorCode.PARAMETER_INVALID, 400)
    assert error.message.startswith(f"{name}={text!r}: expected a number above 0.")


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


# --- cracks


def striped() -> bytes:
    """A dark band of 6 by 100 pixels, which `CARD`'s network, that takes red for crack, sees as one."""
    image_hwc_u8 = np.zeros((64, 120, 3), np.uint8)
    image_hwc_u8[..., 1] = 150
    image_hwc_u8[30:36, 10:110] = (255, 30, 0)
    return png(image_hwc_u8)


def test_cracks_are_a_feature_collection_in_pixels_and_without_a_scale_nothing_is_in_millimetres() -> None:
    result = ask(striped(), response="cracks")
    assert result.content_type == "application/geo+json"
    body = json.loads(result.body)
    assert (body["type"], body["coordinates"], body["image_size"]) == ("FeatureCollection", "pixel", [64, 120])
    assert (body["mm_per_px"], body["scale_source"]) == (None, None)
    assert {"model", "threshold", "crack_score", "request_id"} <= body.keys()
    (found,) = body["features"]
    assert found["properties"]["length_px"] == pytest.approx(100, abs=2)
    assert found["properties"]["width_median_px"] == pytest.approx(6, abs=0.3)
    assert not any("mm" in name for name in found["properties"])


def test_a_given_scale_and_one_by_the_camera_are_named_and_used() -> None:
    given = json.loads(ask(striped(), response="cracks", mm_per_px="0.5").body)
    by_camera = {"distance_m": "1", "focal_length_mm": "10", "sensor_width_mm": "6"}
    camera = json.loads(ask(striped(), response="cracks", **by_camera).body)
    assert (given["mm_per_px"], given["scale_source"]) == (0.5, "given")
    assert (camera["mm_per_px"], camera["scale_source"]) == (pytest.approx(100 * 6 / 120), "camera")
    length_px = given["features"][0]["properties"]["length_px"]
    assert given["features"][0]["properties"]["length_mm"] == pytest.approx(length_px / 2, abs=1e-3)
    assert camera["features"][0]["properties"]["length_mm"] == pytest.approx(length_px * 5, abs=1e-3)


def marked() -> bytes:
    """A marker of 80 pixels a side and a dark band of 6 by 100, which `CARD`'s network sees as crack, as it does the marker."""
    image_hwc_u8 = np.zeros((200, 320, 3), np.uint8)
    image_hwc_u8[..., 1:] = 150
    image_hwc_u8[50:150, 20:120] = 255
    image_hwc_u8[60:140, 30:110] = cv2.aruco.generateImageMarker(DICTIONARY, SINGLE, 80)[..., None]
    image_hwc_u8[97:103, 200:300] = (255, 30, 0)
    return png(image_hwc_u8)


def test_by_a_marker_cracks_are_in_millimetres_and_the_marker_is_no_crack() -> None:
    plain = json.loads(ask(marked(), response="cracks").body)
    assert len(plain["features"]) > 1
    body = json.loads(ask(marked(), response="cracks", marker_size_mm="40").body)
    assert (body["mm_per_px"], body["scale_source"]) == (pytest.approx(0.5, rel=0.01), "marker")
    assert "scale_note" not in body
    (found,) = body["features"]
    assert found["properties"]["length_mm"] == pytest.approx(50, rel=0.03)
    assert found["properties"]["width_median_mm"] == pytest.approx(3, abs=0.2)
    told = ask_json(marked(), summary="cracks", marker_size_mm="40")
    assert (told["summary"]["n_cracks"], told["summary"]["n_without_mm"]) == (1, 0)
    assert told["crack_ratio"] == pytest.approx(600 / 64000, abs=1e-5)


def test_a_photograph_without_the_marker_asked_for_has_its_cracks_in_pixels_and_a_note_why() -> None:
    body = json.loads(ask(striped(), response="cracks", marker_size_mm="40").body)
    assert (body["mm_per_px"], body["scale_source"]) == (None, None)
    assert body["scale_note"].startswith("No marker was found, so nothing is told in millimetres. Expected one that")
    assert not any("mm" in name for found in body["features"] for name in found["properties"])
    told = ask_json(striped(), summary="cracks", marker_size_mm="40")["summary"]
    assert told["scale_note"] == body["scale_note"]
    assert not any(name.endswith("_mm") for name in told)


def from_camera(**tags: object) -> bytes:
    """A JPEG of 120 x 64 pixels with a dark band, by a camera whose EXIF block has these tags beside its size."""
    exif = Image.Exif()
    told = {"ExifImageWidth": 120, "ExifImageHeight": 64, **tags}
    for name, value in told.items():
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base[name]] = IFDRational(value) if isinstance(value, float) else value
    image_hwc_u8 = np.asarray(Image.open(io.BytesIO(striped())))
    return jpeg(image_hwc_u8, exif=exif, quality=95)


SENSOR = {"FocalLength": 10.0, "FocalPlaneXResolution": 120 / 0.6, "FocalPlaneResolutionUnit": 3}  # 6 mm wide
EQUIVALENT = {"FocalLengthIn35mmFilm": 64}


@pytest.mark.parametrize(
    ("tags", "mm_per_px"),
    [
        (SENSOR, 1000 * 6 / 10 / 120),
        (EQUIVALENT, 1000 * np.hypot(36, 24) / 64 / np.hypot(120, 64)),
        ({**SENSOR, **EQUIVALENT}, 1000 * 6 / 10 / 120),
    ],
    ids=["sensor", "35 mm film", "both"],
)
def test_with_a_distance_alone_the_photograph_tells_of_its_camera(tags: dict[str, float], mm_per_px: float) -> None:
    body = json.loads(ask(from_camera(**tags), response="cracks", distance_m="1").body)
    assert (body["mm_per_px"], body["scale_source"]) == (pytest.approx(mm_per_px), "camera")
    assert body["features"][0]["properties"]["length_mm"] == pytest.approx(100 * mm_per_px, rel=0.03)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (striped(), "The photograph has no EXIF data about the camera."),
        (from_camera(), "The photograph's EXIF data has neither the sensor's resolution nor a focal length for 35 mm film."),
        (from_camera(**EQUIVALENT, DigitalZoomRatio=2.0), "The photograph was taken with digital zoom (2 times)"),
        (
            from_camera(**EQUIVALENT | {"ExifImageWidth": 4000}),
            "By its EXIF data the photograph was taken with 4000 x 64",
        ),
        (
            from_camera(**SENSOR, FocalLengthIn35mmFilm=26),
            "In the photograph's EXIF data, the sensor's resolution and",
        ),
        (from_camera(**SENSOR | {"FocalPlaneResolutionUnit": 1}), "The photograph's EXIF data has neither"),
    ],
    ids=["no EXIF", "nothing of use", "zoom", "reduced", "contradiction", "no unit"],
)
def test_a_photograph_that_does_not_tell_of_its_camera_has_its_cracks_in_pixels_and_a_note_why(image: bytes, why: str) -> None:
    body = json.loads(ask(image, response="cracks", distance_m="1").body)
    assert (body["mm_per_px"], body["scale_source"]) == (None, None)
    assert body["scale_note"].startswith(why)
    assert "So nothing is told in millimetres. Send focal_length_mm" in body["scale_note"]
    assert body["features"]
    assert not any("mm" in name for found in body["features"] for name in found["properties"])


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


@pytest.mark.parametrize(
    ("response", "scale"),
    [("json", {"mm_per_px": "1"}), ("mask", {"mm_per_px": "1"}), ("probability", {"mm_per_px": "1"}), ("overlay", {})],
)
def test_nothing_is_measured_where_nobody_asks(response: str, scale: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("model.inference.answer.measure")
    assert ask(striped(), response=response, **scale).body


def test_an_overlay_without_a_scale_is_byte_for_byte_the_plain_drawing() -> None:
    image = np.asarray(Image.open(io.BytesIO(striped())))
    assert ask(striped(), response="overlay").body == jpeg(draw_overlay(image, image[..., 0] >= 128), quality=90)


def legend_of(result: Answer, height: int) -> NDArray[np.uint8]:
    """What is below the photograph."""
    return np.asarray(picture(result))[height:]


def has_colour(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(image.astype(int) - colour).max(axis=2) < 40).any())


def test_an_overlay_with_a_scale_colours_each_crack_by_its_width_and_has_a_legend_and_a_scale_bar() -> None:
    wide = ask(striped(), response="overlay", mm_per_px="0.1")
    narrow = ask(striped(), response="overlay", mm_per_px="0.04")
    assert picture(wide).width == 120
    for result, inside, outside in ((wide, (190, 0, 200), (255, 145, 0)), (narrow, (255, 145, 0), (190, 0, 200))):
        crack = np.asarray(picture(result))[31:35, 20:100]
        assert has_colour(crack, inside)
        assert not has_colour(crack, outside)
        assert has_colour(legend_of(result, 64), inside)
        assert has_colour(legend_of(result, 64), outside)
        assert (legend_of(result, 64) < 60).all(axis=2).sum() > 100  # texts and bar


def test_an_overlay_by_a_standard_has_its_bands_and_is_taller_by_its_title_and_note() -> None:
    plain = ask(striped(), response="overlay", mm_per_px="0.1")
    judged = ask(striped(), response="overlay", mm_per_px="0.1", standard="en-1992-1-1", exposure="XC4")
    assert picture(judged).height > picture(plain).height
    assert has_colour(np.asarray(picture(judged))[31:35, 20:100], (190, 0, 200))


def test_an_overlay_whose_marker_is_not_found_colours_nothing_by_width_and_says_why() -> None:
    result = ask(striped(), response="overlay", marker_size_mm="50")
    plain = np.asarray(picture(ask(striped(), response="overlay")))
    assert np.abs(np.asarray(picture(result))[:60].astype(int) - plain[:60]).max() < 12
    assert legend_of(result, 64).shape[0] > 100


@pytest.mark.parametrize("size", [(16, 16), (3000, 20), (20, 3000)])
def test_a_legend_is_drawn_for_a_picture_of_any_size(size: tuple[int, int]) -> None:
    fields = {"standard": "aashto-mbei", "exposure": "prestressed", "mm_per_px": "0.1"}
    result = picture(ask(png(np.zeros((*size, 3), np.uint8)), response="overlay", **fields))
    assert result.width == size[1]
    assert size[0] < result.height <= size[0] + MAX_LEGEND_PX


def test_fields_that_nobody_knows_are_ignored() -> None:
    assert Options.parse({"note": "north pier"}) == Options()


@pytest.mark.parametrize("text", ["0", "1", "0.0", "1.0", "7", "-0.5", "nan", "inf", "abc", "", "0,5", "50%"])
def test_a_threshold_that_is_no_number_between_0_and_1_is_refused_with_a_sentence(text: str) -> None:
    error = refusal(threshold=text)
    assert error.code is ErrorCode.PARAMETER_INVALID
    assert error.code.status == 400
    assert error.message.startswith(f"threshold={text!r}: expected a number between 0 and 1, both excluded.")


@pytest.mark.parametrize("text", ["foo", "", "MASK", "mask "])
def test_an_unknown_response_is_refused_with_those_there_are(text: str) -> None:
    error = refusal(response=text)
    assert error.code is ErrorCode.PARAMETER_INVALID
    assert error.message == f"response={text!r}: expected one of json, full, mask, probability, overlay, cracks."


@pytest.mark.parametrize("text", ["foo", "", "HIGH"])
def test_an_unknown_quality_is_refused_with_those_there_are(text: str) -> None:
    error = refusal(quality=text)
    assert error.code is ErrorCode.PARAMETER_INVALID
    assert error.message == f"quality={text!r}: expected one of normal, high."


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


def test_an_overlay_wider_than_a_jpeg_is_too_large_and_every_other_response_is_answered() -> None:
    strip = png(np.zeros((16, 65_501, 3), np.uint8))
    error = refusal(strip, response="overlay")
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert "65501 x 16 pixels, at most 65500 a side fit into the JPEG of response=overlay" in error.message
    assert ask(strip, response="mask").body
    assert ask(png(np.zeros((16, 65_500, 3), np.uint8)), response="overlay").body


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


def test_an_error_tells_clients_a_code_and_people_a_sentence() -> None:
    error = RequestError(ErrorCode.IMAGE_UNDECODABLE, 'It is "torn".')
    assert json.loads(error_body(error)) == {"status": "error", "code": "image_undecodable", "message": 'It is "torn".'}


def test_codes_and_their_status_are_those_of_the_design() -> None:
    assert {code.value: code.status for code in ErrorCode} == {
        "image_missing": 400,
        "parameter_invalid": 400,
        "image_too_large": 413,
        "image_unsupported": 415,
        "image_undecodable": 422,
        "image_too_small": 422,
        "prediction_failed": 500,
        "key_invalid": 401,
        "not_permitted": 403,
        "origin_refused": 403,
        "not_found": 404,
        "method_not_allowed": 405,
        "request_incomplete": 408,
        "state_conflict": 409,
        "host_refused": 421,
        "mask_invalid": 422,
        "precondition_required": 428,
        "rate_limited": 429,
        "internal_error": 500,
        "too_many_connections": 503,
        "model_unavailable": 503,
        "keys_unavailable": 503,
        "issuer_unavailable": 503,
        "server_busy": 503,
        "storage_full": 507,
    }
