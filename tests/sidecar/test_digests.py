"""Digests of photographs, which take tens of milliseconds of a large one: computed where they keep no other request waiting."""

from pathlib import Path

import requests

from tests.photographs import noise, png
from tests.sidecars import ROOT, StartSidecar
from tests.test_save import post
from tests.waiting import PATIENCE_S

# Python runs this before anything else in each process that finds it.
WATCHING = """
import asyncio, hashlib

sha256 = hashlib.sha256

def sha256_watched(data=b"", **named):
    try:
        asyncio.get_running_loop()
        if len(data) > 2**18:
            with open({path!r}, "a") as found:
                found.write("of %d bytes\\n" % len(data))
    except RuntimeError:  # a thread of its own
        pass
    return sha256(data, **named)

hashlib.sha256 = sha256_watched
"""


def test_a_photograph_of_an_inspection_has_no_digest_computed_on_the_event_loop(
    start_sidecar: StartSidecar, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCHING.format(path=str(tmp_path / "on-the-loop")))
    sidecar = start_sidecar(PYTHONPATH=f"{tmp_path}:{ROOT}")
    made = requests.post(f"{sidecar.url}/inspections", data={"name": "pier 4"}, timeout=PATIENCE_S).json()
    kept = post(sidecar, f"/inspections/{made['id']}/photographs", image=png(noise(300, 400)))
    assert kept.status_code == 200, kept.text
    assert not (tmp_path / "on-the-loop").exists()
