"""The ZIP of a batch, on a machine whose clock was not set."""

import time
import zipfile
from pathlib import Path

import openpyxl
import pytest

from gradio_app.packing import pack
from gradio_app.pictures import Drawn, Found


@pytest.mark.parametrize(("year", "told"), [(1970, 1980), (2026, 2026), (2126, 1980)])
def test_a_zip_is_made_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int, told: int) -> None:
    now, localtime = time.struct_time((year, 2, 3, 4, 5, 6, 0, 34, 0)), time.localtime
    monkeypatch.setattr(time, "localtime", lambda *at: localtime(*at) if at else now)
    wall = {"name": "wall.jpg", "threshold": 0.5, "model_version": "1"}
    path = tmp_path / "cracks.zip"
    pack(path, [wall], lambda _: Found(b"", b"", 128, None), lambda _: Drawn(b"mask", b"overlay", (4, 3), 0.1, 0.0, []))
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["masks/001-wall.png", "overlays/001-wall.jpg", "photographs.csv", "cracks.xlsx"]
        assert {entry.date_time[0] for entry in packed.infolist()} == {told}
        openpyxl.load_workbook(packed.open("cracks.xlsx"))
