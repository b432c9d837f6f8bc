"""`crack survey` as a program of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.waiting import PATIENCE_S


def begin(source: Path | str, out: Path | str, *options: str) -> "subprocess.Popen[str]":
    """In a session of its own, so that a signal can reach all of its processes, as Ctrl-C does."""
    return subprocess.Popen(
        [sys.executable, "-m", "crack", "survey", str(source), "--out", str(out), *options],
        cwd=ROOT,
        env={**os.environ, "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code, and what it said."""
    said, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said
