"""The page: its tabs, its buttons, and the methods that the scripts in `browser/` call. Left to others: the sidecar over HTTP
(`backend`), decoding and measuring (`pictures`), a batch as one file (`packing`), everything on the screen (`browser/`).
"""

import functools
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from fastapi import FastAPI
from gradio.context import LocalContext

from crack.bodies import Bodies
from crack.doors import Doors
from crack.stores.states import State
from gradio_app.backend import Backend, BackendError
from gradio_app.describing import RETRAINING_IN_WORDS, describe
from gradio_app.inspections import Inspections
from gradio_app.login import LOGOUT, PING, Login
from gradio_app.packing import pack
from gradio_app.pictures import Found, as_browsers_show, find_cracks, mask_and_overlay, shrink, thumbnail
from inspection.left_out import Box
from inspection.passed_over import COPIES, OF_SYSTEMS
from model.inference.card import threshold_level
from model.inference.errors import RequestError
from model.inference.formats import is_shown_by_browsers
from model.inference.isolation import Isolation
from model.inference.photograph import MEGABYTE, Limits
from model.inference.width_classes import bounds, classes

logger = logging.getLogger("gradio_app")

REFRESHED_S = 5  # the Model tab, while it is open
KEPT_S = 24 * 3600
MAX_REQUEST_BYTES = 8 * MEGABYTE  # of JSON, which names 10,000 photographs; each file of an upload has its own limit
CLASSES = {unit: {"bounds": bounds(unit), "names": [each.name for each in classes(unit)]} for unit in ("mm", "px")}
DECIDED = ("accepted", "rejected")
_NOT_TAKEN = f"const NOT_TAKEN = {json.dumps({'ofSystems': OF_SYSTEMS, 'copies': list(COPIES)})};\n"  # for inspect.js
_BROWSER = Path(__file__).parent / "browser"
_SHARED = (
    "reasons.js",
    "keys.js",
    "png.js",
    "keeper.js",
    "stage.js",
    "layer.js",
    "mask.js",
    "wire.js",
    "tracing.js",
    "viewer.js",
)


