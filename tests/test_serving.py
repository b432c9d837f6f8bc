"""`serving.json`, which says what a model store serves: read and written by one class."""

from pathlib import Path

import pytest

from crack.serving import STATE_FILE, Serving


def test_before_the_first_retraining_the_released_archive_is_served(tmp_path: Path) -> None:
    assert Serving.read(tmp_path) == Serving("crack.mar", None)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    served = Serving("crack-2.mar", "crack.mar")
    served.write(tmp_path)
    assert Serving.read(tmp_path) == served


@pytest.mark.parametrize("text", ["", "{", "[]", "{}x", '"crack.mar"', '{"served": "crack.mar"}', '{"default": null}', "\0\0"])
def test_what_is_none_of_ours_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(ValueError, match=r"serving\.json cannot be read .* Remove it"):
        Serving.read(tmp_path)


def test_a_folder_in_its_place_is_named_and_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).mkdir()
    with pytest.raises(ValueError, match=r"serving\.json cannot be read \(it is a folder\)"):
        Serving.read(tmp_path)
