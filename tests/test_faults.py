"""What people are told of the system's errors."""

import errno
from pathlib import Path

import pytest

from crack.faults import in_words


def test_of_a_missing_permission_it_says_whose_the_folder_is_and_who_asks(tmp_path: Path) -> None:
    told = in_words(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "feedback/owner.lock")))
    status = tmp_path.stat()
    assert f"'{tmp_path}/feedback/owner.lock'. {tmp_path} belongs to user {status.st_uid}" in told
    assert told.endswith("Let this user read and write there, or name another folder.")


def test_a_folder_in_a_files_place_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as found:
        tmp_path.read_bytes()
    assert in_words(found.value).startswith(f"{tmp_path} is a folder, expected a file. Restore the file")


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        ValueError("Send it again."),
    ],
)
def test_what_the_system_says_alone_stays(error: Exception) -> None:
    assert in_words(error) == str(error)
