"""The page without a browser: through gradio_client, and its functions in this process."""

import csv
import io
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import requests
from gradio_client import Client, handle_file

from gradio_app.backend import Backend
from gradio_app.page import Page
from model.inference.card import threshold_level
from model.inference.encoding import mask_png
from model.synthetic import draw_surface
from tests.page.conftest import SIZE_HW
from tests.photographs import png
from tests.ports import NOBODY
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

SURFACE = draw_surface(seed=5, size_hw=SIZE_HW)


@pytest.mark.usefixtures("empty_store")
def test_a_correction_is_saved_through_gradio_client(page_url: str, sidecar: Sidecar, tmp_path: Path) -> None:
    path, mask_path = tmp_path / "wall.png", tmp_path / "mask.png"
    path.write_bytes(png(SURFACE.image_hwc_u8))
    mask_path.write_bytes(mask_png(~SURFACE.mask_hw))
    client = Client(page_url, verbose=False)
    saved = client.predict(handle_file(path), handle_file(mask_path), "other", "", "", "", api_name="/correct")
    assert saved["ok"], saved
    assert saved["text"].startswith("Saved: waits for a reviewer")
    assert saved["text"].endswith(". The Review tab lists it.")
    (item,) = requests.get(f"{sidecar.url}/feedback", timeout=PATIENCE_S).json()["items"]
    assert (item["verdict"], item["state"]) == ("other", "labelled")


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
    result = page.inspecting.predict_photograph({"path": str(path), "quality": "normal"})
    level = threshold_level(result["threshold"])
    packed = page.inspecting.pack_photographs([{**result, "name": path.name, "level": level, "mask": None}])
    with zipfile.ZipFile(packed["url"].partition("=")[2]) as archive:
        (line,) = csv.DictReader(io.StringIO(archive.read("photographs.csv").decode("utf-8-sig")))
    return line


def test_the_score_that_the_sidecar_told_is_in_the_zips_table(sidecar: Sidecar, uploads: Path, tmp_path: Path) -> None:
    photograph = png(SURFACE.image_hwc_u8)
    score = requests.post(f"{sidecar.url}/predict", data=photograph, timeout=PATIENCE_S).json()["crack_score"]
    with closing(Page(Backend(sidecar.url), tmp_path)) as page:
        assert packed_line(page, uploads / "wall.png", photograph)["crack_score"] == str(score)


def test_by_a_former_archive_photographs_have_no_score(former_sidecar: Sidecar, uploads: Path, tmp_path: Path) -> None:
    with closing(Page(Backend(former_sidecar.url), tmp_path)) as page:
        assert packed_line(page, uploads / "wall.png", png(SURFACE.image_hwc_u8))["crack_score"] == ""


def test_a_file_that_was_not_uploaded_is_refused(tmp_path: Path) -> None:
    answer = Page(Backend(NOBODY), tmp_path).inspecting.save_correction({"image": "/etc/passwd", "verdict": "correct"})
    assert answer == {"ok": False, "text": "That file was not uploaded here. Drop the photograph again."}


def test_where_nothing_can_be_kept_the_reason_is_told(tmp_path: Path) -> None:
    with closing(Page(Backend(NOBODY), tmp_path / "gone")) as page:
        answer = page.inspecting.pack_photographs([])
    assert answer == {
        "ok": False,
        "text": "The page cannot keep files (No such file or directory). Ask whoever runs it to make room.",
    }
