"""The page: tabs, what happens when a button is pressed, and what the canvases in `viewer.js` are given.

Left to others: the sidecar over HTTP (`backend`), drawing and painting (the scripts beside this module).
"""

import csv
import functools
import io
import logging
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from fastapi import FastAPI
from gradio.context import LocalContext
from PIL import Image

from crack.doors import Doors
from gradio_app.backend import Backend, BackendError, Prediction
from gradio_app.login import LOGOUT, PING, Login
from model.inference.answer import JPEG_MAX_SIDE_PX
from model.inference.formats import EXPECTED, SUFFIXES, is_shown_by_browsers
from model.inference.overlay import draw_overlay
from model.inference.photograph import decode
from model.inference.segmenter import threshold_level

logger = logging.getLogger("gradio_app")

REFRESHED_S = 5  # the Model tab, while it is open
KEPT_S = 24 * 3600
HEADERS = ["photograph", "crack score, 0 to 1", "crack, % of area", "model", "seconds", "problem"]
COLUMNS = ["name", "crack_ratio", "threshold", "model_version", "request_id", "crack_score"]
_HERE = Path(__file__).parent
_STYLE = (_HERE / "viewer.css").read_text()
_VIEWER = (_HERE / "viewer.js").read_text()
_INSPECT = '<div class="crack"></div>'
_REVIEW = (
    '<div class="side"><div><strong class="count">…</strong> <button type="button" class="reload">Look again</button>'
    '<div class="waiting" role="list" aria-label="What waits for a review"></div></div><div class="crack"></div></div>'
)
Result = dict[str, Any]
"""What the viewer shows of one photograph: name, image_path, image_url, levels_url, threshold, model_version, request_id,
crack_score."""


