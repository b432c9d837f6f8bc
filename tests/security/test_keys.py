"""What happens to the keys: nothing that goes wrong with their file lets anybody in."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from sidecar.keys import MARKER, KeyRing, Right
from tests.conftest import ROOT
from tests.sidecars import Sidecar, StartSidecar
from tests.waiting import PATIENCE_S

ELSEWHERE = {"CRACK_SIDECAR_HOST": "0.0.0.0"}  # noqa: S104


def remove(path: Path) -> None:
    KeyRing(path).remove("eve")


def written(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


def with_mode(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(mode)


FAULTS = {
    "the last key removed": remove,
    "the file deleted": Path.unlink,
    "the file empty": lambda path: path.write_bytes(b"") and None,
    "no list": written("{}"),
    "an empty list": written("[]"),
    "torn": written('[{"name": "eve", "rights": ["review"'),
    "of others' making": written('[{"user": "eve"}]'),
    "readable by everybody": with_mode(0o644),
    "writable by its group": with_mode(0o660),
}


def statuses(sidecar: Sidecar, key: str | None) -> list[tuple[int, str | None]]:
    """What somebody gets who wants to read, to change and to predict."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answers = [
        requests.request(method, f"{sidecar.url}{route}", headers=headers, timeout=PATIENCE_S)
        for method, route in (("GET", "/feedback"), ("POST", "/retrain"), ("POST", "/predict"), ("DELETE", "/feedback/1"))
    ]
    return [(answer.status_code, answer.json().get("code")) for answer in answers]


def command(sidecar: Sidecar, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crack", "keys", *arguments],
        cwd=ROOT,
        env={"CRACK_FEEDBACK_DIR": str(sidecar.folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(("content", "found"), [(None, "it is a folder"), ("[" * 10_000, "it has another form")])
def test_what_is_no_file_of_keys_is_named_with_what_to_do(tmp_path: Path, content: str | None, found: str) -> None:
    path = tmp_path / "keys.json"
    if content is None:
        path.mkdir(0o700)
    else:
        path.write_text(content)
        path.chmod(0o600)
    fault = KeyRing(path).fault
    assert fault.startswith(f"{path} cannot be read ({found}). Restore it from a backup, or remove it and make new keys")


UNAVAILABLE = [(503, "keys_unavailable")] * 4


def test_nobody_is_let_in_while_no_key_can_be_checked(start_lone_sidecar: StartSidecar, tmp_path: Path) -> None:
    path = tmp_path / "store" / "keys.json"
    KeyRing(path).add("eve", list(Right))
    sidecar = start_lone_sidecar(**ELSEWHERE)
    for n_told, (name, happen) in enumerate(FAULTS.items(), start=1):
        path.unlink(missing_ok=True)
        key = KeyRing(path).add("eve", list(Right))
        assert statuses(sidecar, key)[0] == (200, None), name
        happen(path)
        for attempt in (None, key, "guessed"):
            assert statuses(sidecar, attempt) == UNAVAILABLE, name
        ready = requests.get(f"{sidecar.url}/ready", timeout=PATIENCE_S)
        assert (ready.status_code, ready.json()["code"]) == (503, "keys_unavailable"), name
        assert requests.get(f"{sidecar.url}/ping", timeout=PATIENCE_S).ok
        assert "crack_keys_available 0.0" in requests.get(f"{sidecar.url}/metrics", timeout=PATIENCE_S).text, name
        assert sidecar.log_path.read_text().count("no API key is accepted") == n_told, name


def test_a_start_does_not_forget_that_there_was_a_key(start_lone_sidecar: StartSidecar, tmp_path: Path) -> None:
    path = tmp_path / "store" / "keys.json"
    KeyRing(path).add("eve", list(Right))
    path.unlink()
    assert statuses(start_lone_sidecar(), None) == UNAVAILABLE


def test_the_marker_lies_beside_the_store_wherever_the_keys_do(start_lone_sidecar: StartSidecar, tmp_path: Path) -> None:
    elsewhere = tmp_path / "keys" / "keys.json"
    KeyRing(elsewhere).add("eve", list(Right))
    sidecar = start_lone_sidecar(CRACK_KEYS_FILE=str(elsewhere))
    sidecar.stop()
    elsewhere.unlink()
    sidecar.start()
    assert statuses(sidecar, None) == UNAVAILABLE


def test_beyond_this_machine_nobody_is_let_in_before_there_is_a_key(start_lone_sidecar: StartSidecar) -> None:
    sidecar = start_lone_sidecar(**ELSEWHERE)
    assert statuses(sidecar, None) == UNAVAILABLE
    key = command(sidecar, "add", "eve", "--rights", "review").stdout.strip()
    assert statuses(sidecar, key)[0] == (200, None)


def test_the_first_key_shuts_a_sidecar_that_was_open(start_lone_sidecar: StartSidecar) -> None:
    sidecar = start_lone_sidecar()
    assert statuses(sidecar, None)[0] == (200, None)
    command(sidecar, "add", "eve")
    assert statuses(sidecar, None) == [(401, "key_invalid")] * 4


def test_only_a_command_opens_it_again_and_to_this_machine_alone(start_lone_sidecar: StartSidecar) -> None:
    sidecar = start_lone_sidecar()
    command(sidecar, "add", "eve")
    assert statuses(sidecar, None)[0] == (401, "key_invalid")
    refused = command(sidecar, "open")
    assert (refused.returncode, refused.stderr) == (2, "error: There are keys for: eve. Remove them first.\n")
    assert "Nobody is let in until" in command(sidecar, "remove", "eve").stdout
    assert command(sidecar, "open").returncode == 0
    assert statuses(sidecar, None) == UNAVAILABLE  # until it is started again
    sidecar.stop()
    sidecar.start()
    assert statuses(sidecar, None)[0] == (200, None)
    rebound = requests.get(f"{sidecar.url}/feedback", headers={"Host": "evil.example"}, timeout=PATIENCE_S)
    assert rebound.json()["code"] == "host_refused"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440])
def test_a_file_that_nobody_else_may_change_is_read_as_kubernetes_mounts_it(mode: int, tmp_path: Path) -> None:
    secret = tmp_path / "..2026_11_26"  # a Secret's files are links to such a folder's
    key = KeyRing(secret / "keys.json", tmp_path / MARKER).add("page", list(Right))
    (secret / "keys.json").chmod(mode)
    (tmp_path / "keys.json").symlink_to(secret / "keys.json")
    assert KeyRing(tmp_path / "keys.json").find(key) is not None
