"""What the retrain job publishes, from jobs and a verdict as it writes them itself."""

from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from crack.stores.jobs import Jobs
from crack.stores.states import JobState
from retrain import metrics
from retrain.settings import Settings
from retrain.verdict import Rule, Verdict
from tests.ports import free_ports
from tests.waiting import PATIENCE_S

Samples = dict[tuple[str, ...], float]


def serve(folder: Path) -> Settings:
    (port,) = free_ports(1)
    settings = Settings.from_environment(
        {
            "CRACK_FEEDBACK_DIR": str(folder / "feedback"),
            "CRACK_RETRAIN_WORKSPACE": str(folder / "workspace"),
            "CRACK_RETRAIN_METRICS_PORT": str(port),
            "CRACK_RETRAIN_AFTER_LABELS": "7",
        }
    )
    metrics.serve(settings)
    return settings


def scrape(settings: Settings) -> Samples:
    """Values by the metric's name and its labels' values."""
    text = requests.get(f"http://{settings.metrics_host}:{settings.metrics_port}/metrics", timeout=PATIENCE_S).text
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_before_the_first_retraining_nothing_has_happened(tmp_path: Path) -> None:
    seen = scrape(serve(tmp_path))
    assert seen["crack_retrain_running",] == 0
    assert seen["crack_retrain_after_labels",] == 7
    assert seen["crack_retrain_ended_total", "failed"] == seen["crack_retrain_last_outcome", "failed"] == 0
    assert ("crack_retrain_last_end_timestamp_seconds",) not in seen


def test_retrainings_are_counted_by_outcome_and_the_newest_is_told(tmp_path: Path) -> None:
    settings = serve(tmp_path)
    jobs = Jobs(settings.feedback_dir)
    jobs.tell(jobs.begin("a test"), JobState.FAILED, 1.0, "the disk is full")
    jobs.tell(jobs.begin("a test"), JobState.PROMOTED, 1.0, "Version 2 is in production", labels={"item": "mask"})
    running = jobs.begin("a test")
    jobs.tell(running, JobState.RUNNING, 0.4, "training")
    seen = scrape(settings)
    assert (seen["crack_retrain_ended_total", "failed"], seen["crack_retrain_ended_total", "promoted"]) == (1, 1)
    assert (seen["crack_retrain_last_outcome", "failed"], seen["crack_retrain_last_outcome", "promoted"]) == (0, 1)
    assert (seen["crack_retrain_running",], seen["crack_retrain_progress_ratio",]) == (1, 0.4)
    assert seen["crack_retrain_last_end_timestamp_seconds",] > 0
    assert seen["crack_retrain_last_duration_seconds",] >= 0


def test_both_models_figures_and_the_rules_of_the_newest_verdict_are_told(tmp_path: Path) -> None:
    settings = serve(tmp_path)
    report = settings.workspace / "report"
    intervals = {"deepcrack": ((0.6, 0.8), (0.7, 0.9))}
    Verdict("1", "2", (Rule("as fast", False, "2 times"),), {"deepcrack": (0.7, 0.8)}, intervals).write(report)
    seen = scrape(settings)
    assert seen["crack_retrain_figure_ratio", "champion", "deepcrack", "1"] == 0.7
    assert seen["crack_retrain_figure_ratio", "challenger", "deepcrack", "2"] == 0.8
    assert seen["crack_retrain_rule_holds", "as fast"] == 0
    (report / "verdict.json").write_text('{"champion": ')
    assert not [names for names in scrape(settings) if names[0] == "crack_retrain_figure_ratio"]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    settings = serve(tmp_path)
    with pytest.raises(ValueError, match=f":{settings.metrics_port} .*CRACK_RETRAIN_METRICS_PORT"):
        metrics.serve(settings)
