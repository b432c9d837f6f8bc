"""Bands of named standards: what the tables hold, and which band a crack is in."""

import pytest

from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options
from model.inference.standards import NOTE, _tables, find, names


def crack(width_mm: float | None, error_mm: float = 0.01, limit_mm: float = 0.05) -> dict[str, float | None]:
    widths = {f"width_{name}_mm": width_mm for name in ("mean", "p95")}
    return {**widths, "width_uncertainty_mm": error_mm if width_mm else None, "width_limit_mm": limit_mm}


@pytest.mark.parametrize("name", names())
def test_every_row_of_a_table_has_rising_limits_and_a_band_more_than_limits(name: str) -> None:
    for exposure in _tables()[name]["exposures"]:
        standard = find(name, exposure)
        assert list(standard.bands.limits_mm) == sorted(set(standard.bands.limits_mm))
        assert len(standard.bands.names) == len(standard.bands.limits_mm) + 1
        told = standard.told()
        assert told["source"].startswith("https://")
        assert told["note"] == NOTE == "A guide value, not a verdict on safety."


@pytest.mark.parametrize(
    ("standard", "exposure", "width_mm", "band", "above_mm", "up_to_mm"),
    [
        ("aci-224r-01", "seawater", 0.12, "ACI 224R-01: within the guide value", None, 0.15),
        ("aci-224r-01", "dry_air", 0.45, "ACI 224R-01: above the guide value", 0.41, None),
        ("en-1992-1-1", "XC1", 0.35, "EN 1992-1-1: within the recommended width", None, 0.4),
        ("en-1992-1-1", "XC4", 0.35, "EN 1992-1-1: above the recommended width", 0.3, None),
        ("astm-d6433", "asphalt", 20, "ASTM D6433: medium severity by width", 10, 75),
        ("fhwa-ltpp", "concrete_transverse", 7, "FHWA LTPP: high severity by width", 6, None),
        ("aashto-mbei", "reinforced", 0.5, "AASHTO MBEI: width of condition state 2", 0.3048, 1.27),
    ],
)
def test_a_width_is_in_its_band(
    standard: str, exposure: str, width_mm: float, band: str, above_mm: float | None, up_to_mm: float | None
) -> None:
    told = find(standard, exposure).band(crack(width_mm))
    assert told == {"name": band, "above_mm": above_mm, "up_to_mm": up_to_mm, "is_certain": True}


def test_no_band_is_named_without_its_standard() -> None:
    for name, table in _tables().items():
        for exposure in table["exposures"]:
            assert all(band.startswith(f"{table['name']}: ") for band in find(name, exposure).bands.names)


def test_near_a_limit_a_band_is_not_certain() -> None:
    standard = find("en-1992-1-1", "XC4")
    assert standard.band(crack(0.29, error_mm=0.02)) == {
        "name": "EN 1992-1-1: within the recommended width",
        "above_mm": None,
        "up_to_mm": 0.3,
        "is_certain": False,
    }


def test_a_crack_too_narrow_to_tell_is_in_the_lowest_band_if_even_its_limit_is() -> None:
    standard = find("en-1992-1-1", "XC4")
    fine = standard.band(crack(None, limit_mm=0.2))
    assert fine is not None
    assert (fine["name"], fine["is_certain"]) == ("EN 1992-1-1: within the recommended width", True)
    assert standard.band(crack(None, limit_mm=0.5)) is None
    assert standard.band({"width_p95_px": 4.0}) is None
    counted = standard.counted([crack(0.1), crack(0.9), crack(None, limit_mm=0.5)])
    assert list(counted.values()) == [1, 1, 1]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"standard": "aci", "mm_per_px": "1"}, "standard='aci': expected one of aci-224r-01, en-1992-1-1,"),
        ({"standard": "en-1992-1-1", "mm_per_px": "1"}, "no exposure with standard=en-1992-1-1: expected one of X0, XC1,"),
        (
            {"standard": "fhwa-ltpp", "exposure": "XC1", "mm_per_px": "1"},
            "exposure='XC1' with standard=fhwa-ltpp: expected",
        ),
        ({"exposure": "XC1"}, "exposure='XC1' without standard: expected both."),
        (
            {"standard": "fhwa-ltpp", "exposure": "asphalt"},
            "standard='fhwa-ltpp' without a scale: its limits are",
        ),
    ],
    ids=str,
)
def test_a_standard_that_cannot_be_used_is_refused_with_a_sentence(fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(RequestError) as caught:
        Options.parse(fields)
    assert caught.value.code is ErrorCode.PARAMETER_INVALID
    assert caught.value.message.startswith(sentence)
