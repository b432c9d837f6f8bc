"""The whole cycle with a tiny network: real feedback, DVC, git, MLflow and TorchServe, by the command that people type."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import requests
from mlflow import MlflowClient

from crack.foreign import SPLIT_COLUMNS, read_rows
from crack.serving import Serving
from retrain.replicas import PROMOTED as PROMOTED_ARCHIVE
from retrain.replicas import ModelServer, RollOverError
from retrain.rollover import read_card, settle
from retrain.verdict import Verdict
from tests.conftest import ROOT
from tests.retrain import former
from tests.retrain.cycles import ENDLESS, RULES, System, wait_for
from tests.waiting import PATIENCE_S, eventually

N_LABELS = 12
PROMOTED = range(100, 100 + N_LABELS)  # surfaces from which the challenger learns enough
TOLERANCE = 0.05  # of an F1, between two trainings with the same seed


@contextlib.contextmanager
def held_still(running: "subprocess.Popen[str]") -> Iterator[None]:
    """A retraining and its stages do nothing meanwhile."""
    os.killpg(running.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(running.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("system"))
    try:
        yield running
    finally:
        running.stop()


class Retraining(NamedTuple):
    """What was seen as a fresh system got labels, as their model went into production, and as the one before came back."""

    adopted: "subprocess.CompletedProcess[str]"
    without_labels: "subprocess.CompletedProcess[str]"
    plan: str
    done: "subprocess.CompletedProcess[str]"
    version: str
    job: dict[str, Any]
    commit: str
    pictures: list[Path]
    aliases: dict[str, str]
    back: "subprocess.CompletedProcess[str]"
    version_back: str
    aliases_back: dict[str, str]
    status: str
    history: str


@pytest.fixture(scope="module")
def retraining(system: System) -> Retraining:
    workspace = system.folder / "retrain_workspace"
    adopted, without_labels = system.run("adopt"), system.run()
    system.label(PROMOTED)
    plan, done = system.run("--dry-run").stdout, system.run("--force", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    log = ["git", "log", "-1", "--format=%B"]
    return Retraining(
        adopted,
        without_labels,
        plan,
        done,
        version=system.version(),
        job=system.job(),
        commit=subprocess.run(log, cwd=workspace, capture_output=True, text=True, check=True).stdout,
        pictures=list((workspace / "report" / "pictures").iterdir()),
        aliases=system.aliases(),
        back=system.run("rollback"),
        version_back=system.version(),
        aliases_back=system.aliases(),
        status=system.run("status").stdout,
        history=system.run("history").stdout,
    )


def test_the_served_model_is_adopted(retraining: Retraining) -> None:
    assert retraining.adopted.returncode == 0, retraining.adopted.stderr


def test_without_labels_there_is_nothing_to_do(retraining: Retraining) -> None:
    assert retraining.without_labels.returncode == 4


def test_a_plan_says_how_many_labels_are_accepted(retraining: Retraining) -> None:
    assert f"{N_LABELS} labels are accepted" in retraining.plan


def test_a_better_model_goes_into_production(system: System, retraining: Retraining) -> None:
    assert retraining.version != system.first
    assert f"Version {retraining.version} went into production" in retraining.done.stdout


def test_the_sidecar_says_what_became_of_a_retraining(retraining: Retraining) -> None:
    assert retraining.job["state"] == "promoted"


def test_its_commit_says_which_version_was_promoted_and_has_pictures(retraining: Retraining) -> None:
    assert retraining.commit.startswith(f"{retraining.version}: promoted")
    assert retraining.pictures


def test_the_registry_calls_the_new_version_champion_and_the_one_before_previous(retraining: Retraining) -> None:
    assert (int(retraining.aliases["previous"]), int(retraining.aliases["champion"])) == (1, 2)


def test_mlflow_lists_the_labels_that_it_learned_from_and_that_judged_it(
    system: System, retraining: Retraining, tmp_path: Path
) -> None:
    client = MlflowClient(tracking_uri=system.mlflow_url)
    run = client.get_model_version("crack", retraining.aliases["champion"]).run_id
    rows = read_rows(Path(client.download_artifacts(run, "labels.csv", str(tmp_path))), SPLIT_COLUMNS)
    assert len(rows) == N_LABELS
    assert {row["split"] for row in rows} == {"train", "held-out"}


def test_a_rollback_brings_the_version_before_back(system: System, retraining: Retraining) -> None:
    assert retraining.back.returncode == 0, retraining.back.stderr
    assert retraining.version_back == system.first


def test_a_rollback_exchanges_the_names_in_the_registry(retraining: Retraining) -> None:
    before, after = retraining.aliases, retraining.aliases_back
    assert after == {**before, "champion": before["previous"], "previous": before["champion"]}


def test_status_and_history_tell_of_a_version_that_was_rolled_back(retraining: Retraining) -> None:
    assert retraining.version in retraining.status
    assert "promoted" in retraining.history


def test_inverted_masks_are_not_learned_from_and_said_to_be_so(system: System) -> None:
    system.forget()
    system.label(range(200, 200 + N_LABELS), np.logical_not)
    before = system.version()
    done = system.run("--force", "--yes")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "labels that look like cracks" in done.stdout
    assert system.version() == before
    verdict = json.loads((system.folder / "retrain_workspace" / "report" / "verdict.json").read_text())
    assert not verdict["is_promoted"]


def test_empty_masks_are_not_learned_from_and_said_to_be_so(system: System) -> None:
    system.forget()
    system.label(range(220, 220 + N_LABELS), np.zeros_like)
    before = system.version()
    done = system.run("--force")
    assert done.returncode == 3, done.stdout + done.stderr
    assert f"none of {N_LABELS} shows a crack" in done.stdout
    assert system.version() == before


@pytest.mark.usefixtures("retraining")  # whose model is promoted
def test_a_clone_of_the_workspace_brings_back_data_and_models_and_repeats_the_figures(system: System) -> None:
    """A threaded sum's order may differ, so the same training gives nearly the same figures."""
    workspace, clone = system.folder / "retrain_workspace", system.folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(workspace), str(clone)], check=True)
    found = subprocess.run(["git", "log", "--format=%H %s"], cwd=clone, capture_output=True, text=True, check=True).stdout
    revision = next(line.split()[0] for line in found.splitlines() if line.endswith(": promoted"))
    subprocess.run(["git", "checkout", "--quiet", revision], cwd=clone, check=True)
    python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": python, "PYTHONPATH": str(ROOT)}

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=True).stdout

    dvc("pull", "--quiet")
    assert json.loads(dvc("status", "--json")) == {}  # each file has the hash that dvc.lock names
    then = Verdict.read(clone / "report" / "verdict.json")
    dvc("repro", "--force")
    again = Verdict.read(clone / "report" / "verdict.json")
    assert again.champion == then.champion
    assert again.figures.keys() == then.figures.keys()
    for name, (before, after) in then.figures.items():
        assert again.figures[name] == (pytest.approx(before), pytest.approx(after, abs=TOLERANCE))


