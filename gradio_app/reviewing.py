"""What the Review tab's scripts can do with the photographs of the feedback: list, open, predict, decide. Left to others: the
sidecar over HTTP (`backend`), the screen (`browser/review.js`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from crack.stores.states import DECIDED, State
from gradio_app.answers import Answer, told
from gradio_app.backend import Backend
from gradio_app.kept import Kept
from gradio_app.pictures import Apart, shrink
from model.inference.card import threshold_level


class Reviewing:
    """What the page does with the feedback."""

    def __init__(self, backend: Backend, kept: Kept, apart: Apart) -> None:
        self._backend = backend
        self._kept = kept
        self._apart = apart

    def calls(self) -> tuple[Callable[..., Answer], ...]:
        """The methods that scripts may call."""
        return self.list_items, self.open_item, self.predict_item, self.shrink_item, self.review_item

    @told
    def list_items(self, which: str) -> Answer:
        """The photographs that wait for a reviewer, or the reviewed ones, the latest first."""
        if which == "waiting":
            found = self._backend.feedback()
            return {"items": found["items"], "total": found["n_waiting"]}
        found = self._backend.feedback(*DECIDED)
        total = sum(found["counts"][state] for state in DECIDED)
        return {"items": found["items"], "total": total}

    @told
    def open_item(self, item_id: str) -> Answer:
        """A photograph of the feedback, with its mask."""
        item = self._backend.item(item_id)["item"]  # first: a mask that came later doesn't have this one's ETag
        image = self._kept.keep(self._backend.file(item["id"], "image"), Path(item["image_file"]).suffix)
        has_mask = item["mask_file"] or item["unchecked_mask_file"]
        mask_url = self._mask_url(item["id"], "mask") if has_mask else None
        shown = {"image_url": self._kept.url(image), "levels_url": mask_url, "is_mask": True}
        if item["state"] == State.ACCEPTED and (item["proposed_mask_file"] or item["unchecked_mask_file"]):
            shown["accepted_url"] = self._mask_url(item["id"], "accepted-mask")
        return {"id": item["id"], "etag": item["etag"], "model_version": item["model_version"], "item": item, **shown}

    @told
    def predict_item(self, item_id: str) -> Answer:
        """What the model says of a photograph of the feedback."""
        prediction = self._backend.predict(self._backend.file(item_id, "image"))
        levels = self._kept.keep(prediction.probability_png, ".png")
        level = threshold_level(prediction.threshold)
        return {"levels_url": self._kept.url(levels), "level": level, "model_version": prediction.model_version}

    @told
    def shrink_item(self, item_id: str) -> Answer:
        """A small version of a photograph of the feedback."""
        small = self._apart(shrink, self._backend.file(item_id, "image"))
        return {"url": self._kept.url(self._kept.keep(small, ".jpg"))}

    @told
    def review_item(self, said: dict[str, Any]) -> str:
        """Send a reviewer's decision; returns a sentence about it."""
        mask = self._kept.uploaded(said["mask"]).read_bytes() if said.get("mask") else None
        item = self._backend.review(str(said["id"]), str(said["etag"]), str(said["decision"]), mask)["item"]
        return f"{item['name'] or item['id'][:8]}: {item['reason']}."

    def _mask_url(self, item_id: str, part: str) -> str:
        return self._kept.url(self._kept.keep(self._backend.file(item_id, part), ".png"))