class Page:
    """What the page does, over one backend; what it shows lies in `folder` for a day."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self._backend = backend
        self.folder = folder

    def inspect(
        self,
        paths: list[str] | None,
        quality: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how gradio passes it
    ) -> Iterator[tuple[list[list[Any]], list[Result], Any, Any]]:
        """Predict photograph after photograph; after each: the table's rows, the results, the choice and what is shown."""
        rows: list[list[Any]] = []
        results: list[Result] = []
        for path in progress.tqdm([Path(path) for path in paths or []], desc="Finding cracks", unit="photograph"):
            started = time.monotonic()
            try:
                result = self._result(path, self._backend.predict(path.read_bytes(), quality))
            except BackendError as error:
                logger.warning("%s: %s", path.name, error)
                rows.append([path.name, None, None, "", round(time.monotonic() - started, 1), str(error)])
                if len(paths or []) == 1:
                    gr.Warning(str(error))
                yield rows, results, gr.skip(), {"error": str(error)} if not results else gr.skip()
                continue
            if path.name in {each["name"] for each in results}:
                result["name"] = f"{path.stem} ({len(rows) + 1}){path.suffix}"
            results.append(result)
            share, seconds = round(100 * result["crack_ratio"], 2), round(time.monotonic() - started, 1)
            rows.append([result["name"], result["crack_score"], share, result["model_version"], seconds, ""])
            names = [each["name"] for each in results]
            if len(results) == 1:
                yield rows, results, gr.Dropdown(choices=names, value=names[0]), result
            else:
                yield rows, results, gr.Dropdown(choices=names), gr.skip()

    def archive(self, results: list[Result]) -> str | None:
        """One ZIP with masks, overlays and a CSV of all results."""
        if not results:
            raise gr.Error("There is nothing to download yet. Drop photographs first.")
        path = self.folder / f"cracks-{uuid.uuid4().hex[:8]}.zip"
        table = io.StringIO()
        lines = csv.writer(table, lineterminator="\n")
        lines.writerow(COLUMNS)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
            for number, result in enumerate(results, start=1):
                name = f"{number:03d}-{Path(result['name']).stem}"
                with Image.open(result["levels_path"]) as levels:
                    mask_hw = np.asarray(levels) >= threshold_level(result["threshold"])
                photograph = decode(Path(result["image_path"]).read_bytes())
                packed.writestr(f"masks/{name}.png", _png(mask_hw.astype(np.uint8) * 255))
                packed.writestr(f"overlays/{name}.jpg", _jpeg(draw_overlay(photograph, mask_hw)))
                lines.writerow([result[column] for column in COLUMNS])
            packed.writestr("cracks.csv", table.getvalue())
        return str(path)

    def save_correction(self, said: dict[str, Any]) -> dict[str, Any]:
        """Send a painted mask, or a word about the model's; called by the viewer."""

        def save() -> str:
            mask = _one_channel(self._own(said["mask"])) if said.get("mask") else None
            verdict = said.get("verdict") or ("no_crack" if mask and said.get("is_empty") else "")
            if not mask and not verdict:
                raise BackendError("Paint a correction first, or say what was wrong.")
            fields = {name: said.get(name) for name in ("request_id", "model_version", "note")}
            saved = self._backend.save(self._own(said["image"]).read_bytes(), mask, verdict=verdict, **fields)
            return f"Saved: {saved['reason']}."

        return _told(save)

    def list_waiting(self, _: Any = None) -> dict[str, Any]:
        """What waits for a reviewer; called by the viewer, which always sends one argument."""

        def waiting() -> dict[str, Any]:
            found = self._backend.waiting()
            return {"items": found["items"], "total": found["n_waiting"]}

        return _told(waiting)

    def open_item(self, item_id: str) -> dict[str, Any]:
        """A photograph that waits, with its mask; called by the viewer."""

        def open_() -> dict[str, Any]:
            item = self._backend.item(item_id)["item"]  # first: a mask that came later doesn't have this one's ETag
            image = self._kept(self._backend.file(item["id"], "image"), Path(item["image_file"]).suffix)
            mask = self._kept(self._backend.file(item["id"], "mask"), ".png") if item["mask_file"] else None
            verdict, when = (item["verdict"] or "").replace("_", " "), item["created_at"][:16].replace("T", " ")
            return {
                "id": item["id"],
                "etag": item["etag"],
                "name": item["id"][:8],
                "image_url": _url(image),
                "levels_url": mask and _url(mask),
                "is_mask": True,
                "model_version": item["model_version"],
                "said": " · ".join(filter(None, (verdict, item["note"], when))),
            }

        return _told(open_)

    def review_item(self, said: dict[str, Any]) -> dict[str, Any]:
        """A reviewer's decision; called by the viewer."""

        def review() -> str:
            mask = _one_channel(self._own(said["mask"])) if said.get("mask") else None
            item = self._backend.review(str(said["id"]), str(said["etag"]), str(said["decision"]), mask)["item"]
            return f"{item['id'][:8]}: {item['reason']}."

        return _told(review)

    def describe(self) -> str:
        """The served model, as Markdown."""
        try:
            model, retraining = self._backend.model(), self._backend.retraining()
        except BackendError as error:
            return f"### The model cannot be described\n\n{error}"
        card, counts, job = model["card"], model["feedback"], retraining["job"]
        lines = [f"### Version {model['version']}", "", card["use"], "", "| measured on | F1 | interval |", "|---|---|---|"]
        for name, figures in card["figures"].items():
            if "f1" in figures and "f1_interval" in figures:
                low, high = figures["f1_interval"]
                lines.append(f"| {name} | {figures['f1']:.3f} | {low:.3f} to {high:.3f} |")
        lines += [
            "",
            f"**{counts['accepted']}** labels are accepted, **{counts['labelled']}** wait for a review, "
            f"**{counts['needs_label']}** complaints need a mask. The next training starts after "
            f"**{retraining['labels_until_next']}** more accepted labels, or when you ask for it.",
            "",
            _retraining_line(job) if job else "No retraining was asked for yet.",
        ]
        if len(retraining["history"]) > 1:
            lines += ["", "Before it:", ""]
            lines += [f"- {_retraining_line(former)}" for former in retraining["history"][1:]]
        return "\n".join(lines)

    def ask_for_retraining(self) -> str:
        """Queue a retraining; the page's sentence about it."""
        try:
            job = self._backend.ask_for_retraining()["job"]
        except BackendError as error:
            raise gr.Error(str(error)) from error
        gr.Info(f"Retraining {job['id']}: {job['state']}.")
        return self.describe()

    def _result(self, path: Path, prediction: Prediction) -> Result:
        levels = self._kept(prediction.probability_png, ".png")
        return {
            "name": path.name,
            "image_path": str(path),
            "image_url": _url(self._shown(path)),
            "levels_path": str(levels),
            "levels_url": _url(levels),
            "threshold": prediction.threshold,
            "crack_ratio": prediction.crack_ratio,
            "model_version": prediction.model_version,
            "request_id": prediction.request_id,
            "crack_score": prediction.crack_score,
        }

    def _shown(self, path: Path) -> Path:
        """The photograph as any browser shows it, upright and in its own size."""
        data = path.read_bytes()
        if is_shown_by_browsers(data):
            return path
        image_hwc_u8 = decode(data)
        if max(image_hwc_u8.shape) > JPEG_MAX_SIDE_PX:
            return self._kept(_png(image_hwc_u8), ".png")
        return self._kept(_jpeg(image_hwc_u8), ".jpg")

    def _kept(self, content: bytes, suffix: str) -> Path:
        for former in self.folder.iterdir():
            if time.time() - former.stat().st_mtime > KEPT_S:
                former.unlink(missing_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}{suffix}"
        path.write_bytes(content)
        return path

    def _own(self, path: str) -> Path:
        """A file that was uploaded to this page: a browser names it, so any other is refused."""
        resolved, uploads = Path(path).resolve(), Path(gr.utils.get_upload_folder()).resolve()
        if not resolved.is_relative_to(uploads) or not resolved.is_file():
            raise BackendError("That file was not uploaded here. Drop the photograph again.")
        return resolved


