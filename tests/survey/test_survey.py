"""Surveys with the real sidecar and TorchServe, killed, stopped and gone on with; their contact sheet in a real Chromium."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pypdfium2
import pytest
import requests
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

from handler.serve import Server
from model.inference.boxes import box
from model.inference.examining import thumbnail
from model.inference.markers import DICTIONARY, SINGLE
from model.synthetic import draw_surface
from sidecar.keys import KeyRing, Right
from survey.report import write_report
from tests.conftest import ROOT
from tests.front import Front
from tests.photographs import jpeg, png, tiff, with_orientation
from tests.ports import NOBODY, free_ports
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S, eventually

N_SURFACES = 6
SURFACES = [draw_surface(seed, (96, 160)).image_hwc_u8 for seed in range(N_SURFACES)]
QUESTION = {"quality": "normal", "threshold": "of the model"}


@pytest.fixture
def sidecar(start_sidecar: StartSidecar) -> Sidecar:
    return start_sidecar()


@pytest.fixture
def front(sidecar: Sidecar) -> Iterator[Front]:
    with Front(sidecar.url) as front:
        yield front
        front.may_go_on.set()
        front.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photographs."""
    folder = tmp_path / "bridge"
    folder.mkdir()
    for number, surface in enumerate(SURFACES):
        (folder / f"{number}.jpg").write_bytes(jpeg(surface))
    return folder


