"""What the README and the documents tell people to type, typed; and whether their links lead anywhere."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.synthetic import write_data_set
from tests.conftest import ROOT
from tests.sidecars import StartSidecar

API = ROOT / "docs" / "api.md"
FOLDERS = ("benchmarks/results", "docs", "monitoring")
PAGES = sorted((*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))))
COMMANDS = [
    line.partition(" #")[0].strip()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)
    for line in block.splitlines()
]
# The others need a key, an item of feedback, or photographs of the reader's own.
CURL = sorted(
    {command for command in COMMANDS if command.startswith("curl") and not re.search(r"photo\.jpg|KEY|ID|-X|If-M|\$", command)}
)


@pytest.mark.parametrize("command", CURL)
def test_its_curl_lines_are_answered(command: str, start_sidecar: StartSidecar, tmp_path: Path) -> None:
    command = command.replace("http://127.0.0.1:8000", start_sidecar().url).replace("-o ", f"-o {tmp_path}/")
    finished = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, check=True
    )
    if finished.stdout:
        answer = json.loads(finished.stdout)
        is_done = answer.get("status") in ("success", "saved")
        assert is_done or answer.get("features") or answer.get("id") or answer["items"] == []
    else:
        with Image.open(tmp_path / re.findall(r"-o \S*/(\S+)", command)[0]) as picture:
            assert picture.size == (544, 384)


@pytest.mark.parametrize("command", sorted({command for command in COMMANDS if command.startswith("make ")}))
def test_its_make_targets_exist_and_are_explained(command: str) -> None:
    explained = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"^{command.split()[1]}\s+\w", explained, re.MULTILINE)
    subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, check=True)


def test_its_answer_has_the_keys_of_a_real_one(start_sidecar: StartSidecar) -> None:
    shown = re.search(r"```json\n(.*?)```", API.read_text(), re.S)
    assert shown is not None
    example = json.loads(shown[1].replace("[[0,1,...],...]", "[]").replace("[[0,0,1,...],...]", "[]"))
    command = next(command for command in re.findall(r"^curl .*$", API.read_text(), re.M))
    arguments = shlex.split(command.replace("http://127.0.0.1:8000", start_sidecar().url))[1:]
    answer = json.loads(subprocess.run(["curl", "-s", *arguments], cwd=ROOT, capture_output=True, check=True).stdout)
    assert answer.keys() == example.keys()
    assert answer["model"].keys() == example["model"].keys()


def slugs(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    for target, heading in links:
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        if heading:
            assert heading in slugs(found), f"{target}#{heading}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_its_samples_are_what_the_generator_draws(tmp_path: Path) -> None:
    write_data_set(tmp_path / "samples", n_surfaces=6, seed=20, size_hw=(384, 544))
    for folder, most in (("masks", 0.1), ("images", 1)):  # of 255, on the mean: other processors round otherwise
        for path in sorted((ROOT / "docs" / "samples" / folder).iterdir()):
            with Image.open(tmp_path / "samples" / folder / path.name) as drawn, Image.open(path) as kept:
                assert np.abs(np.subtract(drawn, kept, dtype=np.int16)).mean() < most, path.name
