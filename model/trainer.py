"""One training under way: the network and its average, the optimiser, what was best, and the state that a kill leaves behind.

What happens next depends on that state and the step number alone (where time is limited, also on the seconds so far), so a
training killed at any time and resumed goes on as if it had not been. Left to others: which photographs, and what becomes of
the finished network (`model.train`).
"""

import logging
import math
import platform
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from model import checkpoint
from model.attention_unet import AttentionUNet, network_of
from model.crops import CropDataset, Pixels
from model.dataset import TERMS, LabelledPhotograph, set_up_process
from model.efficientnet_lite import DEVIATION, MEAN, imagenet_weights
from model.inference.card import ModelCard
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter
from model.losses import segmentation_loss
from model.machine import Machine
from model.params import Params, TrainingParams
from model.validation import validate

logger = logging.getLogger("model.train")

DRAWN = "drawn surfaces"
STATISTICS_BATCHES = 32
TIMED_STEPS = 8  # after which the log says how long the training will take
CHECKPOINT_S = 300.0
Report = Callable[[int, int], None]
"""Called by the first process after each step, with the number of steps done, and of all steps as it is expected then."""


class Trainer:
    """The state of one training: what is optimised, what was best, and how far it is."""

    def __init__(
        self,
        params: Params,
        version: str,
        train: Mapping[str, Sequence[LabelledPhotograph]],
        validation: Mapping[str, Sequence[LabelledPhotograph]],
        most_alarms: int | None = None,
        report: Report = lambda done, of: None,
        alarms: Mapping[str, Sequence[Pixels]] = MappingProxyType({}),
        most_seconds: float = math.inf,
    ) -> None:
        self.params = params
        self.version = version
        self.git_commit = _git_commit()
        self.machine = Machine.here()
        self.step = 0
        self.seconds = 0.0
        self.best: dict[str, Any] = {"score": -1.0}
        self.history: list[dict[str, Any]] = []
        self.parent: dict[str, Any] | None = None
        self._validation = validation
        self._most_alarms = most_alarms
        self._report = report
        self._most_seconds = most_seconds
        shares = {**params.data.sets, DRAWN: params.data.synthetic_share}
        self._alarms = alarms
        self._crops = CropDataset(train, shares, params.training, params.augmentation, alarms)
        random.seed(params.training.seed)
        torch.manual_seed(params.training.seed)
        self.mean, self.deviation = MEAN, DEVIATION
        self.network = network_of(params.network)
        self.network.to(self.machine.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._parallel = self.machine.parallel(self.network)
        averaging = get_ema_multi_avg_fn(params.training.ema_decay)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.network, multi_avg_fn=averaging)
        encoder, others = (
            self.network.encoder.parameters(),
            [*self.network.decoder.parameters(), *self.network.head.parameters()],
        )
        groups = [{"params": encoder, "rate": params.training.encoder_rate}, {"params": others, "rate": 1.0}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=params.training.weight_decay, fused=True)

    def run(self, unfinished: Path) -> None:
        """Train to the last step or until the time is over; validate, and write the state to `unfinished` on the way, and at
        Ctrl-C.

        Raises:
            KeyboardInterrupt: at Ctrl-C or SIGTERM, after the step under way was finished and the state written.
        """
        training = self.params.training
        logger.info("training on %s, steps %d to %d", self.machine, self.step, training.steps)
        written = time.monotonic()
        started, first, waited = written - self.seconds, self.step, 0.0
        draws = self.machine.own_draws(range(self.step * training.batch, training.steps * training.batch), training.batch)
        losses: list[Tensor] = []
        progress = tqdm(
            total=training.steps,
            initial=self.step,
            desc="training",
            unit="step",
            smoothing=0.05,
            disable=None if self.machine.is_first else True,
        )
        with progress, logging_redirect_tqdm(), _interruption_held_back() as is_asked_to_stop:
            for image_u8, truth in self.batches(draws):
                losses.append(self.optimise(image_u8, truth))
                self.step += 1
                self.seconds = time.monotonic() - started
                done_ratio = max(self.step / training.steps, self.seconds / self._most_seconds)
                progress.total = max(self.step, round(self.step / done_ratio))
                progress.update()
                is_stopped = self.machine.any_of_all(is_asked_to_stop())
                if self.machine.is_first:
                    self._report(self.step, progress.total)
                if self.step == first + 1:
                    waited = self.seconds  # for what the first step sets up
                elif self.step == first + TIMED_STEPS:
                    self._tell_pace((self.seconds - waited) / (TIMED_STEPS - 1))
                if done_ratio >= 1:  # the card says how many steps there were
                    self.params = self.params.model_copy(update={"training": training.model_copy(update={"steps": self.step})})
                is_validated = self.step % training.validate_every == 0 or done_ratio >= 1
                if is_validated and self.machine.is_first:
                    self._validate(float(torch.stack(losses).mean()))
                    losses.clear()
                is_due = is_validated or is_stopped or time.monotonic() - written > CHECKPOINT_S
                if is_due and self.machine.is_first:
                    checkpoint.write_whole(unfinished, self._state())
                    written = time.monotonic()
                if is_stopped:
                    if self.machine.is_first:
                        logger.warning("stopped; go on with: crack train --resume %s", unfinished)
                    raise KeyboardInterrupt
                if done_ratio >= 1:
                    break

    def _tell_pace(self, step_s: float) -> None:
        left = min(self.params.training.steps - self.step, (self._most_seconds - self.seconds) / step_s)
        minutes = (self.seconds + left * step_s) / 60
        logger.info("a step takes about %.2f s here: about %d steps, %.0f minutes", step_s, self.step + left, minutes)

    def begin_with_imagenet(self) -> None:
        """Take over what the encoder of this size learned from ImageNet. Raises as `imagenet_weights` does."""
        weights = imagenet_weights(self.params.network.width, self.params.network.depth)
        self.network.encoder.load_imagenet(weights)
        self.averaged.module.load_state_dict(self.network.state_dict())

    def begin_with(self, network: AttentionUNet, card: ModelCard) -> None:
        """Take over the weights of a finished training. Raises ValueError if its network is another."""
        if network.size != self.network.size:
            raise ValueError(
                f"version {card.version}: a network of {network.size}, expected {self.network.size}. Set it under network."
            )
        self.mean, self.deviation = card.mean, card.deviation
        self.network.load_state_dict(network.state_dict())
        self.averaged.module.load_state_dict(network.state_dict())
        lineage = {name: value for name, value in card.training.items() if name != "history"}
        self.parent = {"version": card.version, "training": lineage}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `run` wrote."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]
        self.parent, self.mean, self.deviation = state["parent"], tuple(state["mean"]), tuple(state["deviation"])

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
            "parent": self.parent,
            "alarms": {name: [torch.from_numpy(pixels) for pixels in of_set] for name, of_set in self._alarms.items()},
            "mean": self.mean,
            "deviation": self.deviation,
            "version": self.version,
            "params": self.params.model_dump(mode="json"),
        }

    def batches(self, draws: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the training crops with these numbers: images, uint8 N, 3, H, W, and truths, bool N, 1, H, W."""
        n_workers = min(16, max(1, n_usable_cores() // self.machine.n_processes - 1))
        return iter(
            DataLoader(
                self._crops,
                batch_size=self.params.training.batch // self.machine.n_processes,
                sampler=draws,
                num_workers=n_workers,
                worker_init_fn=set_up_process,
                pin_memory=self.machine.device.type == "cuda",
            )
        )

    def optimise(self, image_u8: Tensor, truth: Tensor) -> Tensor:
        """One step on one batch; returns its loss, on the device, which a GPU may not have computed yet."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * learning_rate(self.step, self.seconds / self._most_seconds, self.params.training)
        device = self.machine.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.machine.is_mixed):
            logits = self._parallel(self._normalise(image_u8))
        loss = segmentation_loss(logits, truth.to(device, non_blocking=True), self.params.training.dice_weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        return loss.detach()

    def _normalise(self, image_u8: Tensor) -> Tensor:
        device = self.machine.device
        mean, deviation = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (self.mean, self.deviation))
        image = image_u8.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
        return (image - mean) / deviation

    def _validate(self, loss: float) -> None:
        """Score the averaged weights; keep them if they are the best yet, with the threshold that made them so."""
        # Averaged weights need batch statistics of their own (Izmailov et al. 2018): with the trained network's, F1 fell by 3.
        batches = self.batches(range(STATISTICS_BATCHES * self.params.training.batch))
        update_bn((self._normalise(image_u8) for image_u8, _ in batches), self.averaged)
        network = checkpoint.rounded(self.averaged.module)
        segmenter = Segmenter(self.card(threshold=0.5), checkpoint.as_run(network))
        choice = validate(segmenter, self._validation, self._most_alarms)
        self.history.append({"step": self.step, "loss": loss, **asdict(choice)})
        logger.info("step %d: loss %.4f, validation %s", self.step, loss, choice)
        if choice.score > self.best["score"]:
            weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
            self.best = {**asdict(choice), "step": self.step, "weights": weights}

    def card(self, threshold: float) -> ModelCard:
        network, inference, data = self.params.network, self.params.inference, self.params.data
        return ModelCard(
            version=self.version,
            mean=self.mean,
            deviation=self.deviation,
            stride=self.network.stride,
            **inference.model_dump(),
            threshold=threshold,
            architecture={
                "name": "Attention U-Net (Oktay et al. 2018)",
                "encoder": "EfficientNet-Lite (Tan and Le 2019)",
                "width": network.width,
                "depth": network.depth,
                "decoder": network.decoder,
                "n_parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            },
            training={
                "params": self.params.model_dump(mode="json"),
                "data": {name: {"share": share, "terms": TERMS.get(name, "unknown")} for name, share in data.sets.items()},
                "chosen_step": self.best.get("step"),
                "history": self.history,
                "minutes": round(self.seconds / 60, 1),
                "machine": f"{self.machine}, {platform.machine()}",
                "git_commit": self.git_commit,
                "parent": self.parent,
            },
        )


def learning_rate(step: int, time_ratio: float, training: TrainingParams) -> float:
    """Linear warm-up to the peak, then half a cosine down to zero (Loshchilov and Hutter 2017, SGDR, without restarts).

    The cosine runs over the steps or, where these take longer, over the time there is, of which `time_ratio` has passed.
    """
    warmup = min(1, (step + 1) / max(1, training.warmup_steps))
    steps_ratio = (step - training.warmup_steps) / max(1, training.steps - training.warmup_steps)
    progress = min(1, max(0, steps_ratio, time_ratio))
    return training.learning_rate * min(warmup, 0.5 * (1 + math.cos(math.pi * progress)))


@contextmanager
def _interruption_held_back() -> Iterator[Callable[[], bool]]:
    """Record Ctrl-C and SIGTERM instead of stopping in the middle of a step; yields whether one came."""
    came: list[int] = []
    former = {
        number: signal.signal(number, lambda number, _: came.append(number)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _git_commit() -> str | None:
    """The commit that trains, `-dirty` where files differ from it; None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
