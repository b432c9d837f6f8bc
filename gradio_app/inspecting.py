"""What the Inspect tab's scripts can do with photographs: predict, measure, download, correct. Left to others: the sidecar over
HTTP (`backend`), decoding and measuring (`pictures`), a batch as one file (`packing`), inspections (`inspections`).
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crack.stores.states import State
from gradio_app.answers import Answer, told
from gradio_app.backend import Backend, BackendError
from gradio_app.kept import Kept
from gradio_app.packing import pack
from gradio_app.pictures import Apart, Found, as_browsers_show, draw, find_cracks, thumbnail
from inspection.left_out import Box
from model.inference.card import threshold_level
from model.inference.formats import is_shown_by_browsers
from model.inference.width_classes import bounds, classes

CLASSES = {unit: {"bounds": bounds(unit), "names": [each.name for each in classes(unit)]} for unit in ("mm", "px")}


class Inspecting:
    """What the page does with photographs that were uploaded."""

    def __init__(self, backend: Backend, kept: Kept, apart: Apart) -> None:
        self._backend = backend
        self._kept = kept
        self._apart = apart

    def calls(self) -> tuple[Callable[..., Answer], ...]:
        """The methods that scripts may call."""
        return self.predict_photograph, self.measure_cracks, self.pack_photographs, self.save_correction

    @told
    def predict_photograph(self, said: dict[str, Any]) -> Answer:
        """Predict an uploaded photograph; returns what the viewer and the gallery show of it."""
        path = self._kept.uploaded(said["path"])
        photograph = path.read_bytes()
        prediction = self._backend.predict(photograph, said["quality"])
        found = Found(photograph, prediction.probability_png, threshold_level(prediction.threshold), None)
        small, size = self._apart(thumbnail, found)
        levels = self._kept.keep(prediction.probability_png, ".png")
        return {
            "image_path": str(path),
            "image_url": self._kept.url(self._shown(path)),
            "levels_path": str(levels),
            "levels_url": self._kept.url(levels),
            "thumb_url": self._kept.url(self._kept.keep(small, ".jpg")),
            "size": size,
            "threshold": prediction.threshold,
            "crack_ratio": prediction.crack_ratio,
            "model_version": prediction.model_version,
            "request_id": prediction.request_id,
            "crack_score": prediction.crack_score,
            "quality": said["quality"],
        }

    @told
    def measure_cracks(self, said: dict[str, Any]) -> Answer:
        """The cracks of a photograph at a level of its probability, or of what was painted instead."""
        features = self._apart(find_cracks, self._found(said))
        return {"features": features, "classes": CLASSES}

    @told
    def pack_photographs(self, said: list[dict[str, Any]]) -> Answer:
        """One ZIP with the masks and overlays of photographs, and tables of all, of those that failed too."""
        path = self._kept.downloadable(f"cracks-{time.strftime('%Y%m%d-%H%M%S')}.zip")
        pack(path, said, self._packed, lambda found: self._apart(draw, found))
        return {"url": self._kept.url(path)}

    @told
    def save_correction(self, said: dict[str, Any]) -> str:
        """Send a mask, or a verdict on the model's mask."""
        mask = self._kept.uploaded(said["mask"]).read_bytes() if said.get("mask") else None
        verdict = said.get("verdict") or ("no_crack" if mask and said.get("is_empty") else "")
        if not mask and not verdict:
            raise BackendError("Paint a correction first, or say what was wrong.")
        fields = {name: said.get(name) for name in ("request_id", "model_version", "note")}
        fields["look_alikes"] = json.dumps(said["look_alikes"]) if said.get("look_alikes") else None
        image = self._kept.uploaded(said["image"])
        saved = self._backend.save(image.read_bytes(), str(said.get("name") or image.name), mask, verdict=verdict, **fields)
        place = " The Review tab lists it." if saved["state"] in (State.LABELLED, State.NEEDS_LABEL) else ""
        return f"Saved: {saved['reason']}.{place}"

    def _packed(self, photograph: Mapping[str, Any]) -> Found:
        return self._found({**photograph, "image": photograph["image_path"], "levels": photograph["levels_path"]})

    def _found(self, said: dict[str, Any]) -> Found:
        mask = self._kept.uploaded(said["mask"]).read_bytes() if said.get("mask") else None
        levels = self._kept.kept(said["levels"])
        level = min(255, max(1, int(said["level"])))
        zones = tuple(_box(zone) for zone in said.get("zones") or ())
        return Found(self._kept.uploaded(said["image"]).read_bytes(), levels.read_bytes(), level, mask, zones)

    def _shown(self, path: Path) -> Path:
        """The photograph as any browser shows it, upright and in its own size."""
        photograph = path.read_bytes()
        if is_shown_by_browsers(photograph):
            return path
        return self._kept.keep(*self._apart(as_browsers_show, photograph))


def _box(said: Any) -> Box:
    """Left, top, right and bottom, none of them below 0."""
    left, top, right, bottom = (max(0, int(value)) for value in said)
    return left, top, right, bottom