def is_copied(system: System) -> bool:
    serving = Serving.read(system.store)
    return bool({path.name for path in system.store.glob("crack-*.mar")} - {serving.default, serving.previous})


def is_loading(system: System) -> bool:
    (replica,) = system.replicas()
    return len(replica.versions()) > 1


SOAK = pytest.mark.soak
# What it says, and what is so after it has said that.
MOMENTS = [
    pytest.param("taking a snapshot", None, marks=SOAK),
    pytest.param("training on", None, marks=SOAK),
    pytest.param("learning from", None, marks=SOAK),
    pytest.param("step 60: loss", None, marks=SOAK),
    pytest.param("of the way: validation", None, marks=SOAK),
    pytest.param("judging", None, marks=SOAK),
    pytest.param("building", None, marks=SOAK),
    pytest.param("crack IoU", None, marks=SOAK),
    pytest.param("rolling over", is_copied, marks=SOAK),
    pytest.param("rolling over", is_loading),
    pytest.param("from here on", None, marks=SOAK),
    pytest.param("recording", None, marks=SOAK),
]


@pytest.mark.parametrize(("moment", "state"), MOMENTS)
def test_killed_at_any_moment_it_leaves_what_serves_and_the_next_run_succeeds(
    system: System, moment: str, state: Callable[[System], bool] | None
) -> None:
    system.begin_anew(range(300, 300 + N_LABELS))
    shutil.rmtree(system.folder / "retrain_workspace", ignore_errors=True)  # in which DVC has the model of these labels
    with system.begin("--force", "--yes") as running:
        wait_for(moment, running)
        if state:
            # While it loads a model on a busy machine, TorchServe may not say in time which ones it has.
            eventually(lambda: state(system) or running.poll() is not None, RollOverError)
        running.kill()  # its stages end by themselves
    system.version()
    done = system.run("--force", "--yes")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    check_whole(system)


def check_whole(system: System) -> None:
    """Nothing half is in the model store, TorchServe, the queue or the registry."""
    serving = Serving.read(system.store)
    left = {path.name for path in system.store.iterdir()} - {"crack.mar", "serving.json"}
    assert left <= {serving.default, serving.previous}
    version = read_card(system.store / serving.default).version
    assert system.version() == version
    (replica,) = system.replicas()
    assert replica.versions() == {version}
    assert "running:" not in system.run("history").stdout
    assert not list((system.folder / "retrain_workspace" / "unrecorded").glob("*/"))
    client = MlflowClient(tracking_uri=system.mlflow_url)
    for found in client.search_model_versions("name = 'crack'"):
        assert found.run_id is not None
        assert client.get_run(found.run_id).info.status == "FINISHED"


