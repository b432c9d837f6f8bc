"""Surveys on a real Ray: two nodes of it on this machine, photographs in moto's S3; nodes and drivers are killed."""

import csv
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from model.synthetic import draw_surface
from survey.__main__ import main
from tests.photographs import jpeg
from tests.rays import cluster, kill
from tests.s3 import BUCKET, put, s3_server, stored
from tests.surveys import begin, end
from tests.waiting import eventually

BACKEND = ("--backend", "onnxruntime int8")
LOCAL = ("--engine", "local", *BACKEND, "--concurrency", "2")
RAY = ("--engine", "ray", *BACKEND)


OUT = f"s3://{BUCKET}/results"


def n_noted(out: Path) -> int:
    journal = out / "cracks.jsonl"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def noted() -> list[str]:
    """Photographs that the journal in the bucket has, each time that it has them."""
    journal = b"".join(content for name, content in sorted(stored("results").items()) if name.endswith(".jsonl"))
    return [row["file"] for row in map(json.loads, journal.splitlines()) if "file" in row]


@pytest.mark.parametrize("n", [200, pytest.param(2000, marks=pytest.mark.soak)])
def test_each_photograph_is_in_the_results_once_though_a_node_and_then_the_driver_are_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, n: int
) -> None:
    names = [f"{number:04}.jpg" for number in range(n)]
    with s3_server(monkeypatch), cluster() as nodes:
        put({f"bridge/{name}": jpeg(draw_surface(number, (96, 160)).image_hwc_u8) for number, name in enumerate(names)})
        code, said = end(begin(f"s3://{BUCKET}/bridge", tmp_path / "local", *LOCAL))
        assert code == 0, said
        node = nodes.add_node()
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        survey = begin(f"s3://{BUCKET}/bridge", OUT, *RAY)
        eventually(lambda: noted() or survey.poll() is not None)
        kill(node)
        n_before = len(noted())
        eventually(lambda: len(noted()) > n_before or survey.poll() is not None)
        survey.kill()
        assert "answers with model" in end(survey)[1]
        assert 0 < len(noted()) < n
        code, said = end(begin(f"s3://{BUCKET}/bridge", OUT, *RAY))
        results = stored("results")
    assert code == 0, said
    lines = results["cracks.jsonl"].splitlines()[1:]
    assert sorted(json.loads(line)["file"] for line in lines) == names
    table = csv.DictReader(results["photographs.csv"].decode().splitlines())
    assert [row["file"] for row in table if row["status"] == "predicted"] == names
    assert pictures(results) == pictures(files_of(tmp_path / "local"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith(("masks/", "overlays/"))}


def test_without_a_cluster_one_is_started_here_and_ctrl_c_stops_it_cleanly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "bridge").mkdir()
    for number in range(50):
        (tmp_path / "bridge" / f"{number}.jpg").write_bytes(jpeg(draw_surface(number, (96, 160)).image_hwc_u8))
    survey = begin(tmp_path / "bridge", tmp_path / "out", *RAY, "--concurrency", "1")
    eventually(lambda: n_noted(tmp_path / "out") or survey.poll() is not None)
    os.killpg(survey.pid, signal.SIGINT)
    code, said = end(survey)
    assert code == 130, said
    assert "A Ray of this machine (RAY_ADDRESS names no cluster) answers with model" in said
    assert "remain. Continue with: crack survey" in said
    assert "Traceback" not in said


def test_without_its_package_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "bridge").mkdir()
    (tmp_path / "bridge" / "0.jpg").write_bytes(jpeg(draw_surface(0, (96, 160)).image_hwc_u8))
    with pytest.raises(SystemExit):
        main([str(tmp_path / "bridge"), *RAY])
    assert "needs the package ray" in capsys.readouterr().err
