"""How large things are: cracks are in millimetres by a given scale, the camera or a marker, or in pixels with a note why."""

import io
import json

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from model.inference.markers import DICTIONARY, SINGLE
from tests.answers import ask, ask_json, striped
from tests.photographs import jpeg, png


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
    assert body["scale_note"].startswith("No marker was found, so there are no millimetres. Expected one that")
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


SENSOR = {"FocalLength": 10.0, "FocalPlaneXResolution": 120 / 0.6, "FocalPlaneResolutionUnit": 3}  # 6 mm wide  # 6 mm wide
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
        (from_camera(**EQUIVALENT | {"ExifImageWidth": 0}), "The photograph's EXIF data does not say with how many pixels"),
        (
            from_camera(**SENSOR, FocalLengthIn35mmFilm=26),
            "In the photograph's EXIF data, the sensor's resolution and",
        ),
        (from_camera(**SENSOR | {"FocalPlaneResolutionUnit": 1}), "The photograph's EXIF data has neither"),
    ],
    ids=["no EXIF", "nothing of use", "zoom", "reduced", "no size", "contradiction", "no unit"],
)
def test_a_photograph_that_does_not_tell_of_its_camera_has_its_cracks_in_pixels_and_a_note_why(image: bytes, why: str) -> None:
    body = json.loads(ask(image, response="cracks", distance_m="1").body)
    assert (body["mm_per_px"], body["scale_source"]) == (None, None)
    assert body["scale_note"].startswith(why)
    assert "So there are no millimetres. Send focal_length_mm" in body["scale_note"]
    assert body["features"]
    assert not any("mm" in name for found in body["features"] for name in found["properties"])
