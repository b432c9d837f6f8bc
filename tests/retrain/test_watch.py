"""`crack retrain --watch`: as it starts again after it was killed, and what it shows in a fresh MLflow."""

import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from crack.stores.jobs import Jobs
from crack.stores.states import JobState
from retrain.rollover import read_card
from retrain.settings import Settings
from retrain.tracking import Tracking, introduce
from retrain.watching import Watcher
from tests.conftest import ARCHIVE, ROOT
from tests.ports import NOBODY, free_ports
from tests.retrain.test_stores import start_mlflow, stop
from tests.waiting import PATIENCE_S, eventually


def where(folder: Path, port: int) -> dict[str, str]:
    own = {"FEEDBACK_DIR": "feedback", "RETRAIN_WORKSPACE": "workspace", "MODEL_STORE": "model_store"}
    return {f"CRACK_{name}": str(folder / sub) for name, sub in own.items()} | {"CRACK_RETRAIN_METRICS_PORT": str(port)}


@contextmanager
def watching(folder: Path, port: int, mlflow_url: str = NOBODY) -> Iterator[Path]:
    """Its log."""
    log = folder / "log"
    with log.open("wb") as said:
        job = subprocess.Popen(
            [sys.executable, "-m", "crack", "retrain", "--watch"],
            cwd=folder,
            env={**os.environ, **where(folder, port), "MLFLOW_TRACKING_URI": mlflow_url, "PYTHONPATH": str(ROOT)},
            stderr=said,
        )
    try:
        yield log
    finally:
        job.kill()
        job.wait(PATIENCE_S)


def test_what_was_killed_has_failed_and_another_can_be_asked_for(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "feedback")
    jobs.tell(jobs.begin("a test"), JobState.RUNNING, 0.05, "training on 4 labels")
    with watching(tmp_path, *free_ports(1)):
        eventually(lambda: jobs.recent(1)[0].state is not JobState.RUNNING)
        (job,) = jobs.recent(2)
        assert (job.state, job.message) == (JobState.FAILED, "it was killed while: training on 4 labels")
        assert jobs.ask("a test").id == job.id + 1


def test_what_cannot_begin_says_why(tmp_path: Path) -> None:
    recipe = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(recipe.replace("gate_margin: 0.02", "gate_margin: wide"))
    queue = Jobs(tmp_path / "feedback")
    queue.ask("a test")
    with watching(tmp_path, *free_ports(1)):
        eventually(lambda: "gate_margin" in queue.recent(1)[0].message)
    (job,) = queue.recent(2)
    assert job.state is JobState.QUEUED
    assert job.message.startswith("waits, and is tried again: params.yaml, section 'retrain'")
    assert "gate_margin" in job.message


def test_a_fresh_mlflow_shows_what_is_served_once_and_as_champion(tmp_path: Path) -> None:
    """Also where it starts after the job, and where the job's workspace is lost."""
    (tmp_path / "model_store").mkdir()
    shutil.copy(ARCHIVE, tmp_path / "model_store")
    card = read_card(ARCHIVE)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    client = MlflowClient(tracking_uri=url)
    with watching(tmp_path, *free_ports(1), url):
        server = start_mlflow(port, tmp_path)
        try:
            eventually(lambda: client.get_model_version_by_alias("crack", "champion"), MlflowException)
            assert introduce(Tracking(url, tmp_path / "another"), tmp_path / "model_store")
            experiment = client.get_experiment_by_name("crack")
            assert experiment is not None
            (run,) = client.search_runs([experiment.experiment_id])
            registered = client.get_registered_model("crack")
            curve = client.get_metric_history(run.info.run_id, "validation/score")
            artifacts = {entry.path for entry in client.list_artifacts(run.info.run_id)}
        finally:
            stop(server)
    assert registered.aliases == {"champion": "1"}
    assert (run.info.run_name, run.info.status) == (card.version, "FINISHED")
    assert run.data.metrics["deepcrack/test/f1"] == card.figures["deepcrack/test"]["f1"]
    assert run.data.metrics["deepcrack/test/f1 low"] == card.figures["deepcrack/test"]["f1_interval"][0]
    assert run.data.params["training.steps"] == str(card.training["params"]["training"]["steps"])
    assert [point.value for point in curve] == [point["score"] for point in card.training["history"]]
    assert artifacts == {"card.json", "crack.mar"}
    assert card.use in run.data.tags["mlflow.note.content"]


def asked_in_vain(folder: Path) -> Jobs:
    """Of a retraining that can't begin."""
    (folder / "params.yaml").write_text("retrain: {}")
    queue = Jobs(folder / "feedback")
    queue.ask("a test")
    return queue


def test_a_port_that_is_taken_stops_no_retraining(tmp_path: Path) -> None:
    queue = asked_in_vain(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken, watching(tmp_path, taken.getsockname()[1]) as log:
        eventually(lambda: "waits, and is tried again" in queue.recent(1)[0].message)
        assert "CRACK_RETRAIN_METRICS_PORT" in log.read_text()


def test_a_store_that_cannot_be_read_ends_nothing(tmp_path: Path) -> None:
    queue = asked_in_vain(tmp_path)
    index = tmp_path / "feedback" / "index.sqlite3"
    index.write_bytes(b"no database" * 100)
    with watching(tmp_path, *free_ports(1)) as log:
        eventually(lambda: "file is not a database" in log.read_text())
        index.unlink()
        eventually(lambda: "waits, and is tried again" in queue.recent(1)[0].message)


def test_what_cannot_begin_is_not_tried_at_every_look(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = asked_in_vain(tmp_path)
    watcher = Watcher(Settings.from_environment(where(tmp_path, *free_ports(1))), tmp_path / "params.yaml")
    with caplog.at_level(logging.INFO, "retrain.watching"):
        for _ in range(3):
            watcher.look()
    assert sum(record.getMessage().startswith("failed: ") for record in caplog.records) == 1
    assert queue.recent(1)[0].state is JobState.QUEUED


def test_after_one_was_stopped_none_begins_by_itself(tmp_path: Path) -> None:
    queue = asked_in_vain(tmp_path)
    settings = Settings.from_environment(where(tmp_path, *free_ports(1)))
    watcher = Watcher(settings.model_copy(update={"retrain_after_labels": 0}), tmp_path / "params.yaml")  # so it is always due
    stopped = queue.stop("a test")
    assert stopped is not None
    watcher.look()
    (job,) = queue.recent()
    assert job.message == (
        "it was stopped by a test while: waits for the retrain job. The next one begins when somebody asks for it"
    )
    queue.ask("a test")
    watcher.look()
    assert queue.recent(1)[0].message.startswith("waits, and is tried again")
