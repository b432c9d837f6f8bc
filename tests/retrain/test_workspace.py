"""The job's own repository."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from retrain.cycle import alone
from retrain.workspace import CODE_FILE, Workspace, WorkspaceError
from tests.conftest import ROOT


def test_another_remote_is_used_from_the_next_retraining_on(tmp_path: Path) -> None:
    """Of whatever name."""
    names = ("first", "Prüfung Süd, Brücke #7")
    for number, name in enumerate(names):
        workspace = Workspace(tmp_path / "workspace", str(tmp_path / name), {})
        workspace.clean()
        workspace.prepare(ROOT / "params.yaml")
        (workspace.folder / "dvc.yaml").write_text(f"stages: {{say: {{cmd: echo {number} > said.txt, outs: [said.txt]}}}}\n")
        workspace.run("say")
        workspace.commit(name)
        assert list((tmp_path / name).rglob("*"))
        clone = tmp_path / f"clone of {name}"
        subprocess.run(["git", "clone", "--quiet", str(workspace.folder), str(clone)], check=True)
        assert str(tmp_path / name) in (clone / ".dvc" / "config").read_text(encoding="utf-8")
        subprocess.run([sys.executable, "-m", "dvc", "pull", "--quiet"], cwd=clone, check=True)
        assert (clone / "said.txt").read_text() == f"{number}\n"
    assert workspace.remotes() == {str(tmp_path / name) for name in names}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("Prüfung Süd")
    made = Workspace(folder / "workspace", str(folder / "remote"), {})
    made.prepare(ROOT / "params.yaml")
    (made.folder / "dvc.yaml").write_text("stages: {say: {cmd: echo yes > said.txt, outs: [said.txt]}}\n")
    made.run("say")
    made.commit("first")
    return made


@pytest.mark.parametrize("is_cache_there", [True, False])
def test_an_output_whose_file_is_missing_is_restored(tmp_path: Path, is_cache_there: bool) -> None:
    workspace = with_an_output(tmp_path)
    (workspace.folder / "kept" / "said.txt").unlink()
    if not is_cache_there:
        shutil.rmtree(workspace.folder / ".dvc" / "cache")
    for _ in range(2):
        workspace.bring_back("kept", "said.txt")
        assert (workspace.folder / "kept" / "said.txt").read_text() == "yes\n"


def test_an_output_that_nothing_has_any_more_is_named(tmp_path: Path) -> None:
    workspace = with_an_output(tmp_path)
    for gone in (workspace.folder / "kept", workspace.folder / ".dvc" / "cache", tmp_path / "remote"):
        shutil.rmtree(gone)
    with pytest.raises(WorkspaceError, match=r"said.txt is missing, and DVC cannot restore it .*from a backup"):
        workspace.bring_back("kept", "said.txt")


def with_an_output(folder: Path) -> Workspace:
    """Whose only retraining left `kept/said.txt`."""
    workspace = Workspace(folder / "workspace", str(folder / "remote"), {})
    workspace.prepare(ROOT / "params.yaml")
    workspace.bring_back("kept", "said.txt")  # before the first retraining nothing is missing
    (workspace.folder / "dvc.yaml").write_text("stages: {keep: {cmd: mkdir kept && echo yes > kept/said.txt, outs: [kept]}}\n")
    workspace.run("keep")
    workspace.commit("kept")
    return workspace


def test_a_users_git_settings_are_not_the_jobs(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    hook = hooks / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f"[commit]\n\tgpgsign = true\n[gpg]\n\tprogram = false\n[core]\n\thooksPath = {hooks}\n\tautocrlf = true\n"
    )
    own = tmp_path / ".config" / "git"
    own.mkdir(parents=True)
    (own / "ignore").write_text("*.lock\n*.yaml\n*.txt\n")
    (own / "attributes").write_text("* text eol=crlf\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another.git"))
    (workspace.folder / "params.yaml").write_text("changed: true\n")
    (workspace.folder / "notes.txt").write_text("new\n")
    former = workspace.revision()
    assert workspace.commit("another") == workspace.revision() != former
    monkeypatch.delenv("GIT_DIR")
    show = ["git", "show", "HEAD:notes.txt"]
    assert subprocess.check_output(show, cwd=workspace.folder) == b"new\n"  # it is kept, as it is


def test_a_machine_without_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkspaceError, match="git was not found"):
        Workspace(tmp_path / "workspace", str(tmp_path / "remote"), {})


@pytest.mark.parametrize("left", ['{"data": {"write": {"pid": 1, "cmd": "dvc repro"}}}', ""])
def test_a_lock_that_a_killed_retraining_left_is_taken_away_and_told(workspace: Workspace, left: str) -> None:
    (workspace.folder / ".dvc" / "tmp" / "rwlock").write_text(left)
    (workspace.folder / ".git" / "refs" / "heads" / "main.lock").touch()
    (sentence,) = workspace.clean()
    assert "a lock" in sentence
    workspace.run("say", {"ANEW": "1"})
    workspace.commit("another")


@pytest.fixture
def within_a_checkout(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace in the folder of a user's repository that has changes."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "work").write_text("as it was\n")
    subprocess.run(["git", "add", "work"], cwd=tmp_path, check=True)
    shutil.copytree(workspace.folder, tmp_path / "workspace")
    (tmp_path / "work").write_text("a day's work\n")
    return Workspace(tmp_path / "workspace", str(tmp_path / "remote"), {})


def test_a_folder_that_is_somebody_elses_is_named_and_stays_as_it_is(within_a_checkout: Workspace) -> None:
    theirs = within_a_checkout.folder.parent
    theirs.chmod(0o755)
    (theirs / "lock").write_text("theirs\n")
    (theirs / ".dvc").mkdir()
    (theirs / ".dvc" / "config").write_text("")
    with (
        pytest.raises(ValueError, match=r"holds 'remote', which the retrain job has not made.*CRACK_RETRAIN_WORKSPACE"),
        alone(theirs),
    ):
        pass
    assert (theirs / "work").read_text() == "a day's work\n"
    assert (theirs / "lock").read_text() == "theirs\n"
    assert theirs.stat().st_mode & 0o777 == 0o755


def test_its_own_folder_is_taken_again(within_a_checkout: Workspace) -> None:
    with alone(within_a_checkout.folder):
        assert within_a_checkout.revision()


@pytest.mark.parametrize("file", ["HEAD", "refs/heads/main", "objects"])
def test_a_record_that_a_power_cut_damaged_is_named_before_anything_is_learned(within_a_checkout: Workspace, file: str) -> None:
    workspace = within_a_checkout
    damaged = workspace.folder / ".git" / file
    if file == "objects":
        head = str(workspace.revision())
        damaged = damaged / head[:2] / head[2:]
        damaged.chmod(0o600)
    damaged.write_bytes(b"")
    with pytest.raises(WorkspaceError, match=r"is damaged, probably by a power cut.*move it away"):
        workspace.clean()
    assert (workspace.folder.parent / "work").read_text() == "a day's work\n"
    (workspace.folder / ".git").rename(workspace.folder.parent / "away")
    anew = Workspace(workspace.folder, str(workspace.folder.parent / "remote"), {})
    anew.clean()
    assert anew.commit("anew") == anew.revision()


def test_an_index_that_a_power_cut_left_empty_is_made_anew(within_a_checkout: Workspace) -> None:
    workspace = within_a_checkout
    (workspace.folder / ".git" / "index").write_bytes(bytes(100))
    workspace.clean()
    (workspace.folder / "notes.txt").write_text("new\n")
    assert workspace.commit("another") == workspace.revision()


def test_dvc_writes_nothing_outside_the_workspace_and_its_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(home / "site"))
    workspace = Workspace(tmp_path / "workspace", str(tmp_path / "remote"), {})
    workspace.prepare(ROOT / "params.yaml")
    (workspace.folder / "dvc.yaml").write_text("stages: {say: {cmd: echo yes > said.txt, outs: [said.txt]}}\n")
    workspace.run("say")
    workspace.commit("first")
    assert list(home.iterdir()) == []


def test_a_stage_runs_again_where_its_code_has_changed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", str(tmp_path / "remote"), {})
    workspace.prepare(ROOT / "params.yaml")
    stages = yaml.safe_load((workspace.folder / "dvc.yaml").read_text())["stages"]
    assert [name for name, stage in stages.items() if CODE_FILE not in stage.get("deps", [])] == ["snapshot"]
    code = (workspace.folder / CODE_FILE).read_text()
    for path in (ROOT / "model" / "trainer.py", ROOT / "retrain" / "stages.py", ROOT / "export" / "build.py"):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(ROOT)}\n" in code


def test_of_a_stage_that_the_system_killed_the_usual_reason_is_told(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace", str(tmp_path / "remote"), {})
    workspace.prepare(ROOT / "params.yaml")
    (workspace.folder / "dvc.yaml").write_text("stages: {die: {cmd: kill -9 $$, outs: [never.txt]}}\n")
    with pytest.raises(WorkspaceError, match=r"^die: .* failed with status \d+\. Its output .* memory was probably short"):
        workspace.run("die")


@pytest.mark.parametrize(("name", "found"), [("%(x)s", "%(x)s"), ("a {b}", "{"), ("half}", "}")])
def test_a_name_with_which_dvc_cannot_work_is_told_before_anything_is_made(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(WorkspaceError, match=f"it contains {re.escape(repr(found))}, .*or set CRACK_"):
        Workspace(tmp_path / name / "workspace", str(tmp_path / name / "remote"), {})
    assert list(tmp_path.iterdir()) == []


def test_git_settings_that_cannot_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[user\n")
    with pytest.raises(WorkspaceError, match=f"git's settings in {tmp_path}/.gitconfig .*bad config line 1"):
        Workspace(tmp_path / "workspace", str(tmp_path / "remote"), {})
