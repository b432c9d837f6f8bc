"""The stages of a retraining, each on files alone, and who may be judged and trained on."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml

from model import checkpoint
from model.attention_unet import AttentionUNet
from model.dataset import Pair, cut_by_group, read_parts
from model.inference.card import ModelCard
from model.params import Params
from model.validation import Choice
from retrain import mixture, stages
from retrain.cycle import choose_start
from retrain.judge import Model
from retrain.rollover import read_card
from retrain.settings import RetrainParams
from retrain.snapshot import FEEDBACK, Snapshot
from retrain.verdict import Verdict
from tests.conftest import ROOT
from tests.retrain import former
from tests.tiny import EXPORT

RULES = RetrainParams.read(ROOT / "params.yaml").model_copy(update={"steps": 6})
NO_LABELS = Snapshot(0, 0, "")


@pytest.fixture(scope="module")
def former_archive(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return former.write_former(archive, tmp_path_factory.mktemp("former") / "crack.mar")


@pytest.fixture
def workspace(surfaces: Path, tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stages work in, with a snapshot without labels."""
    shutil.copytree(surfaces, tmp_path / stages.DATA)
    (tmp_path / stages.DATA / "snapshot.json").write_text(json.dumps(dataclasses.asdict(NO_LABELS)))
    recipe = tiny_params.model_dump(mode="json") | {"export": EXPORT.model_dump(), "retrain": RULES.model_dump()}
    (tmp_path / stages.PARAMS).write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_judges_has_no_say_in_checkpoint_threshold_and_mixture(
    workspace: Path, archive: Path, tiny_params: Params
) -> None:
    shutil.copy(archive, workspace / stages.START)
    judging = read_parts(stages.DATA, tiny_params.data).judging
    for pair in judging:
        pair.image_path.unlink()
    stages.learn()
    card = ModelCard.read(checkpoint.newest(stages.MODELS).with_suffix(".json"))
    assert card.training["parent"]["version"] == read_card(archive).version
    assert 0 < card.training["share_of_trained_weights"] <= 1


def test_no_correction_is_kept_back_to_judge_and_the_original_sets_judge_as_before(tiny_params: Params) -> None:
    pairs = [
        Pair(name, Path(f"{number}.jpg"), Path(f"{number}.png"), "train", str(number))
        for name in ("synthetic", FEEDBACK)
        for number in range(100)
    ]
    data = stages.recipe(tiny_params, RULES, Snapshot(150, 50, "")).data
    parts = cut_by_group(pairs, data)
    assert {pair.set_name for pair in parts.judging} == {"synthetic"}
    assert parts.judging == cut_by_group(pairs[:100], tiny_params.data).judging
    assert len([pair for pair in [*parts.learning, *parts.choosing] if pair.set_name == FEEDBACK]) == 100


def test_corrections_are_the_share_of_the_crops_that_the_rules_say(tiny_params: Params) -> None:
    data = stages.recipe(tiny_params, RULES, Snapshot(150, 50, "")).data
    shares = sum(data.sets.values()) + data.synthetic_share
    assert data.sets[FEEDBACK] / shares == pytest.approx(RULES.feedback_ratio)


