"""The retrain job's side of the table `jobs`, into which the sidecar writes who asked for a retraining and when."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

QUEUED, RUNNING = "queued", "running"
_COLUMNS = "id INTEGER PRIMARY KEY, state, progress, message, n_labels, asked_by, asked_at, updated_at"


class Jobs:
    """The jobs in `feedback_dir`; the file may be open in the sidecar, too."""

    def __init__(self, feedback_dir: Path) -> None:
        feedback_dir.mkdir(0o700, parents=True, exist_ok=True)
        self._path = feedback_dir / "retrain.sqlite3"
        self._path.touch(0o600)
        with self._index() as index:
            index.execute("PRAGMA journal_mode = WAL")
            index.execute(f"CREATE TABLE IF NOT EXISTS jobs ({_COLUMNS})")

    def begin(self, who: str) -> int:
        """The job that waits, or a new one asked for by `who`, now running; its id."""
        with self._index() as index:
            index.execute("BEGIN IMMEDIATE")
            row = index.execute("SELECT id FROM jobs WHERE state = ?", (QUEUED,)).fetchone()
            if row is None:
                inserted = index.execute(
                    "INSERT INTO jobs (state, progress, message, asked_by, asked_at) VALUES (?, 0, '', ?, ?)",
                    (QUEUED, who, _now()),
                )
                row = (inserted.lastrowid,)
            index.execute("UPDATE jobs SET state = ?, updated_at = ? WHERE id = ?", (RUNNING, _now(), row[0]))
            index.execute("COMMIT")
        return int(row[0])

    def asked(self) -> int | None:
        """The job that somebody asked for and that waits."""
        with self._index() as index:
            row = index.execute("SELECT id FROM jobs WHERE state = ?", (QUEUED,)).fetchone()
        return None if row is None else int(row[0])

    def tell(self, job: int, state: str, progress: float, message: str, n_labels: int | None = None) -> None:
        """`n_labels`: the accepted labels of its snapshot, once they were judged."""
        with self._index() as index:
            index.execute(
                "UPDATE jobs SET state = ?, progress = ?, message = ?, n_labels = coalesce(?, n_labels), updated_at = ? "
                "WHERE id = ?",
                (state, progress, message, n_labels, _now(), job),
            )

    def tell_waiting(self, message: str) -> None:
        """Why what was asked for has not begun."""
        with self._index() as index:
            index.execute("UPDATE jobs SET message = ?, updated_at = ? WHERE state = ?", (message, _now(), QUEUED))

    def advance(self, progress: float) -> None:
        """How far the job that runs is."""
        with self._index() as index:
            index.execute("UPDATE jobs SET progress = ?, updated_at = ? WHERE state = ?", (progress, _now(), RUNNING))

    def fail_interrupted(self) -> list[str]:
        """What is running although nobody holds the job's lock was killed; sentences about each."""
        with self._index() as index:
            killed = index.execute("SELECT id, message FROM jobs WHERE state = ?", (RUNNING,)).fetchall()
        for job, message in killed:
            self.tell(job, "failed", 1.0, f"it was killed while: {message}")
        return [f"Retraining {job} was killed while: {message}." for job, message in killed]

    def n_labels_judged(self) -> int:
        """Accepted labels that the newest finished retraining had; 0 where there was none."""
        with self._index() as index:
            row = index.execute("SELECT n_labels FROM jobs WHERE n_labels IS NOT NULL ORDER BY id DESC LIMIT 1").fetchone()
        return 0 if row is None else int(row[0])

    def history(self) -> list[dict[str, Any]]:
        """All jobs, newest first."""
        with self._index() as index:
            index.row_factory = sqlite3.Row
            return [dict(row) for row in index.execute("SELECT * FROM jobs ORDER BY id DESC")]

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=10)) as index:
            index.execute("PRAGMA synchronous = FULL")
            yield index


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
