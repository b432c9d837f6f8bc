"""A training in stages: each recipe of a folder in turn, each from the weights before it, and none twice."""

import logging
from pathlib import Path

import pytest
import torch

from model import checkpoint, train
from model.average import average
from model.params import read_params
from tests.conftest import ROOT
from tests.tiny import TINY

SHORT = TINY | {"training.steps": "2", "training.validate_every": "2"}


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "1-first.yaml").write_text("# params.yaml as it is\n")
    (folder / "2-second.yaml").write_text("augmentation: {grey_ratio: 0.5}\n")
    return folder


def test_stages_follow_each_other_and_what_is_finished_is_not_trained_again(
    recipes: Path, surfaces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "models"
    path = train.train_stages(recipes, ROOT / "params.yaml", SHORT, surfaces, out)
    _, first = checkpoint.load(checkpoint.newest(out / "1-first"))
    _, second = checkpoint.load(path)
    assert path.parent == out
    assert second.training["parent"]["version"] == first.version
    ratios = [card.training["params"]["augmentation"]["grey_ratio"] for card in (first, second)]
    assert ratios == [0.1, 0.5]
    with caplog.at_level(logging.INFO):
        assert train.train_stages(recipes, ROOT / "params.yaml", SHORT, surfaces, out) == path
    assert [record.message.split(":")[0] for record in caplog.records] == ["stage 1 of 2, 1-first", "stage 2 of 2, 2-second"]


def test_the_mean_of_two_stages_lies_between_them_and_has_the_rules_of_params_yaml(
    recipes: Path, surfaces: Path, tmp_path: Path
) -> None:
    (recipes / "2-second.yaml").write_text("inference: {narrow_px: 0, least_sure_px: 0}\n")
    later_path = train.train_stages(recipes, ROOT / "params.yaml", SHORT, surfaces, tmp_path / "models")
    former_path = checkpoint.newest(tmp_path / "models" / "1-first")
    inference = read_params(ROOT / "params.yaml").inference
    mean, card = checkpoint.load(average(former_path, later_path, surfaces, tmp_path / "mean", inference, share=0.25))
    (former, former_card), (later, later_card) = checkpoint.load(former_path), checkpoint.load(later_path)
    assert (later_card.narrow_px, later_card.least_sure_px) == (0, 0)
    assert (card.narrow_px, card.least_sure_px) == (inference.narrow_px, inference.least_sure_px) != (0, 0)
    assert card.training["mean_of"] == {former_card.version: 0.75, later_card.version: 0.25}
    weights = [network.head.weight for network in (former, later, mean)]
    torch.testing.assert_close(weights[2], weights[0].lerp(weights[1], 0.25), atol=1e-3, rtol=1e-2)  # kept in float16


def test_a_wrong_recipe_is_named_before_anything_is_trained(recipes: Path, surfaces: Path, tmp_path: Path) -> None:
    (recipes / "2-second.yaml").write_text("training: {stepps: 1}\n")
    with pytest.raises(ValueError, match=r"2-second\.yaml: training\.stepps is not in"):
        train.train_stages(recipes, ROOT / "params.yaml", SHORT, surfaces, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_a_folder_without_recipes_is_named(surfaces: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a recipe for each stage"):
        train.train_stages(tmp_path, ROOT / "params.yaml", SHORT, surfaces, tmp_path / "models")


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_repositorys_recipes_can_be_read(recipe: Path) -> None:
    train.read_params(ROOT / "params.yaml", {}, recipe)
