"""Which unknown names are taken for misspelt ones: those that people type, and none that other programs send for themselves."""

import pytest

from model.inference.errors import ErrorCode, RequestError
from sidecar.documents import CHANGE_BODY, KEEP_BODY, PREDICT_BODY, REVIEW_BODY, SAVE_BODY, names_in
from sidecar.names import check_names
from sidecar.routes.inspections import AboutInspection

KNOWN = {*AboutInspection.model_fields}.union(*map(names_in, (CHANGE_BODY, KEEP_BODY, PREDICT_BODY, REVIEW_BODY, SAVE_BODY)))
MISSPELT = {
    "mm_per_px": ("mm_per_pix", "mm_per_pixel", "mm-per-px", "mmPerPx", "mmPerPixel", "MM_PER_PX", "mm per px", "mmperpx"),
    "threshold": ("treshold", "threshhold", "Threshold", "thresholds", "thresh"),
    "distance_m": ("distance", "distance_mm", "distanceM"),
    "focal_length_mm": ("focal_length", "focalLength"),
    "marker_size_mm": ("marker_size", "marker_size_cm"),
    "response": ("respone", "responce", "resposne"),
    "quality": ("qualtiy", "qality"),
    "verdict": ("verdikt", "Verdict"),
    "mask": ("masks", "Mask", "maks"),
    "note": ("ntoe",),
    "look_alikes": ("lookalikes", "look_alike"),
}


@pytest.mark.parametrize(("meant", "name"), [(meant, name) for meant, names in MISSPELT.items() for name in names])
def test_a_misspelt_name_is_told_which_is_meant(meant: str, name: str) -> None:
    with pytest.raises(RequestError, match=f"{name}.*expected '{meant}'") as refused:
        check_names(["image", name], KNOWN)
    assert refused.value.code is ErrorCode.PARAMETER_INVALID


def test_names_of_other_programs_are_harmless() -> None:
    others = "file filename type submit csrf_token session_id user model version scale px_per_mm data date status tags id"
    check_names([*others.split(), "utf8", "_method", "authenticity_token", "inspection", "X-Amz-Date", "ü" * 60_000], KNOWN)


def test_beside_the_field_itself_a_name_like_it_is_harmless() -> None:
    check_names(["image", "images", "note", "notes"], KNOWN)
