"""The queue of retrainings that people asked for: one table, written here, worked off by the retrain job in its own process."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PROMOTED = "promoted"
    NOT_PROMOTED = "not_promoted"
    NOTHING_TO_DO = "nothing_to_do"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """One retraining. `progress` goes from 0 to 1; `message` says what it does, did, or why it failed; `n_labels` counts the
    accepted labels in its snapshot, once it was judged.
    """

    id: int
    state: JobState
    progress: float
    message: str
    n_labels: int | None
    asked_by: str
    asked_at: str
    updated_at: str


class RetrainQueue:
    """The jobs in the file at `path`, which may be open in several processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._index() as index:
            index.execute("PRAGMA journal_mode = WAL")
            index.execute(
                "CREATE TABLE IF NOT EXISTS jobs "
                "(id INTEGER PRIMARY KEY, state, progress, message, n_labels, asked_by, asked_at, updated_at)"
            )

    def ask(self, who: str) -> Job:
        """A new job, or the one that is queued or running already."""
        with self._index() as index:
            index.execute("BEGIN IMMEDIATE")
            recent = _recent(index, 1)
            if not recent or recent[0].state not in (JobState.QUEUED, JobState.RUNNING):
                now = datetime.now(UTC).isoformat(timespec="milliseconds")
                index.execute(
                    "INSERT INTO jobs (state, progress, message, asked_by, asked_at, updated_at) VALUES (?, 0, ?, ?, ?, ?)",
                    (JobState.QUEUED, "waits for the retrain job", who, now, now),
                )
                recent = _recent(index, 1)
            index.execute("COMMIT")
        return recent[0]

    def recent(self, n_jobs: int) -> list[Job]:
        """The newest first."""
        with self._index() as index:
            return _recent(index, n_jobs)

    def n_labels_judged(self) -> int:
        """Accepted labels that the newest finished retraining had; 0 where there was none."""
        with self._index() as index:
            row = index.execute("SELECT n_labels FROM jobs WHERE n_labels IS NOT NULL ORDER BY id DESC LIMIT 1").fetchone()
        return 0 if row is None else int(row["n_labels"])

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=10)) as index:
            index.row_factory = sqlite3.Row
            index.execute("PRAGMA synchronous = FULL")
            yield index


def _recent(index: sqlite3.Connection, n_jobs: int) -> list[Job]:
    rows = index.execute("SELECT * FROM jobs ORDER BY id DESC LIMIT ?", (n_jobs,)).fetchall()
    return [Job(**{field.name: row[field.name] for field in fields(Job)} | {"state": JobState(row["state"])}) for row in rows]
