"""A survey's folder: who holds it, and what of its journal, pictures and contact sheet is there after whatever happened."""

import errno
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from inspection.findings import Photograph
from inspection.rows import Row, Status
from inspection.taken import Taken
from model.inference.encoding import mask_png
from survey.folder import Survey
from survey.sheet import ContactSheet
from tests.conftest import ROOT
from tests.photographs import jpeg, noise

QUESTION = {"quality": "normal", "threshold": "of the model"}


def written(survey: Survey, files: Iterable[str]) -> Path:
    """The contact sheet."""
    sheet = ContactSheet()
    for row in survey.rows(files):
        sheet.add(Photograph(row, None, Taken()))
    return Path(sheet.write(survey, "bridge", ""))


def test_a_survey_that_is_only_read_is_left_as_it_is(tmp_path: Path) -> None:
    """So it may be an archive; and several may read it at once, but none while it is written."""
    survey = Survey(tmp_path, QUESTION)
    survey.append(Row("a.jpg", Status.REFUSED, 1, 1, ""))
    with pytest.raises(BlockingIOError):
        Survey(tmp_path, None, is_read_only=True)
    survey.close()
    with (tmp_path / "cracks.jsonl").open("ab") as journal:
        journal.write(b'{"file": "b')  # a power cut
    (tmp_path / "cracks.jsonl").chmod(0o444)

    def state() -> dict[Path, tuple[bytes, int, int]]:
        return {
            path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mode, path.stat().st_mtime_ns)
            for path in (tmp_path, *tmp_path.rglob("*"))
        }

    former = state()
    readers = [Survey(tmp_path, None, is_read_only=True) for _ in range(2)]
    assert [reader.files() for reader in readers] == [["a.jpg"], ["a.jpg"]]
    assert state() == former
    with pytest.raises(BlockingIOError):
        Survey(tmp_path, None)
    for reader in readers:
        reader.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [(0, ""), (errno.EACCES, "BlockingIOError"), (errno.ENOSYS, "can be locked (")],
    ids=["free", "held by another", "a share without locks"],
)
def test_its_folder_is_held_by_what_windows_has_instead_of_fcntl(tmp_path: Path, error: int, said: str) -> None:
    """A `msvcrt` of the test's own stands in for that of Windows."""
    code = f"""
import sys, types
from pathlib import Path
def locking(*_):
    if {error}:
        raise OSError({error}, "no")
sys.modules |= {{"fcntl": None, "msvcrt": types.SimpleNamespace(LK_NBLCK=2, locking=locking)}}
from survey.folder import Survey
Survey(Path({str(tmp_path)!r}), {QUESTION}).close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said in done.stderr) if said else (done.stderr == "")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_on_a_share_without_locks_a_survey_warns_and_works(tmp_path: Path, error: str) -> None:
    code = f"""
