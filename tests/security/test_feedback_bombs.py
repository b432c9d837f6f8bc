"""Bombs at the sidecar's door: what is refused was never decoded, and what is decoded stays within its memory."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from tests.photographs import jpeg, noise, png
from tests.security.test_bombs import flood_of_scans
from tests.sidecars import Sidecar
from tests.waiting import PATIENCE_S, eventually

MOST_BYTES = 1.5e9  # six at once took 6.2 GB
BOMB = png(Image.new("1", (10_000, 10_000)))  # 12 KB, 100 megapixels


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    sidecar = Sidecar(tmp_path / "store", tmp_path / "sidecar.log")
    yield sidecar
    sidecar.stop()


def save(sidecar: Sidecar, image: bytes, **fields: str) -> requests.Response:
    return requests.post(f"{sidecar.url}/save-for-retrain", files={"image": image}, data=fields, timeout=PATIENCE_S)


def family(sidecar: Sidecar) -> list[psutil.Process]:
    process = psutil.Process(sidecar.process.pid)
    return [process, *process.children()]


def n_resident_bytes(sidecar: Sidecar) -> int:
    total = 0
    for process in family(sidecar):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def test_six_bombs_at_once_are_saved_or_told_to_come_again_in_bounded_memory(sidecar: Sidecar) -> None:
    before, peak, has_ended = n_resident_bytes(sidecar), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not has_ended.wait(0.05):
            peak = max(peak, n_resident_bytes(sidecar))

    with ThreadPoolExecutor(7) as threads:
        watching = threads.submit(watch)
        answers = list(threads.map(lambda _: save(sidecar, BOMB, verdict="no_crack"), range(6)))
        has_ended.set()
        watching.result()
    busy = [answer for answer in answers if answer.status_code != 200]
    assert 1 <= len(busy) < 6
    assert all((answer.status_code, answer.json()["code"]) == (503, "server_busy") for answer in busy)
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in busy)
    assert peak < MOST_BYTES
    eventually(lambda: n_resident_bytes(sidecar) < before + 400e6)
    assert save(sidecar, png(noise(32, 32)), verdict="other").json()["status"] == "saved"


@pytest.mark.parametrize(
    ("image", "fields", "code"),
    [
        (BOMB, {}, "parameter_invalid"),
        (BOMB, {"verdict": "meh"}, "parameter_invalid"),
        (BOMB, {"verdict": "other", "note": "x" * 3000}, "parameter_invalid"),
        (png(np.zeros((15, 60_000), np.uint8)), {"verdict": "other"}, "image_too_small"),
        (flood_of_scans(2000, 5000), {"verdict": "other"}, "image_undecodable"),
        (png(Image.new("1", (10_001, 10_000))), {"verdict": "other"}, "image_too_large"),
    ],
    ids=["nothing said", "no such verdict", "a long note", "too small", "5,000 scans", "too many pixels"],
)
def test_what_fields_or_header_forbid_is_not_decoded(sidecar: Sidecar, image: bytes, fields: dict[str, str], code: str) -> None:
    assert save(sidecar, image, **fields).json()["code"] == code
    assert len(family(sidecar)) == 1  # no process was started to decode it


def test_a_process_that_is_killed_while_it_decodes_harms_no_other_save(sidecar: Sidecar) -> None:
    slow = jpeg(noise(4000, 4000), progressive=True, quality=95)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(save, sidecar, slow, verdict="other")
        eventually(lambda: len(family(sidecar)) == 2)
        eventually(lambda: family(sidecar)[1].cpu_times().user > 0.5, psutil.NoSuchProcess, IndexError)
        family(sidecar)[1].kill()
        assert (answer.result().status_code, answer.result().json()["code"]) == (503, "server_busy")
    assert save(sidecar, png(noise(32, 32)), verdict="other").status_code == 200