def build(page: Page, *, has_logout: bool) -> gr.Blocks:
    """The tabs and what they are wired to."""
    with gr.Blocks(title="Crack detection", analytics_enabled=False, fill_width=True, delete_cache=(3600, KEPT_S)) as blocks:
        gr.Markdown("## Crack detection")
        if has_logout:
            gr.HTML(f'<a href="{LOGOUT}">Log out</a>')
        results = gr.State([])
        with gr.Tab("Inspect") as inspect_tab:
            with gr.Row():
                files = gr.File(
                    label=f"Photographs of concrete, asphalt or masonry ({EXPECTED})",
                    file_count="multiple",
                    file_types=list(SUFFIXES),
                    height=120,
                    scale=4,
                    min_width=320,
                )
                with gr.Column(scale=1, min_width=220):
                    quality = gr.Radio(["normal", "high"], value="normal", label="Quality; high takes eight times the time")
                    cancel = gr.Button("Cancel", size="sm", visible=False)
            chosen = gr.Dropdown(label="Shown", choices=[], interactive=True, visible=False)
            shown = gr.HTML(
                value=None,
                html_template=_INSPECT,
                css_template=_STYLE,
                apply_default_css=False,
                js_on_load=_VIEWER + (_HERE / "inspect.js").read_text(),
                server_functions=[_function(page.save_correction)],
                elem_id="inspect-viewer",
            )
            table = gr.Dataframe(headers=HEADERS, label="All photographs", interactive=False, wrap=True, visible=False)
            download = gr.DownloadButton("Download masks, overlays and table (ZIP)", size="sm", visible=False)
        with gr.Tab("Review") as review_tab:
            gr.HTML(
                value=None,
                html_template=_REVIEW,
                css_template=_STYLE,
                apply_default_css=False,
                js_on_load=_VIEWER + (_HERE / "review.js").read_text(),
                server_functions=[_function(call) for call in (page.list_waiting, page.open_item, page.review_item)],
                elem_id="review-viewer",
            )
        with gr.Tab("Model") as model_tab:
            described = gr.Markdown("…")
            retrain = gr.Button("Retrain with the accepted labels", size="sm")
            clock = gr.Timer(REFRESHED_S, active=False)

        def show(name: str, found: list[Result]) -> Any:
            return next((result for result in found if result["name"] == name), None)

        def begin(paths: list[str]) -> tuple[Any, ...]:
            kinds = (gr.Button, gr.Dropdown, gr.Dataframe, gr.DownloadButton)
            return tuple(kind(visible=len(paths) > 1) for kind in kinds)

        def end() -> Any:
            return gr.Button(visible=False)

        began = files.upload(begin, files, [cancel, chosen, table, download], api_visibility="private")
        found = [table, results, chosen, shown]
        run = began.then(page.inspect, [files, quality], found, show_progress="full", api_name="inspect")
        run.then(end, None, cancel, api_visibility="private")
        cancel.click(end, None, cancel, cancels=[run], api_visibility="private")
        chosen.input(show, [chosen, results], shown, api_visibility="private")
        download.click(page.archive, results, download, api_visibility="private")
        model_tab.select(page.describe, None, described, api_name="model")
        model_tab.select(lambda: gr.Timer(active=True), None, clock, api_visibility="private")
        for tab in (inspect_tab, review_tab):
            tab.select(lambda: gr.Timer(active=False), None, clock, api_visibility="private")
        clock.tick(page.describe, None, described, show_progress="hidden", api_visibility="private")
        retrain.click(page.ask_for_retraining, None, described, api_name="retrain")
        gr.api(_save_by_api(page), api_name="correct")  # type: ignore[attr-defined]
    return blocks  # type: ignore[no-any-return]


