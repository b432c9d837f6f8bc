"""`python -m retrain --watch` as it starts again after it was killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

from retrain.jobs import Jobs
from sidecar.retrain_queue import JobState, RetrainQueue
from tests.conftest import ROOT
from tests.ports import free_ports

TIMEOUT_S = 120


def test_what_was_killed_has_failed_and_another_can_be_asked_for(tmp_path: Path) -> None:
    jobs, queue = Jobs(tmp_path / "feedback"), RetrainQueue(tmp_path / "feedback" / "retrain.sqlite3")
    jobs.tell(jobs.begin("a test"), "running", 0.05, "training on 4 labels")
    (port,) = free_ports(1)
    where = {"FEEDBACK_DIR": "feedback", "RETRAIN_WORKSPACE": "workspace", "MODEL_STORE": "model_store"}
    environment = {f"CRACK_{name}": str(tmp_path / folder) for name, folder in where.items()}
    watching = subprocess.Popen(
        [sys.executable, "-m", "retrain", "--watch"],
        cwd=ROOT,
        env={**os.environ, **environment, "CRACK_RETRAIN_METRICS_PORT": str(port)},
    )
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while queue.recent(1)[0].state is JobState.RUNNING and time.monotonic() < deadline:
            time.sleep(0.2)
        (job,) = queue.recent(2)
        assert (job.state, job.message) == (JobState.FAILED, "it was killed while: training on 4 labels")
        assert queue.ask("a test").id == job.id + 1
    finally:
        watching.kill()
        watching.wait()
