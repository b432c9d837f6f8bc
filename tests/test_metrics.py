"""What is published about each answer, each error and each saved correction, read as Prometheus does."""

from collections.abc import Iterator

import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from handler.serve import Server
from model.synthetic import draw_surface
from tests.conftest import start_server
from tests.photographs import jpeg, png
from tests.sidecars import StartSidecar
from tests.waiting import PATIENCE_S, eventually

PHOTOGRAPH = jpeg(draw_surface(seed=5, size_hw=(390, 541), material="concrete").image_hwc_u8)
HISTOGRAMS = ("area_ratio", "confidence_ratio", "brightness_ratio", "sharpness_ratio", "photograph_megapixels")


def value(url: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 where there is none yet."""
    families = text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=PATIENCE_S).text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


class Asked:
    """A TorchServe of one worker that nobody else asks, so that what it has to have counted is known.

    TorchServe reads what a worker publishes from its output, in order, which may be long after the answer.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.n_predicted = self.n_refused = 0

    def predict(self, image: bytes = PHOTOGRAPH) -> requests.Response:
        url = f"{self.server.inference_url}/predictions/crack"
        answer = requests.post(url, files={"image": image}, timeout=PATIENCE_S)
        self.n_predicted += answer.ok
        self.n_refused += not answer.ok
        return answer

    def value(self, name: str, **labels: str) -> float:
        return value(self.server.metrics_url, name, **labels)

    def wait_for(self, expected: float, name: str, **labels: str) -> None:
        eventually(lambda: self.value(name, **labels) >= expected)
        assert self.value(name, **labels) == expected


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    running = start_server(tmp_path_factory.mktemp("asked"), {"default_workers_per_model": "1"})
    try:
        running.wait_until_ready(PATIENCE_S)
        yield Asked(running)
    finally:
        running.stop()


def test_torchserves_own_counts_are_there_too(asked: Asked) -> None:
    before = asked.value("ts_inference_requests_total", model_name="crack")
    asked.predict()
    asked.wait_for(before + 1, "ts_inference_requests_total", model_name="crack")


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_each_prediction_is_counted_in_each_histogram_by_version(asked: Asked, name: str) -> None:
    version = asked.predict().headers["X-Crack-Model-Version"]
    asked.wait_for(asked.n_predicted, f"crack_{name}_count", version=version)


@pytest.mark.parametrize("stage", ["decode", "run", "encode"])
def test_each_prediction_says_the_seconds_of_each_stage(asked: Asked, stage: str) -> None:
    asked.wait_for(asked.n_predicted, "crack_stage_seconds_count", stage=stage)
    before = asked.value("crack_stage_seconds_sum", stage=stage)
    asked.predict()
    asked.wait_for(asked.n_predicted, "crack_stage_seconds_count", stage=stage)
    assert asked.value("crack_stage_seconds_sum", stage=stage) > before


def test_answers_are_counted_by_their_code(asked: Asked) -> None:
    asked.predict()
    assert asked.predict(b"a text").json()["code"] == "image_unsupported"
    asked.wait_for(asked.n_predicted, "crack_answers_total", code="success")
    asked.wait_for(asked.n_refused, "crack_answers_total", code="image_unsupported")


def test_what_computes_the_network_is_published(asked: Asked) -> None:
    model = asked.predict().json()["model"]
    labels = {"runtime": model["runtime"], "precision": model["precision"], "version": model["version"]}
    asked.wait_for(1, "crack_backend_info", **labels)


def test_the_darker_photograph_lowers_the_mean_brightness(asked: Asked) -> None:
    def mean_of_one(image: bytes) -> float:
        asked.wait_for(asked.n_predicted, "crack_brightness_ratio_count")
        before = asked.value("crack_brightness_ratio_sum")
        asked.predict(image)
        asked.wait_for(asked.n_predicted, "crack_brightness_ratio_count")
        return asked.value("crack_brightness_ratio_sum") - before

    surface = draw_surface(seed=5, size_hw=(390, 541), material="concrete").image_hwc_u8
    assert mean_of_one(jpeg(surface // 2)) == pytest.approx(mean_of_one(jpeg(surface)) / 2, rel=0.05)


def test_the_sidecar_counts_requests_and_feedback(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    correction = {"image": PHOTOGRAPH, "mask": png(np.full((390, 541), 255, np.uint8))}
    requests.post(f"{sidecar.url}/save-for-retrain", files=correction, data={"verdict": "too_thin"}, timeout=PATIENCE_S)
    for image in (PHOTOGRAPH, b"a text"):
        requests.post(f"{sidecar.url}/predict", files={"image": image}, timeout=PATIENCE_S)
    assert value(sidecar.url, "crack_requests_total", route="/predict", code="200") == 1
    assert value(sidecar.url, "crack_requests_total", route="/predict", code="415") == 1
    assert value(sidecar.url, "crack_feedback_total", verdict="too_thin", state="labelled") == 1
    assert value(sidecar.url, "crack_feedback_items", state="labelled") == 1
    assert value(sidecar.url, "crack_feedback_store_bytes") > 0
    praise = {"files": {"image": PHOTOGRAPH}, "data": {"verdict": "correct"}}  # of what has a label: that stays
    requests.post(f"{sidecar.url}/save-for-retrain", **praise, timeout=PATIENCE_S)
    assert value(sidecar.url, "crack_feedback_total", verdict="correct", state="labelled") == 1
    assert value(sidecar.url, "crack_feedback_total", verdict="too_thin", state="labelled") == 1


def test_a_health_check_is_no_photograph(asked: Asked, start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(torchserve_url=asked.server.inference_url)
    assert requests.get(f"{sidecar.url}/ready", timeout=PATIENCE_S).status_code == 200
    asked.predict(b"a text")  # which the worker publishes after whatever it published about the health check
    asked.wait_for(asked.n_refused, "crack_answers_total", code="image_unsupported")
    asked.wait_for(asked.n_predicted, "crack_answers_total", code="success")
    asked.wait_for(asked.n_predicted, "crack_brightness_ratio_count")


def test_each_saved_feedback_is_counted_for_the_version_that_it_is_about(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    version = requests.get(f"{sidecar.url}/model", timeout=PATIENCE_S).json()["version"]
    value(sidecar.url, "crack_ready_workers")  # a scrape, with which it learns what is served
    for verdict, about in (("missed_crack", version), ("missed_crack", version), ("false_alarm", "never served")):
        fields = {"verdict": verdict, "model_version": about}
        answer = requests.post(f"{sidecar.url}/save-for-retrain", files={"image": PHOTOGRAPH}, data=fields, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
    assert value(sidecar.url, "crack_feedback_total", verdict="missed_crack", version=version) == 2
    assert value(sidecar.url, "crack_feedback_total", verdict="false_alarm", version="unknown") == 1
    assert value(sidecar.url, "crack_feedback_items", state="needs_label") == 1
    assert value(sidecar.url, "crack_feedback_oldest_waiting_timestamp_seconds") > 0
    assert value(sidecar.url, "crack_feedback_quota_bytes") > value(sidecar.url, "crack_feedback_store_bytes")
    assert value(sidecar.url, "crack_feedback_disk_free_bytes") > 0


def test_the_sidecar_tells_how_full_the_store_of_inspections_is(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(CRACK_INSPECTIONS_QUOTA_GB="2")
    before = value(sidecar.url, "crack_inspections_store_bytes")
    for number in range(50):
        answer = requests.post(f"{sidecar.url}/inspections", data={"name": f"{number} {'x' * 190}"}, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
    assert before < value(sidecar.url, "crack_inspections_store_bytes") < 1e6
    assert value(sidecar.url, "crack_inspections_quota_bytes") == 2 * 2**30
    assert value(sidecar.url, "crack_inspections_disk_free_bytes") > 0


def test_the_sidecar_says_what_is_served_and_what_drift_is_measured_against(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    described = requests.get(f"{sidecar.url}/model", timeout=PATIENCE_S).json()
    reference = described["card"]["figures"]["reference"]
    assert value(sidecar.url, "crack_ready_workers") > 0
    assert value(sidecar.url, "crack_served_since_timestamp_seconds", version=described["version"]) > 0
    for name in ("area_ratio", "confidence_ratio", "brightness_ratio", "sharpness_ratio"):
        n_photographs = value(sidecar.url, f"crack_reference_{name}_count", version=described["version"])
        assert n_photographs == reference[name]["+Inf"] > 100
        at_most_half = value(sidecar.url, f"crack_reference_{name}_bucket", version=described["version"], le="0.5")
        assert at_most_half == reference[name]["0.5"]


def test_without_torchserve_no_worker_is_ready_and_nothing_else_is_claimed(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar(TORCHSERVE_MANAGEMENT_URL="http://127.0.0.1:1")
    families = text_string_to_metric_families(requests.get(f"{sidecar.url}/metrics", timeout=PATIENCE_S).text)
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    assert samples["crack_ready_workers"] == 0
    assert not {name for name in samples if name.startswith(("crack_served", "crack_waiting", "crack_reference"))}
