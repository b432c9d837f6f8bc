"""The page: its tabs, its buttons, and which calls the scripts in `browser/` may make. Left to others: what these calls do
(`inspecting`, `inspections`, `comparing`, `reviewing`), the model in words (`describing`), the screen (`browser/`).
"""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from gradio.context import LocalContext

from crack.bodies import Bodies
from crack.doors import Doors
from gradio_app.answers import Answer
from gradio_app.backend import Backend, BackendError
from gradio_app.comparing import Comparing
from gradio_app.describing import RETRAINING_IN_WORDS, describe
from gradio_app.inspecting import Inspecting
from gradio_app.inspections import Inspections
from gradio_app.kept import KEPT_S, Kept
from gradio_app.login import LOGOUT, PING, Login
from gradio_app.pictures import Apart
from gradio_app.reviewing import Reviewing
from inspection.passed_over import COPIES, OF_SYSTEMS
from model.inference.photograph import MEGABYTE, Limits

REFRESHED_S = 5  # the Model tab, while it is open
MAX_REQUEST_BYTES = 8 * MEGABYTE  # of JSON, which names 10,000 photographs; each file of an upload has its own limit
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
    """What the page can do, over one backend; it keeps its files in `folder`. `root_path`: the path before its addresses."""

    def __init__(self, backend: Backend, folder: Path, limits: Limits = Limits(), root_path: str = "") -> None:  # noqa: B008
        self.backend = backend
        self.limits = limits
        self.kept = Kept(folder, Path(gr.utils.get_upload_folder()), root_path)
        self._apart = Apart(limits)
        self.inspecting = Inspecting(backend, self.kept, self._apart)
        self.inspections = Inspections(backend, self.kept)
        self.comparing = Comparing(backend, self.kept)
        self.reviewing = Reviewing(backend, self.kept, self._apart)

    def close(self) -> None:
        self.comparing.close()
        self._apart.close()


def build(page: Page, logout: str | None) -> gr.Blocks:
    """The tabs and what they are wired to; `logout` is the address that logs people out."""
    with gr.Blocks(title="Crack detection", analytics_enabled=False, fill_width=True, delete_cache=(3600, KEPT_S)) as blocks:
        gr.Markdown("# Crack detection", elem_id="title")
        if logout:
            gr.HTML(f'<a href="{logout}">Log out</a>', elem_id="logout")
        with gr.Tab("Inspect") as inspect_tab:
            scripts = ("batch.js", "gallery.js", "splitting.js", "findings.js", "zones.js", "changes.js", "inspections.js")
            _canvas("inspect", scripts, (*page.inspecting.calls(), *page.inspections.calls(), *page.comparing.calls()))
        with gr.Tab("Review") as review_tab:
            _canvas("review", ("before.js",), page.reviewing.calls())
        with gr.Tab("Model") as model_tab:
            _model_tab(page.backend, model_tab, others=(inspect_tab, review_tab))
        gr.api(_save_by_api(page.inspecting), api_name="correct")  # type: ignore[attr-defined]
    return blocks  # type: ignore[no-any-return]


def _model_tab(backend: Backend, tab: gr.Tab, others: Sequence[gr.Tab]) -> None:
    """To be called within the tab's context. Only the open tab is kept up to date."""

    def describe_model() -> str:
        """The served model, as Markdown."""
        return describe(backend)

    def ask_for_retraining() -> str:
        """Queue a retraining; returns the served model, as Markdown."""
        try:
            job = backend.ask_for_retraining()["job"]
        except BackendError as error:
            raise gr.Error(str(error)) from error
        gr.Info(f"Retraining {job['id']}: {job['state']}.")
        return describe(backend)

    described = gr.Markdown("…")
    retrain = gr.Button("Retrain with the accepted labels", size="md", elem_id="retrain")
    with gr.Column(visible=False) as asked:
        gr.Markdown(RETRAINING_IN_WORDS)
        with gr.Row():
            start = gr.Button("Start the retraining", variant="primary", size="md", elem_id="retrain-start")
            cancel = gr.Button("Not now", size="md", elem_id="retrain-cancel")
    clock = gr.Timer(REFRESHED_S, active=False)

    tab.select(describe_model, None, described, api_name="model")
    tab.select(lambda: gr.Timer(active=True), None, clock, api_visibility="private")
    for other in others:
        other.select(lambda: gr.Timer(active=False), None, clock, api_visibility="private")
    clock.tick(describe_model, None, described, show_progress="hidden", api_visibility="private")
    for button, is_asked in ((retrain, True), (cancel, False), (start, False)):
        button.click(functools.partial(_button_or_question, is_asked), None, [retrain, asked], api_visibility="private")
    start.click(ask_for_retraining, None, described, api_name="retrain")


def _button_or_question(is_asked: bool) -> tuple[gr.Button, gr.Column]:
    """Which of the two is visible."""
    return gr.Button(visible=not is_asked), gr.Column(visible=is_asked)


def _canvas(name: str, scripts: tuple[str, ...], calls: tuple[Callable[..., Answer], ...]) -> None:
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
        allowed_paths=[str(page.kept.folder)],
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


def _save_by_api(inspecting: Inspecting) -> Callable[..., Answer]:
    def correct(
        image: gr.FileData,
        mask: gr.FileData | None = None,
        verdict: str = "",
        note: str = "",
        request_id: str = "",
        model_version: str = "",
    ) -> Answer:
        """Send a correction: an uploaded photograph and, if there is one, its mask. Returns what became of it."""
        said = {"image": _path(image), "mask": _path(mask), "verdict": verdict, "note": note}
        return inspecting.save_correction(said | {"request_id": request_id, "model_version": model_version})

    return correct


def _path(file: Any) -> str | None:
    return None if file is None else str(file["path"] if isinstance(file, dict) else file.path)
