"""What the page's scripts can do with inspections: begin, list, open, add to, decide, report and delete. Left to others: the
sidecar over HTTP (`backend`), the screen (`browser/inspections.js`).
"""

from collections.abc import Callable
from typing import Any

from gradio_app.answers import Answer, told
from gradio_app.backend import Backend
from gradio_app.kept import Kept
from inspection.findings import file_name

FIELDS = ("name", "structure", "element", "date", "inspector", "position")
_DECISIONS: tuple[str, ...] = ("state", "note", "threshold", "mm_per_px", "scale_note", "look_alikes", "zones")
_SOURCES = {"given": "Typed in.", "camera": "By distance and camera.", "marker": "By a marker in the photograph."}


class Inspections:
    """What the page does with inspections."""

    def __init__(self, backend: Backend, kept: Kept) -> None:
        self._backend = backend
        self._kept = kept

    def calls(self) -> tuple[Callable[..., Answer], ...]:
        """The methods that scripts may call."""
        return (
            *(self.list_inspections, self.save_inspection, self.open_inspection, self.delete_inspection),
            *(self.report_inspection, self.add_photograph, self.load_photograph, self.change_photograph),
        )

    @told
    def list_inspections(self, _: Any = None) -> Answer:
        """All of them, the most recently changed first."""
        return self._backend.inspections()

    @told
    def save_inspection(self, said: dict[str, Any]) -> Answer:
        """Begin one or, with its `id`, change its details."""
        fields = {name: str(said.get(name) or "") for name in FIELDS}
        return {"inspection": self._backend.save_inspection(said.get("id"), fields)}

    @told
    def open_inspection(self, inspection_id: str) -> Answer:
        """One with all its photographs, without their cracks."""
        inspection = self._backend.inspection(inspection_id)
        photographs = [_entry(each) for each in self._backend.photographs(inspection_id)]
        return {"inspection": inspection, "photographs": photographs}

    @told
    def delete_inspection(self, inspection_id: str) -> Answer:
        return self._backend.delete_inspection(inspection_id)

    @told
    def report_inspection(self, said: dict[str, Any]) -> Answer:
        """The report's file, or the workbook; `format` is html, pdf or xlsx."""
        form = said["format"] if said["format"] in ("pdf", "xlsx") else "html"
        content = self._backend.report(said["id"], form)
        what = "cracks" if form == "xlsx" else "report"
        path = self._kept.downloadable(f"{file_name(self._backend.inspection(said['id'])['name'])}-{what}.{form}")
        path.write_bytes(content)
        return {"url": self._kept.url(path)}

    @told
    def add_photograph(self, said: dict[str, Any]) -> Answer:
        """Predict and store an uploaded photograph."""
        image = self._kept.uploaded(said["path"]).read_bytes()
        return _entry(self._backend.add_photograph(said["inspection"], image, said["name"], said["quality"]))

    @told
    def load_photograph(self, said: dict[str, Any]) -> Answer:
        """What the viewer shows of a photograph: its files, fetched from the sidecar."""
        inspection_id, photograph_id = said["inspection"], said["photograph"]
        found = self._backend.photograph(inspection_id, photograph_id)
        parts = {}
        for part in ("image", "levels", *(["mask"] if found["has_mask"] else [])):
            content = self._backend.part(inspection_id, photograph_id, part)
            parts[part] = self._kept.keep(content, ".jpg" if content.startswith(b"\xff\xd8") else ".png")
        paths = {f"{part}_path": str(path) for part, path in parts.items()}
        return _entry(found) | paths | {f"{part}_url": self._kept.url(path) for part, path in parts.items()}

    @told
    def change_photograph(self, said: dict[str, Any]) -> Answer:
        """Store a decision; `mask` is an uploaded file, or empty to drop a painted one."""
        fields = {name: str(said[name]) for name in _DECISIONS if name in said}
        mask = self._kept.uploaded(said["mask"]).read_bytes() if said.get("mask") else None
        if "mask" in said and mask is None:
            fields["mask"] = ""
        return _entry(self._backend.change_photograph(said["inspection"], said["photograph"], said["etag"], fields, mask))


def _entry(found: dict[str, Any]) -> Answer:
    """A photograph as the gallery and the viewer have it."""
    scale = found["scale"] or {}
    return {
        "photograph": found["id"],
        "etag": found["etag"],
        "name": found["name"],
        "decided": found["state"],
        "note": found["note"],
        "marked": found["look_alikes"],
        "zones": found["zones"],
        "size": [found["width"], found["height"]],
        "threshold": found["model_threshold"],
        "cut": found["threshold"],
        "has_mask": found["has_mask"],
        "crack_ratio": found["crack_ratio"],
        "crack_score": found["crack_score"],
        "quality": found["quality"],
        "model_version": found["model_version"],
        "request_id": "",
        "thumb_url": f"data:image/jpeg;base64,{found['thumbnail']}",
        "scale": {"mm_per_px": scale["mm_per_px"], "source": scale.get("scale_note") or _SOURCES[scale["scale_source"]]}
        if scale.get("mm_per_px")
        else None,
    }
