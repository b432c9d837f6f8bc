"""`python -m retrain --watch` as it starts again after it was killed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrain.jobs import Jobs
from sidecar.retrain_queue import JobState, RetrainQueue
from tests.conftest import ROOT
from tests.ports import free_ports
from tests.waiting import eventually


@contextmanager
def watching(folder: Path) -> Iterator[None]:
    (port,) = free_ports(1)
    where = {"FEEDBACK_DIR": "feedback", "RETRAIN_WORKSPACE": "workspace", "MODEL_STORE": "model_store"}
    environment = {f"CRACK_{name}": str(folder / own) for name, own in where.items()}
    job = subprocess.Popen(
        [sys.executable, "-m", "retrain", "--watch"],
        cwd=folder,
        env={**os.environ, **environment, "CRACK_RETRAIN_METRICS_PORT": str(port), "PYTHONPATH": str(ROOT)},
    )
    try:
        yield
    finally:
        job.kill()
        job.wait()


def test_what_was_killed_has_failed_and_another_can_be_asked_for(tmp_path: Path) -> None:
    jobs, queue = Jobs(tmp_path / "feedback"), RetrainQueue(tmp_path / "feedback" / "retrain.sqlite3")
    jobs.tell(jobs.begin("a test"), "running", 0.05, "training on 4 labels")
    with watching(tmp_path):
        eventually(lambda: queue.recent(1)[0].state is not JobState.RUNNING)
        (job,) = queue.recent(2)
        assert (job.state, job.message) == (JobState.FAILED, "it was killed while: training on 4 labels")
        assert queue.ask("a test").id == job.id + 1


def test_what_cannot_begin_says_why(tmp_path: Path) -> None:
    recipe = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(recipe.replace("gate_margin: 0.02", "gate_margin: wide"))
    Jobs(tmp_path / "feedback")
    queue = RetrainQueue(tmp_path / "feedback" / "retrain.sqlite3")
    queue.ask("a test")
    with watching(tmp_path):
        eventually(lambda: "gate_margin" in queue.recent(1)[0].message)
    (job,) = queue.recent(2)
    assert job.state is JobState.QUEUED
    assert job.message.startswith("waits, and tries again: params.yaml, section 'retrain'")
    assert "gate_margin" in job.message
