"""MLflow on an old database, on PostgreSQL and S3, and DVC on S3: a real PostgreSQL, and a server that speaks S3."""

import functools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import alembic.command
import boto3
import pytest
import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels import initial_models

from retrain.mlflow_server import keep_copy
from retrain.tracking import Tracking, adopt
from retrain.workspace import Workspace
from tests.conftest import ARCHIVE, ROOT
from tests.ports import free_ports
from tests.waiting import PATIENCE_S, eventually

BUCKET = "cracks"
MLRUNS = "Brücke 50%20 #1?"  # each of these means something in a URL
OF_MLFLOW_2_16 = "4465047574b1"  # the newest change to the database that it knew


def start(
    command: list[str], is_up: Callable[[], bool], environment: dict[str, str], log_path: Path
) -> subprocess.Popen[bytes]:
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True)

    def is_running_and_up() -> bool:
        assert process.poll() is None, log_path.read_text()
        return is_up()

    eventually(is_running_and_up)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(PATIENCE_S)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=PATIENCE_S).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server with a bucket; its keys are in the environment, as AWS's would be."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = start(command, lambda: answers(f"{url}/moto-api/"), {}, tmp_path / "s3.log")
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "MLFLOW_S3_ENDPOINT_URL": url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    yield url
    stop(process)


def keys(prefix: str) -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


def start_mlflow(port: int, folder: Path, **settings: str) -> subprocess.Popen[bytes]:
    """As `make up` starts it."""
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    settings |= {"CRACK_MLFLOW_PORT": str(port), "CRACK_MLRUNS": str(folder / MLRUNS)}
    settings |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    is_up = functools.partial(answers, f"http://127.0.0.1:{port}/health")
    return start(["sh", "-c", procfile["mlflow"]], is_up, settings, folder / "mlflow.log")


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # of MLflow itself
def test_an_older_mlflows_database_is_served_and_a_copy_of_it_kept(tmp_path: Path) -> None:
    database = tmp_path / MLRUNS / "mlflow.db"
    database.parent.mkdir()
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(database)))
    initial_models.Base.metadata.create_all(engine)
    migrations = _get_alembic_config("sqlite://")
    with engine.begin() as migrations.attributes["connection"]:
        alembic.command.upgrade(migrations, OF_MLFLOW_2_16)
    (port,) = free_ports(1)
    of_other_servers = {"MLFLOW_GUNICORN_OPTS": "--timeout 60", "MLFLOW_ARTIFACTS_ONLY": "true"}
    server = start_mlflow(port, tmp_path, **of_other_servers)
    try:
        assert MlflowClient(tracking_uri=f"http://127.0.0.1:{port}").get_experiment("0").name == "Default"
    finally:
        stop(server)
    assert "GET /" not in (tmp_path / "mlflow.log").read_text()  # Prometheus's requests would drown everything else
    (copy,) = database.parent.glob("mlflow.db.before-*")
    with closing(sqlite3.connect(copy)) as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [(OF_MLFLOW_2_16,)]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("no database", "expected MLflow's records .*Move"),
        ("newer", r"changed by a newer version \(f00d\) than the installed .*Install that version"),
        ("locked", "another program keeps MLflow's records locked"),
    ],
)
def test_records_that_mlflow_cannot_serve_are_named_with_what_to_do(tmp_path: Path, kind: str, sentence: str) -> None:
    database = tmp_path / "mlflow.db"
    if kind == "no database":
        database.write_bytes(b"no database" * 100)
    with closing(sqlite3.connect(database)) as other:
        if kind != "no database":
            other.executescript("CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('f00d')")
        if kind == "locked":
            other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ValueError, match=sentence):
            keep_copy(database)


def test_mlflow_keeps_its_records_in_postgresql_and_its_files_in_s3(postgresql: str, s3: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    settings = {"MLFLOW_BACKEND_STORE_URI": postgresql, "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow"}
    server = start_mlflow(port, tmp_path, **settings)
    try:
        assert adopt(Tracking(url, tmp_path), ARCHIVE, None)
        client = MlflowClient(tracking_uri=url)
        champion = client.get_model_version_by_alias("crack", "champion")
        assert champion.run_id is not None
        copy = client.download_artifacts(champion.run_id, ARCHIVE.name, str(tmp_path))
    finally:
        stop(server)
    assert Path(copy).read_bytes() == ARCHIVE.read_bytes()
    assert any(key.endswith(ARCHIVE.name) for key in keys("mlflow/"))


def test_dvc_pushes_to_s3_and_pulls_from_it(s3: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", f"s3://{BUCKET}/dvc", {})
    workspace.prepare(ROOT / "params.yaml")
    (workspace.folder / "dvc.yaml").write_text("stages: {copy: {cmd: cp params.yaml kept.yaml, outs: [kept.yaml]}}\n")
    workspace.run("copy")
    workspace.commit("kept")
    assert keys("dvc/")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(workspace.folder), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "pull", "--quiet"], cwd=clone, check=True)
    assert (clone / "kept.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
