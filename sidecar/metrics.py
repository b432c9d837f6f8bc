"""The metrics that Prometheus scrapes from the sidecar: requests, feedback, the stores, and facts about TorchServe that it
does not publish itself.
"""

import logging
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from crack.serving import STATE_FILE
from crack.stores.states import State
from model.inference.card import ModelCard
from sidecar.feedback import FeedbackStore
from sidecar.inspections import InspectionStore
from sidecar.items import Submission
from sidecar.keys import KeyRing
from sidecar.predictor import Served

logger = logging.getLogger("sidecar.metrics")

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts for one application. Labels hold routes and versions, never names of files or ids."""

    def __init__(self, store: FeedbackStore, inspections: InspectionStore, model_store: Path, keys: KeyRing) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("crack_requests", "Requests by route and status", ["route", "code"], registry=self._registry)
        self.seconds = Histogram(
            "crack_request_duration_seconds",
            "From the request's head to the end of its answer",
            ["route", "version"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._feedback = Counter(
            "crack_feedback",
            "Feedback saved, by verdict, the state it got, and the version whose answer it is about",
            ["verdict", "state", "version"],
            registry=self._registry,
        )
        keys_available = Gauge(
            "crack_keys_available", "1; 0 where API keys are required and none can be checked", registry=self._registry
        )
        keys_available.set_function(lambda: float(not keys.fault))
        self._served = _ServedCollector(model_store)
        self._registry.register(_StoreCollector(store, inspections))
        self._registry.register(self._served)

    def count_feedback(self, said: Submission, state: State) -> None:
        """The client names the version: one that was not served while this process ran is counted as unknown."""
        version = said.model_version if said.model_version in self._served.versions else "unknown"
        self._feedback.labels(said.verdict or "none", state.value, version).inc()

    def exposition(self, served: Served | None) -> bytes:
        """All metrics, in Prometheus's text format; `served`: TorchServe's answer now, None if it does not answer."""
        self._served.update(served)
        return generate_latest(self._registry)


class _ServedCollector(Collector):
    """Workers, queues, and the served version with the reference of its card, which drift is measured against."""

    def __init__(self, model_store: Path) -> None:
        self.versions: set[str] = set()
        self._model_store = model_store
        self._served: Served | None = None
        self._default: tuple[str, str] | None = None
        self._since, self._reference = 0.0, dict[str, dict[str, float]]()

    def update(self, served: Served | None) -> None:
        self._served = served
        if served and (served.default, served.archive) != self._default:
            self._default = served.default, served.archive
            self.versions |= {served.default}
            self._since, self._reference = _since_and_reference(self._model_store, served.archive)

    def collect(self) -> Iterator[Metric]:
        served = self._served
        yield GaugeMetricFamily(
            "crack_ready_workers",
            "Workers that can predict; 0 if TorchServe does not answer",
            value=served.n_ready if served else 0,
        )
        if served is None:
            return
        waiting = GaugeMetricFamily("crack_waiting_requests", "Requests that wait for a worker", labels=["version"])
        for version, n_waiting in served.n_waiting.items():
            waiting.add_metric([version], n_waiting)
        yield waiting
        since = GaugeMetricFamily(
            "crack_served_since_timestamp_seconds", "When the served model was put into production", labels=["version"]
        )
        since.add_metric([served.default], self._since)
        yield since
        for name, histogram in self._reference.items():
            family = HistogramMetricFamily(
                f"crack_reference_{name}", f"crack_{name} as on the served version's validation photographs", labels=["version"]
            )
            buckets = [(le, n) for le, n in histogram.items() if le != "sum"]
            family.add_metric([served.default], buckets, sum_value=histogram["sum"])
            yield family


def _since_and_reference(model_store: Path, archive: str) -> tuple[float, dict[str, dict[str, float]]]:
    """Both are empty if the sidecar does not see TorchServe's model store."""
    serving = model_store / STATE_FILE  # written at a promotion or a rollback
    try:
        since = os.path.getmtime(serving if serving.is_file() else model_store / archive)
        return since, ModelCard.of_archive(model_store / archive).figures.get("reference", {})
    except (OSError, ValueError) as error:
        logger.warning("the card of the served model cannot be read (%s): drift has no reference", error)
        return 0.0, {}


class _StoreCollector(Collector):
    """Reads the stores when they are scraped."""

    def __init__(self, store: FeedbackStore, inspections: InspectionStore) -> None:
        self._store, self._inspections = store, inspections

    def collect(self) -> Iterator[Metric]:
        items = GaugeMetricFamily("crack_feedback_items", "Photographs in the store", labels=["state"])
        for state, count in self._store.counts().items():
            items.add_metric([state.value], count)
        yield items
        for store, subject, held in (
            (self._store, "feedback", "Bytes of photographs and masks"),
            (self._inspections, "inspections", "Bytes of all inspections"),
        ):
            for name, what, value in (
                ("store_bytes", held, store.n_bytes()),
                ("quota_bytes", "Bytes that they may take", store.quota_bytes),
                ("disk_free_bytes", "Free bytes on their disk", store.n_free_bytes()),
            ):
                yield GaugeMetricFamily(f"crack_{subject}_{name}", what, value=value)
        for name, what, at in (
            ("newest_label", "When the newest label arrived", self._store.newest_label_at()),
            (
                "oldest_waiting",
                "When the longest untouched item that waits for a person last changed",
                self._store.oldest_waiting_at(),
            ),
        ):
            if at:
                seconds = datetime.fromisoformat(at).timestamp()
                yield GaugeMetricFamily(f"crack_feedback_{name}_timestamp_seconds", what, value=seconds)
