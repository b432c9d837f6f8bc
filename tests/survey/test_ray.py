"""Surveys on a real Ray: two nodes of it on this machine, photographs in moto's S3; nodes and drivers are killed."""

import csv
import os
import signal
import sys
from pathlib import Path

import pytest

from model.synthetic import draw_surface
from survey.__main__ import main
from tests.photographs import jpeg
from tests.rays import cluster, kill
from tests.s3 import BUCKET, put, s3_server
from tests.surveys import begin, end
from tests.waiting import eventually

BACKEND = ("--backend", "onnxruntime int8")
LOCAL = ("--engine", "local", *BACKEND, "--concurrency", "2")
RAY = ("--engine", "ray", *BACKEND)


def n_noted(out: Path) -> int:
    journal = out / "cracks.jsonl"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def files(out: Path) -> dict[str, bytes]:
    """All pictures."""
    folders = (out / "masks", out / "overlays")
    return {str(path.relative_to(out)): path.read_bytes() for each in folders for path in each.iterdir()}


def predicted(out: Path) -> list[str]:
    with (out / "photographs.csv").open(newline="") as table:
        return [row["file"] for row in csv.DictReader(table) if row["status"] == "predicted"]


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
        survey = begin(f"s3://{BUCKET}/bridge", tmp_path / "out", *RAY)
        eventually(lambda: n_noted(tmp_path / "out") or survey.poll() is not None)
        kill(node)
        n_before = n_noted(tmp_path / "out")
        eventually(lambda: n_noted(tmp_path / "out") > n_before or survey.poll() is not None)
        survey.kill()
        assert "answers by model" in end(survey)[1]
        assert 0 < n_noted(tmp_path / "out") < n
        code, said = end(begin(f"s3://{BUCKET}/bridge", tmp_path / "out", *RAY))
    assert code == 0, said
    assert n_noted(tmp_path / "out") == n
    assert predicted(tmp_path / "out") == names
    assert files(tmp_path / "out") == files(tmp_path / "local")


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
    assert "A Ray of this machine (RAY_ADDRESS names no cluster) answers by model" in said
    assert "remain. Go on with: crack survey" in said
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
