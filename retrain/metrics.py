"""The metrics that Prometheus scrapes from `crack retrain --watch`. They are read from the jobs and the newest verdict, so no
restart loses them.
"""

import logging
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crack.stores.jobs import Job, Jobs
from crack.stores.states import ENDED, JobState
from retrain.settings import Settings
from retrain.snapshot import masks, read_labels
from retrain.stages import REPORT
from retrain.verdict import VERDICT_FILE, Verdict

logger = logging.getLogger("retrain.metrics")


def serve(settings: Settings) -> None:
    """Serve them at the settings' address, in a thread. Raises ValueError if nothing can listen there."""
    registry = CollectorRegistry()
    registry.register(_RetrainCollector(settings))
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        raise ValueError(
            f"Metrics cannot be served at {settings.metrics_host}:{settings.metrics_port} ({error}). "
            "Set CRACK_RETRAIN_METRICS_HOST and CRACK_RETRAIN_METRICS_PORT to a free address."
        ) from error


class _RetrainCollector(Collector):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs = Jobs(settings.feedback_dir, settings.store_url)

    def collect(self) -> Iterator[Metric]:
        history = self._jobs.recent()
        queued = [job for job in history if job.state is JobState.QUEUED]
        running = [job for job in history if job.state is JobState.RUNNING]
        ended = [job for job in history if job.state in ENDED]
        n_new = self._jobs.n_new(masks(read_labels(self._settings.feedback_dir, self._settings.store_url)))
        for name, what, value in (
            (
                "queued",
                "Requested retrainings that have not begun",
                len(queued),
            ),
            ("running", "Retrainings that run", len(running)),
            ("progress_ratio", "Progress of the running retraining, 0 to 1", running[0].progress if running else 0),
            ("new_labels", "Accepted labels that no retraining has judged yet", n_new),
            ("after_labels", "New labels with which a retraining starts by itself", self._settings.retrain_after_labels),
        ):
            yield GaugeMetricFamily(f"crack_retrain_{name}", what, value=value)
        by_outcome = CounterMetricFamily("crack_retrain_ended", "Ended retrainings by outcome", labels=["outcome"])
        last = GaugeMetricFamily(
            "crack_retrain_last_outcome", "1 for the outcome of the latest ended retraining", labels=["outcome"]
        )
        for outcome in ENDED:
            by_outcome.add_metric([outcome], sum(job.state is outcome for job in ended))
            last.add_metric([outcome], bool(ended) and ended[0].state is outcome)
        yield by_outcome
        yield last
        yield from _newest(ended[0]) if ended else ()
        yield from self._verdict()

    def _verdict(self) -> Iterator[Metric]:
        path = self._settings.workspace / REPORT / VERDICT_FILE
        if not path.is_file():
            return
        try:
            verdict = Verdict.read(path)
        except (OSError, ValueError) as error:  # it is being written, or comes from another version of the program
            logger.warning("the figures of the newest verdict are not published: %s", error)
            return
        figures = GaugeMetricFamily(
            "crack_retrain_figure_ratio",
            "F1 by set (or, without cracks, the share without a false alarm) in the newest verdict",
            labels=["set", "model", "version"],
        )
        for name, (before, after) in verdict.figures.items():
            figures.add_metric([name, "champion", verdict.champion], before)
            figures.add_metric([name, "challenger", verdict.challenger], after)
        yield figures
        rules = GaugeMetricFamily("crack_retrain_rule_holds", "Whether a rule of the newest verdict holds", labels=["rule"])
        for rule in verdict.rules:
            rules.add_metric([rule.name], rule.holds)
        yield rules


def _newest(job: Job) -> Iterator[Metric]:
    asked, ended = (datetime.fromisoformat(at).timestamp() for at in (job.asked_at, job.updated_at))
    yield GaugeMetricFamily("crack_retrain_last_end_timestamp_seconds", "When the latest ended retraining ended", value=ended)
    yield GaugeMetricFamily("crack_retrain_last_duration_seconds", "From its request to its end", value=ended - asked)