def test_torchserve_gone_in_the_middle_leaves_the_model_for_the_next_run(system: System) -> None:
    system.begin_anew(PROMOTED)
    serving, server = Serving.read(system.store), system.server
    try:
        with system.begin("--force", "--yes") as running:
            wait_for("training on", running)
            with held_still(running):
                server.stop()
            said, _ = running.communicate(timeout=PATIENCE_S)
    finally:
        system.start_torchserve_again()
    assert running.returncode == 1, said
    assert "does not answer" in said
    assert Serving.read(system.store) == serving
    done = system.run("--force", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(system)


def test_a_full_disk_while_archiving_fails_it_and_the_next_run_succeeds(system: System) -> None:
    system.begin_anew(PROMOTED)
    version = system.version()
    small = system.folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    environment = system.environment
    system.environment = {**environment, "CRACK_RETRAIN_WORKSPACE": str(small / "workspace")}
    try:
        with system.begin("--force", "--yes") as running:
            wait_for("building", running)
            with held_still(running), contextlib.suppress(OSError), (small / "filler").open("wb") as filler:
                while True:
                    filler.write(bytes(2**16))
            said, _ = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 1, said
        assert "space" in said, said
        assert system.version() == version
        (small / "filler").unlink()
        done = system.run("--force", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        check_whole(system)
    finally:
        system.environment = environment
        subprocess.run(["umount", "--lazy", small], check=True)


def test_mlflow_away_stops_nothing_and_gets_the_record_later(system: System) -> None:
    system.stop_mlflow()
    done = system.run("--force", "--yes")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert "waits for the next retraining" in done.stdout
    system.start_mlflow()
    system.run("--force", "--yes")
    assert not list((system.folder / "retrain_workspace" / "unrecorded").glob("*/"))


def test_where_a_model_of_the_first_releases_serves_training_begins_with_the_released_one_and_it_can_come_back(
    system: System,
) -> None:
    system.forget()
    system.label(PROMOTED)
    name = PROMOTED_ARCHIVE.format(version=former.VERSION)
    former.write_former(system.store / "crack.mar", system.store / name)
    Serving(default=name, previous="crack.mar").write(system.store)
    try:
        done = system.run("--force", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        said = f"began with version {system.first}, the released one: version {former.VERSION} has the network of the first"
        assert said in done.stdout
        assert done.stderr.count(said) == 1  # in the log, as the training begins
        assert said in system.job()["message"]
        assert said in Verdict.read(system.folder / "retrain_workspace" / "report" / "verdict.json").remark
        back = system.run("rollback")
        assert back.returncode == 0, back.stderr
        assert system.version() == former.VERSION
    finally:
        Serving().write(system.store)
        settle(system.store, ModelServer(system.server.management_url, system.server.inference_url))
    assert system.version() == system.first


def test_two_at_a_time_are_one_too_many(system: System) -> None:
    system.forget()
    system.label(range(400, 400 + N_LABELS))
    system.write_rules(RULES | ENDLESS)
    first = system.begin("--force")
    try:
        wait_for("training on", first)
        assert system.run("--force").returncode == 5
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=PATIENCE_S)
    finally:
        system.write_rules(RULES)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
    assert first.returncode == 130
    assert system.job()["state"] == "failed"


def test_one_is_stopped_alone_and_what_serves_stays(system: System) -> None:
    system.forget()
    system.label(range(500, 500 + N_LABELS))
    system.write_rules(RULES | ENDLESS)
    before = system.version()
    running = system.begin("--force")
    try:
        wait_for("training on", running)
        told = requests.delete(f"{system.sidecar.url}/retrain", timeout=PATIENCE_S).json()["job"]
        said, _ = running.communicate(timeout=PATIENCE_S)
    finally:
        system.write_rules(RULES)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert (running.returncode, "it was stopped" in said) == (1, True)
    assert (told["state"], "it was stopped by local while: training on" in told["message"]) == ("stopped", True)
    assert system.job() == told
    assert system.version() == before
    assert "No retraining is queued or running." in system.run("stop").stdout


def test_torchserve_away_stops_a_retraining_before_it_begins(system: System) -> None:
    environment = {**system.environment, "TORCHSERVE_MANAGEMENT_URL": "http://127.0.0.1:1"}
    done = subprocess.run(
        system.command("--force"),
        cwd=system.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "does not answer" in done.stdout
