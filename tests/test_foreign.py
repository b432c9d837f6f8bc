"""Files from other systems: names that are spelled otherwise, texts in other encodings."""

import json
import unicodedata
from pathlib import Path

import pytest

from crack.foreign import damage_named, finder, read_rows, read_text
from survey.arguments import with_lists
from survey.opening import open_source

NFC, NFD = (unicodedata.normalize(form, "Brücke.jpg") for form in ("NFC", "NFD"))  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_is_read_in_the_encodings_that_windows_writes(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "key").write_text("Schlüssel", encoding=encoding)
    assert read_text(tmp_path / "key") == "Schlüssel"


def test_a_name_is_found_however_it_is_spelled_and_first_as_it_is(tmp_path: Path) -> None:
    (tmp_path / NFD).touch()
    assert [finder(tmp_path)(name).name for name in (NFC, NFD, "other")] == [NFD, NFD, "other"]
    (tmp_path / NFC).touch()
    assert [finder(tmp_path)(name).name for name in (NFC, NFD)] == [NFC, NFD]


def test_a_name_is_found_in_other_capitals_where_that_is_one_file(tmp_path: Path) -> None:
    for name in ("IMG_1.JPG", "wall.jpg", "Wall.jpg"):
        (tmp_path / name).touch()
    found = {name: finder(tmp_path)(name).name for name in ("img_1.jpg", "Wall.jpg", "WALL.JPG")}
    assert found == {"img_1.jpg": "IMG_1.JPG", "Wall.jpg": "Wall.jpg", "WALL.JPG": "WALL.JPG"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_survey_takes_a_list_that_was_made_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    (tmp_path / "photos").mkdir()
    for name in (NFD, "a.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"\xff\xd8\xff")
    (tmp_path / "list.txt").write_bytes(f"photos\\{NFC}\r\n\r\nphotos/a.jpg\r\n".encode(encoding))
    monkeypatch.chdir(tmp_path)
    source = open_source(with_lists(["@list.txt"]))
    assert source.photographs(tmp_path / "out") == (sorted([NFD, "a.jpg"]), {})


def test_bytes_of_a_list_that_are_no_text_are_a_name_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"Br\xfccke.jpg\n")
    assert with_lists([f"@{tmp_path}/list", "--bom"]) == ["Br\udcfccke.jpg", "--bom"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"a": ', "line 1 column 7"),
        (b'{"b": 1}', "it lacks 'a'"),
        (b"3", "it has another form"),
        (b"null", "it has another form"),
        (b'{"a": "\xe9"}', "from its byte 7 on it is no text in UTF-8"),
        (b"[" * 100_000, "it has another form"),
    ],
)
def test_a_damaged_file_is_named_with_what_was_found_and_what_to_do(content: bytes, found: str) -> None:
    with (
        pytest.raises(ValueError, match=rf"^here/a\.json cannot be read \(.*{found}.*\)\. Write it again\.$"),
        damage_named("here/a.json", "Write it again."),
    ):
        json.loads(content)["a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, encoding: str, separator: str) -> None:
    lines = [("image", "split"), ("wall 1.jpg", "test"), ("", "")]
    (tmp_path / "split.csv").write_text("".join(f"{separator.join(line)}\r\n" for line in lines), encoding, newline="")
    assert read_rows(tmp_path / "split.csv", ("image", "split")) == [{"image": "wall 1.jpg", "split": "test"}]
    with pytest.raises(ValueError, match=r"split\.csv: columns \['image', 'split'\], expected image,mask"):
        read_rows(tmp_path / "split.csv", ("image", "mask"))
