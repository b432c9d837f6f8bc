"""The wheel, in an environment that has nothing but what one extra brings, and away from the repository."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import PATIENCE_S

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def surveying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its extra `survey`, by the lock."""
    folder = tmp_path_factory.mktemp("package")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "environment")
    into = ["--python", str(folder / "environment"), "install", "--constraint", str(ROOT / "requirements.txt")]
    done = subprocess.run([*PIP, *into, f"{wheel}[survey]"], stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S)
    if "connection" in done.stderr.lower():
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    return folder / "environment"


def run(surveying: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [surveying / "bin" / program, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def test_a_survey_needs_no_torch_and_its_help_is_there(surveying: Path, tmp_path: Path) -> None:
    assert run(surveying, tmp_path, "python", "-c", "import torch").returncode == 1
    assert "survey" in run(surveying, tmp_path, "crack", "--help").stdout
    assert run(surveying, tmp_path, "crack", "survey", "--help").stdout.startswith("usage: crack survey")


def test_what_needs_more_than_is_installed_says_what_to_install(surveying: Path, tmp_path: Path) -> None:
    refused = run(surveying, tmp_path, "crack", "train", "--recipe", "recipes/release")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith("In the project's folder run: pip install '.[train]'\n")


def test_configuration_comes_along(surveying: Path, tmp_path: Path) -> None:
    code = (
        "from crack.shipped import shipped\n"
        "for name in ('Procfile', 'config.properties', 'params.yaml', 'recipes/release', 'monitoring/prometheus/rules'):\n"
        "    assert shipped(name).exists() and not shipped(name).is_symlink(), name"
    )
    assert run(surveying, tmp_path, "python", "-c", code).stderr == ""


def test_a_folder_is_surveyed_without_a_server(surveying: Path, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    shutil.copy(ROOT / "docs" / "samples" / "images" / "synthetic-00002.jpg", tmp_path / "photographs")
    options = ("--engine", "local", "--archive", str(ROOT / "model_store" / "crack.mar"), "--also", "dxf,coco")
    done = run(surveying, tmp_path, "crack", "survey", "photographs", *options)
    assert done.returncode == 0, done.stderr
    assert run(surveying, tmp_path, "crack", "report", "photographs-cracks").returncode == 0
    assert (tmp_path / "photographs-cracks" / "report.pdf").read_bytes().startswith(b"%PDF")
