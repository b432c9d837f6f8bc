"""Photographs in a store: a real S3 server (moto's), a real HTTP server; and lists and patterns of files."""

import csv
import logging
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pypdfium2
import pytest

from inspection.rows import Row, Status
from model.synthetic import draw_surface
from survey import remote, urls
from survey.folder import Survey
from survey.opening import open_source
from survey.report import write_report
from survey.store import StoreSurvey
from tests.photographs import jpeg
from tests.s3 import BUCKET, put, s3_server, stored
from tests.surveys import begin, end

PHOTOGRAPHS = {f"pier {number}/wall.jpg": jpeg(draw_surface(number, (96, 160)).image_hwc_u8) for number in range(3)}
OTHERS = {
    "notes.txt": b"Pier 3\n",
    "empty.jpg": b"",
    ".hidden.jpg": b"none",
    "old/cracks.jsonl": b"{}",
    "old/masks/a.png": b"none",
}
LOCAL = ("--engine", "local", "--backend", "onnxruntime int8", "--concurrency", "1")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server(monkeypatch):
        put({f"bridge/{name}": content for name, content in (PHOTOGRAPHS | OTHERS).items()})
        yield f"s3://{BUCKET}/bridge"


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "photographs.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_a_bucket_is_surveyed_as_a_folder_is_and_gone_on_with_where_something_is_new(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "bridge"
    for name, content in (PHOTOGRAPHS | OTHERS).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    code, said = end(begin(folder, tmp_path / "here", *LOCAL))
    assert code == 1, said
    code, said = end(begin(bucket, tmp_path / "there", *LOCAL))
    assert code == 1, said
    assert "3 predicted, 2 left out" in said
    here, there = rows(tmp_path / "here"), rows(tmp_path / "there")
    for row in (*here.values(), *there.values()):
        del row["seconds"]
    assert there == here
    for name in PHOTOGRAPHS:
        for picture in (f"masks/{name}.png", f"overlays/{name}.jpg"):
            assert (tmp_path / "there" / picture).read_bytes() == (tmp_path / "here" / picture).read_bytes()
    put({"bridge/new.jpg": PHOTOGRAPHS["pier 0/wall.jpg"], "bridge/pier 1/wall.jpg": PHOTOGRAPHS["pier 2/wall.jpg"]})
    code, said = end(begin(bucket, tmp_path / "there", *LOCAL))
    assert "4 photographs, 2 already done" in said
    assert "1 have changed since they were examined, and are examined again: pier 1/wall.jpg" in said
    assert "4 predicted, 2 left out" in said


def test_files_and_patterns_of_a_bucket_are_those_and_no_others(bucket: str, tmp_path: Path) -> None:
    source = open_source([f"{bucket}/pier 2/wall.jpg", f"{bucket}/pier [01]/*.jpg"])
    assert str(source) == bucket
    assert source.photographs(tmp_path) == (sorted(PHOTOGRAPHS), {})
    (one,) = open_source([f"{bucket}/pier 2/wall.jpg"]).photographs(tmp_path)[0]
    assert one == "wall.jpg"


def test_files_and_patterns_of_a_folder_are_those_and_no_others(tmp_path: Path) -> None:
    for name, content in (PHOTOGRAPHS | OTHERS).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = open_source([str(tmp_path / "pier 2" / "wall.jpg"), f"{tmp_path}/pier [01]/*.jpg", str(tmp_path / "notes.txt")])
    files, others = source.photographs(tmp_path / "out")
    assert (str(source), files, list(others)) == (str(tmp_path), sorted(PHOTOGRAPHS), ["notes.txt"])
    with pytest.raises(
        ValueError,
        match=r"gone\.jpg: found nothing there, expected a folder of photographs, photographs, or an orthomosaic",
    ):
        open_source([str(tmp_path / "notes.txt"), str(tmp_path / "gone.jpg")])


def test_a_photograph_of_a_bucket_is_asked_for_once_and_its_time_too_unless_it_is_listed(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="werkzeug")

    def asked(source: remote.UrlSource) -> list[str]:
        caplog.clear()
        assert source.read("pier 1/wall.jpg")[0] == PHOTOGRAPHS["pier 1/wall.jpg"]
        return re.findall(r"(HEAD|GET) /", caplog.text)

    listed = remote.UrlSource(bucket)
    assert asked(listed) == ["HEAD", "GET"]
    listed.photographs(tmp_path)
    assert asked(listed) == ["GET"]


