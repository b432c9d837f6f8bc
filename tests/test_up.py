"""`make up`: a part that ends is started again and takes no other with it; a taken port is named before anything starts."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from crack.instance import N_INSTANCES, PORTS, TORCHSERVE, of_instance
from crack.up import CPUINFO, LISTENS, lacking_instructions, taken_ports
from tests.conftest import ROOT, has_ended
from tests.ports import NOBODY, free_ports
from tests.waiting import PATIENCE_S, eventually

# What shells set for other programs, and what would end or move ours if it were heeded.
OF_OTHERS = {"WEB_CONCURRENCY": "4", "PORT": "tcp://10.0.0.1:80", "GRADIO_SERVER_PORT": "2", "GIT_DIR": "/nowhere"}
OF_OTHERS |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONWARNINGS": "error", "TZ": "No/Where"}


class Up:
    """`crack up` with the sidecar and the page, without a TorchServe."""

    def __init__(self, folder: Path, **environment: str) -> None:
        sidecar, page = free_ports(2)
        self.sidecar_url, self.page_url, self.log_path = (
            f"http://127.0.0.1:{sidecar}",
            f"http://127.0.0.1:{page}",
            folder / "log",
        )
        environment = {
            **os.environ,
            "CRACK_SIDECAR_PORT": str(sidecar),
            "CRACK_PAGE_PORT": str(page),
            "CRACK_FEEDBACK_DIR": str(folder / "store"),
            "TORCHSERVE_URL": NOBODY,
            "TORCHSERVE_MANAGEMENT_URL": NOBODY,
            "GRADIO_ANALYTICS_ENABLED": "False",
            **OF_OTHERS,
            **environment,
        }
        (folder / ".env").write_text("CRACK_REVIEW=perhaps\n")  # Compose's
        command = [sys.executable, "-m", "crack", "up", "sidecar", "page"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def answers(self) -> bool:
        return all(requests.get(f"{url}/", timeout=PATIENCE_S).status_code < 500 for url in (self.sidecar_url, self.page_url))

    def part(self, name: str) -> psutil.Process:
        family = psutil.Process(self.process.pid).children(recursive=True)
        commands = {process: process.cmdline() for process in family}
        (found,) = (
            process for process, (*_, program, last) in commands.items() if (Path(program).name, last) == ("crack", name)
        )
        return found

    def said(self) -> str:
        return self.log_path.read_text()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up"))
    eventually(running.answers, requests.ConnectionError)
    yield running
    running.process.terminate()
    running.process.wait(PATIENCE_S)


def test_a_part_that_is_killed_is_started_again_by_itself_after_pauses_that_grow(up: Up) -> None:
    page = up.part("page")
    for pause_s in (1, 2):
        up.part("sidecar").kill()
        eventually(lambda: f"where memory is short), and starts again in {pause_s} s" in up.said())  # noqa: B023
        eventually(up.answers, requests.ConnectionError)
    assert up.part("page") == page


def test_the_page_is_not_missed_while_it_is_away(up: Up) -> None:
    up.part("page").kill()
    assert requests.get(f"{up.sidecar_url}/ping", timeout=PATIENCE_S).ok
    eventually(up.answers, requests.ConnectionError)


def test_ctrl_c_ends_all_parts_and_is_no_failure(up: Up) -> None:
    """The last test on this system."""
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(PATIENCE_S) == 0
    assert all(map(has_ended, family))


def test_if_it_is_killed_its_parts_end_too_and_do_not_come_back(tmp_path: Path) -> None:
    up = Up(tmp_path)
    eventually(up.answers, requests.ConnectionError)
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.kill()
    up.process.wait()
    eventually(lambda: all(map(has_ended, family)))
    with pytest.raises(requests.ConnectionError):
        up.answers()


def test_if_what_watches_over_a_part_is_killed_all_end(tmp_path: Path) -> None:
    up = Up(tmp_path)
    eventually(up.answers, requests.ConnectionError)
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.part("page").parent().kill()
    assert up.process.wait(PATIENCE_S) == 1
    eventually(lambda: all(map(has_ended, family)))
    assert "the process that watches over page.1 was killed" in up.said()


def test_it_ends_with_all_its_parts_when_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    sidecar, page = free_ports(2)
    ports = {"CRACK_SIDECAR_PORT": str(sidecar), "CRACK_PAGE_PORT": str(page), "CRACK_FEEDBACK_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "crack", "up", "sidecar", "page"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | ports, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = psutil.Process(process.pid).children(recursive=True)
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 0
    assert all(map(has_ended, family))


def test_a_setting_that_is_refused_at_the_first_start_ends_it_and_is_named(tmp_path: Path) -> None:
    refused = Up(tmp_path, CRACK_REVIEW="perhaps")
    assert refused.process.wait(PATIENCE_S) == 2
    assert "CRACK_REVIEW='perhaps': expected one of required, automatic." in refused.said()


def test_a_store_that_is_away_at_the_first_start_is_waited_for(tmp_path: Path) -> None:
    up = Up(tmp_path, CRACK_STORE_URL="postgresql://crack@127.0.0.1:9/crack")
    eventually(lambda: "sidecar.1 ended with status 1, and starts again in 1 s" in up.said())
    up.process.terminate()
    assert up.process.wait(PATIENCE_S) == 0


def test_a_folder_that_cannot_be_written_to_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = Up(tmp_path, CRACK_FEEDBACK_DIR=str(tmp_path / "file" / "store"))
    assert refused.process.wait(PATIENCE_S) == 1
    assert refused.said() == (
        f"CRACK_FEEDBACK_DIR='{tmp_path}/file/store': {tmp_path}/file is not a folder that can be written to. "
        "Set CRACK_FEEDBACK_DIR to another one.\n"
    )


def test_a_file_of_certificates_that_is_not_there_is_named_before_anything_starts(tmp_path: Path) -> None:
    refused = Up(tmp_path, SSL_CERT_FILE="/nowhere/ca.pem")
    assert refused.process.wait(PATIENCE_S) == 1
    assert refused.said() == "error: SSL_CERT_FILE='/nowhere/ca.pem': expected a file of certificates. Name one, or unset it.\n"


def test_a_port_that_is_taken_is_named_with_its_holder_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = Up(tmp_path, CRACK_PAGE_PORT=str(port))
        assert refused.process.wait(PATIENCE_S) == 1
    assert f"Port {port} is held by pid {os.getpid()} (" in refused.said()
    assert "Stop that, or set CRACK_PAGE_PORT to another one." in refused.said()
    assert "CRACK_INSTANCE" in refused.said()
    assert "started" not in refused.said()


@pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed")
def test_a_prometheus_that_runs_already_is_not_started_again_and_its_place_is_told(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    start = [sys.executable, "-m", "crack", "up", "prometheus"]
    environment = os.environ | {"CRACK_PROMETHEUS_PORT": str(port), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(start, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as running:
        try:
            ready = f"http://127.0.0.1:{port}/-/ready"
            eventually(lambda: requests.get(ready, timeout=PATIENCE_S).ok, requests.ConnectionError)
            again, elsewhere = (
                subprocess.run(start, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
                for cwd in (tmp_path, tmp_path.parent)
            )
        finally:
            running.terminate()
    assert (again.returncode, f"prometheus runs already, at http://127.0.0.1:{port} (pid" in again.stdout) == (0, True)
    assert (elsewhere.returncode, "or set CRACK_PROMETHEUS_PORT to another one" in elsewhere.stderr) == (1, True)


@pytest.mark.parametrize("wrong", ["6", "two"])
def test_a_wrong_instance_is_refused_before_anything_is_installed(tmp_path: Path, wrong: str) -> None:
    command = ["make", "up", f"VENV={tmp_path}/venv", f"PYTHON={sys.executable}", f"CRACK_INSTANCE={wrong}"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert refused.returncode == 2
    assert f"error: CRACK_INSTANCE='{wrong}': expected a whole number from 1 to {N_INSTANCES}." in refused.stderr
    assert list(tmp_path.iterdir()) == []


KVM64 = "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm pni cx16"


def test_a_processor_on_which_numpy_would_end_without_a_word_is_known() -> None:
    assert lacking_instructions(f"processor\t: 0\nflags\t\t: {KVM64}\n") == ["lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"]
    assert lacking_instructions(CPUINFO.read_text()) == []
    assert lacking_instructions("processor\t: 0\nFeatures\t: fp asimd\n") == []  # an ARM processor


def test_it_needs_no_variables_of_a_shell() -> None:
    command = [sys.executable, "-m", "crack", "up", "page"]
    finished = subprocess.run(command, cwd=ROOT, env={"CRACK_PAGE_PORT": "70000"}, capture_output=True, text=True, check=False)
    assert finished.stderr.startswith("CRACK_PAGE_PORT='70000': expected a port from 1 to 65535")


ALL_LISTEN = [(part, variable) for part, variables in LISTENS.items() for variable in variables]


@pytest.mark.parametrize(("part", "variable"), ALL_LISTEN, ids=[variable for _, variable in ALL_LISTEN])
def test_every_port_is_looked_at_and_has_its_setting(part: str, variable: str) -> None:
    environment = of_instance({})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        place = f"http://127.0.0.1:{port}" if variable.endswith("ADDRESS") else str(port)
        said = " ".join(taken_ports([part], environment | {variable: place}))
    assert f"Port {port} is held by pid {os.getpid()} (" in said
    assert f"set {variable} to another one" in said


def test_a_port_that_two_parts_are_given_is_named() -> None:
    (port,) = free_ports(1)
    given = of_instance({"CRACK_SIDECAR_PORT": str(port), "CRACK_PAGE_PORT": str(port)})
    assert taken_ports(["sidecar", "page"], given) == [
        f"Port {port} is given twice. Set CRACK_SIDECAR_PORT or CRACK_PAGE_PORT to another one."
    ]


def test_an_address_of_another_machine_is_named() -> None:
    (said,) = taken_ports(["sidecar"], of_instance({"CRACK_SIDECAR_HOST": "192.0.2.1"}))
    assert said.startswith("Nothing can listen on port 8000 of 192.0.2.1 (")
    assert said.endswith("Set CRACK_SIDECAR_HOST to another one.")


def test_a_name_that_is_none_is_named() -> None:
    (said,) = taken_ports(["page"], of_instance({"CRACK_PAGE_HOST": "a..b"}))
    assert "port 8500 of a..b (" in said


@pytest.mark.parametrize("text", ["x", "0", "65536", "-1", "8000.5"])
def test_what_is_no_port_is_named(text: str) -> None:
    (said,) = taken_ports(["page"], of_instance({"CRACK_PAGE_PORT": text}))
    assert said.startswith(f"CRACK_PAGE_PORT={text!r}: expected a port from 1 to 65535")


def places(environment: dict[str, str]) -> set[str]:
    """Every port and folder of a system."""
    given = {**TORCHSERVE, **of_instance(environment)}
    return {re.sub(r"^http://127.0.0.1:", "", place) for name, place in given.items() if name != "CRACK_INSTANCE"}


def test_instances_share_no_port_and_no_folder() -> None:
    all_places = [places({"CRACK_INSTANCE": str(number)}) for number in range(1, N_INSTANCES + 1)]
    assert len(set.union(*all_places)) == sum(map(len, all_places))
    assert len(all_places[0]) >= len(PORTS) + len(TORCHSERVE)


def test_a_variable_that_is_set_comes_before_the_instance_and_neighbours_follow_it() -> None:
    found = of_instance({"CRACK_INSTANCE": "2", "CRACK_SIDECAR_PORT": "9000"})
    assert (found["CRACK_SIDECAR_PORT"], found["BACKEND_URL"]) == ("9000", "http://127.0.0.1:9000")
    assert found["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5100"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:9000"),  # noqa: S104
        ("::", "http://[::1]:9000"),
        ("::1", "http://[::1]:9000"),
        ("192.0.2.7", "http://192.0.2.7:9000"),
    ],
)
def test_the_page_looks_for_the_sidecar_where_it_listens(host: str, url: str) -> None:
    assert of_instance({"CRACK_SIDECAR_HOST": host, "CRACK_SIDECAR_PORT": "9000"})["BACKEND_URL"] == url


def test_line_ends_of_windows_and_the_home_are_read_as_a_shell_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/crew")
    found = of_instance(
        {"CRACK_REVIEW": "automatic\r", "CRACK_FEEDBACK_DIR": " ~/store\r\n", "CRACK_LOGS": "\r", "OTHER": "~/x "}
    )
    quoted = of_instance({"CRACK_FEEDBACK_DIR": '"~/store"', "CRACK_LOGS": "''", "CRACK_MLRUNS": "'the old' and \"new\""})
    assert (found["CRACK_REVIEW"], found["CRACK_FEEDBACK_DIR"]) == ("automatic", "/home/crew/store")
    assert (found["CRACK_LOGS"], found["OTHER"]) == ("logs", "~/x ")
    assert [quoted[name] for name in ("CRACK_FEEDBACK_DIR", "CRACK_LOGS", "CRACK_MLRUNS")] == [
        "/home/crew/store",
        "logs",
        "'the old' and \"new\"",
    ]


@pytest.mark.parametrize("text", ["0", "6", "two"])
def test_what_is_no_instance_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"CRACK_INSTANCE='{text}': expected a whole number from 1 to 5"):
        of_instance({"CRACK_INSTANCE": text})
