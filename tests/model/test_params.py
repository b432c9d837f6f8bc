"""params.yaml: it is valid, and what is wrong in one is named."""

from pathlib import Path

import pytest

from model.params import read_params
from tests.conftest import ROOT


def test_the_recipe_of_the_repository_is_valid() -> None:
    assert read_params(ROOT / "params.yaml").network.width == 24


def test_single_values_can_be_put_in_place_of_the_files() -> None:
    params = read_params(ROOT / "params.yaml", {"data.sets": "{a: 1, b: 0.5}", "training.learning_rate": "1.0e-4"})
    assert params.data.sets == {"a": 1, "b": 0.5}
    assert params.training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("training.batch", "0", r"training\.batch=0: .*greater than or equal to 1"),
        ("training.batch", "many", r"training\.batch='many'"),
        ("data.validation_ratio", "1.5", r"data\.validation_ratio=1\.5: .*less than 1"),
        ("training.bach", "8", r"'training\.bach' is not in .*params\.yaml"),
        ("nothing", "8", r"'nothing' is not in"),
        ("data.sets", "{deepcrack: -1}", r"data\.sets\.deepcrack=-1: .*greater than or equal to 0"),
        ("data.n_synthetic", "0", "expected both to be 0 or neither"),
        ("data.held_out_folds", "{negatives: [3, 3]}", "expected a fold from 0 to 2"),
        ("data.sets", "{deepcrack: 1", "data.sets: no YAML"),
        ("augmentation.scale_range", "[0, 1]", "expected 0 < smallest"),
    ],
)
def test_a_wrong_value_is_named(name: str, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_params(ROOT / "params.yaml", {name: text})


def test_a_missing_and_an_unknown_value_are_named(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("  depth: 4", "  dept: 4")
    broken = tmp_path / "params.yaml"
    broken.write_text(text)
    with pytest.raises(ValueError, match=r"network\.depth=.*Field required; network\.dept=4: Extra"):
        read_params(broken)
