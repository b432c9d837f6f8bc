"""What corrections are worth: F1 on a surface that the served model has never seen, before and after a retraining from some of
its photographs, by what any client can ask for: predictions, feedback, a review, a retraining.

Half of the surface, cut by group, judges; the corrections come from the other half. DeepCrack's test photographs show what was
forgotten. `--upper-bound` names a checkpoint that learned by the champion's recipe from all of the surface except that half: it
shows what there was to gain. With `--spoil` the masks are wrong on purpose, and the model must stay as it is.
"""

import argparse
import contextlib
import hashlib
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import requests
import yaml
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from benchmarks.contenders import CRACK, process, start_torchserve
from model.dataset import Pair, add_data_option, is_held_out, read_pairs
from model.evaluate import by_checkpoint, by_server, evaluate
from model.inference.card import threshold_level
from model.metrics import counts_at
from model.params import DataParams
from model.report import Evaluation
from retrain.judge import paired_differences
from retrain.rollover import read_card
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
POLL_S = 5.0
JUDGING_FOLD = (0, 2)  # as `data.held_out_folds` has it: the upper bound is trained with this fold of the surface held out
N_RESAMPLES = 2000
Mask = NDArray[np.bool_]

SPOIL: dict[str, Callable[[Sequence[Mask]], list[Mask]]] = {
    "inverted": lambda masks: [~mask_hw for mask_hw in masks],
    "empty": lambda masks: [np.zeros_like(mask_hw) for mask_hw in masks],
    "exchanged": lambda masks: [_fitted(masks[number - 1], mask_hw.shape) for number, mask_hw in enumerate(masks)],
}


def _fitted(mask_hw: Mask, shape: tuple[int, ...]) -> Mask:
    height, width = shape
    return np.asarray(Image.fromarray(mask_hw).resize((width, height), Image.Resampling.NEAREST))


def learned_sets(champion: Path) -> dict[str, float]:
    """The sets that an archive's model learned from, with their shares: all of its recipe but those held out as a whole."""
    data = DataParams.model_validate(read_card(champion).training["params"]["data"])
    return {name: share for name, share in data.sets.items() if data.held_out_folds.get(name) != (0, 1)}


