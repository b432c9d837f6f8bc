"""Surveys without a server: the inference core in processes, killed, stopped, and held against what a server answers."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from model.synthetic import draw_surface
from survey.engines import SurveyError
from survey.folder import Survey
from survey.processes import N_TRIES, Core, EndedError, Processes, unpack
from tests.conftest import ARCHIVE, ROOT, has_ended
from tests.photographs import jpeg, png
from tests.sidecars import StartSidecar
from tests.surveys import begin, end
from tests.waiting import PATIENCE_S, eventually

BACKEND = "onnxruntime int8"
LOCAL = ("--engine", "local")
SURFACES = [draw_surface(seed, (96, 160)).image_hwc_u8 for seed in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dozen photographs, one of which needs several tiles and a reduced pass."""
    folder = tmp_path / "bridge"
    folder.mkdir()
    for number in range(11):
        (folder / f"{number:02}.jpg").write_bytes(jpeg(SURFACES[number % 6], quality=80 + number))
    (folder / "large.png").write_bytes(png(np.tile(SURFACES[3], (8, 5, 1))))
    return folder


@pytest.fixture
def processes() -> Iterator[Processes]:
    processes = Processes(ARCHIVE, 2, BACKEND, threading.Event())
    yield processes
    processes.close()


def rows(out: Path) -> dict[str, dict[str, object]]:
    survey = Survey(out, None)
    try:
        return {file: vars(row) for file in survey.files() if (row := survey.find(file))}
    finally:
        survey.close()


def n_noted(out: Path) -> int:
    journal = out / "cracks.jsonl"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def its_processes(survey: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Those that compute."""
    return [child for child in psutil.Process(survey.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def pid(_core: Core) -> int:
    return os.getpid()


def die(_core: Core, log: Path) -> None:
    with log.open("a") as file:
        file.write("tried\n")
    os.kill(os.getpid(), signal.SIGKILL)


def fail(_core: Core) -> None:
    raise ZeroDivisionError("of no meaning")


def test_its_pictures_and_figures_are_those_of_a_server_on_the_same_backend(
    start_sidecar: StartSidecar, folder: Path, tmp_path: Path
) -> None:
    (folder / "torn.jpg").write_bytes(jpeg(SURFACES[4])[:2000])
    url = start_sidecar().url
    with (folder / "large.png").open("rb") as file:
        model = requests.post(f"{url}/predict?response=json", data=file, timeout=PATIENCE_S).json()["model"]
    command = [sys.executable, "-m", "crack", "survey", str(folder), "--out", str(tmp_path / "http"), "--url", url]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1
    code, said = end(begin(folder, tmp_path / "local", *LOCAL, "--backend", f"{model['runtime']} {model['precision']}"))
    assert code == 1, said
    assert "12 predicted, 1 refused" in said
    by_http, by_local = rows(tmp_path / "http"), rows(tmp_path / "local")
    for row in (*by_http.values(), *by_local.values()):
        del row["seconds"]
    assert by_local == by_http
    for kind, suffix in (("masks", "png"), ("overlays", "jpg")):
        for file in folder.iterdir():
            if file.name != "torn.jpg":
                of_http, of_local = (tmp_path / engine / kind / f"{file.name}.{suffix}" for engine in ("http", "local"))
                assert of_local.read_bytes() == of_http.read_bytes()


def test_a_process_that_is_killed_costs_nothing_but_another_try(folder: Path, tmp_path: Path) -> None:
    survey = begin(folder, tmp_path / "out", *LOCAL, "--backend", BACKEND, "--concurrency", "2")
    eventually(lambda: n_noted(tmp_path / "out") >= 1)
    its_processes(survey)[0].kill()
    code, said = end(survey)
    assert code == 0, said
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"predicted"}
    assert n_noted(tmp_path / "out") == 12


def test_ctrl_c_stops_it_cleanly_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    survey = begin(folder, tmp_path / "out", *LOCAL, "--backend", BACKEND, "--concurrency", "1")
    eventually(lambda: n_noted(tmp_path / "out") >= 1)
    started = its_processes(survey)
    os.killpg(survey.pid, signal.SIGINT)
    code, said = end(survey)
    assert code == 130, said
    assert "remain. Continue with: crack survey" in said
    assert "Traceback" not in said
    eventually(lambda: all(map(has_ended, started)))
    assert end(begin(folder, tmp_path / "out", *LOCAL, "--backend", BACKEND))[0] == 0
    assert n_noted(tmp_path / "out") == 12


def test_its_processes_end_with_it_when_it_is_killed_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    survey = begin(folder, tmp_path / "out", *LOCAL, "--backend", BACKEND, "--concurrency", "1")
    eventually(lambda: n_noted(tmp_path / "out") >= 1)
    started = its_processes(survey)
    survey.kill()
    eventually(lambda: all(map(has_ended, started)))
    end(survey)
    code, said = end(begin(folder, tmp_path / "out", *LOCAL, "--backend", BACKEND))
    assert code == 0, said
    noted = [json.loads(line) for line in (tmp_path / "out" / "cracks.jsonl").read_bytes().splitlines()[1:]]
    assert sorted(row["file"] for row in noted) == sorted(file.name for file in folder.iterdir())


def test_what_ends_every_process_is_given_up_and_the_next_call_is_answered(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(EndedError, match=f"ended with status -9, in {N_TRIES} tries"):
        processes.call(die, tmp_path / "log")
    assert (tmp_path / "log").read_text().count("tried") == N_TRIES
    assert processes.call(pid) != os.getpid()


def test_what_a_call_raises_is_told_and_its_process_lives_on(processes: Processes) -> None:
    before = processes.call(pid)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: of no meaning"):
        processes.call(fail)
    assert processes.call(pid) == before


@pytest.mark.parametrize(
    ("archive", "backend", "sentence"),
    [
        (ROOT / "README.md", "auto", "README.md is not an archive of a model"),
        (ARCHIVE, "tpu", "--backend 'tpu': expected 'auto', or of this archive's 'onnxruntime fp32'"),
    ],
)
def test_a_model_that_cannot_be_had_is_told(archive: Path, backend: str, sentence: str) -> None:
    with pytest.raises(SurveyError, match=sentence):
        Processes(archive, 1, backend, threading.Event())


def test_a_full_disk_of_temporary_files_is_not_blamed_on_the_archive(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        unpack(ARCHIVE, tmp_path)


def test_it_writes_its_results_even_if_it_was_started_with_closed_streams(folder: Path, tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" -m crack survey "{folder}" --engine local --out "{tmp_path}/out" 0<&- 1>&- 2>&-'
    with subprocess.Popen(["sh", "-c", command], cwd=ROOT) as survey:
        eventually(lambda: n_noted(tmp_path / "out"))
        files = [os.readlink(f"/proc/{survey.pid}/fd/{number}") for number in range(3)]
        assert survey.wait(PATIENCE_S) == 0
    assert files == [os.devnull] * 3  # else what a library prints would go into the survey's own files
    assert (tmp_path / "out" / "index.html").is_file()


def test_it_writes_its_results_even_if_nobody_reads_what_it_prints(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crack", "survey", str(folder), *LOCAL, "--out", str(tmp_path / "out")]
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -1` does
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=writing, timeout=PATIENCE_S, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert (tmp_path / "out" / "index.html").is_file()
