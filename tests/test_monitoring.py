"""Prometheus watches the real system: its rules hold, and every panel of every dashboard shows something that load changes.

Grafana itself is left out: its dashboards are read as files, and their queries sent to Prometheus as Grafana would.
"""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import yaml

from crack.stores.jobs import Jobs
from crack.stores.states import JobState
from handler.serve import Server
from model.synthetic import draw_surface
from retrain.verdict import Rule, Verdict
from tests.conftest import ROOT
from tests.photographs import jpeg, png
from tests.ports import free_ports
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S, eventually

MONITORING = ROOT / "monitoring"
PROMETHEUS = MONITORING / "prometheus"
SCRAPE_S = 3  # in place of 5: the tests wait for scrapes
N_SCRAPES = 3  # after a load: a rate needs two, and what workers publish may miss the first
# About the machine, or how long it takes: on a slow, busy or full one they may well fire.
OF_THE_MACHINE = {"SlowAnswers", "QueueGrows", "DiskAlmostFull", "FeedbackStoreAlmostFull", "InspectionsAlmostFull"}
# What Grafana puts in their place; a rate's interval depends on the width of the panel.
VARIABLES = {"$__rate_interval": "2m", "$__range": "1h", "$version": ".*"}
METRIC = re.compile(r"\b(?:crack|ts|mlflow|node|windows|up)(?:[_:][a-zA-Z0-9_:]+)?\b(?=[\[{ )]|$)")
MOVED_BY_LOAD = re.compile(r"rate\((?:crack_(?:request|answers|stage|photograph|brightness|area)|ts_|mlflow_)")

needs_prometheus = pytest.mark.skipif(
    not all(map(shutil.which, ("prometheus", "promtool", "prometheus-node-exporter"))),
    reason="Prometheus, promtool and prometheus-node-exporter are not installed",
)


@dataclass(frozen=True)
class Query:
    """One query of a panel, as Grafana would send it."""

    name: str
    expression: str


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for file, dashboard in dashboards().items():
        asked = [
            (f"{panel['title']} {target['refId']}", target["expr"])
            for panel in panels(dashboard)
            for target in panel["targets"]
        ]
        asked += [(note["name"], note["expr"]) for note in dashboard["annotations"]["list"] if "expr" in note]
        for name, expression in asked:
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            yield Query(f"{file}: {name}", expression)


QUERIES = list(queries())
RULES = [
    rule
    for path in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]


