"""Files that are there whole or not at all."""

import os
import re
import stat
from pathlib import Path

import pytest

from crack.files import take_place, whole, write_whole
from tests.test_imports import sources


def test_what_fails_halfway_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_whole(path, b"former")
    with pytest.raises(TypeError), whole(path) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("state.json", b"former")]


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".state.json.tmp").write_bytes(b"half")
    write_whole(tmp_path / "state.json", b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("state.json", b"new")]


def test_a_link_that_somebody_put_where_it_is_written_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / ".key.tmp").symlink_to(victim)
    write_whole(tmp_path / "key", b"secret", 0o600)
    assert not victim.exists()


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_rights_that_are_asked_for_are_given_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    former = os.umask(mask)
    try:
        write_whole(tmp_path / "key", b"secret", 0o640)
        write_whole(tmp_path / "other", b"")
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o666 & ~mask


def test_what_another_program_wrote_is_on_disk_before_it_takes_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made").write_bytes(b"new")
    (tmp_path / "mask.tif").write_bytes(b"former")
    seen: list[tuple[str, bytes]] = []

    def noted(descriptor: int) -> None:
        seen.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "mask.tif").read_bytes()))

    monkeypatch.setattr(os, "fsync", noted)
    take_place(tmp_path / "made", tmp_path / "mask.tif")
    assert seen == [(str(tmp_path / "made"), b"former"), (str(tmp_path), b"new")]


def test_nobody_else_brings_files_to_disk() -> None:
    """But for checkpoints, which torch writes, and the journal of a survey, which is appended to."""
    folders = ("crack", "sidecar", "gradio_app", "retrain", "survey", "export", "handler")
    found = {path.name for folder in folders for path in sources(folder) if re.search(r"os\.f?sync\(", path.read_text())}
    assert found - {"folder.py"} == {"files.py"}
