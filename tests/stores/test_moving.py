"""The rows of stores in SQLite, moved into a real PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crack.stores.database import POSTGRESQL_FILE
from crack.stores.jobs import Jobs
from crack.stores.moving import move
from crack.stores.states import JobState, State
from crack.stores.tables import Part
from sidecar.feedback import FeedbackStore
from sidecar.inspections import Head, InspectionStore
from sidecar.items import Submission
from sidecar.labels import Mask, Photograph, Verdict
from tests.conftest import ROOT
from tests.photographs import noise, png
from tests.waiting import PATIENCE_S

PHOTOGRAPHS = [Photograph.read(png(noise(24, 24, seed))) for seed in range(3)]
MASK = Mask.of(noise(24, 24, 9)[..., 0] > 128)


def opened(folder: Path, url: str = "") -> FeedbackStore:
    return FeedbackStore(folder / "feedback", url, quota_bytes=10**9, is_review_required=True)


def save(store: FeedbackStore, number: int) -> str:
    photograph = PHOTOGRAPHS[number]
    return store.save(photograph, Submission(Verdict.OTHER, MASK, note="it's \0 here"), "crew-7", photograph.data).id


def told(folder: Path, url: str = "") -> list[object]:
    """All that the stores know."""
    store, inspections = opened(folder, url), InspectionStore(folder / "inspections", 10**9, url)
    items = store.items(list(State), 10, 0)
    found = [items, [store.events(item.id) for item in items], store.n_bytes(), inspections.inspections(10, 0)]
    store.close()
    inspections.close()
    return [*found, Jobs(folder / "feedback", url).recent()]


@pytest.fixture
def folders(tmp_path: Path) -> dict[Part, Path]:
    """Of stores in SQLite that hold something each."""
    store, inspections = opened(tmp_path), InspectionStore(tmp_path / "inspections", 10**9)
    item = store.get(save(store, 0))
    save(store, 1)
    store.review(item.id, "eve", item.etag, is_accepted=True)
    inspections.create(Head("Spring", "Bridge 7", "Pier 3", "2026-05-01", "M. Weber"), "crew-7")
    for part in (store, inspections):
        part.close()
    jobs = Jobs(tmp_path / "feedback")
    jobs.tell(jobs.begin("watch"), JobState.PROMOTED, 1, "done", {"item": "mask"})
    feedback = tmp_path / "feedback"
    return {Part.FEEDBACK: feedback, Part.JOBS: feedback, Part.INSPECTIONS: tmp_path / "inspections"}


def test_all_that_was_known_is_known_afterwards(folders: dict[Part, Path], tmp_path: Path, postgresql: str) -> None:
    before = told(tmp_path)
    counts = move(folders, postgresql)
    assert (counts["items"], counts["events"], counts["inspections"], counts["jobs"]) == (2, 3, 1, 1)
    assert [str(each).replace("\\x00", "\ufffd") for each in before] == [str(each) for each in told(tmp_path, postgresql)]


def test_what_happens_later_comes_behind_what_was_moved(folders: dict[Part, Path], tmp_path: Path, postgresql: str) -> None:
    move(folders, postgresql)
    store = opened(tmp_path, postgresql)
    item_id = save(store, 0)
    assert [event.action for event in store.events(item_id)] == ["saved", "reviewed", "saved"]
    assert Jobs(tmp_path / "feedback", postgresql).begin("watch") == 2
    store.close()


def test_a_database_with_rows_is_refused_and_nothing_is_copied(
    folders: dict[Part, Path], tmp_path: Path, postgresql: str
) -> None:
    other = opened(tmp_path / "other", postgresql)
    save(other, 2)
    with pytest.raises(ValueError, match=r"has rows already \(1 in items, .*Nothing was copied"):
        move(folders, postgresql)
    assert other.counts()[State.LABELLED] == 1
    assert told(tmp_path)
    other.close()


def test_a_store_that_a_sidecar_has_open_is_not_moved(folders: dict[Part, Path], tmp_path: Path, postgresql: str) -> None:
    store = opened(tmp_path)
    with pytest.raises(BlockingIOError):
        move(folders, postgresql)
    store.close()


@pytest.mark.parametrize("n_marked", [0, 1])
def test_a_move_that_was_killed_at_its_end_is_finished(
    folders: dict[Part, Path], tmp_path: Path, postgresql: str, n_marked: int
) -> None:
    move(folders, postgresql)
    moved = told(tmp_path, postgresql)
    for name in ("feedback", "inspections")[n_marked:]:
        (tmp_path / name / POSTGRESQL_FILE).unlink()
    move(folders, postgresql)
    assert told(tmp_path, postgresql) == moved


def test_what_was_moved_is_not_moved_again(folders: dict[Part, Path], postgresql: str) -> None:
    move(folders, postgresql)
    with pytest.raises(ValueError, match=r"was moved before\. Nothing was copied"):
        move(folders, postgresql)


def test_the_command_prints_how_many_rows_there_are(folders: dict[Part, Path], postgresql: str) -> None:
    environment = {
        **os.environ,
        "CRACK_STORE_URL": postgresql,
        "CRACK_FEEDBACK_DIR": str(folders[Part.FEEDBACK]),
        "CRACK_INSPECTIONS_DIR": str(folders[Part.INSPECTIONS]),
    }
    command = [sys.executable, "-m", "crack", "store", "move"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 rows of items" in done.stdout
