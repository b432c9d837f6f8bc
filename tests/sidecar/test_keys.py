"""API keys: what they may, that they lie on disk as hashes alone, and that a removed one is worthless at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.keys import KeyRing, NoKeysError, Right
from tests.conftest import ROOT


def test_a_key_is_known_with_its_rights_and_no_other_is(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    assert not ring.is_required
    key = ring.add("crew-7", [Right.PREDICT])
    caller = ring.find(key)
    assert caller is not None
    assert (caller.name, caller.rights) == ("crew-7", {Right.PREDICT})
    for wrong in ("", key[:-1], key + "x", "crew-7", "schlüssel"):
        assert ring.find(wrong) is None


def test_the_file_holds_no_key_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = KeyRing(path).add("crew-7", [Right.PREDICT])
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_process_change_is_seen_at_once(tmp_path: Path) -> None:
    serving, editing = (KeyRing(tmp_path / "keys.json") for _ in range(2))
    key = editing.add("crew-7", [Right.PREDICT])
    editing.add("eve", list(Right))
    assert serving.find(key) is not None
    editing.remove("crew-7")
    assert serving.find(key) is None


def test_a_name_is_given_once(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    ring.add("crew-7", [Right.PREDICT])
    with pytest.raises(ValueError, match="'crew-7' has a key already"):
        ring.add("crew-7", [Right.REVIEW])
    with pytest.raises(ValueError, match="There are keys for: crew-7"):
        ring.remove("crew-8")


@pytest.mark.parametrize("name", ["", " ", "crew-7 ", "crew\n7"])
def test_what_is_no_name_gets_no_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected a name, such as crew-7"):
        KeyRing(tmp_path / "keys.json").add(name, [Right.PREDICT])
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_named_and_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("[{}]")
    (tmp_path / "keys.json").chmod(0o600)
    with pytest.raises(NoKeysError, match=r"keys\.json cannot be read \(it lacks 'sha256'\)"):
        KeyRing(tmp_path / "keys.json").add("crew-7", [Right.PREDICT])
    assert (tmp_path / "keys.json").read_text() == "[{}]"


def test_the_command_makes_lists_and_removes(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        environment = {**os.environ, "CRACK_FEEDBACK_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "crack", "keys", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    key = run("add", "eve", "--rights", "predict", "review").strip()
    assert KeyRing(tmp_path / "keys.json").find(key) is not None
    assert run("list") == "eve  predict review\n"
    run("remove", "eve")
    assert run("list") == ""


def test_keys_that_processes_make_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sidecar.keys import KeyRing, Right; ring = KeyRing(Path(sys.argv[1])); "
        "[ring.add(f'{sys.argv[2]}-{number}', [Right.PREDICT]) for number in range(20)]"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "keys.json")]
    running = [subprocess.Popen([*command, name], cwd=ROOT) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(KeyRing(tmp_path / "keys.json").names()) == 60
