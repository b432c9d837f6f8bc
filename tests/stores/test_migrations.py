"""Stores of former versions are brought to this one's form where they are; what can't be is refused, and stays as it was.

`former/` holds stores as the version before migrations wrote them, as SQLite dumps them.
"""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from crack.stores.database import Database
from crack.stores.faults import StoreAwayError, StoreError
from crack.stores.jobs import Jobs
from crack.stores.schema import HEADS
from crack.stores.states import JobState, State
from crack.stores.tables import METADATA, SQLITE_FILES, Part
from inspection.left_out import Kind, LookAlike
from model.synthetic import draw_surface
from retrain.snapshot import read_labels
from sidecar.feedback import FeedbackStore
from sidecar.inspections import InspectionStore
from sidecar.items import Submission
from sidecar.labels import Mask, Photograph, Verdict
from tests.photographs import jpeg, png

FORMER = Path(__file__).parent / "former"
SURFACE = draw_surface(1, (32, 40), is_cracked=True)
PHOTOGRAPH = Photograph.read(png(SURFACE.image_hwc_u8))  # which the former store of feedback has, with two masks
NEAR_COPY = Photograph.read(jpeg(SURFACE.image_hwc_u8, quality=60))


def write_former(folder: Path, part: Part, *changes: str) -> Path:
    """A store of before there were migrations, changed by commands."""
    folder.mkdir(exist_ok=True)
    path = folder / SQLITE_FILES[part]
    with closing(sqlite3.connect(path)) as index:
        index.executescript((FORMER / f"{part}.sql").read_text())
        for change in changes:
            index.execute(change)
    return path


def opened(folder: Path) -> FeedbackStore:
    return FeedbackStore(folder, quota_bytes=10**9, is_review_required=True)


@pytest.fixture
def feedback_dir(tmp_path: Path) -> Path:
    write_former(tmp_path, Part.FEEDBACK)
    return tmp_path


def test_a_former_store_of_feedback_keeps_its_items_and_what_happened_to_them(feedback_dir: Path) -> None:
    store = opened(feedback_dir)
    assert {state: n for state, n in store.counts().items() if n} == {State.NOTED: 1, State.NEEDS_LABEL: 1, State.ACCEPTED: 1}
    item = next(item for item in store.items([State.ACCEPTED], 10, 0))
    assert (item.name, item.sent_by, item.revision, item.proposed_mask_file is None) == ("pier 3.png", "crew-7", 3, False)
    said = [(event.who, event.action, event.note) for event in store.events(item.id)]
    assert said == [("crew-7", "saved", "it's here"), ("eve", "reviewed", None), ("crew-8", "saved", None)]
    store.close()


def test_what_happens_later_comes_behind_the_events_of_a_former_store(feedback_dir: Path) -> None:
    store = opened(feedback_dir)
    (item,) = store.items([State.ACCEPTED], 10, 0)
    store.review(item.id, "eve", item.etag, is_accepted=True)
    assert [event.action for event in store.events(item.id)] == ["saved", "reviewed", "saved", "reviewed"]
    store.close()


def test_near_copies_of_photographs_in_a_former_store_are_found(feedback_dir: Path) -> None:
    store = opened(feedback_dir)
    (item,) = store.items([State.ACCEPTED], 10, 0)
    assert store.save(NEAR_COPY, Submission(Verdict.OTHER), "crew-9", NEAR_COPY.data).near_group == item.id
    store.close()