@needs_prometheus
@pytest.mark.parametrize("check", ["check config prometheus.yml", "check rules rules/*.yml", "test rules tests/*.yml"])
def test_promtool_finds_no_fault(check: str) -> None:
    *command, files = check.split()
    paths = [str(path) for path in sorted(PROMETHEUS.glob(files))]
    finished = subprocess.run(["promtool", *command, *paths], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_each_alert_has_a_test_that_fires_and_one_that_does_not(alert: str) -> None:
    found = [
        bool(case["exp_alerts"])
        for path in (PROMETHEUS / "tests").glob("*.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert and test["name"].startswith(f"{alert} {'fires' if case['exp_alerts'] else 'is silent'}")
    ]
    assert set(found) == {True, False}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_is_wrong_and_its_runbook_what_to_do(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook"}
    file, _, section = annotations["runbook"].partition("#")
    assert section == rule["alert"].lower()
    text = (ROOT / file).read_text()
    found = re.search(rf"^## {rule['alert']}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found is not None
    for part in ("**Means**", "**Users see**", "**Look at**", "**Do**"):
        assert part in found[1], part


def test_targets_have_the_same_jobs_on_one_machine_and_in_compose() -> None:
    def jobs(folder: str) -> list[str]:
        return [group["labels"]["job"] for group in yaml.safe_load((PROMETHEUS / folder / "system.yml").read_text())]

    assert jobs("targets") == jobs("compose-targets") == ["torchserve", "sidecar", "retrain", "mlflow", "node"]


@pytest.mark.parametrize("file", dashboards())
def test_a_dashboard_is_whole(file: str) -> None:
    dashboard = dashboards()[file]
    provisioned = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    source = {"type": "prometheus", "uid": provisioned["datasources"][0]["uid"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(titles) == len(set(titles))
    for panel in panels(dashboard):
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], panel["title"]
        assert [target["datasource"] for target in panel["targets"]] == [source] * len(panel["targets"])
        assert panel["datasource"] == source
    assert any(note.get("useValueForTime") for note in dashboard["annotations"]["list"])
    asked = json.dumps(panels(dashboard))
    assert ("$version" in asked) == bool(dashboard["templating"]["list"])


def test_no_two_dashboards_have_one_uid() -> None:
    assert len({dashboard["uid"] for dashboard in dashboards().values()}) == 4


class Watched:
    """The real system, on ports of its own, and a Prometheus that scrapes it; `windows_exporter` is a recorded scrape."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[bytes]]()
        self.sidecar: Sidecar | None = None

    def start(self, server: Server) -> None:
        folder = self.folder
        retrain, mlflow, node, windows, own = free_ports(5)
        self.url, self.mlflow_url = f"http://127.0.0.1:{own}", f"http://127.0.0.1:{mlflow}"
        self._start(
            f"mlflow server --host=127.0.0.1 --port={mlflow} --workers=1 --backend-store-uri=sqlite:///{folder}/mlflow.db "
            f"--artifacts-destination={folder}/artifacts --expose-prometheus={folder}/mlflow-metrics"
        )
        self.sidecar = Sidecar(folder / "feedback", folder / "sidecar.log", server.inference_url, server.management_url)
        self._judge(folder)
        self._start(
            "python -m crack retrain --watch",
            CRACK_FEEDBACK_DIR=str(folder / "feedback"),
            CRACK_RETRAIN_WORKSPACE=str(folder / "workspace"),
            CRACK_RETRAIN_METRICS_PORT=str(retrain),
            MLFLOW_TRACKING_URI=self.mlflow_url,
        )
        self._start(f"prometheus-node-exporter --web.listen-address=127.0.0.1:{node} --no-collector.systemd")
        recorded = folder / "windows"
        recorded.mkdir()
        shutil.copy(ROOT / "tests" / "windows_exporter.prom", recorded / "metrics")
        self._start(f"python -m http.server --bind 127.0.0.1 --directory {recorded} {windows}")
        metrics_port = server.metrics_url.rpartition(":")[2]
        sidecar_port = self.sidecar.url.rpartition(":")[2]
        self.ports = {"torchserve": metrics_port, "sidecar": sidecar_port, "retrain": retrain, "mlflow": mlflow}
        self.ports |= {"node": node, "windows": windows}
        where = f"--storage.tsdb.path={folder}/tsdb --web.listen-address=127.0.0.1:{own}"
        self._start(f"prometheus --config.file={self._configure()} {where}")

        def are_up() -> bool:
            ended = [number for number, process in enumerate(self.processes) if process.poll() is not None]
            if ended:
                pytest.fail("\n".join((folder / f"{number}.log").read_text()[-2000:] for number in ended))
            return self.ask("count(up == 1)")[""] == len(self.ports)

        eventually(are_up, requests.ConnectionError, AssertionError, KeyError)

    def ask(self, expression: str) -> dict[str, float]:
        """Values by labels; what isn't a number is left out."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=PATIENCE_S)
        assert answer.ok, (expression, answer.text)
        found = {
            ",".join(f"{name}={value}" for name, value in sorted(series["metric"].items())): float(series["value"][1])
            for series in answer.json()["data"]["result"]
        }
        return {labels: value for labels, value in found.items() if not math.isnan(value)}

    def load(self, seed: int, n_photographs: int, size_hw: tuple[int, int]) -> None:
        """Predictions, a refused file, complaints and praise through the sidecar; and somebody looks at MLflow."""
        photographs = [jpeg(draw_surface(seed + number, size_hw).image_hwc_u8) for number in range(n_photographs)]
        with ThreadPoolExecutor(4) as clients:
            versions = set(clients.map(lambda photograph: self._post("predict", photograph), photographs))
        (version,) = versions
        self._post("predict", b"a text")
        for photograph, verdict in zip(photographs, ("missed_crack", "correct", "false_alarm"), strict=False):
            self._post("save-for-retrain", photograph, verdict=verdict, model_version=version)
        mask = png(np.pad(np.full((8, 8), 255, np.uint8), ((0, size_hw[0] - 8), (0, size_hw[1] - 8))))
        files = {"image": photographs[-1], "mask": mask}
        requests.post(f"{self.sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).raise_for_status()
        requests.get(
            f"{self.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1", timeout=PATIENCE_S
        ).raise_for_status()
        for _ in range(N_SCRAPES):
            self._wait_for("targets", lambda data: [target["lastScrape"] for target in data["activeTargets"]])
        self._wait_for("rules", lambda data: [group["lastEvaluation"] for group in data["groups"]])

    def _wait_for(self, path: str, pick: Callable[[Any], list[str]]) -> None:
        """Until each of these moments is later than now."""
        now = datetime.now(UTC)

        def are_later() -> bool:
            data = requests.get(f"{self.url}/api/v1/{path}", timeout=PATIENCE_S).json()["data"]
            return all(datetime.fromisoformat(f"{moment[:19]}+00:00") > now for moment in pick(data))

        eventually(are_later)

    def stop(self) -> None:
        for process in self.processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self.sidecar:
            self.sidecar.stop()

    def _post(self, route: str, image: bytes, **fields: str) -> str:
        answer = requests.post(f"{self.sidecar.url}/{route}", files={"image": image}, data=fields, timeout=PATIENCE_S)
        return answer.headers.get("X-Crack-Model-Version", "")

    def _judge(self, folder: Path) -> None:
        """A retraining that ended, in the words of the retrain job."""
        jobs = Jobs(folder / "feedback")
        jobs.tell(jobs.begin("a test"), JobState.NOT_PROMOTED, 1.0, "Version 1 stays.", labels={"item": "mask"})
        figures = {"deepcrack": (0.75, 0.74), "feedback": (0.5, 0.6)}
        intervals = {name: ((low - 0.1, low + 0.1), (high - 0.1, high + 0.1)) for name, (low, high) in figures.items()}
        rules = (Rule("no loss on the gate set", False, "0.02 below"), Rule("as fast", True, "1.0 times"))
        Verdict("1", "2", rules, figures, intervals).write(folder / "workspace" / "report")

    def _configure(self) -> Path:
        copy = self.folder / "prometheus"
        shutil.copytree(PROMETHEUS, copy)
        path = copy / "prometheus.yml"
        config = yaml.safe_load(path.read_text())
        # A scrape that takes longer than this counts as a target that is down; it may not be longer than the interval.
        config["global"] = dict.fromkeys(config["global"], f"{SCRAPE_S}s")
        path.write_text(yaml.safe_dump(config))
        targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"job": job}} for job, port in self.ports.items()]
        (copy / "targets" / "system.yml").write_text(yaml.safe_dump(targets))
        return path

    def _start(self, command: str, **environment: str) -> None:
        folder = Path(sys.executable).parent
        program, *arguments = command.split()
        program = str(folder / program) if (folder / program).exists() else program
        with (self.folder / f"{len(self.processes)}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [program, *arguments],
                    cwd=ROOT,
                    env={**os.environ, **environment},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )


@dataclass(frozen=True)
class Seen:
    """What Prometheus answered to each query, under some load and under another."""

    watched: Watched
    before: dict[str, dict[str, float]]
    after: dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Seen]:
    watched = Watched(tmp_path_factory.mktemp("watched"))
    try:
        watched.start(server)
        watched.load(seed=10, n_photographs=4, size_hw=(97, 131))  # so that there is a first value of everything
        watched.load(seed=20, n_photographs=6, size_hw=(197, 231))
        before = {query.name: watched.ask(query.expression) for query in QUERIES}
        watched.load(seed=30, n_photographs=16, size_hw=(390, 541))
        yield Seen(watched, before, {query.name: watched.ask(query.expression) for query in QUERIES})
    finally:
        watched.stop()


@needs_prometheus
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_a_panels_query_returns_data_and_moves_under_load(query: Query, seen: Seen) -> None:
    before, after = seen.before[query.name], seen.after[query.name]
    assert before, query.expression
    assert after, query.expression
    if MOVED_BY_LOAD.search(query.expression):
        assert before != after, query.expression


@needs_prometheus
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or f"{rule['record']} {rule.get('labels', '')}")
def test_a_rules_metrics_are_there(rule: dict[str, Any], seen: Seen) -> None:
    if "record" in rule:
        assert seen.watched.ask(rule["expr"])
        return
    names = set(METRIC.findall(rule["expr"])) - {"crack_share"}
    assert names
    for name in names:
        assert seen.watched.ask(f"count({name})"), name


@needs_prometheus
def test_no_alert_fires_on_a_system_that_is_well(seen: Seen) -> None:
    groups = requests.get(f"{seen.watched.url}/api/v1/rules", timeout=PATIENCE_S).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RULES)
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    assert {rule["name"] for rule in rules if rule.get("state") == "firing"} <= OF_THE_MACHINE
