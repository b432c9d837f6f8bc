"""What corrections are worth: F1 on a surface that the served model has never seen, before and after a retraining from some of
its photographs, by what any client can ask for: predictions, feedback, a review, a retraining.

The surface's other photographs judge, and DeepCrack's test photographs tell what was forgotten. With `--spoil` the masks are
made wrong on purpose, and the model must stay as it is.
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

from benchmarks.contenders import free_ports, process, start_torchserve
from model.dataset import Pair, add_data_option, read_pairs
from model.evaluate import by_server, evaluate
from retrain.rollover import read_card

ROOT = Path(__file__).resolve().parent.parent
POLL_S = 5.0
Mask = NDArray[np.bool_]

SPOIL: dict[str, Callable[[Sequence[Mask]], list[Mask]]] = {
    "inverted": lambda masks: [~mask_hw for mask_hw in masks],
    "empty": lambda masks: [np.zeros_like(mask_hw) for mask_hw in masks],
    "exchanged": lambda masks: [_fitted(masks[number - 1], mask_hw.shape) for number, mask_hw in enumerate(masks)],
}


def _fitted(mask_hw: Mask, shape: tuple[int, ...]) -> Mask:
    height, width = shape
    return np.asarray(Image.fromarray(mask_hw).resize((width, height), Image.Resampling.NEAREST))


@contextlib.contextmanager
def running_system(champion: Path, data_dir: Path, work: Path) -> Iterator[str]:
    """TorchServe, sidecar, MLflow and the retrain job, with `champion` served; yields the sidecar's address.

    The data that models are judged by are the champion's own sets: to this system the new surface is new.
    """
    sets = read_card(champion).training["params"]["data"]["sets"]
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
        stack.enter_context(process([sys.executable, "-m", "sidecar"], settings, f"{url}/ping"))
        job = [sys.executable, "-m", "retrain", "--watch"]
        stack.enter_context(process(job, settings, f"{url}/ping", cwd=work))
        yield url


def halves(pairs: Sequence[Pair], n_posted: int) -> tuple[list[Pair], list[Pair]]:
    """Those that are posted and those that judge: by a hash of their names, so that nobody chose them."""
    ordered = sorted(pairs, key=lambda pair: hashlib.sha256(pair.image_path.name.encode()).digest())
    return ordered[:n_posted], ordered[n_posted:]


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
        saved = requests.post(f"{url}/save-for-retrain", files=files, data=verdict, timeout=120)
        saved.raise_for_status()
        item = saved.json()["id"]
        requests.post(f"{url}/feedback/{item}/review", data={"decision": "accept"}, timeout=120).raise_for_status()


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
        "  python -m benchmarks.learning --champion champion.mar --surface sut130 --n 52\n"
        "  python -m benchmarks.learning --champion champion.mar --surface sut130 --n 52 --spoil exchanged\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_option(parser)
    parser.add_argument("--champion", type=Path, required=True, help="an archive of a model that has not seen the surface")
    parser.add_argument("--surface", required=True, help="a set in the data folder")
    parser.add_argument("--n", type=int, default=52, help="how many of its photographs are corrected (default: 52)")
    parser.add_argument("--spoil", choices=SPOIL, help="send wrong masks")
    parser.add_argument("--work", type=Path, help="folder to work in, and to leave everything in (default: a temporary one)")
    options = parser.parse_args()
    if options.surface in read_card(options.champion).training["params"]["data"]["sets"]:
        parser.error(f"{options.champion} has learned from {options.surface}: name a set that it has never seen")
    splits = {"sut130": ("train",), "uav75": ("train", "val")}.get(options.surface, ("train",))
    pairs = [pair for split in splits for pair in read_pairs(options.data, [options.surface], split)]
    posted, others = halves(pairs, options.n)
    judges = {
        f"{options.surface}, {len(others)} others": others,
        "deepcrack test": read_pairs(options.data, ["deepcrack"], "test"),
    }
    with tempfile.TemporaryDirectory(prefix="crack-bench-") as temporary:
        work = options.work or Path(temporary)
        with running_system(options.champion.resolve(), options.data, work.resolve()) as url:
            before = {name: f1(url, members) for name, members in judges.items()}
            post(url, posted, options.spoil)
            job, minutes = retrain(url)
            after = {name: f1(url, members) for name, members in judges.items()}
    kind = options.spoil or "true masks"
    print(f"\n{len(posted)} corrections ({kind}): {job['state']} after {minutes:.1f} minutes. {job['message']}\n")
    print("| F1 | before | after | difference |\n|---|---|---|---|")
    for name, value in before.items():
        print(f"| {name} | {value:.4f} | {after[name]:.4f} | {after[name] - value:+.4f} |")


def f1(url: str, pairs: Sequence[Pair]) -> float:
    """Pooled over the pixels of photographs that show cracks, at the server's threshold."""
    return float(evaluate(by_server(f"{url}/predict"), pairs).to_dict()["f1"])


if __name__ == "__main__":
    main()