def cookies() -> dict[str, str]:
    """Of the browser that is served now."""
    request = LocalContext.request.get(None)
    return dict(request.cookies) if request else {}


def application(page: Page, login: Login | tuple[str, str] | None, doors: Doors) -> FastAPI:
    """What a server serves; `login` is how people log in: at an issuer, or with the one name and its password."""
    app = FastAPI(openapi_url=None)

    @app.get(PING)
    async def ping() -> dict[str, str]:
        return {"status": "ok"}

    if isinstance(login, Login):
        login.guard(app, is_public=any(origin.startswith("https:") for origin in doors.public_origins))
    doors.guard(app)
    gr.mount_gradio_app(
        app,
        build(page, has_logout=isinstance(login, Login)).queue(default_concurrency_limit=4),
        path="",
        allowed_paths=[str(page.folder)],
        auth=login if isinstance(login, tuple) else None,
        footer_links=[],
        max_file_size="50mb",
    )
    return app


def _retraining_line(job: dict[str, Any]) -> str:
    state = f"{job['progress']:.0%}" if job["state"] == "running" else job["state"].replace("_", " ")
    asked = f"{job['asked_at'][:16].replace('T', ' ')}, asked for by {job['asked_by']}"
    return f"Retraining {job['id']} ({asked}), **{state}**: {job['message']}"


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
        """Send a correction: an uploaded photograph and, if there is one, its mask; what became of it."""
        said = {"image": _path(image), "mask": _path(mask), "verdict": verdict, "note": note}
        return page.save_correction(said | {"request_id": request_id, "model_version": model_version})

    return correct


def _path(file: Any) -> str | None:
    return None if file is None else str(file["path"] if isinstance(file, dict) else file.path)


def _told(act: Callable[[], Any]) -> dict[str, Any]:
    """What the viewer is answered: `ok`, and a sentence or what was asked for."""
    try:
        found = act()
    except BackendError as error:
        logger.warning("%s", error)
        return {"ok": False, "text": str(error)}
    return {"ok": True, "text": found} if isinstance(found, str) else {"ok": True, "text": "", **found}


def _url(path: Path) -> str:
    return f"/gradio_api/file={path}"


def _one_channel(path: Path) -> bytes:
    """A mask as a browser's canvas writes it, four channels, as the one that it means."""
    with Image.open(path) as image:
        return _png(np.asarray(image.convert("RGB"))[..., 0])


def _png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg(picture: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