def test_a_former_store_without_positions_is_not_searched_for_them_again(
    feedback_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        opened(feedback_dir).close()
    assert "removed place, time and author" not in caplog.text


@pytest.mark.parametrize("column", ["proposed_mask_file", "name", "look_alikes"])
def test_a_store_of_before_a_column_is_saved_to(tmp_path: Path, column: str) -> None:
    write_former(tmp_path, Part.FEEDBACK, f"ALTER TABLE items DROP COLUMN {column}")
    store = opened(tmp_path)
    joint = (LookAlike((4, 8, 30, 20), Kind.JOINT),)
    said = Submission(Verdict.OTHER, Mask.of(~SURFACE.mask_hw), name="pier 4.png", look_alikes=joint)
    item = store.save(PHOTOGRAPH, said, "crew-7", PHOTOGRAPH.data)
    assert (item.name, item.look_alikes, item.proposed_mask_file is None) == ("pier 4.png", joint, False)
    store.close()


def test_the_retrain_job_reads_the_labels_of_a_former_store(feedback_dir: Path) -> None:
    (label,) = read_labels(feedback_dir)
    assert (label.image_file, label.group, label.look_alikes) == (f"images/{label.id}.png", label.id, "[]")


@pytest.mark.parametrize("column", [None, "look_alikes", "zones"])
def test_a_former_store_of_inspections_keeps_its_photographs_and_takes_more(tmp_path: Path, column: str | None) -> None:
    changes = [f"ALTER TABLE photographs DROP COLUMN {column}"] if column else []
    write_former(tmp_path, Part.INSPECTIONS, *changes)
    store = InspectionStore(tmp_path, 10**9)
    (inspection,) = store.inspections(10, 0)
    assert (inspection.name, inspection.is_position_kept, inspection.n_photographs) == ("Spring", True, 2)
    first, second = store.photographs(inspection.id, (), 10, 0)
    assert (first.row.file, second.row.file, first.zones, first.look_alikes) == ("1.png", "2.png", (), ())
    store.delete_photograph(inspection.id, first.id, first.etag, "chief")
    assert store.get(inspection.id).n_photographs == 1
    store.close()


def test_the_jobs_of_a_former_store_are_known(tmp_path: Path) -> None:
    write_former(tmp_path, Part.JOBS)
    jobs = Jobs(tmp_path)
    assert [(job.id, job.state) for job in jobs.recent()] == [(2, JobState.QUEUED), (1, JobState.PROMOTED)]
    assert (jobs.n_new(dict.fromkeys("abcdefg", "mask")), jobs.begin("watch"), jobs.ask("eve").id) == (2, 2, 2)


def test_the_jobs_of_the_first_stores_which_kept_no_numbers_of_labels_are_known(tmp_path: Path) -> None:
    write_former(tmp_path, Part.JOBS, "ALTER TABLE jobs DROP COLUMN n_labels")
    jobs = Jobs(tmp_path)
    assert [(job.id, job.state) for job in jobs.recent()] == [(2, JobState.QUEUED), (1, JobState.PROMOTED)]
    assert (jobs.n_new({"a": "mask"}), jobs.begin("watch")) == (1, 2)


def test_a_store_of_a_later_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as index:
        index.execute("UPDATE alembic_version SET version_num = 'feedback_99'")
        index.commit()
    with pytest.raises(
        ValueError, match=r"later version of this program \(feedback_99.*Install that version, or restore an earlier backup"
    ):
        opened(tmp_path)


@pytest.mark.parametrize(("part", "table"), [(Part.FEEDBACK, "items"), (Part.INSPECTIONS, "photographs"), (Part.JOBS, "jobs")])
def test_a_file_that_is_no_store_of_ours_is_refused_and_stays_as_it_was(tmp_path: Path, part: Part, table: str) -> None:
    path = tmp_path / SQLITE_FILES[part]
    with closing(sqlite3.connect(path)) as index:
        index.execute(f"CREATE TABLE {table} (id, state)")
    with pytest.raises(ValueError, match=f"is not a store of this program: its table {table} lacks .*Move it away"):
        Database(part, tmp_path)
    with closing(sqlite3.connect(path)) as index:
        assert index.execute("SELECT name FROM sqlite_master").fetchall() == [(table,)]


def test_a_file_that_is_no_database_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"index\.sqlite3: file is not a database"):
        opened(tmp_path)


def test_a_column_that_is_gone_is_no_full_disk(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as index:
        index.execute("ALTER TABLE items DROP COLUMN note")
    with pytest.raises(StoreError, match="note"):
        store.save(PHOTOGRAPH, Submission(Verdict.OTHER), "crew-7", PHOTOGRAPH.data)
    store.close()


def test_a_locked_index_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crack.stores.database._PATIENCE_S", 0.1)
    store = opened(tmp_path)
    with closing(sqlite3.connect(tmp_path / "index.sqlite3", isolation_level=None)) as index:
        index.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAwayError, match="locked"):
            store.save(PHOTOGRAPH, Submission(Verdict.OTHER), "crew-7", PHOTOGRAPH.data)
    store.close()


def die_after(n_commands: int) -> None:
    """This process, by `kill -9`, before the next command to a database."""

    def count(*_: object) -> None:
        nonlocal n_commands
        n_commands -= 1
        if n_commands < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)


def test_killed_while_it_migrates_a_store_is_as_it_was_or_done(tmp_path: Path) -> None:
    for n_commands in range(0, 10**9, 7):
        folder = tmp_path / str(n_commands)
        write_former(folder, Part.FEEDBACK)
        child = os.fork()
        if child == 0:
            die_after(n_commands)
            Database(Part.FEEDBACK, folder)
            os._exit(0)
        is_done = os.waitpid(child, 0)[1] == 0
        store = opened(folder)
        assert sum(store.counts().values()) == 3
        store.close()
        if is_done:
            break
    assert n_commands > 20


# The migrations and the tables say the same


@pytest.fixture
def databases(tmp_path: Path, store_url: str) -> Iterator[list[Database]]:
    parts = list(Part) if store_url else [part for part in Part if part in SQLITE_FILES]
    folders = {part: tmp_path / part for part in parts}
    for folder in folders.values():
        folder.mkdir()
    databases = [Database(part, folder, store_url) for part, folder in folders.items()]
    yield databases
    for database in databases:
        database.close()


def test_a_new_store_has_the_tables_of_this_version(databases: list[Database]) -> None:
    for database in databases:
        with database.reading() as connection:
            found = compare_metadata(MigrationContext.configure(connection), METADATA)
        others = {"add_table", "add_index"}  # in SQLite each part is a file of its own
        assert [change for change in found if database.is_shared or change[0] not in others] == []


def test_the_heads_are_the_newest_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", "crack.stores:migrations")
    config.set_main_option("path_separator", "os")
    assert set(ScriptDirectory.from_config(config).get_heads()) == set(HEADS.values())