@pytest.mark.parametrize(("largest", "expected"), [(1.0, 1.0), (0.55, 0.5), (0.2, 0.2), (0.0, 0.2)])
def test_the_mixture_nearest_to_the_trained_weights_that_loses_little_is_kept(
    largest: float,
    expected: float,
    archive: Path,
    trained: Path,
    surfaces: Path,
    tiny_params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to `largest` of the way nothing is lost here, and beyond it everything."""
    for path in (trained, trained.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    choosing = read_parts(surfaces, tiny_params.data).choosing
    found = Model(archive).find(choosing)
    tried: list[float] = []
    between = mixture.between

    def remember(start: AttentionUNet, network: AttentionUNet, share: float) -> AttentionUNet:
        tried.append(share)
        return between(start, network, share)

    def choice(*_: object) -> Choice:
        return Choice(0.5, 0.0, dict.fromkeys(found.counts, 1.0 if tried[-1] <= largest else 0.0))

    monkeypatch.setattr(mixture, "between", remember)
    monkeypatch.setattr(mixture, "validate", choice)
    mixture.mix(archive, tmp_path / trained.name, found, choosing, most_alarms=0, most=0.005)
    card = ModelCard.read((tmp_path / trained.name).with_suffix(".json"))
    assert card.training["share_of_trained_weights"] == expected
    assert len(tried) <= 5


def test_a_champion_of_the_first_releases_is_judged_and_the_verdict_says_what_the_training_began_with(
    workspace: Path, archive: Path, former_archive: Path, trained: Path
) -> None:
    shutil.copy(former_archive, workspace / stages.CHAMPION)
    shutil.copy(archive, workspace / stages.START)
    shutil.copytree(trained.parent, workspace / stages.MODELS)
    stages.compare()
    verdict = Verdict.read(stages.REPORT / "verdict.json")
    version = read_card(archive).version
    assert verdict.champion == former.VERSION
    assert f"began with version {version}, the released one: version {former.VERSION}" in verdict.remark
    assert verdict.remark in (stages.REPORT / "verdict.html").read_text().replace("&#x27;", "'")
    for before, after in verdict.figures.values():  # it is the same network
        assert before == pytest.approx(after, abs=1e-3)


def test_of_a_champion_that_is_trained_on_nothing_is_remarked(surfaces: Path, tiny_params: Params, archive: Path) -> None:
    card = read_card(archive)
    assert stages.began_with(card, card) == ""
    assert stages.read_gate(surfaces, tiny_params.data, card) == (read_parts(surfaces, tiny_params.data).judging, "")


def test_photographs_that_the_champion_learned_from_by_another_cut_do_not_judge(
    surfaces: Path, tiny_params: Params, archive: Path
) -> None:
    data = tiny_params.data.model_copy(update={"judging_ratio": 0.6})
    champion = former.former_card(read_card(archive))
    learned = read_parts(surfaces, tiny_params.data.model_copy(update={"judging_ratio": 0})).learning
    judging = read_parts(surfaces, data).judging
    assert set(learned) & set(judging)
    gate, remark = stages.read_gate(surfaces, data, champion)
    assert gate == [pair for pair in judging if pair not in learned]
    assert remark.startswith(f"{len(judging) - len(gate)} of the {len(judging)} photographs of the gate set were left out")


def test_nor_do_those_that_its_parent_learned_from(surfaces: Path, tiny_params: Params, archive: Path) -> None:
    parent = former.former_card(read_card(archive))
    card = read_card(archive)
    champion = dataclasses.replace(
        card, training={**card.training, "parent": {"version": parent.version, "training": parent.training}}
    )
    data = tiny_params.data.model_copy(update={"judging_ratio": 0.6})
    assert stages.read_gate(surfaces, data, champion) == (
        stages.read_gate(surfaces, data, parent)[0],
        stages.read_gate(surfaces, data, parent)[1].replace(parent.version, card.version),
    )


def test_a_champion_that_learned_from_all_that_judges_is_refused(surfaces: Path, tiny_params: Params, archive: Path) -> None:
    card = read_card(archive)
    params = card.training["params"]
    data = {**params["data"], "judging_ratio": 0, "validation_ratio": 1e-9}
    champion = dataclasses.replace(card, training={**card.training, "params": {**params, "data": data}})
    with pytest.raises(ValueError, match="has not learned from 0 of the 2 photographs of the gate set"):
        stages.read_gate(surfaces, tiny_params.data, champion)


def test_a_training_begins_with_the_champion_or_where_that_is_of_the_first_releases_with_the_released_archive(
    archive: Path, former_archive: Path
) -> None:
    assert choose_start(archive, former_archive) == archive
    assert choose_start(former_archive, archive) == archive
    with pytest.raises(ValueError, match=f"version {former.VERSION}, have the network of the first releases"):
        choose_start(former_archive, former_archive)


def test_weights_of_the_first_releases_are_not_trained_on(former_archive: Path) -> None:
    with pytest.raises(ValueError, match="can be served and judged, but not trained any more"):
        checkpoint.load(former_archive)
