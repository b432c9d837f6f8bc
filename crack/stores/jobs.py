"""The queue of retrainings: the sidecar writes requests, and the retrain job writes their progress and result, each in its own
process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, delete, func, insert, select, update

from crack.stores.database import Database
from crack.stores.rows import every, instant
from crack.stores.states import OPEN, JobState
from crack.stores.tables import JOBS, JUDGED_LABELS, SQLITE_FILES, Part

Labels = Mapping[str, str]
"""Accepted labels: the file of the mask, by the id of the photograph's item."""


@dataclass(frozen=True)
class Job:
    """One retraining. `progress` goes from 0 to 1; `message` says what it does or did, or why it failed; `n_labels` is the
    number of accepted labels in its snapshot, set once it is judged.
    """

    id: int
    state: JobState
    progress: float
    message: str
    n_labels: int | None
    asked_by: str
    asked_at: str
    updated_at: str


class Jobs:
    """The jobs beside the feedback store in `feedback_dir`, or in PostgreSQL at `url`; several processes may open them.

    Raises:
        StoreError, ValueError, OSError: as `Database` does; each method raises the first.
    """

    def __init__(self, feedback_dir: Path, url: str = "") -> None:
        if not url:
            feedback_dir.mkdir(0o700, parents=True, exist_ok=True)
        self._database = Database(Part.JOBS, feedback_dir, url)

    @classmethod
    def find(cls, feedback_dir: Path, url: str = "") -> Self | None:
        """To read them: None if there is no store, which is then not created. Raises as the constructor does."""
        return cls(feedback_dir, url) if url or (feedback_dir / SQLITE_FILES[Part.JOBS]).is_file() else None

    def ask(self, who: str) -> Job:
        """Request a retraining; returns the new job, or the one that is queued or running already."""
        with self._database.writing() as connection:
            newest = _recent(connection, 1)
            if not newest or newest[0].state not in OPEN:
                _add(connection, who, "waits for the retrain job")
                newest = _recent(connection, 1)
        return newest[0]

    def recent(self, n_jobs: int | None = None) -> list[Job]:
        """The newest first, at most `n_jobs` if it is given."""
        with self._database.reading() as connection:
            return _recent(connection, n_jobs)

    def begin(self, who: str) -> int:
        """Mark the queued job as running or, if there is none, a new one of `who`; returns its id."""
        with self._database.writing() as connection:
            job = _queued(connection)
            if job is None:
                job = _add(connection, who, "")
            _change(connection, JOBS.c.id == job, {"state": JobState.RUNNING})
        return job

    def asked(self) -> int | None:
        """The id of the queued job; None if there is none."""
        with self._database.reading() as connection:
            return _queued(connection)

    def stop(self, who: str) -> Job | None:
        """Stop the queued or running job, whose stages notice within seconds; returns it, None if there is none."""
        with self._database.writing() as connection:
            newest = _recent(connection, 1)
            if not newest or newest[0].state not in OPEN:
                return None
            told = f"it was stopped by {who} while: {newest[0].message}. The next one begins when somebody asks for it"
            _change(connection, JOBS.c.id == newest[0].id, {"state": JobState.STOPPED, "message": told})
        return newest[0]

    def is_stopped(self) -> bool:
        """Whether the newest job was stopped."""
        newest = self.recent(1)
        return bool(newest) and newest[0].state is JobState.STOPPED

    def tell(self, job: int, state: JobState, progress: float, message: str, labels: Labels | None = None) -> None:
        """A job that was stopped stays so, unless it has succeeded before it noticed.

        Args:
            labels: the accepted labels in its snapshot, once it is judged.
        """
        chosen = JOBS.c.id == job
        if state in (JobState.RUNNING, JobState.FAILED):
            chosen &= JOBS.c.state != JobState.STOPPED
        values: dict[str, Any] = {"state": state, "progress": progress, "message": message}
        with self._database.writing() as connection:
            if labels is not None:
                values["n_labels"] = len(labels)
                connection.execute(delete(JUDGED_LABELS))
                rows = [{"item_id": item_id, "mask_file": mask_file} for item_id, mask_file in labels.items()]
                connection.execute(insert(JUDGED_LABELS), rows)
            _change(connection, chosen, values)

    def tell_waiting(self, message: str) -> None:
        """Say why the requested retraining has not begun."""
        with self._database.writing() as connection:
            _change(connection, JOBS.c.state == JobState.QUEUED, {"message": message})

    def advance(self, progress: float) -> None:
        """Record the progress of the running job."""
        with self._database.writing() as connection:
            _change(connection, JOBS.c.state == JobState.RUNNING, {"progress": progress})

    def fail_interrupted(self) -> list[str]:
        """Mark jobs as failed that are still "running" although nobody holds the job's lock: they were killed. Returns a
        sentence for each.
        """
        with self._database.writing() as connection:
            killed = connection.execute(select(JOBS.c.id, JOBS.c.message).where(JOBS.c.state == JobState.RUNNING)).all()
            for job, message in killed:
                told = {"state": JobState.FAILED, "progress": 1.0, "message": f"it was killed while: {message}"}
                _change(connection, JOBS.c.id == job, told)
        return [f"Retraining {job} was killed while: {message}." for job, message in killed]

    def n_new(self, labels: Labels) -> int:
        """How many of these accepted labels the newest finished retraining did not have: all if there is none."""
        newest = select(JOBS.c.n_labels).where(JOBS.c.n_labels.is_not(None)).order_by(JOBS.c.id.desc()).limit(1)
        with self._database.reading() as connection:
            judged = {(item_id, mask_file) for item_id, mask_file in connection.execute(select(JUDGED_LABELS))}
            if not judged:  # earlier versions kept only their number
                return max(0, len(labels) - int(connection.scalar(newest) or 0))
        return len(labels.items() - judged)


def _recent(connection: Connection, n_jobs: int | None) -> list[Job]:
    rows = every(connection, select(JOBS).order_by(JOBS.c.id.desc()).limit(n_jobs))
    return [Job(**{**row, "state": JobState(row["state"])}) for row in rows]


def _queued(connection: Connection) -> int | None:
    queued: int | None = connection.scalar(select(func.min(JOBS.c.id)).where(JOBS.c.state == JobState.QUEUED))
    return queued


def _add(connection: Connection, who: str, message: str) -> int:
    now = instant()
    values = {"state": JobState.QUEUED, "progress": 0.0, "message": message}
    times = {"asked_by": who, "asked_at": now, "updated_at": now}
    return int(connection.execute(insert(JOBS).values(values | times).returning(JOBS.c.id)).scalar_one())


def _change(connection: Connection, chosen: Any, values: Mapping[str, Any]) -> None:
    connection.execute(update(JOBS).where(chosen).values({**values, "updated_at": instant()}))
