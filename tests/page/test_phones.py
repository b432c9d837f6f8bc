"""Photographs of more megapixels than a phone's canvas takes: Chromium with the limit of iOS, 16.7, stands in for it."""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from selenium import webdriver

from model.masks import read_mask
from model.synthetic import draw_surface
from tests.pages import PointerAt, eventually, inspect, one, press, says
from tests.photographs import jpeg
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S

# As iOS does, a larger canvas draws nothing, reads as nothing and becomes no file.
LIMIT = """
const { getContext, toBlob } = HTMLCanvasElement.prototype, isTooLarge = ({ width, height }) => width * height > 16777216;
HTMLCanvasElement.prototype.getContext = function (...given) {
  return getContext.apply(isTooLarge(this) ? document.createElement("canvas") : this, given);
};
HTMLCanvasElement.prototype.toBlob = function (done, ...given) {
  isTooLarge(this) ? setTimeout(() => done(null)) : toBlob.call(this, done, ...given);
};
"""
WIDTH, HEIGHT, LINE_Y = 5004, 3408, 3000  # 17 megapixels; a line across the border between two canvases


@pytest.fixture
def phone(browser: webdriver.Chrome, page_url: str) -> Iterator[webdriver.Chrome]:
    made = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LIMIT})
    browser.get(page_url)
    yield browser
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", made)


def painted_at(browser: webdriver.Chrome, left: int, top: int, side: int) -> int:
    """How many pixels of a square are painted, on whichever canvas they are."""
    script = """
    const [left, top, side] = arguments;
    let n = 0;
    for (const canvas of document.querySelectorAll("#inspect-viewer .overlay canvas")) {
      const x = left - parseInt(canvas.style.left), y = top - parseInt(canvas.style.top);
      const data = canvas.getContext("2d").getImageData(x, y, side, side).data;
      for (let at = 3; at < data.length; at += 4) n += data[at] > 0;
    }
    return n;
    """
    return int(browser.execute_script(script, left, top, side))


@pytest.mark.usefixtures("empty_store")
def test_a_photograph_larger_than_a_canvas_is_shown_traced_and_sent_at_its_own_size(
    phone: webdriver.Chrome, sidecar: Sidecar, tmp_path: Path
) -> None:
    surface = draw_surface(2, (HEIGHT // 12, WIDTH // 12))
    image_hwc_u8, cracks_hw = np.tile(surface.image_hwc_u8, (12, 12, 1)), np.tile(surface.mask_hw, (12, 12))
    cv2.line(image_hwc_u8, (3900, LINE_Y), (4300, LINE_Y), (20, 20, 20), 5)
    photograph = tmp_path / "phone.jpg"
    photograph.write_bytes(jpeg(image_hwc_u8, quality=90))
    inspect(phone, photograph)
    assert re.search(f" {WIDTH} . {HEIGHT} pixels", one(phone, "#inspect-viewer .status").text)
    for left in (1000, 4150):  # on the first canvas, and on the one beside it
        assert painted_at(phone, left, 2000, 800) > cracks_hw[2000:2800, left : left + 800].sum() / 2

    press(phone, "#inspect-viewer .paint-mode")
    press(phone, "#inspect-viewer .empty")
    assert painted_at(phone, 4150, 2000, 800) == 0
    press(phone, "#inspect-viewer .trace")
    pointer = PointerAt(phone)
    pointer.zoom_in(4096, LINE_Y, 8)
    pointer.click(4050, LINE_Y)
    pointer.click(4140, LINE_Y)
    says(phone, "#inspect-viewer", "corrected by you")
    assert eventually(lambda: painted_at(phone, 4096, LINE_Y - 16, 32)) > 50
    press(phone, "#inspect-viewer .save-overlay")
    says(phone, "#inspect-viewer", "overlay is saved smaller")
    press(phone, "#inspect-viewer .send")
    says(phone, "#inspect-viewer", "Saved: waits for a reviewer")
    (item,) = requests.get(f"{sidecar.url}/feedback?state=labelled", timeout=PATIENCE_S).json()["items"]
    content = requests.get(f"{sidecar.url}/feedback/{item['id']}/mask", timeout=PATIENCE_S).content
    mask_hw = read_mask(content, (HEIGHT, WIDTH))
    assert mask_hw[LINE_Y - 3 : LINE_Y + 4, 4060:4130].any(axis=0).all()
    assert not mask_hw[: LINE_Y - 100].any()
