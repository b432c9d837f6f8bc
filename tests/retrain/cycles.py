"""A whole system with a tiny network, to retrain: real feedback, DVC, git, MLflow and TorchServe."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import requests
import yaml
from mlflow import MlflowClient
from numpy.typing import NDArray

from crack.serving import STATE_FILE
from export.build import export
from handler.serve import Server
from model import train
from model.params import read_params
from model.synthetic import draw_surface, write_data_set
from retrain.replicas import ModelServer, Replica
from tests.conftest import ROOT, start_server
from tests.photographs import png
from tests.ports import free_ports
from tests.sidecars import Sidecar
from tests.tiny import EXPORT, TINY
from tests.waiting import PATIENCE_S, eventually

RULES = {
    "steps": 60,
    "learning_rate": 0.01,
    "least_held_out": 100,
    "most_forgotten": 1.0,
    "gate_margin": 0.5,
    "most_new_alarms": 99,
    "largest_slowdown": 1e9,
}
ENDLESS = {"steps": 100_000, "minutes": 1e6}  # hours for the least of networks


class System:
    """Everything that a retraining needs, in one folder, with a champion that has hardly learned anything."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.feedback = folder, folder / "model_store", folder / "feedback"
        data = folder / "data"
        write_data_set(data / "synthetic", n_surfaces=20, seed=1, size_hw=(97, 131))
        params = read_params(ROOT / "params.yaml", {**TINY, "training.steps": "12", "training.validate_every": "12"})
        export(train.train(params, data, folder / "models"), data, self.store / "crack.mar", EXPORT)
        self._params = params.model_dump(mode="json") | {"export": EXPORT.model_dump()}
        self.write_rules(RULES)
        (self.mlflow_port,) = free_ports(1)
        self.start_mlflow()
        self.start_torchserve()
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

    def write_rules(self, changed: dict[str, Any]) -> None:
        rules = yaml.safe_load((ROOT / "params.yaml").read_text())["retrain"] | changed
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self._params | {"retrain": rules}))

    def start_torchserve(self, **addresses: str) -> None:
        settings = {"model_store": str(self.store), "default_workers_per_model": "1", **addresses}
        self.server: Server = start_server(self.folder / "logs", settings)
        self.server.wait_until_ready(PATIENCE_S)

    def start_torchserve_again(self) -> None:
        """At the same addresses."""
        self.start_torchserve(inference_address=self.server.inference_url, management_address=self.server.management_url)

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def start_mlflow(self) -> None:
        where = [f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db", f"--artifacts-destination={self.folder}/artifacts"]
        with (self.folder / "mlflow.log").open("ab") as log:
            self.mlflow = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", f"--port={self.mlflow_port}", "--workers=1", *where],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def answers() -> bool:
            assert self.mlflow.poll() is None, (self.folder / "mlflow.log").read_text()
            return requests.get(f"{self.mlflow_url}/health", timeout=PATIENCE_S).ok

        eventually(answers, requests.ConnectionError)

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
            answer = requests.post(f"{self.sidecar.url}/save-for-retrain", files=files, data=verdict, timeout=PATIENCE_S)
            assert answer.status_code == 200, answer.text
            if answer.json()["state"] != "accepted":  # what calls most of a photograph crack waits for a person
                self.accept(answer.json()["id"])

    def accept(self, item_id: str) -> None:
        url = f"{self.sidecar.url}/feedback/{item_id}"
        seen = {"If-Match": requests.get(url, timeout=PATIENCE_S).headers["ETag"]}
        answer = requests.post(f"{url}/review", headers=seen, data={"decision": "accept"}, timeout=PATIENCE_S)
        answer.raise_for_status()

    def forget(self) -> None:
        accepted = {"state": "accepted", "limit": "500"}
        for item in requests.get(f"{self.sidecar.url}/feedback", params=accepted, timeout=PATIENCE_S).json()["items"]:
            url, seen = f"{self.sidecar.url}/feedback/{item['id']}", {"If-Match": item["etag"]}
            requests.delete(url, headers=seen, timeout=PATIENCE_S).raise_for_status()

    def begin_anew(self, seeds: range) -> None:
        """With new labels, and the champion that has hardly learned anything."""
        self.forget()
        self.label(seeds)
        if self.version() != self.first:
            assert self.run("rollback").returncode == 0
        if self.version() != self.first:  # two were promoted
            self.server.stop()
            for path in (self.store / STATE_FILE, *self.store.glob("crack-*.mar")):
                path.unlink()
            self.start_torchserve_again()
            assert self.version() == self.first

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "retrain", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def version(self) -> str:
        image = png(draw_surface(3, (97, 131)).image_hwc_u8)
        answer = requests.post(f"{self.server.inference_url}/predictions/crack", data=image, timeout=PATIENCE_S)
        assert answer.status_code == 200
        return answer.headers["X-Crack-Model-Version"]

    def replicas(self) -> list[Replica]:
        return ModelServer(self.server.management_url, self.server.inference_url).replicas()

    def aliases(self) -> dict[str, str]:
        return dict(MlflowClient(tracking_uri=self.mlflow_url).get_registered_model("crack").aliases)

    def job(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.sidecar.url}/retrain", timeout=PATIENCE_S).json()["job"])


def wait_for(moment: str, running: "subprocess.Popen[str]") -> None:
    """Until a retraining says so."""
    assert running.stderr is not None
    said = ""
    for line in running.stderr:
        said += line
        if moment in line:
            return
    raise AssertionError(said)
