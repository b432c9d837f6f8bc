"""A survey of a folder in which everything is that folders of photographs have been seen to hold: each file has its row."""

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from model.synthetic import draw_surface
from tests.conftest import ROOT
from tests.photographs import jpeg, png, tiff
from tests.waiting import PATIENCE_S

SURFACE = draw_surface(3, (96, 160)).image_hwc_u8
AS_ANYBODY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")  # even root may not read what is closed to it
COPIES = ("DJI_0001.THM", "DJI_0001.SCR", "scan.tif.ovr", "scan.tif.msk", "wall.jpg_original", "wall.jpg~")
LONGEST, N_DEEP = 250, 20  # names of 250 bytes, one within the other: more than a path may have


def heic() -> bytes:
    written = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(SURFACE)).save(written)
    return written.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "Brücke Süd, Widerlager"
    folder.mkdir()
    photograph = jpeg(SURFACE)
    same = ("wall.jpg", "no suffix", "new\nline.jpg", "=1+1.jpg", "-m\udcfcr.jpg", f"{'ü' * 125}a.jpg", "closed.jpg", "closed")
    files = dict.fromkeys(same, photograph) | dict.fromkeys(("empty", "empty.jpg", "empty.heic"), b"")
    files |= {"phone.heic": heic(), "called.jpg": heic(), "scan.tif": tiff(SURFACE)}
    files |= {"wide.png": png(np.full((16, 70_000), 128, np.uint8)), "tiny.png": png(np.zeros((3, 3), np.uint8))}
    files |= {"torn.jpg": photograph[:1000], "torn.heic": heic()[:1000], "torn.tif": tiff(SURFACE)[:1000]}
    files |= {
        "zeros.tif": bytes(100),
        "text.jpg": b"no photograph\n",
        "gif.jpg": b"GIF89a" + bytes(50),
        "notes.txt": b"Pier 3\n",
    }
    files |= dict.fromkeys(COPIES, photograph)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name in ("closed.jpg", "closed"):
        (folder / name).chmod(0)
    os.mkfifo(folder / "pipe.jpg")
    for name, target in {"round": ".", "itself.jpg": "itself.jpg", "gone.jpg": "nowhere.jpg", "zero.jpg": "/dev/zero"}.items():
        (folder / name).symlink_to(target)
    (folder / "folder.jpg").mkdir()
    (folder / "folder.jpg" / "wall.jpg").write_bytes(photograph)
    (folder / "shut").mkdir(0)
    at = os.open(folder, os.O_RDONLY)
    for _ in range(N_DEEP):
        os.mkdir("d" * LONGEST, dir_fd=at)
        below = os.open("d" * LONGEST, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
        os.close(os.open("deep.txt", os.O_CREAT, dir_fd=at))
    os.close(at)
    yield folder
    shutil.rmtree(folder)


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    given = AS_ANYBODY if os.geteuid() == 0 else ()
    return subprocess.run(
        [*given, sys.executable, "-m", *command],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "HOME"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_each_file_has_its_row_and_the_report_is_made(folder: Path) -> None:
    out = folder.with_name("out")
    options = ("--engine", "local", "--backend", "onnxruntime int8", "--concurrency", "1", "--also", "dxf,coco")
    done = run("survey", str(folder), "--out", str(out), *options)
    assert done.returncode == 1, done.stdout + done.stderr
    with (out / "photographs.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = {row["file"].removeprefix("'"): row for row in csv.DictReader(file)}
    deep = {name: row for name, row in rows.items() if name.startswith("d" * LONGEST)}
    of_status: dict[str, set[str]] = {}
    for name in rows.keys() - deep.keys():
        of_status.setdefault(rows[name]["status"], set()).add(name)
    assert of_status == {
        "predicted": {
            *("wall.jpg", "no suffix", "new\nline.jpg", "=1+1.jpg", "-m\udcfcr.jpg", f"{'ü' * 125}a.jpg"),
            *("phone.heic", "called.jpg", "scan.tif", "wide.png", "folder.jpg/wall.jpg"),
        },
        "refused": {"tiny.png", "torn.jpg", "torn.heic", "torn.tif", "zeros.tif", "text.jpg", "gif.jpg"},
        "failed": {"closed.jpg"},
        "left out": {
            *("notes.txt", "empty", "empty.jpg", "empty.heic", "closed", "shut/", "pipe.jpg"),
            *("round/", "itself.jpg", "gone.jpg", "zero.jpg"),
            *COPIES,
        },
    }
    assert {rows[name]["error"] for name in ("empty", "empty.jpg", "empty.heic")} == {
        "It is empty. Copy it from the camera or the card again."
    }
    assert [row["error"] for row in deep.values() if row["file"].endswith("/")] == [
        "The folder cannot be read (File name too long)."
    ]
    assert all(row["error"] for row in rows.values() if row["status"] != "predicted")
    reported = run("survey.report", str(out))
    assert reported.returncode == 0, reported.stderr
