"""How often a save decodes what it gets, counted where Pillow decodes, in every process of the sidecar."""

from collections import Counter
from pathlib import Path

from tests.photographs import jpeg
from tests.sidecars import ROOT, StartSidecar
from tests.test_save import MASK, SURFACE, post

# Python runs this before anything else in each process that finds it.
COUNTING = """
from PIL import ImageFile

load = ImageFile.ImageFile.load

def load_counted(self):
    if self.tile:
        with open({path!r}, "a") as decoded:
            decoded.write(self.format + "\\n")
    return load(self)

ImageFile.ImageFile.load = load_counted
"""


def test_a_save_decodes_the_photograph_its_mask_and_the_models_probability_once_each(
    start_sidecar: StartSidecar, tmp_path: Path
) -> None:
    decoded = tmp_path / "decoded"
    (tmp_path / "sitecustomize.py").write_text(COUNTING.format(path=str(decoded)))
    sidecar = start_sidecar(PYTHONPATH=f"{tmp_path}:{ROOT}")
    saved = post(sidecar, "/save-for-retrain", image=jpeg(SURFACE.image_hwc_u8), mask=MASK).json()
    assert saved["state"] == "labelled"
    assert Counter(decoded.read_text().split()) == {"JPEG": 1, "PNG": 2}