@contextlib.contextmanager
def running_system(champion: Path, data_dir: Path, work: Path) -> Iterator[str]:
    """TorchServe, sidecar, MLflow and the retrain job, with `champion` served; yields the sidecar's address.

    The data that models are judged by are the champion's own sets: to this system the new surface is new.
    """
    sets = learned_sets(champion)
    store, data = work / "model_store", work / "data"
    store.mkdir(parents=True)
    data.mkdir()
    shutil.copy(champion, store / "crack.mar")
    for name in sets:
        (data / name).symlink_to((data_dir / name).resolve())
    recipe = yaml.safe_load((ROOT / "params.yaml").read_text())
    recipe["data"]["sets"] = sets
    (work / "params.yaml").write_text(yaml.safe_dump(recipe))
    sidecar_port, mlflow_port = free_ports(2)
    url, mlflow_url = f"http://127.0.0.1:{sidecar_port}", f"http://127.0.0.1:{mlflow_port}"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(start_torchserve(None, store))
        server.wait_until_ready()
        settings = {
            "PYTHONPATH": str(ROOT),
            "CRACK_SIDECAR_PORT": str(sidecar_port),
            "CRACK_FEEDBACK_DIR": str(work / "feedback"),
            "CRACK_DATA_DIR": str(data),
            "CRACK_MODEL_STORE": str(store),
            "CRACK_RETRAIN_AFTER_LABELS": "1000000",  # it is asked for
            "CRACK_RETRAIN_METRICS_PORT": str(free_ports(1)[0]),
            "CRACK_REQUESTS_PER_MINUTE": "1000000",
            "TORCHSERVE_URL": server.inference_url,
            "TORCHSERVE_MANAGEMENT_URL": server.management_url,
            "MLFLOW_TRACKING_URI": mlflow_url,
        }
        mlflow = ["mlflow", "server", f"--port={mlflow_port}", "--workers=1"]
        mlflow += [f"--backend-store-uri=sqlite:///{work}/mlflow.db", f"--artifacts-destination={work}/artifacts"]
        stack.enter_context(
            process([sys.executable, "-m", *mlflow], {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, f"{mlflow_url}/health")
        )
        stack.enter_context(process([*CRACK, "sidecar"], settings, f"{url}/ping"))
        stack.enter_context(process([*CRACK, "retrain", "--watch"], settings, f"{url}/ping", cwd=work))
        yield url


def corrections_and_judges(data_dir: Path, surface: str, n: int) -> tuple[list[Pair], list[Pair]]:
    """`n` photographs of the surface to correct, and those of other groups that judge; both chosen by hashes of their names.

    Raises ValueError where fewer than `n` don't judge.
    """
    cut = DataParams(
        sets={surface: 1},
        held_out_folds={surface: JUDGING_FOLD},
        synthetic_share=0,
        n_synthetic=0,
        validation_ratio=0.1,
        seed=0,
    )
    pairs = read_pairs(data_dir, [surface], "train")
    others = sorted(
        (pair for pair in pairs if not is_held_out(pair, cut)),
        key=lambda pair: hashlib.sha256(pair.image_path.name.encode()).digest(),
    )
    if len(others) < n:
        raise ValueError(f"--n {n}: {len(others)} of the {len(pairs)} photographs of {surface} don't judge. Correct fewer.")
    return others[:n], [pair for pair in pairs if is_held_out(pair, cut)]


def post(url: str, pairs: Sequence[Pair], spoil: str | None) -> None:
    """Send corrections as the page does, and accept them as a reviewer does."""
    masks = [pair.read().mask_hw for pair in pairs]
    for pair, mask_hw in zip(
        tqdm(pairs, desc="correcting", unit="photo"), SPOIL[spoil](masks) if spoil else masks, strict=True
    ):
        png = io.BytesIO()
        Image.fromarray(mask_hw.astype(np.uint8) * 255).save(png, "PNG")
        files = {"image": pair.image_path.read_bytes(), "mask": png.getvalue()}
        verdict = {"verdict": "other" if mask_hw.any() else "no_crack"}
        item = save(url, files, verdict)
        seen = {"If-Match": requests.get(f"{url}/feedback/{item}", timeout=120).headers["ETag"]}
        accepted = {"decision": "accept"}
        requests.post(f"{url}/feedback/{item}/review", data=accepted, headers=seen, timeout=120).raise_for_status()


def save(url: str, files: dict[str, bytes], fields: dict[str, str]) -> str:
    """The item's id. A sidecar that has just started with a new folder first describes the photographs that must not train."""
    while True:
        saved = requests.post(f"{url}/save-for-retrain", files=files, data=fields, timeout=120)
        if saved.status_code != requests.codes.unavailable:
            saved.raise_for_status()
            return str(saved.json()["id"])
        time.sleep(float(saved.headers["Retry-After"]))


def retrain(url: str) -> tuple[dict[str, str], float]:
    """Ask for a retraining and wait for its end; the job, and minutes."""
    started = time.monotonic()
    requests.post(f"{url}/retrain", timeout=120).raise_for_status()
    with tqdm(total=100, desc="retraining", unit="%") as progress:
        while True:
            job = requests.get(f"{url}/retrain", timeout=120).json()["job"]
            progress.update(round(100 * job["progress"]) - progress.n)
            progress.set_postfix_str(job["message"][:60])
            if job["state"] not in ("queued", "running"):
                return job, (time.monotonic() - started) / 60
            time.sleep(POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        epilog="examples:\n"
        "  python -m benchmarks.learning --champion champion.mar --surface sut130\n"
        "  python -m benchmarks.learning --champion champion.mar --surface sut130 --upper-bound with-half.pth\n"
        "  python -m benchmarks.learning --champion champion.mar --surface sut130 --spoil exchanged\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--champion", type=Path, required=True, help="an archive of a model that has not seen the surface")
    parser.add_argument("--surface", required=True, help="a set in the data folder")
    parser.add_argument("--n", type=int, default=50, help="how many of its photographs are corrected (default: 50)")
    parser.add_argument(
        "--upper-bound",
        type=Path,
        metavar="FILE",
        help="a checkpoint by the champion's recipe that learned from all of the surface but the judging half "
        f"(data.held_out_folds={{SURFACE: {list(JUDGING_FOLD)}}})",
    )
    parser.add_argument("--spoil", choices=SPOIL, help="send wrong masks")
    parser.add_argument("--work", type=Path, help="folder to work in, and to leave everything in (default: a temporary one)")
    options = parser.parse_args()
    if options.surface in learned_sets(options.champion):
        parser.error(f"{options.champion} has learned from {options.surface}: name a set that it has never seen")
    try:
        posted, judges = corrections_and_judges(options.data, options.surface, options.n)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"error: {error}\n")
    deepcrack = read_pairs(options.data, ["deepcrack"], "test")
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as temporary:
        work = options.work or Path(temporary)
        with running_system(options.champion.resolve(), options.data, work.resolve()) as url:
            ask = by_server(f"{url}/predict")
            before = [evaluate(ask, pairs) for pairs in (judges, deepcrack)]
            post(url, posted, options.spoil)
            job, minutes = retrain(url)
            after = [evaluate(ask, pairs) for pairs in (judges, deepcrack)]
    kind = options.spoil or "true masks"
    print(f"\n{len(posted)} corrections ({kind}): {job['state']} after {minutes:.1f} minutes. {job['message']}\n")
    n_groups = len({pair.group for pair in judges})
    print("| F1 | before | after | difference | 95% interval over groups |\n|---|---|---|---|---|")
    for name, one, other in zip(
        (f"{options.surface}, {len(judges)} others of {n_groups} groups", "DeepCrack test"), before, after, strict=True
    ):
        low, high = difference_interval(one, other)
        print(f"| {name} | {f1(one):.4f} | {f1(other):.4f} | {f1(other) - f1(one):+.4f} | {low:+.4f} to {high:+.4f} |")
    if options.upper_bound:
        bound = f1(evaluate(by_checkpoint(options.upper_bound)[0], judges))
        gap, won = bound - f1(before[0]), f1(after[0]) - f1(before[0])
        print(f"\nUpper bound, which learned from all of {options.surface} except that half: {bound:.4f}.")
        print(f"Of the gap of {gap:.4f}, {won / gap:.0%} is won.")


def f1(evaluation: Evaluation) -> float:
    """Pooled over the pixels of photographs that show cracks, at the model's threshold."""
    return float(evaluation.to_dict()["f1"])


def difference_interval(before: Evaluation, after: Evaluation) -> tuple[float, float]:
    """Of the F1, at 95%: paired, groups drawn with replacement."""
    counts_before, counts_after = (
        {"": counts_at(evaluation.levels_n_2_256, threshold_level(evaluation.threshold))} for evaluation in (before, after)
    )
    groups = {"": [pair.group for pair in before.pairs]}
    low, high = np.percentile(paired_differences(counts_before, counts_after, groups, N_RESAMPLES), (2.5, 97.5))
    return float(low), float(high)


if __name__ == "__main__":
    main()
