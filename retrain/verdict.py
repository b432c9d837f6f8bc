"""The decision about a challenger and its reasons, as JSON and as a page."""

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from crack.foreign import damage_named

VERDICT_FILE, PICTURES = "verdict.json", "pictures"
Interval = tuple[float, float]


@dataclass(frozen=True)
class Rule:
    """One condition of a promotion; `found` says in words what was measured."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True)
class Verdict:
    """`figures`: by set, the champion's and the challenger's; `intervals`: the 95% interval of each, (low, high); `remark`:
    sentences on what was unlike other retrainings, if anything was.
    """

    champion: str
    challenger: str
    rules: tuple[Rule, ...]
    figures: dict[str, tuple[float, float]]
    intervals: dict[str, tuple[Interval, Interval]]
    remark: str = ""

    @property
    def is_promoted(self) -> bool:
        return all(rule.holds for rule in self.rules)

    @property
    def reason(self) -> str:
        """One sentence."""
        failed = [f"{rule.name}: {rule.found}" for rule in self.rules if not rule.holds]
        return "; ".join(failed) if failed else "every rule holds"

    @classmethod
    def read(cls, path: Path) -> "Verdict":
        """Raises OSError, and ValueError if it can't be read."""
        with damage_named(str(path), "The next retraining writes it again."):
            found = json.loads(path.read_bytes())
            rules = tuple(Rule(**rule) for rule in found["rules"])
            figures = {name: (before, after) for name, (before, after) in found["figures"].items()}
            intervals = {name: (tuple(before), tuple(after)) for name, (before, after) in found["intervals"].items()}
            return cls(found["champion"], found["challenger"], rules, figures, intervals, found.get("remark", ""))

    def write(self, folder: Path) -> None:
        """Write `verdict.json` and, for people, `verdict.html` with the pictures that are in `pictures/`."""
        folder.mkdir(parents=True, exist_ok=True)
        found = {**asdict(self), "is_promoted": self.is_promoted, "reason": self.reason}
        (folder / VERDICT_FILE).write_text(json.dumps(found, indent=2) + "\n")
        (folder / "verdict.html").write_text(_page(self, sorted(folder.glob(f"{PICTURES}/*.jpg"))))


def _page(verdict: Verdict, pictures: Sequence[Path]) -> str:
    rules = "".join(
        f"<tr><td>{'✓' if rule.holds else '✗'}</td><th>{html.escape(rule.name)}</th><td>{html.escape(rule.found)}</td></tr>"
        for rule in verdict.rules
    )
    figures = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(
            f"<td>{value:.4f} <small>{low:.3f} to {high:.3f}</small></td>"
            for value, (low, high) in zip(verdict.figures[name], verdict.intervals[name], strict=True)
        )
        + f"<td>{after - before:+.4f}</td></tr>"
        for name, (before, after) in verdict.figures.items()
    )
    shown = "".join(
        f'<p><img src="{PICTURES}/{html.escape(path.name)}" alt="{html.escape(path.stem)}" loading="lazy"></p>'
        for path in pictures
    )
    said = "is promoted" if verdict.is_promoted else "is not promoted"
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(verdict.challenger)} {said}</title>
<style>body{{font:1rem/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}} td,th{{text-align:left;padding:.3rem .8rem}} tr{{border-top:1px solid #8884}}
img{{max-width:100%}} :root{{color-scheme:light dark}}</style>
<h1>{html.escape(verdict.challenger)} {said}</h1><p>{html.escape(verdict.reason)}. {html.escape(verdict.remark)}</p>
<h2>Rules</h2><table>{rules}</table>
<h2>Figures</h2><p>F1 of each set's pooled pixels; of sets without cracks, the share of photographs without a false alarm.
Small: 95% interval over groups.</p>
<table><tr><th>set</th><th>{html.escape(verdict.champion)}</th><th>{html.escape(verdict.challenger)}</th><th></th></tr>{figures}</table>
{"<h2>Photographs</h2><p>The label, the champion, the challenger.</p>" if pictures else ""}{shown}
</html>
"""
