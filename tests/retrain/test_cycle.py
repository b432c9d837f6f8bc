"""The whole cycle with a tiny network: real feedback, DVC, git, MLflow and TorchServe, by the command that people type."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import yaml
from mlflow import MlflowClient
from numpy.typing import NDArray

from export.build import export
from handler.serve import Server
from model import train
from model.params import read_params
from model.synthetic import draw_surface, write_data_set
from retrain.rollover import Serving
from tests.conftest import ROOT, start_server
from tests.photographs import png
from tests.ports import free_ports
from tests.sidecars import Sidecar
from tests.test_train import EXPORT, TINY

TIMEOUT_S = 300
N_LABELS = 12
RULES = {
    "steps": 60,
    "learning_rate": 0.01,
    "least_held_out": 100,
    "gate_margin": 0.5,
    "most_new_alarms": 99,
    "largest_slowdown": 9.0,
}


class System:
    """Everything that a retraining needs, in one folder, with a champion that has hardly learned anything."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.feedback = folder, folder / "model_store", folder / "feedback"
        data = folder / "data"
        write_data_set(data / "synthetic", n_surfaces=20, seed=1, size_hw=(97, 131))
        params = read_params(ROOT / "params.yaml", {**TINY, "training.steps": "12", "training.validate_every": "12"})
        export(train.train(params, data, folder / "models"), data, self.store / "crack.mar", EXPORT)
        rules = yaml.safe_load((ROOT / "params.yaml").read_text())["retrain"] | RULES
        recipe = params.model_dump(mode="json") | {"export": EXPORT.model_dump(), "retrain": rules}
        (folder / "params.yaml").write_text(yaml.safe_dump(recipe))
        (self.mlflow_port,) = free_ports(1)
        self.start_mlflow()
        self.server: Server = start_server(folder / "logs", {"model_store": str(self.store)})
        self.server.wait_until_ready()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CRACK_DATA_DIR": str(data),
            "CRACK_FEEDBACK_DIR": str(self.feedback),
            "CRACK_MODEL_STORE": str(self.store),
            "CRACK_DRAIN_S": "1",
            "TORCHSERVE_URL": self.server.inference_url,
            "TORCHSERVE_MANAGEMENT_URL": self.server.management_url,
            "MLFLOW_TRACKING_URI": self.mlflow_url,
        }
        self.sidecar = Sidecar(
            self.feedback,
            folder / "sidecar.log",
            self.server.inference_url,
            self.server.management_url,
            CRACK_REVIEW="automatic",
            CRACK_MODEL_STORE=str(self.store),
        )

        self.first = self.version()

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def start_mlflow(self) -> None:
        where = [f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db", f"--artifacts-destination={self.folder}/artifacts"]
        with (self.folder / "mlflow.log").open("ab") as log:
            self.mlflow = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", f"--port={self.mlflow_port}", "--workers=1", *where],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                requests.get(f"{self.mlflow_url}/health", timeout=5)
                return
            except requests.ConnectionError:
                assert self.mlflow.poll() is None, (self.folder / "mlflow.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def stop_mlflow(self) -> None:
        os.killpg(self.mlflow.pid, signal.SIGKILL)
        self.mlflow.wait()

    def stop(self) -> None:
        self.sidecar.stop()
        self.server.stop()
        self.stop_mlflow()

    def label(self, seeds: range, mask_of: Any = lambda mask_hw: mask_hw) -> None:
        for seed in seeds:
            surface = draw_surface(seed, (97, 131), is_cracked=True)
            mask: NDArray[np.bool_] = mask_of(surface.mask_hw)
            files = {"image": png(surface.image_hwc_u8), "mask": png(mask.astype(np.uint8) * 255)}
            verdict = {"verdict": "other" if mask.any() else "no_crack"}
            answer = requests.post(f"{self.sidecar.url}/save-for-retrain", files=files, data=verdict, timeout=60)
            assert answer.status_code == 200, answer.text
            assert answer.json()["state"] == "accepted"

    def forget(self) -> None:
        accepted = {"state": "accepted", "limit": "500"}
        for item in requests.get(f"{self.sidecar.url}/feedback", params=accepted, timeout=60).json()["items"]:
            requests.delete(f"{self.sidecar.url}/feedback/{item['id']}", timeout=60).raise_for_status()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "retrain", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def version(self) -> str:
        image = png(draw_surface(3, (97, 131)).image_hwc_u8)
        answer = requests.post(f"{self.server.inference_url}/predictions/crack", data=image, timeout=60)
        assert answer.status_code == 200
        return answer.headers["X-Crack-Model-Version"]

    def aliases(self) -> dict[str, str]:
        return dict(MlflowClient(tracking_uri=self.mlflow_url).get_registered_model("crack").aliases)

    def job(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.sidecar.url}/retrain", timeout=60).json()["job"])


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("system"))
    try:
        yield running
    finally:
        running.stop()


def test_a_retraining_from_nothing_to_do_to_production_and_back(system: System) -> None:
    adopted = system.run("adopt")
    assert adopted.returncode == 0, adopted.stderr
    assert system.run().returncode == 4

    system.label(range(100, 100 + N_LABELS))
    plan = system.run("--dry-run")
    assert f"{N_LABELS} labels are accepted" in plan.stdout
    done = system.run("--force", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    second = system.version()
    assert second != system.first
    assert f"Version {second} is in production" in done.stdout
    assert system.job()["state"] == "promoted"
    workspace = system.folder / "retrain_workspace"
    log = subprocess.run(["git", "log", "-1", "--format=%B"], cwd=workspace, capture_output=True, text=True, check=True).stdout
    assert log.startswith(f"{second}: promoted")
    assert (workspace / "report" / "pictures").is_dir()
    aliases = system.aliases()
    assert (int(aliases["previous"]), int(aliases["champion"])) == (1, 2)

    back = system.run("rollback")
    assert back.returncode == 0, back.stderr
    assert system.version() == system.first
    assert system.aliases() == {**aliases, "champion": aliases["previous"], "previous": aliases["champion"]}
    assert second in system.run("status").stdout
    assert "promoted" in system.run("history").stdout


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


@pytest.mark.parametrize("moment", ["training on", "building", "rolling over"])
def test_killed_at_any_moment_it_leaves_what_serves_and_the_next_run_succeeds(system: System, moment: str) -> None:
    system.forget()
    system.label(range(300, 300 + N_LABELS))
    if system.version() != system.first:
        assert system.run("rollback").returncode == 0
    running = subprocess.Popen(
        system.command("--force", "--yes"),
        cwd=system.folder,
        env=system.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if moment in line:
            time.sleep(0.7)
            running.kill()  # its stages end by themselves
            break
    running.wait()
    running.stderr.close()
    assert running.returncode == -signal.SIGKILL, said
    system.version()
    done = system.run("--force", "--yes")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    serving = Serving.read(system.store)
    left = {path.name for path in system.store.iterdir()} - {"crack.mar", "serving.json"}
    assert left <= {serving.default, serving.previous}
    assert system.version() in serving.default or (system.version(), serving.default) == (system.first, "crack.mar")
    assert "running:" not in system.run("history").stdout


def test_mlflow_away_stops_nothing_and_gets_the_record_later(system: System) -> None:
    system.stop_mlflow()
    done = system.run("--force", "--yes")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert "waits for the next retraining" in done.stdout
    system.start_mlflow()
    system.run("--force", "--yes")
    assert not list((system.folder / "retrain_workspace" / "unrecorded").glob("*"))


def test_two_at_a_time_are_one_too_many(system: System) -> None:
    system.forget()
    system.label(range(400, 400 + N_LABELS))
    first = subprocess.Popen(
        system.command("--force"),
        cwd=system.folder,
        env=system.environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert first.stderr is not None
    assert any("training" in line for line in first.stderr)
    assert system.run("--force").returncode == 5
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 130
    assert system.job()["state"] == "failed"


def test_torchserve_away_stops_a_retraining_before_it_begins(system: System) -> None:
    environment = {**system.environment, "TORCHSERVE_MANAGEMENT_URL": "http://127.0.0.1:1"}
    done = subprocess.run(
        system.command("--force"),
        cwd=system.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "does not answer" in done.stdout