def begin(folder: Path, url: str, *options: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "crack", "survey", str(folder), "--url", url, "--concurrency", "2", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "CRACK_API_KEY"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_it_says(words: str, process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, said
        said += line


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code, and what it said since it was last listened to."""
    with process:
        assert process.stdout is not None
        said = process.stdout.read()
    return process.returncode, said


def run(folder: Path, url: str, *options: str, **environment: str) -> tuple[int, str]:
    return end(begin(folder, url, *options, **environment))


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (results(folder) / "photographs.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert len({row["file"] for row in rows}) == len(rows)
    return {row["file"]: row for row in rows}


def crack_lines(folder: Path) -> list[dict[str, str]]:
    with (results(folder) / "cracks.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-cracks")


def noted_lines(folder: Path) -> list[bytes]:
    """Of the journal, a line for each photograph; a survey may be in the middle of another one."""
    journal = results(folder) / "cracks.jsonl"
    return journal.read_bytes().split(b"\n")[1:-1] if journal.exists() else []


OTHERS = {
    "wall.png": png(SURFACES[0]),
    "wall.jpg": jpeg(SURFACES[0]),
    "wall #1 100% <b>.JPEG": jpeg(SURFACES[1]),
    os.fsdecode(b"m\xfcr.jpg"): jpeg(SURFACES[2]),
    "upright.jpg": with_orientation(SURFACES[3], 6),
    "torn.jpg": jpeg(SURFACES[4])[:2000],
}
NORTH = {f"span 1/north/{number}.jpg": jpeg(SURFACES[number % N_SURFACES], quality=80 + number) for number in range(12)}
PHOTOGRAPHS = NORTH | OTHERS
PREDICTED = sorted(PHOTOGRAPHS.keys() - {"torn.jpg"})


class Resumed(NamedTuple):
    """A survey that was killed and gone on with, and what the sidecar was asked about until its end and in the run after."""

    folder: Path
    url: str
    under_way: Counter[bytes]
    code: int
    said: str
    asked: Counter[bytes]
    sheet: bytes
    code_of_next: int
    asked_by_next: Counter[bytes]
    sheet_of_next: bytes


@pytest.fixture(scope="module")
def resumed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resumed]:
    """Its folder also holds a note and a hidden file; it was killed while the last line of its journal was being written."""
    tmp_path = tmp_path_factory.mktemp("killed")
    folder = tmp_path / "survey"
    (folder / "span 1" / "north").mkdir(parents=True)
    for name, content in {**PHOTOGRAPHS, "notes.txt": b"none", ".hidden.jpg": b"none"}.items():
        (folder / name).write_bytes(content)
    sidecar = Sidecar(tmp_path / "store", tmp_path / "sidecar.log", server.inference_url, server.management_url)
    with Front(sidecar.url) as front:
        with front.holding(n_let_through=8):
            process = begin(folder, front.url)
            eventually(lambda: front.n_held == 2 and len(noted_lines(folder)) == 1 + 8)
            process.kill()
            end(process)
            noted = Counter((folder / json.loads(line)["file"]).read_bytes() for line in noted_lines(folder))
            under_way = front.asked - noted
        with (results(folder) / "cracks.jsonl").open("ab") as journal:
            journal.write(b'{"file": "span 1/nor')
        code, said = run(folder, front.url)
        asked, sheet = front.asked.copy(), (results(folder) / "index.html").read_bytes()
        code_of_next, _ = run(folder, front.url)
        yield Resumed(
            folder,
            sidecar.url,
            under_way,
            code,
            said,
            asked,
            sheet,
            code_of_next,
            front.asked.copy(),
            (results(folder) / "index.html").read_bytes(),
        )
        front.shutdown()
    sidecar.stop()


def test_of_a_survey_that_is_killed_each_photograph_is_answered_once(resumed: Resumed) -> None:
    """Those that were under way at the kill are asked about again, one for each of its connections."""
    assert resumed.under_way.total() == 2
    assert resumed.asked == Counter(PHOTOGRAPHS.values()) + resumed.under_way


def test_a_survey_that_is_gone_on_with_says_what_was_done_and_what_it_did(resumed: Resumed) -> None:
    assert "18 photographs, 8 already done" in resumed.said
    assert "17 predicted, 1 refused, 1 left out" in resumed.said


def test_a_survey_names_what_it_leaves_out_and_its_exit_code_says_so(resumed: Resumed) -> None:
    assert resumed.code == 1
    assert "1 left out for the reasons in photographs.csv: notes.txt" in resumed.said


def test_the_table_has_a_row_for_each_file_that_is_not_hidden(resumed: Resumed) -> None:
    assert list(table(resumed.folder)) == sorted([*PHOTOGRAPHS, "notes.txt"])


def test_a_torn_photograph_is_refused_with_the_reason(resumed: Resumed) -> None:
    row = table(resumed.folder)["torn.jpg"]
    assert row["status"] == "refused"
    assert "cut short or damaged" in row["error"]


def test_the_size_of_a_turned_photograph_is_that_of_the_upright_one(resumed: Resumed) -> None:
    row = table(resumed.folder)["upright.jpg"]
    assert (row["width"], row["height"]) == ("96", "160")


@pytest.mark.parametrize(("kind", "suffix"), [("masks", "png"), ("overlays", "jpg")])
def test_each_predicted_photograph_has_its_pictures(resumed: Resumed, kind: str, suffix: str) -> None:
    pictures = results(resumed.folder) / kind
    found = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.*"))
    assert found == sorted(f"{name}.{suffix}" for name in PREDICTED)


@pytest.mark.parametrize("name", ["span 1/north/3.jpg", "upright.jpg", "wall.png"])
@pytest.mark.parametrize(("kind", "suffix"), [("mask", "png"), ("overlay", "jpg")])
def test_pictures_and_figures_are_those_that_the_sidecar_answers(resumed: Resumed, kind: str, suffix: str, name: str) -> None:
    answer = requests.post(f"{resumed.url}/predict?response={kind}", data=PHOTOGRAPHS[name], timeout=PATIENCE_S)
    row = table(resumed.folder)[name]
    assert (results(resumed.folder) / f"{kind}s" / f"{name}.{suffix}").read_bytes() == answer.content
    assert row["crack_ratio"] == str(float(answer.headers["X-Crack-Ratio"]))
    assert row["crack_score"] == str(float(answer.headers["X-Crack-Score"]))
    assert row["model_version"] == answer.headers["X-Crack-Model-Version"]


def test_a_survey_that_is_done_asks_about_nothing_again_and_leaves_its_sheet(resumed: Resumed) -> None:
    assert (resumed.code_of_next, resumed.asked_by_next) == (1, resumed.asked)
    assert resumed.sheet_of_next == resumed.sheet


def test_what_has_changed_or_is_missing_is_examined_again_and_nothing_else(front: Front, folder: Path) -> None:
    assert run(folder, front.url)[0] == 0
    before = table(folder)
    (folder / "0.jpg").write_bytes(jpeg(SURFACES[1]))
    os.utime(folder / "1.jpg", (0, 0))  # copied, but the same
    (folder / "new.jpg").write_bytes(jpeg(SURFACES[2], quality=70))
    (results(folder) / "masks" / "3.jpg.png").unlink()
    (folder / "4.jpg").write_bytes(b"torn")
    code, said = run(folder, front.url)
    assert code == 1
    assert "7 photographs, 3 already done" in said
    assert "2 have changed since they were examined, and are examined again: 0.jpg, 4.jpg" in said
    assert front.asked.total() == 6 + 4
    assert table(folder)["0.jpg"]["crack_ratio"] == before["1.jpg"]["crack_ratio"]
    assert sorted(path.name[0] for path in (results(folder) / "masks").iterdir()) == ["0", "1", "2", "3", "5", "n"]


def test_another_threshold_is_refused_as_figures_of_two_cannot_be_compared(resumed: Resumed) -> None:
    code, said = run(resumed.folder, resumed.url, "--threshold", "0.5")
    assert code == 2
    assert "holds a survey with quality normal, threshold of the model; this one has quality normal, threshold 0.5" in said


def test_a_survey_with_another_threshold_may_have_another_folder(resumed: Resumed, tmp_path: Path) -> None:
    assert run(resumed.folder, resumed.url, "--threshold", "0.5", "--out", str(tmp_path / "strict"))[0] == 1
    assert '"threshold":0.5' in (tmp_path / "strict" / "cracks.jsonl").read_text()


def test_a_photograph_too_wide_for_a_jpeg_gets_a_smaller_overlay(sidecar: Sidecar, folder: Path) -> None:
    (folder / "strip.png").write_bytes(png(np.zeros((16, 65_501), np.uint8)))
    assert run(folder, sidecar.url)[0] == 0
    assert table(folder)["strip.png"]["status"] == "predicted"
    with (
        Image.open(results(folder) / "masks" / "strip.png.png") as mask,
        Image.open(results(folder) / "overlays" / "strip.png.jpg") as overlay,
    ):
        assert (mask.size, overlay.size) == ((65_501, 16), (65_500, 16))


def test_a_single_photograph_has_its_results_beside_it(front: Front, folder: Path) -> None:
    code, said = run(folder / "0.jpg", front.url)
    assert code == 0, said
    assert "1 photograph, 0 already done" in said
    assert [path.name for path in (folder / "0-cracks" / "masks").iterdir()] == ["0.jpg.png"]


def test_what_is_no_photograph_is_listed_with_the_reason_and_the_exit_code_says_so(front: Front, folder: Path) -> None:
    (folder / "LIVE.MOV").write_bytes(box(b"ftyp", b"qt  ", bytes(4)) + bytes(100))
    os.mkfifo(folder / "pipe.jpg")
    (folder / "span 2").symlink_to(folder)
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "Icon\r").touch()
    for name in ("$RECYCLE.BIN", "@eaDir", "lost+found", "__MACOSX"):  # of a card, a network drive, a disk, a ZIP
        (folder / name).mkdir()
        (folder / name / "wall.jpg").write_bytes(jpeg(SURFACES[0], quality=60))
    (folder / "no suffix").write_bytes(jpeg(SURFACES[0], quality=60))
    code, said = run(folder, front.url, "--exif")
    assert code == 1
    assert "7 predicted, 4 left out" in said
    rows = table(folder)
    reasons = {name: row["error"] for name, row in rows.items() if row["status"] == "left out"}
    assert "an iPhone's Live Photo video" in reasons.pop("LIVE.MOV")
    assert reasons == {
        "gone.jpg": "The file cannot be read (No such file or directory).",
        "pipe.jpg": "It is not a file but a pipe, a socket or a device.",
        "span 2/": "A link to a folder is not followed. Survey that folder.",
    }
    assert rows["no suffix"]["status"] == "predicted"
    assert front.asked.total() == 7
    for name in ("pipe.jpg", "span 2", "gone.jpg", "LIVE.MOV"):
        (folder / name).unlink()
    assert run(folder, front.url)[0] == 0
    assert set(table(folder)) == {*(f"{number}.jpg" for number in range(N_SURFACES)), "no suffix"}


def test_the_longest_name_that_a_file_may_have_stops_nothing(front: Front, folder: Path) -> None:
    names = [f"{'ü' * 125}{sign}.jpg" for sign in "ab"]
    for name, surface in zip(names, SURFACES, strict=False):
        (folder / name).write_bytes(jpeg(surface, quality=70))
    assert run(folder, front.url, "--also", "dxf")[0] == 0
    assert len(list((results(folder) / "masks").iterdir())) == N_SURFACES + 2
    assert run(folder, front.url)[0] == 0
    assert front.asked.total() == N_SURFACES + 2


def test_each_crack_has_a_line_and_a_scale_may_come_later_without_asking_again(front: Front, folder: Path) -> None:
    assert run(folder, front.url)[0] == 0
    in_px = crack_lines(folder)
    n_asked = front.asked.total()
    assert {line["file"] for line in in_px} <= set(table(folder))
    assert all(float(line["length_px"]) >= 10 for line in in_px)
    assert in_px
    assert not any("mm" in name for name in in_px[0])
    code, said = run(folder, front.url, "--mm-per-px", "0.5", "--also", "dxf,coco")
    assert (code, front.asked.total()) == (0, n_asked), said
    in_mm = crack_lines(folder)
    assert [float(line["length_mm"]) for line in in_mm] == pytest.approx(
        [float(line["length_px"]) / 2 for line in in_px], abs=1e-3
    )
    drawings = {path.name for path in (results(folder) / "dxf").iterdir()}
    assert drawings == {f"{line['file']}.dxf" for line in in_mm}
    assert all((results(folder) / name).is_file() for name in ("coco.json", "cracks.geojson", "cracks.xlsx"))
    code, said = run(folder, front.url, "--mm-per-px", "0")
    assert (code, "mm_per_px='0': expected a number above 0" in said) == (2, True)


def test_by_a_marker_each_photograph_has_its_own_scale_and_without_one_its_cracks_are_in_pixels(
    front: Front, tmp_path: Path
) -> None:
    folder = tmp_path / "pier"
    folder.mkdir()
    for seed, name in enumerate(("marked.png", "plain.png"), 3):
        image_hwc_u8 = draw_surface(seed, (300, 420)).image_hwc_u8.copy()
        if name == "marked.png":
            image_hwc_u8[:120, :120] = 255
            image_hwc_u8[20:100, 20:100] = cv2.aruco.generateImageMarker(DICTIONARY, SINGLE, 80)[..., None]
        (folder / name).write_bytes(png(image_hwc_u8))
    code, said = run(folder, front.url, "--marker-size-mm", "40")
    assert code == 0, said
    rows = table(folder)
    assert float(rows["marked.png"]["mm_per_px"]) == pytest.approx(0.5, rel=0.01)
    assert [rows[name]["scale_source"] for name in ("marked.png", "plain.png")] == ["marker", ""]
    assert rows["plain.png"]["scale_note"].startswith("No marker was found")
    for line in crack_lines(folder):
        assert bool(line.get("length_mm")) == (line["file"] == "marked.png")
    pdf = write_report(results(folder), {}, 30)[1]
    cover = pypdfium2.PdfDocument(pdf)[0].get_textpage().get_text_bounded()
    assert "by a marker in it (1); none found, in pixels (1)" in " ".join(cover.split())
    code, said = run(folder, front.url)
    assert (code, "holds a survey with quality normal, threshold of the model, marker_size_mm 40.0" in said) == (2, True)


def test_what_an_older_version_answered_has_no_cracks_and_is_told(front: Front, folder: Path) -> None:
    assert run(folder, front.url)[0] == 0
    journal = results(folder) / "cracks.jsonl"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in entries:
        entry.pop("cracks", None)
        entry.pop("lines", None)
    journal.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    code, said = run(folder, front.url)
    assert code == 0
    assert "6 were answered by an older version" in said
    assert crack_lines(folder) == []


def test_a_busy_server_is_asked_again(front: Front, folder: Path) -> None:
    front.refusals.extend([503, 429, 502])
    assert run(folder, front.url)[0] == 0
    assert front.asked.total() == 6 + 3


def test_a_survey_outlives_the_server(sidecar: Sidecar, front: Front, folder: Path) -> None:
    front.n_let_through = 2
    process = begin(folder, front.url)
    eventually(lambda: front.n_held == 2)
    sidecar.kill()
    front.may_go_on.set()
    eventually(lambda: front.n_cut_off >= 2)
    sidecar.start()
    code, said = end(process)
    assert code == 0, said
    assert {row["status"] for row in table(folder).values()} == {"predicted"}


def test_it_gives_up_on_a_server_that_stays_away_and_says_how_to_go_on(sidecar: Sidecar, front: Front, folder: Path) -> None:
    front.n_let_through = 2
    process = begin(folder, front.url, "--retries", "1")
    eventually(lambda: front.n_held == 2)
    sidecar.kill()
    front.may_go_on.set()
    code, said = end(process)
    assert code == 2
    assert "has answered none of the last 3 photographs. Continue with: crack survey" in said
    assert "unanswered" in {row["status"] for row in table(folder).values()}
    code, said = run(folder, sidecar.url, "--retries", "1")
    assert code == 2
    assert "does not answer" in said
    sidecar.start()
    assert run(folder, sidecar.url)[0] == 0
    assert {row["status"] for row in table(folder).values()} == {"predicted"}


def test_a_survey_that_cannot_begin_leaves_no_folder(folder: Path) -> None:
    code, said = run(folder, f"http://127.0.0.1:{free_ports(1)[0]}", "--retries", "1")
    assert code == 2
    assert "does not answer" in said
    assert not folder.with_name(f"{folder.name}-cracks").exists()


def test_ctrl_c_waits_for_what_is_under_way_and_says_how_to_go_on(front: Front, folder: Path) -> None:
    front.n_let_through = 2
    process = begin(folder, front.url)
    eventually(lambda: front.n_held == 2 and len(noted_lines(folder)) == 2)
    code, said = run(folder, front.url)
    assert code == 2
    assert "Another survey is writing" in said
    process.send_signal(signal.SIGINT)
    until_it_says("Stopping once the work under way is done", process)
    front.may_go_on.set()
    code, said = end(process)
    assert code == 130
    assert "Stopped, 2 remain. Continue with: crack survey" in said
    assert len(table(folder)) == 4
    assert run(folder, front.url)[0] == 0
    assert front.asked == Counter(path.read_bytes() for path in folder.iterdir())


def test_keys_come_from_a_file_or_the_environment(start_sidecar: StartSidecar, folder: Path, tmp_path: Path) -> None:
    key = KeyRing(tmp_path / "keys.json").add("crew-7", [Right.PREDICT])
    sidecar = start_sidecar(CRACK_KEYS_FILE=str(tmp_path / "keys.json"))
    code, said = run(folder, sidecar.url, CRACK_API_KEY="wrong")
    assert code == 2
    assert "No valid API key was sent" in said
    assert noted_lines(folder) == []
    (tmp_path / "crew-7.key").write_text(f"{key}\r\n", encoding="utf-8-sig")  # as an editor of Windows writes it
    assert run(folder, sidecar.url, "--key-file", str(tmp_path / "crew-7.key"))[0] == 0
    assert run(folder, sidecar.url, "--out", str(tmp_path / "other"), CRACK_API_KEY=key)[0] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--threshold", "2"], "threshold='2': expected a number between 0 and 1"),
        (["--also", "svg"], "'svg': expected dxf, coco, or dxf,coco"),
        (["--concurrency", "0"], "'0': expected a positive whole number"),
        (["--url", "cracks.example"], "'cracks.example' is not the address of a server"),
    ],
)
def test_wrong_usage_is_told(options: list[str], sentence: str, folder: Path) -> None:
    code, said = run(folder, NOBODY, *options)
    assert code == 2
    assert sentence in said


def test_results_are_not_written_in_place_of_a_file(start_sidecar: StartSidecar, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    code, said = run(folder, start_sidecar().url, "--out", str(tmp_path / "notes"))
    assert code == 2
    assert "notes is a file, expected a folder for the results" in said
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_setting_that_is_none_is_told_in_a_sentence() -> None:
    environment = {**os.environ, "CRACK_INSTANCE": "9"}
    command = [sys.executable, "-m", "crack", "survey", "photographs"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "error: CRACK_INSTANCE='9': expected a whole number from 1 to 5.\n")


def test_its_help_needs_no_module_that_windows_lacks() -> None:
    missing = ["fcntl", "resource", "termios", "pwd", "grp"]
    code = f"import sys; sys.modules |= dict.fromkeys({missing}); from survey.__main__ import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: crack survey" in done.stdout


def test_the_former_name_runs_it_and_names_the_new_one() -> None:
    command = [sys.executable, "-m", "sidecar.batch", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: crack survey" in done.stdout
    assert done.stderr == "python -m sidecar.batch is crack survey now; running that.\n"


def test_a_folder_without_photographs_is_told(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    code, said = run(tmp_path, NOBODY, "--out", str(tmp_path / "out"))
    assert code == 2
    assert "holds no photograph (scan.pdf: It is a PDF, not a photograph (JPEG, PNG" in said


def test_a_journal_without_scores_is_gone_on_with_and_asks_nothing_twice(front: Front, folder: Path) -> None:
    assert run(folder, front.url)[0] == 0
    journal, n_before = results(folder) / "cracks.jsonl", front.asked.total()
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in entries:
        entry.pop("crack_score", None)
    journal.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    (folder / "new.jpg").write_bytes(jpeg(SURFACES[0], quality=70))
    code, said = run(folder, front.url)
    assert code == 0, said
    assert front.asked.total() == n_before + 1
    assert [name for name, row in table(folder).items() if row["crack_score"]] == ["new.jpg"]


def test_a_survey_by_a_former_archive_has_no_scores(former_sidecar: Sidecar, folder: Path) -> None:
    code, said = run(folder, former_sidecar.url)
    assert code == 0, said
    assert {row["crack_score"] for row in table(folder).values()} == {""}
    assert "6 have no score" in (results(folder) / "index.html").read_text()


def test_a_thin_crack_shows_in_the_thumbnail() -> None:
    image_hwc_u8, mask_hw = np.full((2000, 3000, 3), 128, np.uint8), np.zeros((2000, 3000), np.bool_)
    mask_hw[1003] = True
    small_hwc = np.asarray(Image.open(io.BytesIO(thumbnail(image_hwc_u8, mask_hw)))).astype(int)
    assert small_hwc.shape == (128, 192, 3)
    assert (small_hwc[1003 * 128 // 2000, :, 0] - small_hwc[1003 * 128 // 2000, :, 1] > 60).all()


def test_the_contact_sheet_is_sorted_filtered_and_fits_a_phone_in_light_and_dark(
    browser: webdriver.Chrome, sidecar: Sidecar, folder: Path
) -> None:
    shutil.copy(folder / "0.jpg", folder / "wall #1 100% <b>x<b>.jpg")
    (folder / "raw.tif").write_bytes(tiff(SURFACES[0], tiffinfo={254: 1, 271: "<script>"}))
    assert run(folder, sidecar.url)[0] == 1
    browser.get(f"file://{results(folder)}/index.html")

    def shown() -> list[str]:
        figures = browser.find_elements(By.TAG_NAME, "figure")
        return [str(figure.get_attribute("data-file")) for figure in figures if figure.is_displayed()]

    rows = table(folder)
    shares = {name: float(row["crack_ratio"]) for name, row in rows.items() if row["crack_ratio"]}
    scores = {name: float(rows[name]["crack_score"]) for name in shares}
    ranked = sorted(shares, key=lambda name: (-scores[name], -shares[name], name))
    assert shown() == ranked
    for figure, name in zip(browser.find_elements(By.TAG_NAME, "figure"), ranked, strict=True):
        assert f"{scores[name]:.3f} {100 * shares[name]:.2f}% crack" in figure.text
    for link in browser.find_elements(By.CSS_SELECTOR, "figure a"):
        content = browser.execute_async_script(
            "const done = arguments[1], image = new Image();"
            "image.onload = () => done(image.naturalWidth); image.onerror = () => done(0); image.src = arguments[0];",
            link.get_attribute("href"),
        )
        assert content == 160, link.get_attribute("href")
    for image in browser.find_elements(By.TAG_NAME, "img"):
        browser.execute_script("arguments[0].scrollIntoView()", image)
        eventually(lambda image=image: browser.execute_script("return arguments[0].naturalWidth", image) == 160)
    browser.find_element(By.TAG_NAME, "summary").click()
    missing = browser.find_element(By.TAG_NAME, "details").text
    assert "raw.tif: The image is a RAW file of a camera of <script>, expected" in missing

    browser.find_element(By.ID, "name").send_keys("WALL #1")
    assert shown() == ["wall #1 100% <b>x<b>.jpg"]
    browser.find_element(By.ID, "name").clear()
    share = browser.find_element(By.ID, "share")
    share.clear()
    share.send_keys("1")
    assert shown() == [name for name in ranked if shares[name] >= 0.01]
    assert browser.find_element(By.ID, "count").text == f"{len(shown())} shown"

    backgrounds = []
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        backgrounds.append(browser.find_element(By.TAG_NAME, "form").value_of_css_property("background-color"))
    assert backgrounds[0] != backgrounds[1]
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    width, visible = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= visible == 360
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