def test_a_folder_of_a_web_server_is_what_its_page_lists(tmp_path: Path) -> None:
    for name in ("wall.jpg", "pier 1/ü #1.jpg", "pier 1/a&b/wall.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(OTHERS.get(name) or PHOTOGRAPHS["pier 0/wall.jpg"])
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        source = open_source([f"{url}/"])
        files, others = source.photographs(tmp_path / "out")
        assert (files, list(others)) == (["pier%201/%C3%BC%20%231.jpg", "pier%201/a%26b/wall.jpg", "wall.jpg"], ["notes.txt"])
        assert source.read(files[0])[0] == PHOTOGRAPHS["pier 0/wall.jpg"]
        assert source.state(files[1])[1] // 10**9 == int((tmp_path / "pier 1/a&b/wall.jpg").stat().st_mtime)
        assert open_source([f"{url}/*.jpg"]).photographs(tmp_path / "out") == (["wall.jpg"], {})
        server.shutdown()


class Shaky(BaseHTTPRequestHandler):
    """Away at first."""

    refusals = 0

    def do_GET(self) -> None:
        content = PHOTOGRAPHS["pier 0/wall.jpg"]
        if Shaky.refusals:
            Shaky.refusals -= 1
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: object) -> None:
        return


def test_a_store_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "_WAITS_S", (0, 0, 0, 0))
    with ThreadingHTTPServer(("127.0.0.1", 0), Shaky) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = remote.UrlSource(f"http://127.0.0.1:{server.server_port}")
        Shaky.refusals = 3
        assert source.read("wall.jpg")[0] == PHOTOGRAPHS["pier 0/wall.jpg"]
        Shaky.refusals = 100
        with pytest.raises(OSError, match=r"wall\.jpg: 503"):
            source.read("wall.jpg")
        server.shutdown()


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ValueError, match=r"gs://bridge/7 needs a package that isn't there .* pip install '\.\[cloud\]'"):
        open_source(["gs://bridge/7"])


def test_results_go_into_a_bucket_as_into_a_folder(bucket: str, tmp_path: Path) -> None:
    code, said = end(begin(bucket, tmp_path / "here", *LOCAL))
    assert code == 1, said
    code, said = end(begin(bucket, f"s3://{BUCKET}/out", *LOCAL))
    assert code == 1, said
    assert f"s3://{BUCKET}/out/index.html" in said
    here = {path.relative_to(tmp_path / "here").as_posix(): path for path in (tmp_path / "here").rglob("*") if path.is_file()}
    there = stored("out")
    assert sorted(there) == sorted(here)
    pictures = [name for name in there if name.startswith(("masks/", "overlays/"))]
    assert len(pictures) >= 2 * len(PHOTOGRAPHS)
    for name in (*pictures, "survey.json", "index.html", "cracks.geojson"):
        assert there[name] == here[name].read_bytes()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "cracks.jsonl").write_bytes(there["cracks.jsonl"])
    copy = Survey(tmp_path / "copy", None)
    copy.close()
    assert copy.files() == list(rows(tmp_path / "here"))


def test_a_survey_into_a_bucket_that_is_killed_goes_on_from_the_parts_of_its_journal(bucket: str) -> None:
    row = Row("a.jpg", Status.REFUSED, 1, 1, "", error="as an earlier one")
    killed = StoreSurvey(f"s3://{BUCKET}/killed", {"quality": "normal"})
    killed.append(row)
    killed._sync()
    killed.append(replace(row, error="as a later one"))
    killed._sync()
    assert len([name for name in stored("killed") if name.startswith("journal/")]) == 2
    killed._journal.close()
    survey = StoreSurvey(f"s3://{BUCKET}/killed", {"quality": "normal"})
    assert survey.find("a.jpg") == replace(row, error="as a later one")
    survey.close()
    assert list(stored("killed")) == ["cracks.jsonl"]


def test_the_report_of_results_in_a_bucket_is_put_beside_them(bucket: str) -> None:
    put({"out/inspection.toml": b'inspector = "M. Weber"'})
    code, said = end(begin(bucket, f"s3://{BUCKET}/out", *LOCAL))
    assert code == 1, said
    assert write_report(f"s3://{BUCKET}/out", {"structure": "Bridge 7"}, 30)[1] == f"s3://{BUCKET}/out/report.pdf"
    with pypdfium2.PdfDocument(stored("out")["report.pdf"]) as document:
        cover = document[0].get_textpage().get_text_bounded()
    assert "Bridge 7" in cover
    assert "M. Weber" in cover


def test_a_report_of_what_is_no_survey_leaves_nothing_in_the_bucket(bucket: str) -> None:
    with pytest.raises(ValueError, match=r"s3://photographs/none/ has no cracks\.jsonl: expected a survey's folder"):
        write_report(f"s3://{BUCKET}/none", {}, 30)
    assert not stored("none")


@pytest.mark.parametrize("out", ["https://agency.example/out", "file:///out"])
def test_results_where_a_file_may_be_half_are_refused_in_a_sentence(tmp_path: Path, out: str) -> None:
    code, said = end(begin(tmp_path, out))
    assert (code, "expected a folder of this machine, or a URL of a store that writes a file whole or not at all" in said) == (
        2,
        True,
    )
