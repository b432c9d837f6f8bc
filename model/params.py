"""params.yaml as typed, checked, frozen sections: all that changes a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Ratio = Field(ge=0, le=1)
Count = Field(ge=1)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataParams(_Section):
    sets: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    held_out_folds: dict[str, tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]]
    synthetic_share: float = Field(ge=0)
    n_synthetic: int = Field(ge=0)
    validation_ratio: float = Field(gt=0, lt=1)
    judging_ratio: float = Field(default=0, ge=0, lt=1)  # cards of the first releases don't have it
    largest_group: int = Field(default=8, ge=1)  # nor this
    judged_elsewhere: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    seed: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.synthetic_share > 0) != (self.n_synthetic > 0):
            raise ValueError("synthetic_share and n_synthetic: expected both to be 0 or neither")
        if not self.n_synthetic and not any(self.sets.values()):
            raise ValueError("every share is 0: expected something to train on")
        if self.validation_ratio + self.judging_ratio >= 1:
            raise ValueError("validation_ratio and judging_ratio: expected less than 1 together, the rest is learned from")
        for name, (fold, n_folds) in self.held_out_folds.items():
            if fold >= n_folds:
                raise ValueError(f"held_out_folds {name}: [{fold}, {n_folds}]: expected a fold from 0 to {n_folds - 1}")
        return self


class NetworkParams(_Section):
    width: float = Field(gt=0)
    depth: float = Field(gt=0)
    decoder: tuple[Annotated[int, Count], ...]
    is_from_imagenet: bool


class TrainingParams(_Section):
    steps: int = Count
    batch: int = Count
    crop_px: int = Count
    on_crack_ratio: float = Ratio
    learning_rate: float = Field(gt=0)
    encoder_rate: float = Ratio
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    dice_weight: float = Ratio
    ema_decay: float = Field(ge=0, lt=1)
    validate_every: int = Count
    seed: int


class AugmentationParams(_Section):
    warp_ratio: float = Ratio
    scale_range: tuple[float, float]
    transplant_ratio: float = Ratio
    tone: float = Ratio
    negative_ratio: float = Ratio
    shadow_ratio: float = Ratio
    blur_ratio: float = Ratio
    noise_ratio: float = Ratio
    grey_ratio: float = Ratio

    @model_validator(mode="after")
    def _check(self) -> Self:
        smallest, largest = self.scale_range
        if not 0 < smallest <= largest:
            raise ValueError(f"scale_range: {self.scale_range}, expected 0 < smallest <= largest")
        return self


class InferenceParams(_Section):
    """Fields of `ModelCard`; cards of former releases lack those with a default."""

    tile_px: int = Count
    overlap_px: int = Count
    reductions: tuple[Annotated[int, Field(ge=2)], ...]
    least_px: int = Count
    wide_px: int = Count
    narrow_px: int = Field(default=0, ge=0)
    sure: float = Field(default=0.78, gt=0, lt=1)
    seen: float = Field(default=0.25, gt=0, lt=1)
    cell_px: int = Field(default=12, ge=1)
    least_sure_px: int = Field(default=0, ge=0)


class ExportParams(_Section):
    tolerance: float = Field(gt=0)
    n_calibration: int = Count
    largest_iou_loss: float = Field(ge=0)


class Params(_Section):
    data: DataParams
    network: NetworkParams
    training: TrainingParams
    augmentation: AugmentationParams
    inference: InferenceParams
    export: ExportParams


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """A file of parameters, unchecked. Raises ValueError if it has no sections."""
    try:
        values = _read_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8 ({error}).") from error
    if not isinstance(values, dict) or not all(isinstance(section, dict) for section in values.values()):
        raise ValueError(f"{path}: expected sections with values, as in the project's params.yaml, got {str(values)[:80]!r}.")
    return values


def read_params(path: Path, overrides: Mapping[str, str] | None = None, recipe: Path | None = None) -> Params:
    """Read params.yaml.

    Args:
        path: the file.
        overrides: single values to put in place of the file's, `{"training.steps": "100"}`, each written as in YAML.
        recipe: a file of the same form with what differs from the first: a stage of a training (`recipes/`).

    Raises:
        ValueError: a file or a value is no YAML, or a value is missing, unknown or out of range; each is named.
    """
    values = read_sections(path)
    values.pop("retrain", None)  # how a retraining goes about it: read by `retrain.settings`, no part of a recipe
    differences = (_read_yaml(recipe.read_text(), str(recipe)) or {}) if recipe else {}
    if not isinstance(differences, dict) or not all(isinstance(others, dict) for others in differences.values()):
        raise ValueError(f"{recipe}: {differences!r}, expected sections of {path} with the values that differ.")
    for section, others in differences.items():
        for key, value in others.items():
            if key not in values.get(section, {}):
                raise ValueError(f"{recipe}: {section}.{key} is not in {path}.")
            values[section][key] = value
    for name, text in (overrides or {}).items():
        section, _, key = name.partition(".")
        if key not in values.get(section, {}):
            raise ValueError(f"{name!r} is not in {path}. Write SECTION.KEY=VALUE with a section and key of that file.")
        values[section][key] = _read_yaml(text, name)
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}={fault['input']!r}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"{path}: {faults}.") from error


def _read_yaml(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{name}: no YAML ({' '.join(str(error).split())}).") from error
