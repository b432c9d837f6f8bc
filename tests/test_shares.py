"""Where no file can be locked, as on some network shares: what needs a lock says so, instead of naming another process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.ports import free_ports
from tests.waiting import PATIENCE_S


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("command", [["sidecar"], ["retrain", "rollback"], ["gradio_app"], ["handler.serve"]], ids=" ".join)
def test_a_folder_is_named_with_what_it_needs(tmp_path: Path, command: list[str]) -> None:
    where = {"FEEDBACK_DIR": "feedback", "INSPECTIONS_DIR": "inspections", "RETRAIN_WORKSPACE": "workspace"}
    environment = {**os.environ, **{f"CRACK_{name}": str(tmp_path / own) for name, own in where.items()}}
    environment |= {"CRACK_SIDECAR_PORT": str(free_ports(1)[0]), "TMPDIR": str(tmp_path)}
    trace = ["strace", "-qq", "-f", "--seccomp-bpf", "-o", os.devnull, "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK"]
    done = subprocess.run(
        [*trace, sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode != 0
    assert f"{tmp_path}" in done.stderr
    assert "can be locked (No locks available), as on some network shares." in done.stderr
