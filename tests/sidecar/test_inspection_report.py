"""The report of an inspection, as the sidecar makes it."""

import io
import json
import re
from collections.abc import Iterator

import numpy as np
import openpyxl
import pypdfium2
import pytest
import requests

from handler.serve import Server
from model.synthetic import draw_surface
from tests.photographs import jpeg, png
from tests.sidecars import Sidecar
from tests.surveyed import exif
from tests.waiting import PATIENCE_S

HEAD = {"name": "Spring <b>", "structure": "Bridge 7", "element": "Pier 3", "date": "2026-05-01", "inspector": "M. Weber"}


@pytest.fixture(scope="module")
def sidecar(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("reports")
    sidecar = Sidecar(folder / "store", folder / "log", server.inference_url, server.management_url)
    yield sidecar
    sidecar.stop()


@pytest.fixture(scope="module")
def inspection(sidecar: Sidecar) -> str:
    """The address of one with three photographs: one confirmed with a scale, one rejected, one nobody has looked at."""
    url = f"{sidecar.url}/inspections"
    begun = requests.post(url, data=HEAD | {"position": "kept"}, timeout=PATIENCE_S).json()
    for number, decided in enumerate(({"state": "confirmed", "mm_per_px": "0.2"}, {"state": "rejected"}, {}), 1):
        photograph = jpeg(draw_surface(3 + number, (240, 320)).image_hwc_u8, exif=exif(47.37 + number / 1000, 8.54))
        files = {"image": (f"wall-{number}.jpg", photograph)}
        added = requests.post(f"{url}/{begun['id']}/photographs", files=files, timeout=PATIENCE_S).json()
        fields, seen = {name: (None, value) for name, value in decided.items()}, {"If-Match": added["etag"]}
        if fields:
            route = f"{url}/{begun['id']}/photographs/{added['id']}"
            requests.post(route, files=fields, headers=seen, timeout=PATIENCE_S).raise_for_status()
    return f"{url}/{begun['id']}"


def test_the_report_says_what_was_inspected_what_was_decided_and_leaves_out_what_was_rejected(inspection: str) -> None:
    answer = requests.get(f"{inspection}/report", timeout=PATIENCE_S)
    assert answer.headers["content-type"].startswith("text/html")
    told = answer.text
    for words in ("Bridge 7", "Spring &lt;b&gt;", "Pier 3", "2026-05-01", "M. Weber", "1 unseen, 1 confirmed, 1 rejected"):
        assert words in told
    assert "Crack 1 of wall-1.jpg" in told
    assert "Crack 1 of wall-2.jpg" not in told
    assert "Rejected by the inspector" in told
    assert "Where the photographs were taken" in told
    assert "0.2 mm per pixel, as given" in told
    assert "For each photograph: as given (1); none given, in pixels (1)" in told
    assert "<script" not in told
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_report_is_a_pdf_too_with_a_page_for_each_finding(inspection: str) -> None:
    answer = requests.get(f"{inspection}/report?format=pdf&findings=1", timeout=PATIENCE_S)
    assert answer.headers["content-type"] == "application/pdf", answer.text
    document = pypdfium2.PdfDocument(answer.content)
    texts = [page.get_textpage().get_text_bounded() for page in document]
    document.close()
    assert "M. Weber" in texts[0]
    assert sum("Close-up" in text for text in texts) == 1
    assert "Rejected by the inspector" in texts[-1]


def test_the_workbook_has_a_line_for_each_photograph_and_for_each_crack_that_counts(inspection: str) -> None:
    answer = requests.get(f"{inspection}/report?format=xlsx&standard=aci-224r-01&exposure=humidity", timeout=PATIENCE_S)
    assert 'filename="cracks.xlsx"' in answer.headers["content-disposition"], answer.text
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    of = {sheet.title: [dict(zip(next(sheet.values), line, strict=True)) for line in list(sheet.values)[1:]] for sheet in book}
    decided = {line["file"]: line["decision"] for line in of["photographs"]}
    assert decided == {"wall-1.jpg": "confirmed", "wall-2.jpg": "rejected", "wall-3.jpg": "unseen"}
    assert [line["decided_by"] for line in of["photographs"]] == ["local", "local", None]
    summed_up = {line["what"]: line["value"] for line in of["summary"]}
    assert summed_up["Decided by a person"] == "1 unseen, 1 confirmed, 1 rejected"
    assert summed_up["Inspector"] == "M. Weber"
    assert of["photographs"][0]["latitude"] == 47.371
    kept = requests.get(f"{inspection}/photographs", timeout=PATIENCE_S).json()["items"]
    assert [line["file"] for line in of["cracks"]] == [
        each["name"] for each in kept for _ in range(each["n_cracks"]) if each["state"] != "rejected"
    ]
    scaled = [line for line in of["cracks"] if line["file"] == "wall-1.jpg"]
    assert scaled
    assert all(line["length_mm"] == pytest.approx(0.2 * line["length_px"], rel=0.01) and line["band_name"] for line in scaled)
    assert not any(line["length_mm"] for line in of["cracks"] if line["file"] == "wall-3.jpg")


def test_what_a_person_left_out_is_in_no_figure_of_the_report_and_is_told(sidecar: Sidecar) -> None:
    url = f"{sidecar.url}/inspections"
    route = f"{url}/{requests.post(url, data={'name': 'Autumn'}, timeout=PATIENCE_S).json()['id']}"
    files = {"image": ("wall.jpg", jpeg(draw_surface(3, (240, 320)).image_hwc_u8))}
    added = requests.post(f"{route}/photographs", files=files, timeout=PATIENCE_S).json()
    mask = np.zeros((240, 320), np.uint8)
    mask[50:54, 20:120] = mask[100:104, 40:240] = 255  # 100 and 200 pixels long
    marked = [{"box": [0, 200, 9, 240], "kind": kind} for kind in ("joint", "joint", "lane_marking")]
    fields = {"mask": png(mask), "zones": "[[0, 0, 320, 80]]", "look_alikes": json.dumps(marked), "state": "corrected"}
    said = {name: (name if name == "mask" else None, value) for name, value in fields.items()}
    seen = {"If-Match": added["etag"]}
    requests.post(f"{route}/photographs/{added['id']}", files=said, headers=seen, timeout=PATIENCE_S).raise_for_status()

    told = requests.get(f"{route}/report", timeout=PATIENCE_S).text
    assert "Crack 1 of wall.jpg" in told
    assert "Crack 2 of wall.jpg" not in told
    assert re.search(r"Total length</th><td>(19\d|20\d) px<", told)
    assert "parts of 1 photograph and what was marked as no crack (2 joints, 1 lane marking); see Left out" in told
    sentence = "1 part counts in no figure: 33.3% of the photograph. Marked as no crack: 2 joints, 1 lane marking."
    assert f'<th scope="row">wall.jpg</th><td>{sentence}' in told
    document = pypdfium2.PdfDocument(requests.get(f"{route}/report?format=pdf", timeout=PATIENCE_S).content)
    last = document[len(document) - 1].get_textpage().get_text_bounded()
    document.close()
    assert "Marked as no crack: 2 joints, 1 lane marking." in " ".join(last.split())


def test_a_standard_gives_bands_to_cracks_with_a_scale_and_one_that_is_none_is_named(inspection: str) -> None:
    told = requests.get(f"{inspection}/report?standard=en-1992-1-1&exposure=XC4", timeout=PATIENCE_S).text
    assert "Band, a guide value" in told
    refused = requests.get(f"{inspection}/report?standard=en-1992-1-1&exposure=mild", timeout=PATIENCE_S)
    assert (refused.status_code, refused.json()["code"]) == (400, "parameter_invalid")


def test_an_inspection_without_photographs_has_a_report_and_one_that_is_gone_has_none(sidecar: Sidecar) -> None:
    url = f"{sidecar.url}/inspections"
    begun = requests.post(url, data={"name": "Empty"}, timeout=PATIENCE_S).json()
    assert "Empty" in requests.get(f"{url}/{begun['id']}/report", timeout=PATIENCE_S).text
    requests.delete(f"{url}/{begun['id']}", timeout=PATIENCE_S).raise_for_status()
    assert requests.get(f"{url}/{begun['id']}/report", timeout=PATIENCE_S).json()["code"] == "not_found"
