"""An inspection that a server keeps becomes a survey's folder: `crack fetch`, with the real sidecar and TorchServe."""

import csv
import hashlib
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
import requests
from PIL import Image

from handler.serve import Server
from model.synthetic import draw_surface
from survey import compare
from survey.fetch import PHOTOGRAPHS, main
from survey.report import write_report
from survey.stopping import DONE, NOT_POSSIBLE
from tests.photographs import heic, jpeg, png
from tests.ports import NOBODY
from tests.sidecars import Sidecar
from tests.surveyed import exif
from tests.waiting import PATIENCE_S

HEAD = {"name": "Spring 2026", "structure": 'Bridge "7"', "element": "Pier 3", "date": "2026-05-01", "inspector": "M. Weber"}
SIZE_HW = (400, 520)
MASK = np.zeros(SIZE_HW, np.uint8)
MASK[100:104, 40:240] = MASK[300:304, 40:440] = 255  # 200 and 400 x 4 pixels
ZONE = [0, 250, 520, 400]


@pytest.fixture(scope="module")
def sidecar(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("fetch")
    sidecar = Sidecar(folder / "store", folder / "log", server.inference_url, server.management_url)
    yield sidecar
    sidecar.stop()


class Inspection:
    """One on the sidecar."""

    def __init__(self, sidecar: Sidecar, **fields: str) -> None:
        self.sidecar = sidecar
        self.id = requests.post(f"{sidecar.url}/inspections", data=HEAD | fields, timeout=PATIENCE_S).json()["id"]
        self.url = f"{sidecar.url}/inspections/{self.id}"

    def add(self, photograph: bytes, name: str, **fields: str | bytes) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/photographs", files={"image": (name, photograph)}, timeout=PATIENCE_S)
        answer.raise_for_status()
        return self.change(answer.json(), **fields) if fields else dict(answer.json())

    def change(self, told: dict[str, Any], **fields: str | bytes) -> dict[str, Any]:
        files = {name: (None if isinstance(value, str) else name, value) for name, value in fields.items()}
        route, seen = f"{self.url}/photographs/{told['id']}", {"If-Match": told["etag"]}
        answer = requests.post(route, files=files, headers=seen, timeout=PATIENCE_S)
        answer.raise_for_status()
        return dict(answer.json())

    def photographs(self) -> list[dict[str, Any]]:
        return list(requests.get(f"{self.url}/photographs", timeout=PATIENCE_S).json()["items"])

    def fetch(self, out: Path, *options: str) -> int:
        return main([self.id, "--out", str(out), "--url", self.sidecar.url, *options])


def wall(seed: int, **options: Any) -> bytes:
    return jpeg(draw_surface(seed, SIZE_HW).image_hwc_u8, **options)


@pytest.fixture
def inspection(sidecar: Sidecar) -> Inspection:
    """With a corrected photograph of which a part counts in no figure, a rejected one, and a HEIC nobody has looked at."""
    inspection = Inspection(sidecar, position="kept")
    fields = {"state": "corrected", "mask": png(MASK), "zones": json.dumps([ZONE]), "mm_per_px": "0.2", "note": "=Wet, at 3 m"}
    inspection.add(wall(3, exif=exif(47.37, 8.54)), "wall.jpg", **fields)
    inspection.add(wall(4, exif=exif(47.38, 8.54)), "shadow.jpg", state="rejected")
    inspection.add(heic(draw_surface(5, SIZE_HW).image_hwc_u8), "IMG_1.HEIC")
    return inspection


def lines(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {line["file"]: line for line in csv.DictReader(file)}


def test_a_fetched_inspection_has_what_people_made_of_it(inspection: Inspection, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert inspection.fetch(out, "--also", "dxf,coco") == DONE
    of = lines(out / "photographs.csv")
    assert {file: (line["status"], line["decision"], line["decided_by"], line["note"]) for file, line in of.items()} == {
        "wall.jpg": ("predicted", "corrected", "local", "'=Wet, at 3 m"),
        "shadow.jpg": ("left out", "rejected", "local", ""),
        "IMG_1.HEIC.png": ("predicted", "unseen", "", ""),
    }
    assert of["wall.jpg"]["decided_at"].startswith("20")
    assert of["wall.jpg"]["mm_per_px"] == "0.2"
    assert of["wall.jpg"]["latitude"] == "47.37"
    counted = MASK > 0
    counted[ZONE[1] :] = False
    assert np.array_equal(np.asarray(Image.open(out / "masks/wall.jpg.png")) > 0, counted)
    with (out / "cracks.csv").open(newline="") as file:
        (crack,) = (line for line in csv.DictReader(file) if line["file"] == "wall.jpg")
    assert 0.2 * float(crack["length_px"]) == pytest.approx(float(crack["length_mm"]), rel=0.01)
    assert {path.name for path in (out / PHOTOGRAPHS).iterdir()} == set(of)
    assert (out / "dxf/wall.jpg.dxf").is_file()
    assert (out / "coco.json").is_file()
    book = openpyxl.load_workbook(out / "cracks.xlsx")
    assert ("cover", "Inspector", "M. Weber") in [line[:3] for line in book["summary"].iter_rows(values_only=True)]
    sheet = book["photographs"]
    assert "=Wet, at 3 m" in [cell.value for row in sheet.iter_rows() for cell in row]


def test_the_report_on_it_is_that_of_the_server(inspection: Inspection, tmp_path: Path) -> None:
    inspection.fetch(tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "on another machine")
    write_report(tmp_path / "on another machine", {}, 30)
    page = (tmp_path / "on another machine/report.html").read_text()
    theirs = requests.get(f"{inspection.url}/report", timeout=PATIENCE_S).text
    for words in (
        "Bridge &#34;7&#34;",
        "M. Weber",
        "Spring 2026",
        "Crack 1 of wall.jpg",
        "=Wet, at 3 m",
        "Rejected by the inspector",
    ):
        assert words in page, words
        assert words in theirs, words
    assert "parts of 1 photograph" in page
    for name in ("Photographs", "Decided by a person", "Photographs without cracks", "Cracks"):
        row = re.compile(rf'<th scope="row">{name}</th><td>([^<]*)<')
        assert row.findall(page) == row.findall(theirs) != []
    assert page.count("<circle") == theirs.count("<circle")  # a rejected photograph has no place on the map


def test_any_name_of_an_inspection_is_on_the_cover(sidecar: Sidecar, tmp_path: Path) -> None:
    inspection = Inspection(sidecar, structure="Brücke \U0001f309 7", inspector="Jürgen")
    inspection.add(wall(31), "wall.jpg")
    assert inspection.fetch(tmp_path / "out") == DONE
    told = (tmp_path / "out" / "inspection.toml").read_text(encoding="utf-8")
    assert 'inspector = "Jürgen"' in told  # to be edited
    assert tomllib.loads(told)["structure"] == "Brücke \U0001f309 7"


def test_the_same_command_fetches_only_what_has_changed(inspection: Inspection, tmp_path: Path) -> None:
    out = tmp_path / "out"
    inspection.fetch(out)
    (out / "survey.json").write_text("{")  # torn by a power cut: all is fetched again
    inspection.fetch(out)
    written = {path: path.stat().st_mtime_ns for path in (out / PHOTOGRAPHS).iterdir()}
    told = {each["name"]: each for each in inspection.photographs()}
    inspection.change(told["IMG_1.HEIC"], state="confirmed")
    route, seen = f"{inspection.url}/photographs/{told['wall.jpg']['id']}", {"If-Match": told["wall.jpg"]["etag"]}
    requests.delete(route, headers=seen, timeout=PATIENCE_S).raise_for_status()
    inspection.add(wall(7), "later.jpg")
    assert inspection.fetch(out) == DONE
    of = lines(out / "photographs.csv")
    assert {file: line["decision"] for file, line in of.items()} == {
        "shadow.jpg": "rejected",
        "IMG_1.HEIC.png": "confirmed",
        "later.jpg": "unseen",
    }
    assert {path.name for path in (out / PHOTOGRAPHS).iterdir()} == set(of)
    assert not (out / "masks/wall.jpg.png").exists()
    assert (out / PHOTOGRAPHS / "shadow.jpg").stat().st_mtime_ns == written[out / PHOTOGRAPHS / "shadow.jpg"]


def test_what_could_not_be_fetched_is_fetched_by_the_same_command(
    inspection: Inspection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, store = tmp_path / "out", inspection.sidecar.folder.with_name("store-inspections")
    (heic_id,) = (each["id"] for each in inspection.photographs() if each["name"] == "IMG_1.HEIC")
    kept = requests.get(f"{inspection.url}/photographs/{heic_id}/image", timeout=PATIENCE_S).content
    image = store / f"images/{hashlib.sha256(kept).hexdigest()}.png"
    image.rename(tmp_path / "away")
    with pytest.raises(SystemExit) as ended:
        inspection.fetch(out)
    assert ended.value.code == NOT_POSSIBLE
    assert "Run the same command again" in capsys.readouterr().err
    assert set(lines(out / "photographs.csv")) == {"wall.jpg", "shadow.jpg"}
    (tmp_path / "away").rename(image)
    assert inspection.fetch(out) == DONE
    assert set(lines(out / "photographs.csv")) == {"wall.jpg", "shadow.jpg", "IMG_1.HEIC.png"}
    assert "3 photographs, 2 already here" in capsys.readouterr().out


def test_a_wrong_address_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["Spring", "--url", NOBODY, "--out", str(tmp_path / "out")])
    assert ended.value.code == NOT_POSSIBLE
    assert "Give the sidecar's address by --url." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_fetched_inspections_are_compared(sidecar: Sidecar, tmp_path: Path) -> None:
    for name in ("then", "now"):
        inspection = Inspection(sidecar, name=f"As it is {name}")
        inspection.add(wall(11), "wall.jpg")
        inspection.fetch(tmp_path / name)
    assert compare.main([str(tmp_path / "then"), str(tmp_path / "now")]) == DONE
    assert {line["change"] for line in lines(tmp_path / "now/changes.csv").values()} == {"unchanged"}
    assert "As it is then" in (tmp_path / "now/changes.html").read_text()


def test_photographs_of_one_name_get_two_files(sidecar: Sidecar, tmp_path: Path) -> None:
    inspection = Inspection(sidecar)
    for seed, name in ((21, "a:b.jpg"), (22, "a?b.jpg"), (23, "..")):
        inspection.add(wall(seed), name)
    assert inspection.fetch(tmp_path / "out") == DONE
    names = sorted(path.name for path in (tmp_path / "out" / PHOTOGRAPHS).iterdir())
    assert len(names) == 3
    assert {"a_b.jpg", "photograph"} < set(names)


def test_without_a_name_the_inspections_are_listed_and_a_wrong_one_names_them(
    inspection: Inspection, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = inspection.sidecar.url
    assert main(["--url", url]) == DONE
    assert (
        f'{inspection.id[:12]}  Spring 2026 · Bridge "7" · Pier 3 · 2026-05-01 · M. Weber (3 photographs)'
        in capsys.readouterr().out
    )
    for named, words in (("Autumn", "fits no inspection"), ("Spring 2026", "Name one by its id")):
        Inspection(inspection.sidecar)
        with pytest.raises(SystemExit) as ended:
            main([named, "--url", url, "--out", str(tmp_path / "out")])
        assert ended.value.code == NOT_POSSIBLE
        said = capsys.readouterr().err
        assert words in said
        assert inspection.id[:12] in said
    assert not (tmp_path / "out").exists()
