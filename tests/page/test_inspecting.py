"""Inspecting, from a photograph to an accepted label, and what is around it: the Model tab, a phone, no sidecar."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from model.inference.encoding import mask_png
from model.inference.photograph import decode
from model.synthetic import draw_surface
from tests.heif_files import heif, hevc, turned
from tests.page.conftest import SIZE_HW
from tests.pages import ServedPage, draw, eventually, move_to, one, open_tab, painted, press, says, upload
from tests.photographs import png
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("empty_store")

Browser = webdriver.Chrome
SURFACE = draw_surface(seed=5, size_hw=SIZE_HW)
SELECTED_TAB = "button[role=tab][aria-selected=true]"


@pytest.fixture
def photograph(data_dir: Path) -> Path:
    return min((data_dir / "deepcrack" / "images").glob("train_*"))


def test_a_photograph_is_inspected_corrected_and_accepted_pixel_by_pixel(
    browser: Browser, sidecar: Sidecar, photograph: Path
) -> None:
    upload(browser, photograph)
    said = says(browser, "#inspect-viewer", "% crack")
    assert photograph.name in said
    assert re.search(r"crack score [01]\.\d{3},", said)
    answer = requests.post(
        f"{sidecar.url}/predict", files={"image": photograph.read_bytes(), "response": (None, "mask")}, timeout=PATIENCE_S
    )
    predicted = np.asarray(Image.open(io.BytesIO(answer.content))) > 0
    assert np.array_equal(painted(browser, "#inspect-viewer"), predicted)

    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-120, -60), (160, 70))
    press(browser, "#inspect-viewer .eraser")
    draw(browser, (0, 40), (30, 0))
    corrected = painted(browser, "#inspect-viewer")
    assert (corrected & ~predicted).sum() > 50
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: waits for a reviewer")

    open_tab(browser, "Review")
    eventually(lambda: "1 waiting" in one(browser, "#review-viewer .count").text)
    says(browser, "#review-viewer", "% crack")
    assert np.array_equal(painted(browser, "#review-viewer"), corrected)
    press(browser, "#review-viewer .accept")
    says(browser, "#review-viewer", "accepted by local")
    eventually(lambda: "Nothing waits" in one(browser, "#review-viewer .count").text)

    (item,) = requests.get(f"{sidecar.url}/feedback?state=accepted", timeout=PATIENCE_S).json()["items"]
    with Image.open(sidecar.folder / item["mask_file"]) as mask:
        assert np.array_equal(np.asarray(mask) > 0, corrected)
    assert item["model_version"] == answer.headers["X-Crack-Model-Version"]
    assert item["request_id"]
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def test_threshold_undo_and_no_crack_work_without_another_prediction(
    browser: Browser, sidecar: Sidecar, tmp_path: Path
) -> None:
    path = tmp_path / "wall.png"
    path.write_bytes(png(SURFACE.image_hwc_u8))
    n_before = n_predictions(sidecar)
    upload(browser, path)
    says(browser, "#inspect-viewer", "% crack")
    eventually(lambda: n_predictions(sidecar) == n_before + 1)  # it is counted once its answer is gone
    before = painted(browser, "#inspect-viewer")
    move_to(browser, "#inspect-viewer .threshold", 5)
    lower = painted(browser, "#inspect-viewer")
    assert lower.sum() > before.sum()
    press(browser, "#inspect-viewer .paint-mode")
    press(browser, "#inspect-viewer .empty")
    assert not painted(browser, "#inspect-viewer").any()
    press(browser, "#inspect-viewer .undo")
    assert np.array_equal(painted(browser, "#inspect-viewer"), lower)
    press(browser, "#inspect-viewer .empty")
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved")
    (item,) = requests.get(f"{sidecar.url}/feedback", timeout=PATIENCE_S).json()["items"]
    assert item["verdict"] == "no_crack"
    assert n_predictions(sidecar) == n_before + 1


def n_predictions(sidecar: Sidecar) -> float:
    """None are told before the first."""
    counted = requests.get(f"{sidecar.url}/metrics", timeout=PATIENCE_S).text
    return sum(map(float, re.findall(r'^crack_requests_total\{code="200",route="/predict"\} (.*)$', counted, re.MULTILINE)))


def test_a_heic_is_shown_upright_and_corrected_pixel_by_pixel(browser: Browser, sidecar: Sidecar, tmp_path: Path) -> None:
    """Chromium shows none: the page makes a JPEG of it, and sends the file itself."""
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(heif([hevc(SURFACE.image_hwc_u8, 320, 240, turned(3))]))
    upload(browser, path)
    says(browser, "#inspect-viewer", "% crack")
    press(browser, "#inspect-viewer .paint-mode")
    draw(browser, (-20, -60), (40, 70))
    corrected = painted(browser, "#inspect-viewer")
    assert corrected.shape == (320, 240)
    press(browser, "#inspect-viewer .send")
    says(browser, "#inspect-viewer", "Saved: waits for a reviewer")
    (item,) = requests.get(f"{sidecar.url}/feedback?state=labelled", timeout=PATIENCE_S).json()["items"]
    with Image.open(sidecar.folder / item["mask_file"]) as mask, Image.open(sidecar.folder / item["image_file"]) as stored:
        assert np.array_equal(np.asarray(mask) > 0, corrected)
        assert np.array_equal(np.asarray(stored), decode(path.read_bytes()))
    open_tab(browser, "Review")
    says(browser, "#review-viewer", "% crack")
    assert np.array_equal(painted(browser, "#review-viewer"), corrected)


def test_without_the_sidecar_the_page_says_so(
    browser: Browser, start_sidecar: StartSidecar, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sidecar = start_sidecar()
    page = ServedPage(tmp_path / "page.log", BACKEND_URL=sidecar.url)
    request.addfinalizer(page.stop)
    browser.get(page.url)
    sidecar.stop()
    path = tmp_path / "wall.png"
    path.write_bytes(png(SURFACE.image_hwc_u8))
    upload(browser, path)
    says(browser, "#inspect-viewer", "does not answer. Is it running?")
    open_tab(browser, "Model")
    eventually(lambda: "cannot be described" in one(browser, "body").text)
    assert any("does not answer" in entry["message"] for entry in browser.get_log("browser"))


def test_the_model_tab_speaks_in_words_of_the_set_and_the_labels(browser: Browser, sidecar: Sidecar) -> None:
    files = {"image": png(SURFACE.image_hwc_u8), "mask": mask_png(SURFACE.mask_hw)}
    requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).raise_for_status()
    open_tab(browser, "Model")
    text = eventually(lambda: "waiting for a review" in one(browser, "body").text and one(browser, "body").text)
    assert "1 label waiting for a review" in text
    assert "DeepCrack's 237 test photographs" in text
    assert "deepcrack/" not in text


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, tmp_path: Path) -> None:
    browser.set_window_size(500, 900)
    for name in ("Inspect", "Review", "Model"):
        open_tab(browser, name)
        eventually(lambda name=name: browser.find_element(By.CSS_SELECTOR, SELECTED_TAB).text.strip() == name)
        # In the second frame from now on, all is laid out and drawn.
        width, shown = browser.execute_async_script(
            "const done = arguments[0];"
            "const measure = () => done([document.documentElement.scrollWidth, window.innerWidth]);"
            "requestAnimationFrame(() => requestAnimationFrame(measure));"
        )
        assert width <= shown, name
