"""MLflow's server: `crack mlflow`, in place of `mlflow server`, which it becomes.

A new version of MLflow changes the records of an older one at its start: in SQLite they are copied first. For another database
its operator does that: `mlflow db upgrade URI`, after a backup.
"""

import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from crack.instance import of_instance

SQLITE = "sqlite:///"


def keep_copy(database: Path) -> None:
    """Before the first start of each version of MLflow."""
    installed, done = version("mlflow"), database.with_name(f"{database.name}.version")
    if not database.is_file():
        database.parent.mkdir(parents=True, exist_ok=True)
    elif not done.is_file() or done.read_text() != installed:
        copy = database.with_name(f"{database.name}.before-{installed}")
        with closing(sqlite3.connect(database)) as records, closing(sqlite3.connect(copy)) as kept:
            records.backup(kept)
        print(f"MLflow {installed} starts with the records of another version for the first time; a copy is {copy}", flush=True)
    done.write_text(installed)


def main() -> int:
    try:
        surroundings = of_instance(os.environ)
    except ValueError as error:
        sys.exit(f"error: {error}")
    folder, port = Path(surroundings["CRACK_MLRUNS"]), surroundings["CRACK_MLFLOW_PORT"]
    for name, default in {
        "MLFLOW_BACKEND_STORE_URI": f"{SQLITE}{folder / 'mlflow.db'}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
    }.items():
        os.environ[name] = os.environ.get(name) or default
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes of 250 MB each, for what is not used here
    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    if store.startswith(SQLITE):
        try:
            keep_copy(Path(store.removeprefix(SQLITE)))
        except (OSError, sqlite3.Error) as error:
            sys.exit(
                f"error: {store}: MLflow's records cannot be written, or copied for a new version ({error}). Make room there."
            )
    metrics = Path(tempfile.gettempdir(), f"crack-mlflow-metrics-{os.getuid()}-{port}")
    shutil.rmtree(metrics, ignore_errors=True)  # left by processes that have ended; another user's folder can't be removed
    server = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    server += ["--uvicorn-opts", "--no-access-log"]  # Prometheus alone asks every five seconds
    os.execv(sys.executable, [sys.executable, *server, "--expose-prometheus", str(metrics), *sys.argv[1:]])  # noqa: S606  # it is ours
