"""An archive answers as its checkpoint does, from itself alone, and holds what is said of it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from export.archive import ArchiveError, content_hash, repack
from export.build import export, renew_reference
from export.quantisation import passed
from model import checkpoint
from model.inference import card, runtime
from model.inference.card import Backend
from model.inference.headers import DOOR_REQUEST_ID
from model.inference.segmenter import Segmenter
from model.synthetic import draw_surface
from tests.conftest import ARCHIVE, ROOT
from tests.photographs import png
from tests.tiny import EXPORT


def test_the_archive_computes_what_the_checkpoint_computes(trained: Path, archive: Path, tmp_path: Path) -> None:
    network, _ = checkpoint.load(trained)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    model_card = card.ModelCard.read(tmp_path / card.FILE_NAME)
    surface = draw_surface(seed=3, size_hw=(150, 201)).image_hwc_u8
    by_onnx = Segmenter(model_card, runtime.load(tmp_path, checkpoint.REFERENCE, n_threads=1)).probability(surface)
    by_torch = Segmenter(model_card, checkpoint.as_run(network)).probability(surface)
    assert np.abs(by_onnx.astype(int) - by_torch).max() <= 1
    assert model_card.figures["parity"]["largest_difference"] < 1e-4


# What TorchServe does with an archive, and its context where the server would stand.
HANDLE = """
import json, sys
sys.path.insert(0, ".")
import crack_handler
import yaml
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
context = Context("crack", ".", {}, 1, None, None)
context.model_yaml_config = yaml.safe_load(open("model-config.yaml"))
context.metrics = MetricsCacheYamlImpl(sys.argv[2])
context.metrics.initialize_cache()
context.request_ids, context.request_processor = {0: "an-id"}, [RequestProcessor(json.loads(sys.argv[3]))]
handler = crack_handler.CrackHandler()
handler.initialize(context)
parts = {"image": bytearray(open("photograph.png", "rb").read()), "response": bytearray(b"full")}
body = handler.handle([parts], context)[0].decode()
print(json.dumps(context.get_response_headers(0)))
print(body)
assert all(getattr(module, "__file__", None) is None or not module.__file__.startswith(sys.argv[1])
           for name, module in sys.modules.items() if name.split(".")[0] in ("model", "handler", "export"))
"""


def handle(archive: Path, folder: Path, **headers: str) -> list[str]:
    """What the archive's worker writes, with nothing but the archive on its path; then the answer's headers and its body."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    (folder / "photograph.png").write_bytes(png(draw_surface(seed=3, size_hw=(90, 111)).image_hwc_u8))
    command = [sys.executable, "-I", "-c", HANDLE, str(ROOT), str(ROOT / "handler" / "metrics.yaml"), json.dumps(headers)]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def test_the_archive_answers_with_nothing_but_itself_on_the_path(archive: Path, tmp_path: Path) -> None:
    *_, body = handle(archive, tmp_path)
    assert (json.loads(body)["shape"], json.loads(body)["request_id"]) == ([90, 111], "an-id")


def test_a_worker_calls_a_request_as_the_door_does(archive: Path, tmp_path: Path) -> None:
    *written, named, body = handle(archive, tmp_path, **{DOOR_REQUEST_ID: "crew-7.1"})
    assert "request id=crew-7.1 code=success" in written
    assert json.loads(named)[DOOR_REQUEST_ID] == json.loads(body)["request_id"] == "crew-7.1"


def test_a_worker_writes_nothing_into_its_log_that_is_no_name_of_a_request(archive: Path, tmp_path: Path) -> None:
    *written, _, body = handle(archive, tmp_path, **{DOOR_REQUEST_ID: "crew-7 code=success"})
    assert "request id=an-id code=success" in written
    assert json.loads(body)["request_id"] == "an-id"


