"""What the page's scripts can do with inspections: begin, list, open, add to, decide, report and delete. Left to others: the
sidecar over HTTP (`backend`), the screen (`browser/inspections.js`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio_app.backend import Backend
from inspection.findings import file_name

Answer = dict[str, Any]
FIELDS = ("name", "structure", "element", "date", "inspector", "position")
_DECISIONS: tuple[str, ...] = ("state", "note", "threshold", "mm_per_px", "scale_note", "look_alikes", "zones")
_SOURCES = {"given": "Typed in.", "camera": "By distance and camera.", "marker": "By a marker in the photograph."}


class Inspections:
    """What the page does with inspections.

    Args:
        kept: writes content to a file for the browser, with this suffix.
        downloadable: the path for a file that browsers will save under this name.
        uploaded: the file that a browser names, if it was uploaded here.
        url: the address at which a browser finds such a file.
        told: calls the function, and returns its answer or, if it fails, a sentence about why.
    """

    def __init__(
        self,
        backend: Backend,
        kept: Callable[[bytes, str], Path],
        downloadable: Callable[[str], Path],
        uploaded: Callable[[str], Path],
        url: Callable[[Path], str],
        told: Callable[[Callable[[], Any]], Answer],
    ) -> None:
        self._backend = backend
        self._kept, self._downloadable = kept, downloadable
        self._uploaded, self._url, self._told = uploaded, url, told

    def calls(self) -> tuple[Callable[..., Answer], ...]:
        """The methods that scripts may call."""
        return (
            *(self.list_inspections, self.save_inspection, self.open_inspection, self.delete_inspection),
            *(self.report_inspection, self.add_photograph, self.load_photograph, self.change_photograph),
        )

    def list_inspections(self, _: Any = None) -> Answer:
        """All of them, the most recently changed first."""
        return self._told(self._backend.inspections)

    def save_inspection(self, said: dict[str, Any]) -> Answer:
        """Begin one or, with its `id`, change its details."""
        fields = {name: str(said.get(name) or "") for name in FIELDS}
        return self._told(lambda: {"inspection": self._backend.save_inspection(said.get("id"), fields)})

    def open_inspection(self, inspection_id: str) -> Answer:
        """One with all its photographs, without their cracks."""

        def open_() -> Answer:
            inspection = self._backend.inspection(inspection_id)
            photographs = [_entry(each) for each in self._backend.photographs(inspection_id)]
            return {"inspection": inspection, "photographs": photographs}

        return self._told(open_)

    def delete_inspection(self, inspection_id: str) -> Answer:
        return self._told(lambda: self._backend.delete_inspection(inspection_id))

    def report_inspection(self, said: dict[str, Any]) -> Answer:
        """The report's file, or the workbook; `format` is html, pdf or xlsx."""

        def report() -> Answer:
            form = said["format"] if said["format"] in ("pdf", "xlsx") else "html"
            content = self._backend.report(said["id"], form)
            what = "cracks" if form == "xlsx" else "report"
            path = self._downloadable(f"{file_name(self._backend.inspection(said['id'])['name'])}-{what}.{form}")
            path.write_bytes(content)
            return {"url": self._url(path)}

        return self._told(report)

    def add_photograph(self, said: dict[str, Any]) -> Answer:
        """Predict and store an uploaded photograph."""

        def add() -> Answer:
            image = self._uploaded(said["path"]).read_bytes()
            return _entry(self._backend.add_photograph(said["inspection"], image, said["name"], said["quality"]))

        return self._told(add)

    def load_photograph(self, said: dict[str, Any]) -> Answer:
        """What the viewer shows of a photograph: its files, fetched from the sidecar."""

        def load() -> Answer:
            inspection_id, photograph_id = said["inspection"], said["photograph"]
            found = self._backend.photograph(inspection_id, photograph_id)
            parts = {}
            for part in ("image", "levels", *(["mask"] if found["has_mask"] else [])):
                content = self._backend.part(inspection_id, photograph_id, part)
                parts[part] = self._kept(content, ".jpg" if content.startswith(b"\xff\xd8") else ".png")
            paths = {f"{part}_path": str(path) for part, path in parts.items()}
            return _entry(found) | paths | {f"{part}_url": self._url(path) for part, path in parts.items()}

        return self._told(load)

    def change_photograph(self, said: dict[str, Any]) -> Answer:
        """Store a decision; `mask` is an uploaded file, or empty to drop a painted one."""

        def change() -> Answer:
            fields = {name: str(said[name]) for name in _DECISIONS if name in said}
            mask = self._uploaded(said["mask"]).read_bytes() if said.get("mask") else None
            if "mask" in said and mask is None:
                fields["mask"] = ""
            return _entry(self._backend.change_photograph(said["inspection"], said["photograph"], said["etag"], fields, mask))

        return self._told(change)


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
        "model_version": found["model_version"],
        "request_id": "",
        "thumb_url": f"data:image/jpeg;base64,{found['thumbnail']}",
        "scale": {"mm_per_px": scale["mm_per_px"], "source": scale.get("scale_note") or _SOURCES[scale["scale_source"]]}
        if scale.get("mm_per_px")
        else None,
    }
