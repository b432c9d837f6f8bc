"""The page in a real Chromium, as an inspector uses it, and through gradio_client."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import requests
from gradio_client import Client, handle_file
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from gradio_app.backend import Backend
from gradio_app.page import Page
from model.inference.photograph import decode
from model.inference.segmenter import threshold_level
from model.synthetic import draw_surface
from sidecar.labels import encode_mask
from tests.heif_files import heif, hevc, turned
from tests.pages import ServedPage, chromium, draw, eventually, move_to, one, open_tab, painted, press, says, upload
from tests.photographs import jpeg, png
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

SURFACE = draw_surface(seed=5, size_hw=(240, 320))
SELECTED_TAB = "button[role=tab][aria-selected=true]"


@pytest.fixture
def sidecar(start_sidecar: StartSidecar) -> Sidecar:
    return start_sidecar()


@pytest.fixture
def page_url(sidecar: Sidecar, tmp_path: Path) -> Iterator[str]:
    page = ServedPage(tmp_path / "page.log", BACKEND_URL=sidecar.url)
    yield page.url
    page.stop()


@pytest.fixture
def browser(page_url: str) -> Iterator[webdriver.Chrome]:
    """Chromium with the page open."""
    with chromium() as chrome:
        chrome.get(page_url)
        yield chrome


@pytest.fixture
def photograph(data_dir: Path) -> Path:
    return min((data_dir / "deepcrack" / "images").glob("train_*"))


def test_a_photograph_is_inspected_corrected_and_accepted_pixel_by_pixel(
    browser: webdriver.Chrome, sidecar: Sidecar, photograph: Path
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


def test_in_the_review_tab_nobody_accepts_a_mask_that_came_later(browser: webdriver.Chrome, sidecar: Sidecar) -> None:
    def send(mask: NDArray[np.bool_]) -> None:
        files = {"image": png(SURFACE.image_hwc_u8), "mask": encode_mask(mask)}
        requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).raise_for_status()

    send(SURFACE.mask_hw)
    open_tab(browser, "Review")
    says(browser, "#review-viewer", "% crack")
    send(~SURFACE.mask_hw)
    press(browser, "#review-viewer .accept")
    says(browser, "#review-viewer", "is not what you looked at: local saved it")
    press(browser, "#review-viewer .reload")
    eventually(lambda: np.array_equal(painted(browser, "#review-viewer"), ~SURFACE.mask_hw))
    press(browser, "#review-viewer .accept")
    says(browser, "#review-viewer", "accepted by local")


def test_threshold_undo_and_no_crack_work_without_another_prediction(
    browser: webdriver.Chrome, sidecar: Sidecar, tmp_path: Path
) -> None:
    path = tmp_path / "wall.png"
    path.write_bytes(png(SURFACE.image_hwc_u8))
    upload(browser, path)
    says(browser, "#inspect-viewer", "% crack")
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
    counted = requests.get(f"{sidecar.url}/metrics", timeout=PATIENCE_S).text
    (n_predictions,) = re.findall(r'^crack_requests_total\{code="200",route="/predict"\} (.*)$', counted, re.MULTILINE)
    assert float(n_predictions) == 1


def test_of_many_photographs_a_bad_one_spoils_nothing(browser: webdriver.Chrome, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"wall-{number}.jpg").write_bytes(jpeg(draw_surface(number, (96, 128)).image_hwc_u8))
    (tmp_path / "torn.jpg").write_bytes(jpeg(SURFACE.image_hwc_u8)[:2000])
    upload(browser, *sorted(tmp_path.glob("*.jpg")))
    eventually(lambda: "cannot be decoded" in one(browser, "body").text)
    says(browser, "#inspect-viewer", "% crack")
    eventually(lambda: "wall-1.jpg" in one(browser, "body").text)


def test_without_the_sidecar_the_page_says_so(browser: webdriver.Chrome, sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.stop()
    path = tmp_path / "wall.png"
    path.write_bytes(png(SURFACE.image_hwc_u8))
    upload(browser, path)
    says(browser, "#inspect-viewer", "does not answer. Is it running?")
    open_tab(browser, "Model")
    eventually(lambda: "cannot be described" in one(browser, "body").text)
    assert any("does not answer" in entry["message"] for entry in browser.get_log("browser"))


def test_the_model_tab_speaks_in_words_of_the_set_and_the_labels(browser: webdriver.Chrome, sidecar: Sidecar) -> None:
    files = {"image": png(SURFACE.image_hwc_u8), "mask": encode_mask(SURFACE.mask_hw)}
    requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).raise_for_status()
    open_tab(browser, "Model")
    text = eventually(lambda: "waiting for a review" in one(browser, "body").text and one(browser, "body").text)
    assert "1 label waiting for a review" in text
    assert "DeepCrack's 237 test photographs" in text
    assert "deepcrack/" not in text


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: webdriver.Chrome, tmp_path: Path) -> None:
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


def test_the_same_through_gradio_client(page_url: str, sidecar: Sidecar, tmp_path: Path) -> None:
    path, mask_path = tmp_path / "wall.png", tmp_path / "mask.png"
    path.write_bytes(png(SURFACE.image_hwc_u8))
    mask_path.write_bytes(encode_mask(~SURFACE.mask_hw))
    client = Client(page_url, verbose=False)
    saved = client.predict(handle_file(path), handle_file(mask_path), "other", "", "", "", api_name="/correct")
    assert saved["ok"], saved
    assert "waits for a reviewer" in saved["text"]
    (item,) = requests.get(f"{sidecar.url}/feedback", timeout=PATIENCE_S).json()["items"]
    assert (item["verdict"], item["state"]) == ("other", "labelled")


def test_the_score_that_the_sidecar_told_is_in_the_zips_table(sidecar: Sidecar, uploads: Path, tmp_path: Path) -> None:
    photograph = png(SURFACE.image_hwc_u8)
    score = requests.post(f"{sidecar.url}/predict", data=photograph, timeout=PATIENCE_S).json()["crack_score"]
    with closing(Page(Backend(sidecar.url), tmp_path)) as page:
        assert packed_line(page, uploads / "wall.png", photograph)["crack_score"] == str(score)


def test_by_a_former_archive_photographs_have_no_score(former_sidecar: Sidecar, uploads: Path, tmp_path: Path) -> None:
    with closing(Page(Backend(former_sidecar.url), tmp_path)) as page:
        assert packed_line(page, uploads / "wall.png", png(SURFACE.image_hwc_u8))["crack_score"] == ""


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files lie that were uploaded to a page of this process."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def packed_line(page: Page, path: Path, photograph: bytes) -> dict[str, str]:
    """The line of a photograph in the table of the ZIP."""
    path.write_bytes(photograph)
    result = page.predict_photograph({"path": str(path), "quality": "normal"})
    level = threshold_level(result["threshold"])
    packed = page.pack_photographs([{**result, "name": path.name, "level": level, "mask": None}])
    with zipfile.ZipFile(packed["url"].partition("=")[2]) as archive:
        (line,) = csv.DictReader(io.StringIO(archive.read("photographs.csv").decode()))
    return line


def test_a_file_that_was_not_uploaded_is_refused(tmp_path: Path) -> None:
    answer = Page(Backend("http://127.0.0.1:9"), tmp_path).save_correction({"image": "/etc/passwd", "verdict": "correct"})
    assert answer == {"ok": False, "text": "That file was not uploaded here. Drop the photograph again."}


def test_a_heic_is_shown_upright_and_corrected_pixel_by_pixel(
    browser: webdriver.Chrome, sidecar: Sidecar, tmp_path: Path
) -> None:
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
