"""requirements.txt holds all that is installed, and nothing that only this machine's index has."""

import re

from packaging.utils import canonicalize_name

from deploy.lock import LOCK, direct, lock, text

LINES = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
LOCKED = dict(line.partition(";")[0].split("==") for line in LINES)


def test_each_package_that_is_needed_is_locked_at_the_version_that_is_tested() -> None:
    needed = lock()
    assert {name: version for name, version in needed.items() if LOCKED.get(name) != version} == {}


def test_the_lock_agrees_with_pyproject_which_names_one_version_of_each() -> None:
    pinned = {(canonicalize_name(each.name), str(each.specifier)) for each in direct()}
    assert {(name, f"=={LOCKED.get(name)}") for name, _ in pinned} == pinned


def test_the_lock_names_public_versions_for_any_index_and_nothing_for_graphics_cards() -> None:
    elsewhere = '(; (platform_machine != "aarch64"|sys_platform != "win32"))?'
    odd = [line for line in LINES if not re.fullmatch(f"[a-z0-9-]+==[0-9][0-9a-z.]*{elsewhere}", line)]
    assert odd == []
    assert not [name for name in LOCKED if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_a_local_version_is_written_without_what_its_index_added() -> None:
    assert LOCKED["torch"] == "2.13.0"
    assert text({"a": "1"}).endswith("\na==1\n")
