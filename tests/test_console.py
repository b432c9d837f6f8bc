"""The command `crack`: one tree of help, and each command with its own options, exit codes and packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crack.console import COMMANDS
from crack.shipped import shipped
from tests.conftest import ROOT
from tests.waiting import PATIENCE_S

OWN_HELP = [name for name in COMMANDS if name != "mlflow"]  # which becomes MLflow's own program


def crack(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return python("-m", "crack", *arguments, folder=folder)


def python(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_its_help_names_every_command_and_shows_examples() -> None:
    done = crack("--help")
    assert done.returncode == 0
    assert {line.split()[1] for line in done.stdout.splitlines() if line.startswith("│")} >= COMMANDS.keys()
    assert "crack survey photographs" in done.stdout.partition("Examples:")[2]


def test_its_help_loads_no_command() -> None:
    code = (
        "import sys; from crack.console import COMMANDS, main; sys.argv = ['crack', '--help']\n"
        "try: main()\n"
        "except SystemExit: print({each.module for each in COMMANDS.values()} & sys.modules.keys(), 'numpy' in sys.modules)"
    )
    assert python("-c", code).stdout.splitlines()[-1] == "set() False"


@pytest.mark.parametrize("name", OWN_HELP)
def test_a_command_has_a_help_of_its_own_with_examples(name: str) -> None:
    done = crack(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: crack {name}")
    assert f"\n  crack {name}" in done.stdout.partition("example")[2]


def test_what_is_no_command_is_refused_with_the_nearest() -> None:
    done = crack("surve")
    assert done.returncode == 2
    assert "Did you mean 'survey'" in done.stderr


def test_a_command_gets_its_arguments_as_they_are_and_gives_its_own_exit_code() -> None:
    done = crack("survey", "--", "--odd folder")
    assert done.returncode == 2
    assert "error: --odd folder: found nothing there, expected a folder of photographs" in done.stderr


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it() -> None:
    done = python("-c", "import sys; sys.modules['torch'] = None; from crack.console import run; sys.exit(run('train', []))")
    assert done.returncode == 2
    assert "crack train needs the package torch, which is not installed." in done.stderr
    assert "pip install '.[train]'" in done.stderr


def test_a_limit_with_which_libraries_crash_is_told_before_they_are_loaded() -> None:
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20, -1)); from crack.console import run"
    done = python("-c", f"{limited}; sys.exit(run('sidecar', []))")
    assert done.returncode == 2
    assert done.stderr == "error: ulimit -v is 409600, expected 512000 or more. Raise it, or remove it: ulimit -v unlimited\n"


def test_packages_of_another_python_that_come_first_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('compiled for Python 3.10')")
    elsewhere = f"{tmp_path}{os.pathsep}{ROOT}"
    monkeypatch.setenv("PYTHONPATH", elsewhere)
    done = python("-c", "import sys; from crack.console import run; sys.exit(run('survey', []))", folder=tmp_path)
    assert done.returncode == 2
    assert f"PYTHONPATH={elsewhere!r} is searched before the program's own packages: unset it." in done.stderr


def test_a_user_without_a_home_takes_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    of_nobody = "import os, pwd, sys; os.getuid = lambda: 10_000_000; from crack.console import run; "
    done = python("-c", of_nobody + "run('keys', ['list']); print(os.environ['HOME'])", folder=tmp_path)
    assert done.stdout.splitlines()[-1] == str(tmp_path)


@pytest.mark.parametrize(("module", "name"), [("sidecar.keys", "keys"), ("survey", "survey"), ("sidecar.batch", "survey")])
def test_a_former_name_still_works_and_says_the_new_one(module: str, name: str) -> None:
    done = python("-m", module, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: crack {name}")
    assert done.stderr == f"python -m {module} is crack {name} now; running that.\n"


def test_recipes_are_found_in_any_folder_and_ones_own_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (shipped("recipes/release") / "1-learn.yaml").read_bytes() == (ROOT / "recipes/release/1-learn.yaml").read_bytes()
    (tmp_path / "params.yaml").touch()
    assert shipped("params.yaml") == Path("params.yaml")
    assert shipped("neither.yaml") == Path("neither.yaml")
