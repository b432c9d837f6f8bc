"""A stored photograph whose download broke off is fetched on, by a client's own means."""

import subprocess
from pathlib import Path

import pytest
import requests

from model.synthetic import draw_surface
from tests.photographs import png
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

PHOTOGRAPH = png(draw_surface(5, (96, 128)).image_hwc_u8)


@pytest.fixture
def url(start_lone_sidecar: StartSidecar) -> str:
    sidecar: Sidecar = start_lone_sidecar()
    files = {"image": PHOTOGRAPH, "verdict": (None, "missed_crack")}
    saved = requests.post(f"{sidecar.url}/save-for-retrain", files=files, timeout=PATIENCE_S).json()
    return f"{sidecar.url}/feedback/{saved['id']}/image"


def test_curl_goes_on_with_what_it_has(url: str, tmp_path: Path) -> None:
    whole = requests.get(url, timeout=PATIENCE_S)
    there = tmp_path / "wall.png"
    there.write_bytes(whole.content[:1000])
    subprocess.run(["curl", "--silent", "--fail", "--continue-at", "-", "--output", there, url], check=True)
    assert there.read_bytes() == whole.content
    assert whole.headers["Accept-Ranges"] == "bytes"


def test_a_part_is_told_with_its_place_and_an_odd_range_gets_the_whole(url: str) -> None:
    size = len(requests.get(url, timeout=PATIENCE_S).content)
    etag = requests.get(url, timeout=PATIENCE_S).headers["ETag"]
    told = {
        "bytes=0-9": (206, f"bytes 0-9/{size}", 10),
        "bytes=-10": (206, f"bytes {size - 10}-{size - 1}/{size}", 10),
        f"bytes={size - 4}-{size + 99}": (206, f"bytes {size - 4}-{size - 1}/{size}", 4),
        f"bytes={size}-": (416, f"bytes */{size}", 0),
        "bytes=-0": (416, f"bytes */{size}", 0),
        **dict.fromkeys(["bytes=9-3", "bytes=0-1,5-6", "bytes=-", "lines=1-2", f"bytes={'9' * 5000}-"], (200, None, size)),
    }
    for asked, expected in told.items():
        answer = requests.get(url, headers={"Range": asked}, timeout=PATIENCE_S)
        assert (answer.status_code, answer.headers.get("Content-Range"), len(answer.content)) == expected, asked
    for seen, status in ((etag, 206), ('"other"', 200)):
        answer = requests.get(url, headers={"Range": "bytes=0-9", "If-Range": seen}, timeout=PATIENCE_S)
        assert answer.status_code == status