from pathlib import Path
from survey.folder import Survey
survey = Survey(Path({str(tmp_path)!r}), {QUESTION})
survey.close()
"""
    trace = ["strace", "-qq", "-o", os.devnull, "-e", "trace=flock", "-e", f"inject=flock:error={error}"]
    done = subprocess.run([*trace, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"warning: no file in {tmp_path} can be locked (" in done.stderr
    assert len((tmp_path / "cracks.jsonl").read_bytes().splitlines()) == 1


def test_a_journal_torn_at_any_byte_keeps_every_line_before(tmp_path: Path) -> None:
    survey = Survey(tmp_path, QUESTION)
    for number in range(3):
        survey.append(Row(str(number), Status.REFUSED, 1, 1, "", error="torn"))
    survey.close()
    whole = (tmp_path / "cracks.jsonl").read_bytes()
    for n_bytes in range(len(whole) + 1):
        (tmp_path / "cracks.jsonl").write_bytes(whole[:n_bytes])
        survey = Survey(tmp_path, QUESTION)
        n_left = max(0, whole[:n_bytes].count(b"\n") - 1)
        assert [found.file for found in survey.rows("012")] == ["0", "1", "2"][:n_left]
        survey.append(Row("2", Status.FAILED, 1, 1, "", error="new"))
        survey.close()
        lines = (tmp_path / "cracks.jsonl").read_bytes().splitlines()
        assert [json.loads(line).get("file") for line in lines] == [*[None, "0", "1", "2"][: n_left + 1], "2"]


def test_of_a_journal_whose_end_a_power_cut_left_as_zeros_every_line_before_holds(tmp_path: Path) -> None:
    survey = Survey(tmp_path, QUESTION)
    survey.append(Row("0", Status.REFUSED, 1, 1, "", error="torn"))
    survey.close()
    with (tmp_path / "cracks.jsonl").open("ab") as journal:
        journal.write(bytes(100) + b'"}\n')
    survey = Survey(tmp_path, QUESTION)
    assert survey.files() == ["0"]
    survey.close()


def test_lines_after_zeros_hold_and_nothing_is_cut_off(tmp_path: Path) -> None:
    survey = Survey(tmp_path, QUESTION)
    for number in range(3):
        survey.append(Row(str(number), Status.REFUSED, 1, 1, "", error="torn"))
    survey.close()
    journal = tmp_path / "cracks.jsonl"
    head, first, second, third = journal.read_bytes().splitlines(keepends=True)
    damaged = head + first + bytes(len(second) - 1) + b"\n" + third
    journal.write_bytes(damaged)
    survey = Survey(tmp_path, QUESTION)
    assert survey.files() == ["0", "2"]
    survey.close()
    assert journal.read_bytes() == damaged


@pytest.mark.parametrize(
    "content",
    [b"notes of a person", b"{}", b"[1]\n", '{"question": {}}\n'.encode("utf-16")],
    ids=["text", "{}", "list", "UTF-16"],
)
@pytest.mark.parametrize("question", [QUESTION, None], ids=["survey", "report"])
def test_a_file_that_is_no_journal_is_named_and_stays(tmp_path: Path, content: bytes, question: dict[str, str] | None) -> None:
    (tmp_path / "cracks.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"cracks\.jsonl: the line at byte 0 is not a survey's"):
        Survey(tmp_path, question)
    assert (tmp_path / "cracks.jsonl").read_bytes() == content


def test_a_report_of_a_journal_that_a_power_cut_left_without_a_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "cracks.jsonl").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="holds no answer yet"):
        Survey(tmp_path, None)


def test_what_is_noted_is_brought_to_disk_each_second_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, on_disk, fsync = tmp_path / "cracks.jsonl", [0], os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        if os.path.sameopenfile(descriptor, survey_journal.fileno()):
            on_disk.append(os.fstat(descriptor).st_size)

    survey = Survey(tmp_path, QUESTION)
    with journal.open("rb") as survey_journal:
        monkeypatch.setattr(os, "fsync", noted)
        for number in itertools.count():
            survey.append(Row(str(number), Status.REFUSED, 1, 1, "", error="torn"))
            if on_disk[-1]:
                break
        survey.append(Row("the last", Status.REFUSED, 1, 1, "", error="torn"))
        survey.close()
    assert on_disk[-1] == journal.stat().st_size > on_disk[1]


@pytest.mark.parametrize("end", [0, -1, -1000])
@pytest.mark.parametrize("picture", ["mask", "overlay"])
def test_a_picture_that_a_power_cut_left_empty_or_half_is_made_again(tmp_path: Path, picture: str, end: int) -> None:
    survey = Survey(tmp_path, QUESTION)
    survey.pictures.keep("wall.jpg", mask_png(noise(64, 64)[..., 0] > 128), jpeg(noise(64, 64)))
    assert survey.pictures.has("wall.jpg")
    path = getattr(survey.pictures, picture)("wall.jpg")
    path.write_bytes(path.read_bytes()[:end])
    assert not survey.pictures.has("wall.jpg")
    survey.close()


def test_the_contact_sheet_ranks_by_score_and_what_has_none_by_its_share_at_the_end(tmp_path: Path) -> None:
    survey = Survey(tmp_path, QUESTION)
    figures = {"a": (0.5, 0.2), "b": (0.01, 0.9), "c": (0.3, None), "d": (0.9, None), "e": (0.0, 0.0), "f": (0.6, 0.2)}
    for file, (ratio, score) in figures.items():
        survey.append(Row(file, Status.PREDICTED, 1, 1, "", crack_ratio=ratio, crack_score=score))
    sheet = written(survey, figures).read_text()
    survey.close()
    assert re.findall(r'data-file="(.)"', sheet) == ["b", "f", "a", "e", "d", "c"]
    assert re.findall(r"<b>(.*?)</b>", sheet) == ["0.900", "0.200", "0.200", "0.000", "no score", "no score"]
    assert "2 have no score" in sheet
