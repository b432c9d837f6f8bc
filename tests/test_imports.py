"""Who may import whom, read from the sources without running them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

# Which of our packages the modules of a folder may import, beside the folder's own.
ALLOWED = {
    "crack": set[str](),
    "model": {"crack"},
    "export": {"crack", "model"},
    "handler": {"crack", "model.inference"},
    "sidecar": {"crack", "model", "inspection"},
    "gradio_app": {"crack", "model", "inspection"},
    "retrain": {"crack", "model", "export"},
    "inspection": {"crack", "model"},
    "survey": {"crack", "model", "inspection"},
}
# Folders that run where torch is not, or must answer before it is loaded.
TORCH_FREE = ("crack", "model.inference", "handler", "sidecar", "gradio_app", "inspection", "survey")
# The one folder through whose single module a third party comes in.
DOORS = {
    "onnxruntime": "model/inference",
    "openvino": "model/inference",
    "pi_heif": "model/inference",
    "nncf": "export",
    "ts": "handler",
    "mlflow": "retrain",
    "gradio": "gradio_app",
    "pyogrio": "survey/mosaic",
    "ray": "survey/engines",
}

FOLDERS = [folder for folder in ALLOWED if (REPOSITORY / folder).is_dir()]


def sources(package: str) -> list[Path]:
    """Of a folder, or of one module."""
    path = REPOSITORY / package.replace(".", "/")
    return [module] if (module := path.with_suffix(".py")).is_file() else sorted(path.rglob("*.py"))


def imported_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file, in full: `from a.b import c` gives `a.b.c`."""
    package = path.parent.relative_to(REPOSITORY).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            parts = [*above, node.module] if node.module else above
            yield from (".".join([*parts, alias.name]) for alias in node.names)


def lies_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def our_source(name: str) -> Path | None:
    """The file behind an imported name of ours; the name may go on into the module, `model.metrics.report`."""
    parts = name.split(".")
    for n_parts in range(len(parts), 0, -1):
        base = REPOSITORY.joinpath(*parts[:n_parts])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if parts[0] in ALLOWED and path.is_file():
                return path
    return None


def reachable_names(package: str) -> set[str]:
    """All that is imported, directly or through our own modules, by the modules of a package."""
    names: set[str] = set()
    waiting, seen = sources(package), set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported_names(path):
            names.add(name)
            source = our_source(name)
            if source is not None:
                waiting.append(source)
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_no_more_of_ours_than_it_may(folder: str) -> None:
    allowed = {folder, *ALLOWED[folder]}
    forbidden = [
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in sources(folder)
        for name in imported_names(path)
        if name.split(".")[0] in {*ALLOWED, "tests"} and not any(lies_in(name, package) for package in allowed)
    ]
    assert forbidden == []


def test_the_inference_core_imports_the_standard_library_numpy_pillow_opencv_its_runtimes_and_itself() -> None:
    foreign = [
        f"{path.name}: {name}"
        for path in sources("model.inference")
        for name in imported_names(path)
        if name.split(".")[0] not in {*sys.stdlib_module_names, "numpy", "PIL", "pi_heif", "cv2", "onnxruntime", "openvino"}
        and not lies_in(name, "model.inference")
    ]
    assert foreign == []


@pytest.mark.parametrize("package", [name for name in TORCH_FREE if sources(name)])
def test_torch_is_not_reached_from_where_it_is_not_wanted(package: str) -> None:
    assert {name.split(".")[0] for name in reachable_names(package)} & {"torch", "torchvision"} == set()


def test_torch_is_reached_from_training() -> None:
    """So that the test above would find it."""
    assert any(lies_in(name, "torch") for name in reachable_names("export"))


@pytest.mark.parametrize("third_party", DOORS)
def test_a_third_party_comes_in_by_one_door(third_party: str) -> None:
    modules = {
        path.relative_to(REPOSITORY)
        for folder in FOLDERS
        for path in sources(folder)
        if any(lies_in(name, third_party) for name in imported_names(path))
    }
    assert len(modules) <= 1
    assert all(module.is_relative_to(DOORS[third_party]) for module in modules)


def test_the_runtimes_come_in_by_the_runtime_module() -> None:
    assert {"onnxruntime", "openvino"} <= set(imported_names(REPOSITORY / "model" / "inference" / "runtime.py"))


def test_importing_the_inference_core_does_not_load_torch() -> None:
    code = "import sys, model, model.inference.answer; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_to_tell_what_was_retrained_loads_neither_torch_nor_mlflow() -> None:
    code = "import sys, retrain.__main__; print({'torch', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