def test_each_backend_of_the_archive_draws_the_masks_of_pytorch_but_for_rounding(
    archive: Path, trained: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    model_card = card.ModelCard.read(tmp_path / card.FILE_NAME)
    network, _ = checkpoint.load(trained)
    surface = draw_surface(seed=3, size_hw=(90, 111)).image_hwc_u8
    expected = Segmenter(model_card, checkpoint.as_run(network)).probability(surface).astype(int)
    assert checkpoint.REFERENCE in model_card.backends
    for backend in filter(runtime.is_usable, model_card.backends):
        probability = Segmenter(model_card, runtime.load(tmp_path, backend, n_threads=1)).probability(surface)
        # of 255; a network of four channels loses more to int8 than one worth serving, and what counts is the gate
        largest_mean = {"fp32": 0.1, "bf16": 6}.get(backend.precision, 30)
        assert np.abs(probability - expected).mean() < largest_mean, backend
        assert model_card.figures["backends"][str(backend)]["is_served"]


def test_what_loses_more_than_is_allowed_is_not_served() -> None:
    iou = {checkpoint.REFERENCE: 0.7, Backend("openvino", "int8"): 0.694, Backend("openvino", "bf16"): 0.696}
    assert passed(iou, largest_loss=0.005) == (checkpoint.REFERENCE, Backend("openvino", "bf16"))


def test_equal_content_has_equal_hashes_and_other_weights_have_not(archive: Path, trained: Path, surfaces: Path) -> None:
    again = archive.with_name("again.mar")
    export(trained, surfaces, again, EXPORT)
    assert content_hash(again) == content_hash(archive)
    assert content_hash(ARCHIVE) != content_hash(archive)


def test_repacking_keeps_network_and_card(archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "crack.mar"
    copy.write_bytes(archive.read_bytes())
    repack(copy)
    assert content_hash(copy) == content_hash(archive)


def test_the_card_says_how_watched_figures_spread_over_validation_photographs(
    archive: Path, surfaces: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(archive) as packed:
        reference = card.ModelCard.parse(packed.read(card.FILE_NAME)).figures["reference"]
    n_photographs = reference["area_ratio"]["+Inf"]
    assert n_photographs > 0
    for histogram in reference.values():
        assert histogram["+Inf"] == histogram["1.0"] == n_photographs
        assert list(histogram.values())[:-2] == sorted(list(histogram.values())[:-2])  # cumulative
        assert 0 <= histogram["sum"] <= n_photographs
    assert reference["brightness_ratio"]["sum"] > 0.1 * n_photographs
    copy = tmp_path / "copy.mar"
    copy.write_bytes(archive.read_bytes())
    renew_reference(copy, surfaces)  # of the same network on the same photographs
    assert content_hash(copy) == content_hash(archive)


def test_what_is_no_archive_is_not_repacked(tmp_path: Path) -> None:
    path = tmp_path / "crack.mar"
    path.write_bytes(b"something else")
    with pytest.raises(ArchiveError, match="is no archive of a crack model"):
        repack(path)
    assert path.read_bytes() == b"something else"


def test_the_released_archive_holds_the_code_of_this_repository() -> None:
    """Where it doesn't, `crack export --repack` mends it."""
    sources = {
        "crack_handler.py": ROOT / "handler" / "crack_handler.py",
        "model-config.yaml": ROOT / "handler" / "model-config.yaml",
    }
    for path in [ROOT / "model" / "__init__.py", *(ROOT / "model" / "inference").glob("*.py")]:
        sources[path.relative_to(ROOT).as_posix()] = path
    with zipfile.ZipFile(ARCHIVE) as archive:
        assert {name for name in archive.namelist() if name.endswith((".py", ".yaml"))} == set(sources)
        assert [name for name, path in sources.items() if archive.read(name) != path.read_bytes()] == []


def test_an_archive_that_differs_from_its_checkpoint_is_not_built(trained: Path, surfaces: Path, archive: Path) -> None:
    strict = EXPORT.model_copy(update={"tolerance": 1e-12})
    before = archive.read_bytes()
    with pytest.raises(ValueError, match=r"ONNX differs from PyTorch by .* tolerance 1\.0e-12 .* The archive was not built\."):
        export(trained, surfaces, archive, strict)
    assert archive.read_bytes() == before
    assert [path.name for path in archive.parent.iterdir() if path.is_dir()] == []
