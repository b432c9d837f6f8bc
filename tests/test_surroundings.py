"""What a user's shell, git settings and neighbours on the machine may not change."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pages import ServedPage

OF_ANOTHER_PYTHON = ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONWARNINGS", "PIP_TARGET", "PIP_PREFIX")


def test_make_uses_its_own_python_and_environment_whatever_the_shell_sets_for_another() -> None:
    environment = {**os.environ, **dict.fromkeys(OF_ANOTHER_PYTHON, "/nowhere"), "PIP_USER": "1"}
    command = ["make", "--eval", "show:; @env", "show"]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "/nowhere" not in said
    assert "PIP_USER=0" in said.splitlines()


def test_files_keep_their_line_ends_in_a_clone_whose_git_would_change_them(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    clone = tmp_path / "clone"
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for name in ("Makefile", "Procfile", "config.properties", "deploy/install-prometheus.sh", "gradio_app/browser/page.css"):
        assert b"\r" not in (clone / name).read_bytes(), name


def test_the_page_starts_where_another_user_has_the_folder_that_gradio_would_take(tmp_path: Path) -> None:
    (tmp_path / "gradio").touch()  # nothing can be made in it, as in another user's folder
    page = ServedPage(tmp_path / "page.log", TMPDIR=str(tmp_path), BACKEND_URL="http://127.0.0.1:9")
    page.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gradio", "page.log"]
