"""What processes agree on is written down in one module, and whoever needs it goes through that: read from the sources."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_imports import FOLDERS, REPOSITORY, imported_names, lies_in, sources

# What a text in a program would have in it, and the one module that may have such a text.
CONTRACTS = {
    "headers of a prediction": (r"(?i)^x-(crack-|request-id)", "model/inference/headers.py"),
    "whether a worker can predict": (r"^READY$", "crack/torchserve.py"),
    "addresses": (r"^/predictions|^/models|set-default", "crack/torchserve.py"),
    "what the management tells": (r"^(modelUrl|jobQueueStatus|pendingRequests)$", "crack/torchserve.py"),
    "what is served": (r"^serving\.json$", "crack/serving.py"),
}


def texts(path: Path) -> Iterator[str]:
    """All texts of a program but its docstrings."""
    tree = ast.parse(path.read_text())
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


@pytest.mark.parametrize("contract", CONTRACTS)
def test_each_contract_is_written_in_one_module(contract: str) -> None:
    pattern, module = CONTRACTS[contract]
    found = {
        str(path.relative_to(REPOSITORY))
        for folder in [*FOLDERS, "benchmarks"]
        for path in sources(folder)
        if any(re.search(pattern, text) for text in texts(path))
    }
    assert found == {module}


def test_parts_of_ours_ask_torchserve_by_one_client() -> None:
    libraries = ("aiohttp", "httpx", "requests", "urllib3", "http.client", "urllib.request")
    askers = {
        str(path.relative_to(REPOSITORY))
        for folder in ("crack", "handler", "sidecar", "retrain")
        for path in sources(folder)
        if any(lies_in(name, library) for name in imported_names(path) for library in libraries)
    }
    assert askers == {"crack/torchserve.py", "crack/neighbours.py", "sidecar/issuer.py"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """All calls of methods and of functions of modules, by their last name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, node


def encodes(name: str, call: ast.Call) -> bool:
    """Whether a call makes the file of a picture, by Pillow or by OpenCV."""
    is_picture = any(isinstance(each, ast.Constant) and each.value in ("PNG", "JPEG") for each in call.args)
    has_quality = any(each.arg in ("quality", "compress_level") for each in call.keywords)
    return name in ("imencode", "imwrite") or (name == "save" and (is_picture or has_quality))


def test_files_are_brought_to_disk_in_one_module() -> None:
    found = {
        str(path.relative_to(REPOSITORY))
        for folder in FOLDERS
        for path in sources(folder)
        if any(name in ("fsync", "fdatasync") for name, _ in calls(path))
    }
    assert found - {"survey/folder.py"} == {"crack/files.py"}  # a journal, which grows and is not replaced


def test_pictures_are_encoded_in_one_module() -> None:
    found = {
        str(path.relative_to(REPOSITORY))
        for folder in FOLDERS
        for path in sources(folder)
        if any(encodes(name, call) for name, call in calls(path))
    }
    # Training's own: drawn sets as cameras write them, what is kept in memory by OpenCV's quicker encoder, a report's figures.
    assert found - {"model/synthetic.py", "model/dataset.py", "model/report.py"} == {"model/inference/encoding.py"}
