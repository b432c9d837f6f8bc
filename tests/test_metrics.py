"""What is published about each answer, each error and each saved correction, read as Prometheus does."""

import math
import time

import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from handler.serve import Server
from model.synthetic import draw_surface
from tests.photographs import jpeg, png
from tests.sidecars import StartSidecar

TIMEOUT_S = 60
PHOTOGRAPH = jpeg(draw_surface(seed=5, size_hw=(390, 541), material="concrete").image_hwc_u8)
HISTOGRAMS = ("area_ratio", "confidence_ratio", "brightness_ratio", "sharpness_ratio", "photograph_megapixels")


def value(url: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 where there is none yet."""
    families = text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=TIMEOUT_S).text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def settled(url: str, name: str, **labels: str) -> float:
    """A value once it stays: TorchServe reads what its workers publish from their output, which may be after their answer."""
    before = math.nan
    while (now := value(url, name, **labels)) != before:
        before = now
        time.sleep(0.2)
    return now


def wait_for(expected: float, url: str, name: str, **labels: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while value(url, name, **labels) != expected:
        assert time.monotonic() < deadline, (name, labels, value(url, name, **labels), expected)
        time.sleep(0.05)


def predict(server: Server, image: bytes = PHOTOGRAPH) -> requests.Response:
    return requests.post(f"{server.inference_url}/predictions/crack", files={"image": image}, timeout=TIMEOUT_S)


def test_torchserves_own_counts_are_there_too(server: Server) -> None:
    before = value(server.metrics_url, "ts_inference_requests_total", model_name="crack")
    predict(server)
    assert value(server.metrics_url, "ts_inference_requests_total", model_name="crack") == before + 1


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_each_prediction_is_counted_in_each_histogram_by_version(server: Server, name: str) -> None:
    version = predict(server).headers["X-Crack-Model-Version"]
    before = settled(server.metrics_url, f"crack_{name}_count", version=version)
    predict(server)
    wait_for(before + 1, server.metrics_url, f"crack_{name}_count", version=version)


@pytest.mark.parametrize("stage", ["decode", "run", "encode"])
def test_each_prediction_says_the_seconds_of_each_stage(server: Server, stage: str) -> None:
    n_before = settled(server.metrics_url, "crack_stage_seconds_count", stage=stage)
    before = value(server.metrics_url, "crack_stage_seconds_sum", stage=stage)
    predict(server)
    wait_for(n_before + 1, server.metrics_url, "crack_stage_seconds_count", stage=stage)
    assert 0 < value(server.metrics_url, "crack_stage_seconds_sum", stage=stage) - before < TIMEOUT_S


def test_answers_are_counted_by_their_code(server: Server) -> None:
    codes = ("success", "image_unsupported")
    before = [settled(server.metrics_url, "crack_answers_total", code=code) for code in codes]
    predict(server)
    assert predict(server, b"a text").json()["code"] == "image_unsupported"
    for code, count in zip(codes, before, strict=True):
        wait_for(count + 1, server.metrics_url, "crack_answers_total", code=code)


def test_what_computes_the_network_is_published(server: Server) -> None:
    model = predict(server).json()["model"]
    labels = {"runtime": model["runtime"], "precision": model["precision"], "version": model["version"]}
    assert value(server.metrics_url, "crack_backend_info", **labels) == 1


def test_the_darker_photograph_lowers_the_mean_brightness(server: Server) -> None:
    def mean_of_one(image: bytes) -> float:
        n_before = settled(server.metrics_url, "crack_brightness_ratio_count")
        before = value(server.metrics_url, "crack_brightness_ratio_sum")
        predict(server, image)
        wait_for(n_before + 1, server.metrics_url, "crack_brightness_ratio_count")
        return value(server.metrics_url, "crack_brightness_ratio_sum") - before

    surface = draw_surface(seed=5, size_hw=(390, 541), material="concrete").image_hwc_u8
    assert mean_of_one(jpeg(surface // 2)) == pytest.approx(mean_of_one(jpeg(surface)) / 2, rel=0.05)


def test_the_sidecar_counts_requests_and_feedback(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    correction = {"image": PHOTOGRAPH, "mask": png(np.full((390, 541), 255, np.uint8))}
    requests.post(f"{sidecar.url}/save-for-retrain", files=correction, data={"verdict": "too_thin"}, timeout=TIMEOUT_S)
    for image in (PHOTOGRAPH, b"a text"):
        requests.post(f"{sidecar.url}/predict", files={"image": image}, timeout=TIMEOUT_S)
    assert value(sidecar.url, "crack_requests_total", route="/predict", code="200") == 1
    assert value(sidecar.url, "crack_requests_total", route="/predict", code="415") == 1
    assert value(sidecar.url, "crack_feedback_total", verdict="too_thin", state="labelled") == 1
    assert value(sidecar.url, "crack_feedback_items", state="labelled") == 1
    assert value(sidecar.url, "crack_feedback_store_bytes") > 0


def test_a_health_check_is_no_photograph(server: Server, start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    counted = ("crack_answers_total", "crack_brightness_ratio_count")
    before = [settled(server.metrics_url, name) for name in counted]
    assert requests.get(f"{sidecar.url}/ready", timeout=TIMEOUT_S).status_code == 200
    assert [settled(server.metrics_url, name) for name in counted] == before


def test_each_saved_feedback_is_counted_for_the_version_that_it_is_about(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    version = requests.get(f"{sidecar.url}/model", timeout=TIMEOUT_S).json()["version"]
    value(sidecar.url, "crack_ready_workers")  # a scrape, with which it learns what is served
    for verdict, about in (("missed_crack", version), ("missed_crack", version), ("false_alarm", "never served")):
        fields = {"verdict": verdict, "model_version": about}
        answer = requests.post(f"{sidecar.url}/save-for-retrain", files={"image": PHOTOGRAPH}, data=fields, timeout=TIMEOUT_S)
        assert answer.status_code == 200, answer.text
    assert value(sidecar.url, "crack_feedback_total", verdict="missed_crack", version=version) == 2
    assert value(sidecar.url, "crack_feedback_total", verdict="false_alarm", version="unknown") == 1
    assert value(sidecar.url, "crack_feedback_items", state="needs_label") == 1
    assert value(sidecar.url, "crack_feedback_oldest_waiting_timestamp_seconds") > 0
    assert value(sidecar.url, "crack_feedback_quota_bytes") > value(sidecar.url, "crack_feedback_store_bytes")
    assert value(sidecar.url, "crack_feedback_disk_free_bytes") > 0


def test_the_sidecar_says_what_is_served_and_what_drift_is_measured_against(start_sidecar: StartSidecar) -> None:
    sidecar = start_sidecar()
    described = requests.get(f"{sidecar.url}/model", timeout=TIMEOUT_S).json()
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
    families = text_string_to_metric_families(requests.get(f"{sidecar.url}/metrics", timeout=TIMEOUT_S).text)
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    assert samples["crack_ready_workers"] == 0
    assert not {name for name in samples if name.startswith(("crack_served", "crack_waiting", "crack_reference"))}
