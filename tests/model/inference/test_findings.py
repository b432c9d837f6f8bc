"""What is told of cracks: GeoJSON features, and all of them in sum."""

from dataclasses import replace

import numpy as np
import pytest

from model.inference.findings import feature, properties, summary
from model.inference.millimetres import Scale, ScaleSource
from tests.model.inference.test_cracks import SIZE_HW, band, found


def test_a_feature_has_its_centre_line_in_pixels_from_the_corner() -> None:
    (crack,) = found(band((30, 120), (290, 120), 8))
    geometry = feature(crack, {})["geometry"]
    assert geometry["type"] == "LineString"
    assert [y for _, y in geometry["coordinates"]] == pytest.approx([120] * len(geometry["coordinates"]), abs=0.6)
    assert min(x for x, _ in geometry["coordinates"]) == pytest.approx(30, abs=2)
    (forked,) = found(band((20, 120), (300, 120), 5), band((150, 120), (260, 30), 4))
    assert feature(forked, {})["geometry"]["type"] == "MultiLineString"


def test_no_line_of_a_feature_is_a_point_which_gis_call_invalid() -> None:
    (crack,) = found(band((20, 120), (300, 120), 5))
    ring_xy = np.array([(50.0, 118.0), (50.8, 118.6), (50.0, 118.0)])  # shorter than the distance between two told points
    geometry = feature(replace(crack, lines_xy=[*crack.lines_xy, ring_xy]), {})["geometry"]
    assert geometry == feature(crack, {})["geometry"]


def test_a_summary_counts_adds_and_names_the_widest() -> None:
    both = found(band((20, 40), (120, 40), 4), band((20, 200), (300, 200), 8))
    scale = Scale(2, ScaleSource.GIVEN)
    told = summary([properties(crack, scale, SIZE_HW[1]) for crack in both], scale)
    assert told["n_cracks"] == 2
    assert told["length_total_mm"] == pytest.approx(2 * told["length_total_px"], abs=0.01)
    assert told["width_max_px"] == max(crack.figures["width_max_px"] for crack in both)
    assert summary([], None) == {"n_cracks": 0, "length_total_px": 0, "width_max_px": None}
