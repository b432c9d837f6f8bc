"""What is published about each answer, each error and each saved correction, read as Prometheus does."""

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


def predict(server: Server, image: bytes = PHOTOGRAPH) -> requests.Response:
    return requests.post(f"{server.inference_url}/predictions/crack", files={"image": image}, timeout=TIMEOUT_S)


def test_torchserves_own_counts_are_there_too(server: Server) -> None:
    before = value(server.metrics_url, "ts_inference_requests_total", model_name="crack")
    predict(server)
    assert value(server.metrics_url, "ts_inference_requests_total", model_name="crack") == before + 1


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_each_prediction_is_counted_in_each_histogram_by_version(server: Server, name: str) -> None:
    version = predict(server).headers["X-Crack-Model-Version"]
    before = value(server.metrics_url, f"crack_{name}_count", version=version)
    predict(server)
    assert value(server.metrics_url, f"crack_{name}_count", version=version) == before + 1


@pytest.mark.parametrize("stage", ["decode", "run", "encode"])
def test_each_prediction_says_the_seconds_of_each_stage(server: Server, stage: str) -> None:
    before = value(server.metrics_url, "crack_stage_seconds_sum", stage=stage)
    predict(server)
    assert 0 < value(server.metrics_url, "crack_stage_seconds_sum", stage=stage) - before < TIMEOUT_S


def test_answers_are_counted_by_their_code(server: Server) -> None:
    codes = ("success", "image_unsupported")
    before = [value(server.metrics_url, "crack_answers_total", code=code) for code in codes]
    predict(server)
    assert predict(server, b"a text").json()["code"] == "image_unsupported"
    after = [value(server.metrics_url, "crack_answers_total", code=code) for code in codes]
    assert after == [count + 1 for count in before]


def test_what_computes_the_network_is_published(server: Server) -> None:
    model = predict(server).json()["model"]
    labels = {"runtime": model["runtime"], "precision": model["precision"], "version": model["version"]}
    assert value(server.metrics_url, "crack_backend_info", **labels) == 1


def test_the_darker_photograph_lowers_the_mean_brightness(server: Server) -> None:
    def mean_of_one(image: bytes) -> float:
        before = value(server.metrics_url, "crack_brightness_ratio_sum")
        predict(server, image)
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
