"""The model card: written and read again it is the same, and a wrong one is refused by name."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from model.inference.card import FILE_NAME, Backend, ModelCard

CARD = ModelCard(
    version="20260101-123456",
    mean=(123.4, 120.1, 117.9),
    deviation=(40.2, 41.3, 43.7),
    stride=16,
    tile_px=640,
    overlap_px=64,
    threshold=101 / 255,
    architecture={"widths": [16, 32, 64]},
    training={"seed": 7, "data": [{"name": "deepcrack", "terms": "research only"}]},
    figures={"deepcrack/test": {"f1": 0.8}},
    backends=(Backend("onnxruntime", "fp32"), Backend("openvino", "int8")),
)


def written(path: Path, **changes: object) -> Path:
    """A card's file with some values changed by hand; a value of `...` takes the key out."""
    values = json.loads(CARD.to_json()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))
    return path


def test_a_card_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(CARD.to_json())
    assert ModelCard.read(tmp_path / FILE_NAME) == CARD


def test_the_card_of_an_archive_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "crack.mar", "w") as archive:
        archive.writestr(FILE_NAME, CARD.to_json())
    assert ModelCard.of_archive(tmp_path / "crack.mar") == CARD


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_of_a_model_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.mar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.mar is no archive of a crack model"):
        ModelCard.of_archive(path)


def test_a_written_card_is_json_that_people_can_read() -> None:
    text = CARD.to_json()
    assert json.loads(text)["version"] == CARD.version
    assert len(text.splitlines()) > 20


def test_a_card_without_a_word_on_its_use_allows_research_only() -> None:
    assert CARD.use.startswith("Research and evaluation only")


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 128, float("nan")])
def test_a_threshold_outside_0_to_1_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold=.*: expected a number in \(0, 1\)"):
        replace(CARD, threshold=threshold)


@pytest.mark.parametrize(
    ("tile_px", "overlap_px", "stride"),
    [(648, 64, 16), (256, 64, 16), (0, 64, 16), (640, 200, 16), (64, 0, 16), (640, 64, 0), (640, 64, -16), (640, -1, 16)],
)
def test_tiles_that_cannot_cover_a_photograph_are_refused(tile_px: int, overlap_px: int, stride: int) -> None:
    with pytest.raises(ValueError, match=f"tile_px={tile_px}, overlap_px={overlap_px}, stride={stride}: expected tiles of"):
        replace(CARD, tile_px=tile_px, overlap_px=overlap_px, stride=stride)


@pytest.mark.parametrize(("tile_px", "overlap_px", "stride"), [(272, 64, 16), (80, 0, 16), (48, 8, 4), (640, 64, 16)])
def test_tiles_of_three_overlaps_and_five_strides_are_enough(tile_px: int, overlap_px: int, stride: int) -> None:
    assert replace(CARD, tile_px=tile_px, overlap_px=overlap_px, stride=stride).tile_px == tile_px


@pytest.mark.parametrize("text", ["", "no json", "[]", "5", "null", "{}", '{"version": "1"'])
def test_a_file_that_is_no_card_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(text)
    with pytest.raises(ValueError, match="no model card") as caught:
        ModelCard.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 2},
        {"threshold": "0.5"},
        {"stride": 0},
        {"tile_px": None},
        {"mean": 5},
        {"version": ...},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_card_with_a_wrong_value_is_refused_and_its_file_named(tmp_path: Path, changes: dict[str, object]) -> None:
    path = written(tmp_path / FILE_NAME, **changes)
    with pytest.raises(ValueError, match="no model card") as caught:
        ModelCard.read(path)
    assert str(path) in str(caught.value)


def test_a_card_of_bytes_that_are_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=str(path)):
        ModelCard.read(path)


def test_a_card_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / FILE_NAME)):
        ModelCard.read(tmp_path / FILE_NAME)