class Page:
    """The page's actions, over one backend; its results stay in `folder` for a day. Its scripts call these methods.
    `root_path`: the path before the page's addresses.
    """

    def __init__(self, backend: Backend, folder: Path, limits: Limits = Limits(), root_path: str = "") -> None:  # noqa: B008
        self._backend = backend
        self._root_path = root_path
        self.limits = limits
        self._isolation = Isolation.for_photographs(1, limits)
        self.folder = folder
        self.inspections = Inspections(backend, self._kept, self._downloadable, self._own, self._url, _told)

    def close(self) -> None:
        self._isolation.close()

    def predict_photograph(self, said: dict[str, Any]) -> dict[str, Any]:
        """Predict an uploaded photograph; returns what the viewer and the gallery show of it."""

        def predict() -> dict[str, Any]:
            path = self._own(said["path"])
            photograph = path.read_bytes()
            prediction = self._backend.predict(photograph, said["quality"])
            found = Found(photograph, prediction.probability_png, threshold_level(prediction.threshold), None)
            small, size = self._isolation.call(thumbnail, found, self.limits)
            levels = self._kept(prediction.probability_png, ".png")
            return {
                "image_path": str(path),
                "image_url": self._url(self._shown(path)),
                "levels_path": str(levels),
                "levels_url": self._url(levels),
                "thumb_url": self._url(self._kept(small, ".jpg")),
                "size": size,
                "threshold": prediction.threshold,
                "crack_ratio": prediction.crack_ratio,
                "model_version": prediction.model_version,
                "request_id": prediction.request_id,
                "crack_score": prediction.crack_score,
            }

        return _told(predict)

    def measure_cracks(self, said: dict[str, Any]) -> dict[str, Any]:
        """The cracks of a photograph at a level of its probability, or of what was painted instead."""

        def measure() -> dict[str, Any]:
            features = self._isolation.call(find_cracks, self._found(said), self.limits)
            return {"features": features, "classes": CLASSES}

        return _told(measure)

    def pack_photographs(self, said: list[dict[str, Any]]) -> dict[str, Any]:
        """One ZIP with the masks and overlays of photographs, and a table of all, of those that failed too."""

        def write() -> dict[str, Any]:
            path = self._downloadable(f"cracks-{time.strftime('%Y%m%d-%H%M%S')}.zip")
            pack(path, said, self._packed, lambda found: self._isolation.call(mask_and_overlay, found, self.limits))
            return {"url": self._url(path)}

        return _told(write)

    def save_correction(self, said: dict[str, Any]) -> dict[str, Any]:
        """Send a mask, or a verdict on the model's mask."""

        def save() -> str:
            mask = self._own(said["mask"]).read_bytes() if said.get("mask") else None
            verdict = said.get("verdict") or ("no_crack" if mask and said.get("is_empty") else "")
            if not mask and not verdict:
                raise BackendError("Paint a correction first, or say what was wrong.")
            fields = {name: said.get(name) for name in ("request_id", "model_version", "note")}
            fields["look_alikes"] = json.dumps(said["look_alikes"]) if said.get("look_alikes") else None
            image = self._own(said["image"])
            saved = self._backend.save(image.read_bytes(), str(said.get("name") or image.name), mask, verdict=verdict, **fields)
            place = " The Review tab lists it." if saved["state"] in (State.LABELLED, State.NEEDS_LABEL) else ""
            return f"Saved: {saved['reason']}.{place}"

        return _told(save)

    def list_items(self, which: str) -> dict[str, Any]:
        """The photographs that wait for a reviewer, or the reviewed ones, the latest first."""

        def list_() -> dict[str, Any]:
            if which == "waiting":
                found = self._backend.feedback()
                return {"items": found["items"], "total": found["n_waiting"]}
            found = self._backend.feedback(*DECIDED)
            total = sum(found["counts"][state] for state in DECIDED)
            return {"items": sorted(found["items"], key=lambda item: item["updated_at"], reverse=True), "total": total}

        return _told(list_)

    def open_item(self, item_id: str) -> dict[str, Any]:
        """A photograph of the feedback, with its mask."""

        def open_() -> dict[str, Any]:
            item = self._backend.item(item_id)["item"]  # first: a mask that came later doesn't have this one's ETag
            image = self._kept(self._backend.file(item["id"], "image"), Path(item["image_file"]).suffix)
            has_mask = item["mask_file"] or item["unchecked_mask_file"]
            mask = self._kept(self._backend.file(item["id"], "mask"), ".png") if has_mask else None
            shown = {"image_url": self._url(image), "levels_url": mask and self._url(mask), "is_mask": True}
            if item["state"] == State.ACCEPTED and (item["proposed_mask_file"] or item["unchecked_mask_file"]):
                shown["accepted_url"] = self._url(self._kept(self._backend.file(item["id"], "accepted-mask"), ".png"))
            return {"id": item["id"], "etag": item["etag"], "model_version": item["model_version"], "item": item, **shown}

        return _told(open_)

    def predict_item(self, item_id: str) -> dict[str, Any]:
        """What the model says of a photograph of the feedback."""

        def predict() -> dict[str, Any]:
            prediction = self._backend.predict(self._backend.file(item_id, "image"))
            levels = self._kept(prediction.probability_png, ".png")
            level = threshold_level(prediction.threshold)
            return {"levels_url": self._url(levels), "level": level, "model_version": prediction.model_version}

        return _told(predict)

    def shrink_item(self, item_id: str) -> dict[str, Any]:
        """A small version of a photograph of the feedback."""

        def shrink_() -> dict[str, Any]:
            small = self._isolation.call(shrink, self._backend.file(item_id, "image"), self.limits)
            return {"url": self._url(self._kept(small, ".jpg"))}

        return _told(shrink_)

    def review_item(self, said: dict[str, Any]) -> dict[str, Any]:
        """Send a reviewer's decision; returns a sentence about it."""

        def review() -> str:
            mask = self._own(said["mask"]).read_bytes() if said.get("mask") else None
            item = self._backend.review(str(said["id"]), str(said["etag"]), str(said["decision"]), mask)["item"]
            return f"{item['name'] or item['id'][:8]}: {item['reason']}."

        return _told(review)

    def describe(self) -> str:
        """The served model, as Markdown."""
        return describe(self._backend)

    def ask_for_retraining(self) -> str:
        """Queue a retraining; returns the served model, as Markdown."""
        try:
            job = self._backend.ask_for_retraining()["job"]
        except BackendError as error:
            raise gr.Error(str(error)) from error
        gr.Info(f"Retraining {job['id']}: {job['state']}.")
        return self.describe()

    def _packed(self, photograph: Mapping[str, Any]) -> Found:
        return self._found({**photograph, "image": photograph["image_path"], "levels": photograph["levels_path"]})

    def _found(self, said: dict[str, Any]) -> Found:
        mask = self._own(said["mask"]).read_bytes() if said.get("mask") else None
        levels = Path(said["levels"]).resolve()
        if not levels.is_relative_to(self.folder.resolve()) or not levels.is_file():
            raise BackendError("The page keeps photographs for a day, and this one is gone. Drop it again.")
        level = min(255, max(1, int(said["level"])))
        zones = tuple(_box(zone) for zone in said.get("zones") or ())
        return Found(self._own(said["image"]).read_bytes(), levels.read_bytes(), level, mask, zones)

    def _shown(self, path: Path) -> Path:
        """The photograph as any browser shows it, upright and in its own size."""
        photograph = path.read_bytes()
        if is_shown_by_browsers(photograph):
            return path
        return self._kept(*self._isolation.call(as_browsers_show, photograph, self.limits))

    def _kept(self, content: bytes, suffix: str) -> Path:
        self._sweep()
        path = self.folder / f"{uuid.uuid4().hex}{suffix}"
        path.write_bytes(content)
        return path

    def _downloadable(self, name: str) -> Path:
        """The path of a file to be written. Browsers save it under this name: that in the answer's Content-Disposition, which
        gradio takes from the path, has priority over the link's own.
        """
        self._sweep()
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        return folder / name

    def _sweep(self) -> None:
        for former in self.folder.iterdir():
            with suppress(FileNotFoundError):  # somebody else's request has removed it meanwhile
                if time.time() - former.stat().st_mtime > KEPT_S:
                    shutil.rmtree(former) if former.is_dir() else former.unlink()

    def _url(self, path: Path) -> str:
        return f"{self._root_path}/gradio_api/file={quote(str(path))}"

    def _own(self, path: str) -> Path:
        """A file that was uploaded to this page or is kept by it: a browser names it, so any other is refused."""
        resolved, own = Path(path).resolve(), (Path(gr.utils.get_upload_folder()).resolve(), self.folder.resolve())
        if not any(map(resolved.is_relative_to, own)) or not resolved.is_file():
            raise BackendError("That file was not uploaded here. Drop the photograph again.")
        return resolved


