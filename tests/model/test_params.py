"""params.yaml: it is valid, and what is wrong in one is named."""

from pathlib import Path

import pytest

from model.params import read_params
from tests.conftest import ROOT


def test_the_recipe_of_the_repository_is_valid() -> None:
    assert read_params(ROOT / "params.yaml").network.decoder == (96, 64, 48, 32)


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
        ("data.judging_ratio", "0.9", "validation_ratio and judging_ratio: expected less than 1 together"),
        ("data.judging_ratio", "-0.1", r"data\.judging_ratio=-0\.1: .*greater than or equal to 0"),
        ("data.largest_group", "0", r"data\.largest_group=0: .*greater than or equal to 1"),
        ("network.width", "0", r"network\.width=0: .*greater than 0"),
        ("network.decoder", "[96, 0]", r"network\.decoder\.1=0: .*greater than or equal to 1"),
        ("training.encoder_rate", "1.5", r"training\.encoder_rate=1\.5: .*less than or equal to 1"),
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
    text = (ROOT / "params.yaml").read_text().replace("  depth: 1.0", "  dept: 1.0")
    broken = tmp_path / "params.yaml"
    broken.write_text(text)
    with pytest.raises(ValueError, match=r"network\.depth=.*Field required; network\.dept=1\.0: Extra"):
        read_params(broken)


@pytest.mark.parametrize("content", [b"", b"- 1", b"5", b"data: none", "# Br\u00fccke".encode("latin-1")])
def test_a_file_without_sections_is_named(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "params.yaml"
    broken.write_bytes(content)
    with pytest.raises(ValueError, match=r"params\.yaml: expected (sections|text in UTF-8)"):
        read_params(broken)


# Recipes


def recipe(folder: Path, text: str) -> Path:
    path = folder / "1-learn.yaml"
    path.write_text(text)
    return path


def test_a_recipe_says_what_differs_and_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    stage = recipe(tmp_path, "data:\n  sets: {deepcrack: 1}\ntraining:\n  steps: 7\n  batch: 2\n")
    params = read_params(ROOT / "params.yaml", {"training.batch": "3"}, stage)
    usual = read_params(ROOT / "params.yaml")
    assert params.data.sets == {"deepcrack": 1}
    assert (params.training.steps, params.training.batch) == (7, 3)
    assert params.training.model_copy(update={"steps": usual.training.steps, "batch": usual.training.batch}) == usual.training
    assert params.network == usual.network


def test_an_empty_recipe_changes_nothing(tmp_path: Path) -> None:
    assert read_params(ROOT / "params.yaml", recipe=recipe(tmp_path, "# nothing\n")) == read_params(ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training: {stepz: 7}", r"1-learn\.yaml: training\.stepz is not in .*params\.yaml"),
        ("trainings: {steps: 7}", r"1-learn\.yaml: trainings\.steps is not in .*params\.yaml"),
        ("retrain: {steps: 7}", r"1-learn\.yaml: retrain\.steps is not in"),
        ("training: {steps: 0}", r"training\.steps=0: .*greater than or equal to 1"),
        ("training: {steps: 7", r"1-learn\.yaml: no YAML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_params(ROOT / "params.yaml", recipe=recipe(tmp_path, text))


@pytest.mark.parametrize("text", ["training: 3", "[training]", "steps"])
def test_a_recipe_that_has_no_sections_is_named(text: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ValueError, match=r"recipe\.yaml: .* expected sections of"):
        read_params(ROOT / "params.yaml", recipe=recipe)
