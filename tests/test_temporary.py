"""Temporary folders of processes that are killed."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from crack.temporary import OwnFolder
from tests.conftest import ROOT

HOLD = "import sys; from crack.temporary import OwnFolder; print(OwnFolder('crack-part').path, flush=True); sys.stdin.read()"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are kept."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_the_folder_of_a_process_that_was_killed_is_removed_by_the_next_and_that_of_a_living_one_is_not(
    temporary: Path,
) -> None:
    living = OwnFolder("crack-part")
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        (left / "a-file").touch()
        process.kill()
        process.wait()
    assert set(temporary.iterdir()) == {living.path, left}
    new = OwnFolder("crack-part")
    assert set(temporary.iterdir()) == {living.path, new.path}
    for folder in (living, new):
        folder.remove()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["crack-other.1a2b3c4d", "crack-part-bridge-7", "crack-part-20261127", "crack-part.results"])
def test_folders_that_others_have_named_are_left_alone(temporary: Path, name: str) -> None:
    (temporary / name).mkdir()
    OwnFolder("crack-part").remove()
    assert [path.name for path in temporary.iterdir()] == [name]


def test_it_may_be_removed_again_and_closes_nobody_elses_file(temporary: Path) -> None:
    folder = OwnFolder("page")
    folder.remove()
    with (temporary / "opened meanwhile").open("w") as file:  # gets the number that the lock had
        folder.remove()
        file.write("still open")
    assert (temporary / "opened meanwhile").read_text() == "still open"
