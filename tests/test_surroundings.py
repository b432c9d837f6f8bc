"""What a user's shell, git settings and neighbours on the machine may not change."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import ServedPage
from tests.ports import NOBODY

OF_ANOTHER_PYTHON = ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONWARNINGS", "PIP_TARGET", "PIP_PREFIX")


def test_make_uses_its_own_python_and_environment_whatever_the_shell_sets_for_another() -> None:
    environment = {**os.environ, **dict.fromkeys(OF_ANOTHER_PYTHON, "/nowhere"), "PIP_USER": "1"}
    command = ["make", "--eval", "show:; @env", "show"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "/nowhere" not in said
    assert "PIP_USER=0" in said.splitlines()


@pytest.mark.parametrize(("made_in", "is_kept"), [("it's $HOME, 50% #1", True), ("elsewhere", False)])
def test_a_clone_that_was_moved_makes_its_environment_anew(tmp_path: Path, made_in: str, is_kept: bool) -> None:
    clone = tmp_path / "it's $HOME, 50% #1"
    (clone / ".venv").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, clone)
    (clone / ".venv" / "pyvenv.cfg").write_text(f"command = python3.11 -m venv {tmp_path / made_in}/.venv\n")
    subprocess.run(["make", "setup", "PYTHON=true"], cwd=clone, capture_output=True, check=False)
    assert (clone / ".venv").exists() == is_kept


def test_files_keep_their_line_ends_in_a_clone_whose_git_would_change_them(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    clone = tmp_path / "clone"
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for name in ("Makefile", "Procfile", "config.properties", "deploy/install-prometheus.sh", "gradio_app/browser/page.css"):
        assert b"\r" not in (clone / name).read_bytes(), name


def test_the_page_starts_where_another_user_has_the_folder_that_gradio_would_take(tmp_path: Path) -> None:
    (tmp_path / "gradio").touch()  # nothing can be made in it, as in another user's folder
    page = ServedPage(tmp_path / "page.log", TMPDIR=str(tmp_path), BACKEND_URL=NOBODY)
    page.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gradio", "page.log"]
