"""Describes the served model in words: its measurements, the feedback, and the retrainings."""

from typing import Any

from crack.stores.states import JobState, State
from gradio_app.backend import Backend, BackendError

MEASURED_ON = {  # the sets of a card's figures, for people
    "deepcrack/test": "DeepCrack's 237 test photographs, concrete and asphalt, none of which it has learned from",
}
BAD_AT = (  # docs/model_card.md shows them
    "What it is bad at: it misses hairlines of one or two pixels in coarse asphalt, across joints and in strong shadows. It "
    "takes joints that are open or sealed with bitumen, and gaps under ledges, for cracks."
)
F1_IN_WORDS = "F1 is 1 where exactly the pixels of the cracks are marked, and falls with each that is missed or invented."
RETRAINING_IN_WORDS = (
    "A retraining learns from the accepted labels for about a quarter of an hour, with all processors of its machine. It also "
    "needs the photographs of the original training sets, in the folder CRACK_DATA_DIR. The new model is served only if it is "
    "nowhere worse, and the present one is kept as the way back. Start it?"
)


def describe(backend: Backend) -> str:
    """The served model, as Markdown."""
    try:
        model, retraining = backend.model(), backend.retraining()
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
        BAD_AT,
        "",
        f"**{_counted(counts[State.ACCEPTED], 'label')}** accepted, **{_counted(counts[State.LABELLED], 'label')}** waiting "
        f"for a review, **{_counted(counts[State.NEEDS_LABEL], 'complaint')}** without a mask. The next training starts after "
        f"**{_counted(retraining['labels_until_next'], 'more accepted label')}**, or when you ask for it.",
        "",
        _retraining_line(job) if job else "No retraining was asked for yet.",
    ]
    if len(retraining["history"]) > 1:
        lines += ["", "Before it:", ""]
        lines += [f"- {_retraining_line(former)}" for former in retraining["history"][1:]]
    return "\n".join(lines)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _retraining_line(job: dict[str, Any]) -> str:
    state = f"{job['progress']:.0%}" if job["state"] == JobState.RUNNING else job["state"].replace("_", " ")
    asked = f"{job['asked_at'][:16].replace('T', ' ')} UTC, asked for by {job['asked_by']}"
    return f"Retraining {job['id']} ({asked}), **{state}**: {job['message']}"
