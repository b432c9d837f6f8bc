"""How large a photograph may be means the same at every door, or the door doesn't open and names what can't be raised."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml
from PIL import Image

from gradio_app.backend import Backend
from gradio_app.pictures import Found, draw
from handler.serve import Server
from model.inference.isolation import Isolation
from model.inference.photograph import MEGABYTE, Limits, read_size
from tests.conftest import ROOT, start_server
from tests.pages import ServedPage
from tests.photographs import noise, png
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

DOORS = ("sidecar", "gradio_app", "handler.serve")
LARGEST = png(Image.new("1", (13_350, 13_333)))  # 178 megapixels in 22 KB
LONG = png(noise(32, 32)) + bytes(55 * MEGABYTE)  # decoders stop at the picture's end


def start(door: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", door]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CRACK_MAX_MEGAPIXELS", "179", "expected 178 at most, as Pillow opens no larger picture"),
        ("CRACK_MAX_MEGABYTES", "201", "expected 200 at most, as TorchServe's Java"),
    ],
)
def test_what_cannot_be_raised_is_named_by_each_door_before_it_opens(door: str, name: str, value: str, reason: str) -> None:
    ended = start(door, **{name: value})
    assert ended.returncode == 2
    assert f"{name}='{value}': {reason}" in ended.stderr


@pytest.mark.parametrize("name", ["TS_MAX_REQUEST_SIZE", "TS_MAX_RESPONSE_SIZE"])
def test_a_smaller_limit_of_torchserve_itself_is_named_before_it_starts(name: str) -> None:
    ended = start("handler.serve", **{name: "6553500"})
    assert ended.returncode == 2
    assert f"{name}=6553500: expected " in ended.stderr


@pytest.fixture
def wide_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A TorchServe for files of 60 MB."""
    monkeypatch.setenv("CRACK_MAX_MEGABYTES", "60")
    server = start_server(tmp_path / "logs", {"default_workers_per_model": "1"})
    try:
        server.wait_until_ready(PATIENCE_S)
        yield server
    finally:
        server.stop()


def test_one_setting_lets_more_megabytes_through_every_door(wide_server: Server, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "store", tmp_path / "log", wide_server.inference_url, wide_server.management_url)
    page = ServedPage(tmp_path / "page.log", BACKEND_URL=sidecar.url)
    try:
        uploaded = requests.post(f"{page.url}/gradio_api/upload", files={"files": ("wall.png", LONG)}, timeout=PATIENCE_S)
        assert uploaded.status_code == 200
        assert Backend(sidecar.url).predict(LONG).probability_png
        assert Backend(sidecar.url).save(LONG, "wall.png", None, verdict="other")["status"] == "saved"
    finally:
        page.stop()
        sidecar.stop()


def test_the_largest_photograph_that_can_be_allowed_is_saved_with_its_mask(start_lone_sidecar: StartSidecar) -> None:
    sidecar = start_lone_sidecar(CRACK_MAX_MEGAPIXELS="178")
    assert Backend(sidecar.url).save(LARGEST, "wall.png", LARGEST, verdict="no_crack")["status"] == "saved"


def test_the_largest_photograph_that_can_be_allowed_is_packed_by_the_page() -> None:
    limits = Limits.from_environment({"CRACK_MAX_MEGAPIXELS": "178"})
    page = Isolation.for_photographs(1, limits)
    mask, overlay, *_ = page.call(draw, Found(LARGEST, LARGEST, 128, None), limits)
    page.close()
    assert (read_size(mask, limits), read_size(overlay, limits)) == ((13_333, 13_350), (13_333, 13_350))


def test_a_photograph_too_long_for_a_jpeg_is_packed_by_the_page_with_a_smaller_overlay() -> None:
    long = png(Image.new("RGB", (65_600, 16)))
    mask, overlay, *_ = draw(Found(long, long, 128, None), Limits())
    assert read_size(mask, Limits()) == (16, 65_600)
    assert read_size(overlay, Limits(min_side_px=1))[1] == 65_500


@pytest.mark.parametrize("name", ["torchserve", "sidecar", "gradio"])
def test_containers_get_the_limits_that_the_shell_names(name: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {"CRACK_MAX_MEGABYTES", "CRACK_MAX_MEGAPIXELS"} <= services[name]["environment"].keys()


@pytest.mark.parametrize("name", ["torchserve", "sidecar", "page"])
def test_pods_get_the_limits_of_one_config_map(name: str) -> None:
    deployment, *_ = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "base" / f"{name}.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "limits", "optional": True}}]
