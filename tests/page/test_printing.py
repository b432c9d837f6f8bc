"""What comes out of the browser's own print command: the result, without the tools."""

import base64
import re
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from tests.page.conftest import SIZE_HW
from tests.pages import eventually, inspect, one, press, says

Browser = webdriver.Chrome


def with_green_corners(path: Path) -> None:
    image = Image.open(path)
    for corner in ((0, 0), (SIZE_HW[1] - 16, 0), (0, SIZE_HW[0] - 16), (SIZE_HW[1] - 16, SIZE_HW[0] - 16)):
        image.paste((0, 255, 0), (*corner, corner[0] + 16, corner[1] + 16))
    image.save(path, quality=95)


def printed(browser: Browser) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument(base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_whole_photograph_its_figures_its_scale_and_the_date_are_printed_and_no_button(
    browser: Browser, walls: list[Path], theme: str
) -> None:
    if theme == "dark":
        browser.execute_script("document.body.classList.add('dark')")
    name, note = walls[0].name, "beside the joint"
    with_green_corners(walls[0])
    inspect(browser, *walls)
    press(browser, f"#inspect-viewer .gallery button[title='{name}']")
    says(browser, "#inspect-viewer", f"{name}: ")
    one(browser, ".findings .mm").send_keys("0.25", Keys.TAB)
    one(browser, "#inspect-viewer .note").send_keys(note)
    eventually(lambda: "mm in total" in one(browser, ".findings .sum").text)
    total = one(browser, ".findings .sum").text
    for _ in range(3):
        press(browser, "#inspect-viewer .zoom-in")
    today = browser.execute_script("return new Date().toLocaleDateString([], { dateStyle: 'long' })")

    document = printed(browser)
    page = document[0]
    text = re.sub(r"\s+", " ", page.get_textpage().get_text_bounded())
    assert f"{name}: " in text
    assert "% crack" in text
    for words in (note, "0.25", "mm per px", total, "Length, mm", today, "1 of 3 photographs", '"Report" or "PDF"'):
        assert words in text
    for words in ("Choose photographs", "Threshold", "Correct", "Confirm", "Ruler", "Joint", "Download"):
        assert words not in text

    red, green, blue = np.moveaxis(page.render(scale=2).to_numpy()[..., 2::-1].astype(int), -1, 0)
    rows, columns = np.nonzero(green - np.maximum(red, blue) > 100)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(SIZE_HW[1] / SIZE_HW[0], rel=0.02)
    assert np.ptp(columns) > page.get_width()  # half of it, at this scale
    assert len(document) <= 2
