"""The figures of an evaluation, and the folder that it writes.

`figures.json`, `figures.md`, `precision_recall.png`, `photographs.csv` (each photograph's own scores, worst first), pictures of
the worst and the best, and `index.html` to look through it all.
"""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from model.dataset import Pair
from model.inference.card import threshold_level
from model.metrics import (
    Counts,
    FalseAlarms,
    Report,
    Scores,
    alarm_curve,
    counts_at,
    pooled_scores,
    precision_recall_curve,
)

N_SHOWN = 10
MIN_ALARM_PX = 100
TOLERANCE_PX = 2

# RGB, as in report.html
HIT, INVENTED, MISSED = (46, 204, 113), (255, 90, 79), (74, 163, 255)
OPACITY = 0.65

Predict = Callable[[bytes], tuple[NDArray[np.uint8], float]]
"""From a photograph's file to its crack probability, uint8 (height, width), and the threshold to cut it at."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured: `report` where photographs hold a crack, `false_alarms` where some hold none.

    `levels_n_2_256` are the counts of `count_levels`, a row for each of `pairs`, cut at `threshold`. `near_f1` forgives
    `TOLERANCE_PX`; `auroc` says how well `crack_scores` tell photographs with a crack from those without, where there are both.
    """

    pairs: Sequence[Pair]
    levels_n_2_256: Counts
    threshold: float
    crack_scores: Sequence[float]
    report: Report | None
    near_f1: float | None
    false_alarms: FalseAlarms | None
    auroc: float | None

    def to_dict(self) -> dict[str, Any]:
        figures: dict[str, Any] = dict(self.report.to_dict()) if self.report else {}
        for name, value in (
            (f"f1_within_{TOLERANCE_PX}_px", self.near_f1),
            ("false_alarms", asdict(self.false_alarms) if self.false_alarms else None),
            ("crack_score_auroc", self.auroc),
        ):
            if value is not None:
                figures[name] = value
        return figures

    def to_markdown(self) -> str:
        return "\n".join([*([self.report.to_markdown()] if self.report else []), *self._sentences()])

    def write(self, folder: Path, title: str, model: str, predict: Predict) -> Path:
        """Write the folder, over an existing one, and return the path of its page. The photographs shown are predicted again.

        Args:
            folder: created where it does not exist.
            title: what was measured.
            model: a line about what made the predictions.
            predict: made the predictions.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "figures.json").write_text(json.dumps(self.to_dict(), indent=2) + "\n")
        (folder / "figures.md").write_text(f"# {title}\n\n{model}\n\n{self.to_markdown()}")
        if self.report:
            self._draw_curve(self.report, folder / "precision_recall.png")
        if self.auroc is not None:
            self._draw_alarms(folder / "alarms.png")
        ranking = self._ranking()
        with (folder / "photographs.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["set", "image", "f1", "precision", "recall", "iou", "crack_score"])
            for index, scores in ranking:
                values = (scores.f1, scores.precision, scores.recall, scores.iou, self.crack_scores[index])
                rows.writerow(
                    [self.pairs[index].set_name, self.pairs[index].image_path.name, *(f"{value:.4f}" for value in values)]
                )
        n_shown = min(N_SHOWN, len(ranking) // 2 or 1)
        worst, best = ranking[:n_shown], ranking[: -n_shown - 1 : -1]
        pictures = {
            index: self._picture(folder, self.pairs[index], predict)
            for index, _ in tqdm([*worst, *best], desc="drawing", unit="photo", leave=False)
        }
        page = (
            jinja2.Environment(autoescape=True)
            .from_string(Path(__file__).with_name("report.html").read_text())
            .render(
                title=title,
                model=model,
                n_photographs=len(self.pairs),
                threshold=self.threshold,
                rows=self.report.rows() if self.report else [],
                sentences=self._sentences(),
                has_alarms=self.auroc is not None,
                **{
                    name: [
                        {"name": self.pairs[index].image_path.name, "picture": pictures[index], **asdict(scores)}
                        for index, scores in shown
                    ]
                    for name, shown in (("worst", worst), ("best", best))
                },
            )
        )
        path = folder / "index.html"
        path.write_text(page)
        return path

    def _sentences(self) -> list[str]:
        sentences = []
        if self.near_f1 is not None:
            sentences.append(f"F1 where a line may be up to {TOLERANCE_PX} pixels beside the crack: {self.near_f1:.3f}.\n")
        if self.false_alarms:
            alarms = self.false_alarms
            sentences.append(
                f"{alarms.n_photographs} photographs without a crack: {alarms.n_with_alarm} with {MIN_ALARM_PX} or more pixels "
                f"called crack, {alarms.area_ratio:.3%} of their area.\n"
            )
        if self.auroc is not None:
            sentences.append(
                f"How well the crack score separates photographs with a crack from those without: AUROC {self.auroc:.4f}.\n"
            )
        return sentences

    def _ranking(self) -> list[tuple[int, Scores]]:
        """The photographs' indices and scores, the lowest F1 first; of those without a crack, the most called crack first."""
        counts_n_3 = counts_at(self.levels_n_2_256, threshold_level(self.threshold))
        scores = [pooled_scores(counts_3[None]) for counts_3 in counts_n_3]
        return sorted(enumerate(scores), key=lambda item: (item[1].f1, -counts_n_3[item[0], 1]))

    def _draw_curve(self, report: Report, path: Path) -> None:
        _, precision, recall = precision_recall_curve(self.levels_n_2_256)
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.subplots()
        grid = np.linspace(0.01, 1, 200)
        recalls, precisions = np.meshgrid(grid, grid)
        lines = axes.contour(
            recalls, precisions, 2 * recalls * precisions / (recalls + precisions), [0.5, 0.6, 0.7, 0.8, 0.9], colors="0.8"
        )
        axes.clabel(lines, fmt="F1 %.1f")
        axes.plot(recall, precision, color="tab:blue")
        axes.plot(
            report.recall, report.precision, "o", color="tab:red", label=f"threshold {report.threshold:.3f}: F1 {report.f1:.3f}"
        )
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(loc="lower left")
        figure.savefig(path, dpi=160)

    def _draw_alarms(self, path: Path) -> None:
        recall, alarms = alarm_curve(self.levels_n_2_256, MIN_ALARM_PX)
        at = threshold_level(self.threshold) - 1
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.subplots()
        axes.plot(alarms, recall, color="tab:blue")
        axes.plot(alarms[at], recall[at], "o", color="tab:red", label=f"threshold {self.threshold:.3f}")
        axes.set(xlabel="crack-free photographs with a false alarm", ylabel="recall", xlim=(-0.01, 1), ylim=(0, 1))
        axes.legend(loc="lower right")
        figure.savefig(path, dpi=160)

    def _picture(self, folder: Path, pair: Pair, predict: Predict) -> str:
        """Write the photograph beside what was found on it; returns the file's name."""
        photograph = pair.read()
        prob_hw_u8, threshold = predict(pair.encoded())
        called_hw = prob_hw_u8 >= threshold_level(threshold)
        painted = photograph.image_hwc_u8.astype(np.float32)
        for where_hw, colour in (
            (called_hw & photograph.mask_hw, HIT),
            (called_hw & ~photograph.mask_hw, INVENTED),
            (~called_hw & photograph.mask_hw, MISSED),
        ):
            painted[where_hw] = painted[where_hw] * np.float32(1 - OPACITY) + np.array(colour, np.float32) * np.float32(OPACITY)
        picture = np.hstack([photograph.image_hwc_u8, painted.round().astype(np.uint8)])
        name = f"{pair.set_name}-{pair.image_path.stem}.jpg"
        cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        return name
