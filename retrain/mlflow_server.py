"""MLflow's server: `crack mlflow` prepares the records, and then becomes `mlflow server`.

A new version of MLflow migrates older records when it starts; records in SQLite are copied before. In another database, its
operator does both: a backup, and then `mlflow db upgrade URI`.
"""

import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

from crack.instance import of_instance

SQLITE = "sqlite:///"
# Settings for other servers of the same user: with the first one MLflow refuses to start, with the second it keeps no runs.
NOT_OURS = ("MLFLOW_GUNICORN_OPTS", "MLFLOW_ARTIFACTS_ONLY")


def keep_copy(database: Path) -> None:
    """Copy MLflow's records before the first start of each version.

    Raises:
        ValueError: the records cannot be served; the message is for people.
        OSError, sqlite3.Error: they cannot be written, or copied.
    """
    installed, done = version("mlflow"), database.with_name(f"{database.name}.version")
    if not database.exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        done.write_text(installed)
        return
    with closing(sqlite3.connect(database)) as records:
        _check(database, records)
        if done.is_file() and done.read_text() == installed:
            return
        copy = database.with_name(f"{database.name}.before-{installed}")
        with closing(sqlite3.connect(copy)) as kept:
            records.backup(kept)
        print(f"MLflow {installed} starts with the records of another version for the first time; a copy is {copy}", flush=True)
    done.write_text(installed)


def _check(database: Path, records: sqlite3.Connection) -> None:
    """Raises as `keep_copy` does; MLflow itself would try again for minutes, or advise to upgrade what is newer than itself."""
    move = f"Move {database} away, and MLflow starts with none; or put one of its copies ({database.name}.before-...) there."
    try:
        records.execute("BEGIN IMMEDIATE")
        records.rollback()
        is_new = not records.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
        changes = set() if is_new else {name for (name,) in records.execute("SELECT version_num FROM alembic_version")}
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise ValueError(f"{database}: another program keeps MLflow's records locked. End that program.") from error
        raise
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{database}: expected MLflow's records ({error}). {move}") from error
    folder = Path(str(find_spec("mlflow").origin)).parent / "store" / "db_migrations" / "versions"  # type: ignore[union-attr]
    unknown = changes - {path.name.partition("_")[0] for path in folder.glob("*.py")}
    if unknown:
        raise ValueError(
            f"{database}: MLflow's records were changed by a newer version ({', '.join(unknown)}) than the installed "
            f"{version('mlflow')}. Install that version. {move}"
        )


def main() -> int:
    try:
        surroundings = of_instance(os.environ)
    except ValueError as error:
        sys.exit(f"error: {error}")
    folder, port = Path(surroundings["CRACK_MLRUNS"]), surroundings["CRACK_MLFLOW_PORT"]
    for name, default in {
        "MLFLOW_BACKEND_STORE_URI": SQLITE + str(folder / "mlflow.db").replace("%", "%25").replace("?", "%3F"),
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
    }.items():
        os.environ[name] = os.environ.get(name) or default
    for name in NOT_OURS:
        os.environ.pop(name, None)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes of 250 MB each, unused here
    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    if store.startswith(SQLITE):
        try:
            keep_copy(Path(unquote(store.removeprefix(SQLITE).partition("?")[0])))
        except ValueError as error:
            sys.exit(f"error: {error}")
        except (OSError, sqlite3.Error) as error:
            sys.exit(
                f"error: {store}: MLflow's records cannot be written, or copied for a new version ({error}). Make room there, "
                "and let this user write them."
            )
    metrics = Path(tempfile.gettempdir(), f"crack-mlflow-metrics-{os.getuid()}-{port}")
    shutil.rmtree(metrics, ignore_errors=True)  # left by processes that have ended; another user's folder can't be removed
    server = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    server += ["--uvicorn-opts", "--no-access-log"]  # Prometheus would fill it: it asks every five seconds
    os.execv(sys.executable, [sys.executable, *server, "--expose-prometheus", str(metrics), *sys.argv[1:]])  # noqa: S606  # it is ours
