"""A real PostgreSQL of Debian's, with a folder and a port of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
import pytest

from tests.ports import free_ports
from tests.waiting import PATIENCE_S


class PostgreSQL:
    """Skips the test where PostgreSQL isn't installed."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            pytest.skip("Debian's package postgresql is not installed")
        self._programs = programs[-1]
        is_root = os.geteuid() == 0  # which PostgreSQL refuses to run as
        self._as_user = ["runuser", "-u", "postgres", "--"] if is_root else []
        self._folder = Path(tempfile.mkdtemp(prefix="crack-postgresql-", dir="/tmp"))
        if is_root:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        (self._port,) = free_ports(1)
        self._run("initdb", "-D", "data", "-U", "crack", "--auth=trust", "--encoding=UTF8")
        self.start()

    def start(self) -> None:
        # pg_ctl waits until it answers.
        self._run("pg_ctl", "-D", "data", "-l", "log", "-o", f"-p {self._port} -k {self._folder}", "-w", "start")

    def stop(self, how: str = "fast") -> None:
        """`how`: "fast" waits for no client, "immediate" is as a power cut."""
        self._run("pg_ctl", "-D", "data", "-m", how, "-w", "stop")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def database(self) -> str:
        """The URL of a place without tables: a schema of its own, which takes less time than a database."""
        name = f"test_{uuid.uuid4().hex}"
        url = f"postgresql://crack@127.0.0.1:{self._port}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"')
        return f"{url}?options=-csearch_path%3D{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        said = self._folder / "said"  # no pipe: a server that is started keeps it open
        with said.open("w") as out:
            done = subprocess.run(command, cwd=self._folder, stdout=out, stderr=out, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, said.read_text()