def build(page: Page, logout: str | None) -> gr.Blocks:
    """The tabs and what they are wired to; `logout` is the address that logs people out."""
    with gr.Blocks(title="Crack detection", analytics_enabled=False, fill_width=True, delete_cache=(3600, KEPT_S)) as blocks:
        gr.Markdown("# Crack detection", elem_id="title")
        if logout:
            gr.HTML(f'<a href="{logout}">Log out</a>', elem_id="logout")
        with gr.Tab("Inspect") as inspect_tab:
            calls = (page.predict_photograph, page.measure_cracks, page.pack_photographs, page.save_correction)
            scripts = ("batch.js", "gallery.js", "splitting.js", "findings.js", "zones.js", "inspections.js")
            _canvas("inspect", scripts, (*calls, *page.inspections.calls()))
        with gr.Tab("Review") as review_tab:
            of_review = (page.list_items, page.open_item, page.predict_item, page.shrink_item, page.review_item)
            _canvas("review", ("before.js",), of_review)
        with gr.Tab("Model") as model_tab:
            _model_tab(page, model_tab, others=(inspect_tab, review_tab))
        gr.api(_save_by_api(page), api_name="correct")  # type: ignore[attr-defined]
    return blocks  # type: ignore[no-any-return]


def _model_tab(page: Page, tab: gr.Tab, others: Sequence[gr.Tab]) -> None:
    """To be called within the tab's context. Only the open tab is kept up to date."""
    described = gr.Markdown("…")
    retrain = gr.Button("Retrain with the accepted labels", size="md", elem_id="retrain")
    with gr.Column(visible=False) as asked:
        gr.Markdown(RETRAINING_IN_WORDS)
        with gr.Row():
            start = gr.Button("Start the retraining", variant="primary", size="md", elem_id="retrain-start")
            cancel = gr.Button("Not now", size="md", elem_id="retrain-cancel")
    clock = gr.Timer(REFRESHED_S, active=False)

    tab.select(page.describe, None, described, api_name="model")
    tab.select(lambda: gr.Timer(active=True), None, clock, api_visibility="private")
    for other in others:
        other.select(lambda: gr.Timer(active=False), None, clock, api_visibility="private")
    clock.tick(page.describe, None, described, show_progress="hidden", api_visibility="private")
    for button, is_asked in ((retrain, True), (cancel, False), (start, False)):
        button.click(functools.partial(_button_or_question, is_asked), None, [retrain, asked], api_visibility="private")
    start.click(page.ask_for_retraining, None, described, api_name="retrain")


