"""The Model tab: what is served, what it was measured on, and the retraining that somebody asks for."""

import functools
from collections.abc import Sequence
from typing import Any

import gradio as gr

from gradio_app.backend import Backend, BackendError

REFRESHED_S = 5  # the Model tab, while it is open
MEASURED_ON = {  # the sets of a card's figures, for people
    "deepcrack/test": "DeepCrack's 237 test photographs, concrete and asphalt, none of which it has learned from",
}
F1_IN_WORDS = "F1 is 1 where exactly the pixels of the cracks are marked, and falls with each that is missed or invented."
RETRAINING_IN_WORDS = (
    "A retraining learns from the accepted labels for about a quarter of an hour, with all processors of its machine. The new "
    "model is served only if it is nowhere worse; the one before it stays the way back. Start it?"
)


class ModelTab:
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def build(self, tab: gr.Tab, others: Sequence[gr.Tab]) -> None:
        """Within the tab's context. While it is open, and none of the others, it is brought up to date."""
        described = gr.Markdown("…")
        retrain = gr.Button("Retrain with the accepted labels", size="md", elem_id="retrain")
        with gr.Column(visible=False) as asked:
            gr.Markdown(RETRAINING_IN_WORDS)
            with gr.Row():
                start = gr.Button("Start the retraining", variant="primary", size="md", elem_id="retrain-start")
                cancel = gr.Button("Not now", size="md", elem_id="retrain-cancel")
        clock = gr.Timer(REFRESHED_S, active=False)

        tab.select(self.describe, None, described, api_name="model")
        tab.select(lambda: gr.Timer(active=True), None, clock, api_visibility="private")
        for other in others:
            other.select(lambda: gr.Timer(active=False), None, clock, api_visibility="private")
        clock.tick(self.describe, None, described, show_progress="hidden", api_visibility="private")
        for button, is_asked in ((retrain, True), (cancel, False), (start, False)):
            button.click(functools.partial(_shown, is_asked), None, [retrain, asked], api_visibility="private")
        start.click(self.ask_for_retraining, None, described, api_name="retrain")

    def describe(self) -> str:
        """The served model, as Markdown."""
        try:
            model, retraining = self._backend.model(), self._backend.retraining()
        except BackendError as error:
            return f"### The model cannot be described\n\n{error}"
        card, counts, job = model["card"], model["feedback"], retraining["job"]
        lines = [f"### Version {model['version']}", "", card["use"], ""]
        for name, figures in card["figures"].items():
            if "f1" in figures and "f1_interval" in figures:
                low, high = figures["f1_interval"]
                measured = f"F1 **{figures['f1']:.3f}** (95% interval {low:.3f} to {high:.3f})"
                lines += [f"Measured on {MEASURED_ON.get(name, name.replace('/', ', '))}: {measured}. {F1_IN_WORDS}", ""]
        lines += [
            f"**{_counted(counts['accepted'], 'label')}** accepted, **{_counted(counts['labelled'], 'label')}** waiting for a "
            f"review, **{_counted(counts['needs_label'], 'complaint')}** without a mask. The next training starts after "
            f"**{_counted(retraining['labels_until_next'], 'more accepted label')}**, or when you ask for it.",
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


def _shown(is_asked: bool) -> tuple[gr.Button, gr.Column]:
    """Either the button or the question."""
    return gr.Button(visible=not is_asked), gr.Column(visible=is_asked)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _retraining_line(job: dict[str, Any]) -> str:
    state = f"{job['progress']:.0%}" if job["state"] == "running" else job["state"].replace("_", " ")
    asked = f"{job['asked_at'][:16].replace('T', ' ')}, asked for by {job['asked_by']}"
    return f"Retraining {job['id']} ({asked}), **{state}**: {job['message']}"
