"""What lies on disk is for nobody but the user that the sidecar, or a survey, runs as."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from crack.stores.jobs import Jobs
from retrain.cycle import alone
from retrain.workspace import Workspace
from survey.folder import JOURNAL, Survey
from tests.photographs import png
from tests.sidecars import StartSidecar
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    former = os.umask(0o022)
    yield
    os.umask(former)


def open_to_others(folder: Path) -> list[str]:
    return [str(path) for path in (folder, *folder.rglob("*")) if path.lstat().st_mode & 0o077]


def save(url: str, seed: int) -> None:
    photograph = png(np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8))
    answer = requests.post(
        f"{url}/save-for-retrain", files={"image": photograph}, data={"verdict": "no_crack"}, timeout=PATIENCE_S
    )
    assert answer.status_code == 200, answer.text


def test_no_other_user_reads_what_the_store_holds(start_lone_sidecar: StartSidecar) -> None:
    sidecar = start_lone_sidecar()
    save(sidecar.url, 1)
    assert len(list((sidecar.folder / "images").iterdir())) == 1
    assert open_to_others(sidecar.folder) == []


def test_what_older_versions_left_open_is_taken_back_at_the_start(start_lone_sidecar: StartSidecar) -> None:
    sidecar = start_lone_sidecar()
    save(sidecar.url, 1)
    sidecar.stop()
    for path in (sidecar.folder, *sidecar.folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    sidecar.start()
    assert open_to_others(sidecar.folder) == []
    assert "to other users of this machine" in sidecar.log_path.read_text()
    save(sidecar.url, 2)


def test_a_file_of_keys_that_others_could_change_is_not_made_good_in_silence(start_lone_sidecar: StartSidecar) -> None:
    sidecar = start_lone_sidecar()
    sidecar.stop()
    (sidecar.folder / "keys.json").write_text("[]")
    sidecar.start()
    assert open_to_others(sidecar.folder) == [str(sidecar.folder / "keys.json")]
    assert requests.get(f"{sidecar.url}/feedback", timeout=PATIENCE_S).json()["code"] == "keys_unavailable"


def test_the_retrain_jobs_table_is_closed_whoever_makes_it(tmp_path: Path) -> None:
    Jobs(tmp_path / "store").begin("a test")
    assert open_to_others(tmp_path / "store") == []


def test_copies_that_the_retrain_job_makes_are_closed_and_those_of_older_versions_too(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    with alone(tmp_path / "workspace"):
        Workspace(tmp_path / "workspace", str(tmp_path / "storage"), {})
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("workspace", "storage")] == [0o700, 0o700]


def test_a_surveys_journal_is_closed_and_a_folder_that_was_opened_to_show_it_stays_open(tmp_path: Path) -> None:
    folder = tmp_path / "photographs-cracks"
    survey = Survey(folder, {})
    survey.leave_out({"notes.txt": "It is a text."})
    survey.close()
    assert open_to_others(folder) == []
    folder.chmod(0o755)
    (folder / JOURNAL).chmod(0o644)
    Survey(folder, {}).close()
    assert stat.S_IMODE((folder / JOURNAL).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