def _button_or_question(is_asked: bool) -> tuple[gr.Button, gr.Column]:
    """Which of the two is visible."""
    return gr.Button(visible=not is_asked), gr.Column(visible=is_asked)


def _canvas(name: str, scripts: tuple[str, ...], calls: tuple[Callable[..., Any], ...]) -> None:
    """One tab's part of the page, which its scripts draw; `calls` are the methods that they may call."""
    gr.HTML(
        value=None,
        html_template="",
        css_template=(_BROWSER / "page.css").read_text(encoding="utf-8"),
        apply_default_css=False,
        js_on_load=_NOT_TAKEN
        + "".join((_BROWSER / script).read_text(encoding="utf-8") for script in (*_SHARED, *scripts, f"{name}.js")),
        server_functions=[_function(call) for call in calls],
        elem_id=f"{name}-viewer",
    )


def cookies() -> dict[str, str]:
    """The cookies of the browser whose request is being answered."""
    request = LocalContext.request.get(None)
    return dict(request.cookies) if request else {}


def application(page: Page, login: Login | tuple[str, str] | None, doors: Doors) -> FastAPI:
    """The application; `login` is how people log in: at an issuer, or with one name and its password."""
    app = FastAPI(openapi_url=None)

    @app.get(PING)
    async def ping() -> dict[str, str]:
        return {"status": "ok"}

    if isinstance(login, Login):
        login.guard(app, doors.root_path, is_public=any(origin.startswith("https:") for origin in doors.public_origins))
    app.add_middleware(Bodies, max_bytes=MAX_REQUEST_BYTES, max_bytes_at_once=4 * MAX_REQUEST_BYTES, but="/gradio_api/upload")
    doors.guard(app)
    gr.mount_gradio_app(
        app,
        build(page, doors.root_path + LOGOUT if isinstance(login, Login) else None).queue(default_concurrency_limit=4),
        path="",
        root_path=doors.root_path,
        allowed_paths=[str(page.folder)],
        auth=login if isinstance(login, tuple) else None,
        footer_links=[],
        css_paths=_BROWSER / "theme.css",
        max_file_size=page.limits.max_bytes,
        # Read out by screen readers after each answer; gradio has no words of its own for it.
        i18n=gr.I18n(en={"common.complete": "Done"}),
    )
    return app


def _function(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method as the plain function that gradio marks as callable from a script."""

    @functools.wraps(method)
    def call(*arguments: Any) -> Any:
        return method(*arguments)

    return call


def _save_by_api(page: Page) -> Callable[..., dict[str, Any]]:
    def correct(
        image: gr.FileData,
        mask: gr.FileData | None = None,
        verdict: str = "",
        note: str = "",
        request_id: str = "",
        model_version: str = "",
    ) -> dict[str, Any]:
        """Send a correction: an uploaded photograph and, if there is one, its mask. Returns what became of it."""
        said = {"image": _path(image), "mask": _path(mask), "verdict": verdict, "note": note}
        return page.save_correction(said | {"request_id": request_id, "model_version": model_version})

    return correct


def _box(said: Any) -> Box:
    """Left, top, right and bottom, none of them below 0."""
    left, top, right, bottom = (max(0, int(value)) for value in said)
    return left, top, right, bottom


def _path(file: Any) -> str | None:
    return None if file is None else str(file["path"] if isinstance(file, dict) else file.path)


def _told(act: Callable[[], Any]) -> dict[str, Any]:
    """The answer to the viewer: `ok`, and a sentence or the result."""
    try:
        found = act()
    except (BackendError, RequestError) as error:
        logger.warning("%s%s", error, f" ({error.__cause__!r})" if error.__cause__ else "")
        more = {name: value for name in ("retry_after_s", "status") if (value := getattr(error, name, None))}
        return {"ok": False, "text": str(error), **more}
    except OSError as error:
        logger.error("a file cannot be kept: %s", error)
        return {"ok": False, "text": f"The page cannot keep files ({error.strerror}). Ask whoever runs it to make room."}
    return {"ok": True, "text": found} if isinstance(found, str) else {"ok": True, "text": "", **found}
