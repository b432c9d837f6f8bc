"""Pages that explain colours keep them on paper: browsers leave out backgrounds there, and darken light letters."""

import base64
import ctypes
from pathlib import Path

import jinja2
import pypdfium2
import pytest
from pypdfium2 import raw
from selenium import webdriver

from survey.changes_page import Heading
from tests.conftest import ROOT

NOTHING = dict.fromkeys(("rows", "sentences", "photographs", "worst", "best", "without", "not_used", "tables"), ())
KEYS = {
    "survey/changes.html": {(255, 0, 64), (0, 140, 255), (255, 200, 0), (255, 255, 255)},
    "model/report.html": {(46, 204, 113), (255, 90, 79), (74, 163, 255)},
}


def filled(page: pypdfium2.PdfPage) -> set[tuple[int, ...]]:
    """The colours of its letters and areas."""
    colours = set()
    for each in page.get_objects():
        parts = [ctypes.c_uint() for _ in "rgba"]
        if raw.FPDFPageObj_GetFillColor(each.raw, *parts):
            colours.add(tuple(part.value for part in parts[:3]))
    return colours


@pytest.mark.parametrize("template", KEYS)
def test_a_key_is_printed_in_its_colours(browser: webdriver.Chrome, tmp_path: Path, template: str) -> None:
    page = tmp_path / "page.html"
    environment = jinja2.Environment(autoescape=True)
    environment.filters |= dict.fromkeys(("printable", "row", "url"), str)  # of what follows the key, which is left out
    text = environment.from_string((ROOT / template).read_text(encoding="utf-8"))
    page.write_text(text.render(title="x", heading=Heading("x", "old", "new", ""), threshold=0.5, **NOTHING), encoding="utf-8")
    browser.get(page.as_uri())
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert KEYS[template] <= filled(pypdfium2.PdfDocument(printed)[0])
