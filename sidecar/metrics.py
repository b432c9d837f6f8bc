"""What Prometheus scrapes from the sidecar: requests, feedback and the store."""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.feedback import FeedbackStore

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts for one application. Labels hold routes and versions, never names of files or ids."""

    def __init__(self, store: FeedbackStore) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("crack_requests", "Requests by route and status", ["route", "code"], registry=self.registry)
        self.seconds = Histogram(
            "crack_request_duration_seconds",
            "From the request's head to the end of its answer",
            ["route", "model_version"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.feedback = Counter(
            "crack_feedback", "Feedback saved, by verdict and the state it got", ["verdict", "state"], registry=self.registry
        )
        self.registry.register(_StoreCollector(store))


class _StoreCollector(Collector):
    """Reads the store when it is scraped."""

    def __init__(self, store: FeedbackStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        items = GaugeMetricFamily("crack_feedback_items", "Photographs in the store", labels=["state"])
        for state, count in self._store.counts().items():
            items.add_metric([state.value], count)
        yield items
        yield GaugeMetricFamily("crack_feedback_store_bytes", "What photographs and masks take", value=self._store.n_bytes())
        newest = self._store.newest_label_at()
        if newest:
            seconds = datetime.fromisoformat(newest).timestamp()
            yield GaugeMetricFamily(
                "crack_feedback_newest_label_timestamp_seconds", "When the newest label came", value=seconds
            )
