"""Where things are and what a retraining may do: from the environment, and from the section `retrain` of params.yaml."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crack.instance import of_instance

SECTION = "retrain"


@dataclass(frozen=True)
class Settings:
    """docs/retraining.md lists each variable with its meaning."""

    torchserve_url: str
    management_url: str
    model_store: Path
    feedback_dir: Path
    workspace: Path
    dvc_remote: str
    mlflow_url: str
    metrics_port: int
    data_dir: Path = Path("data")
    after_labels: int = 50
    drain_s: float = 60.0
    metrics_host: str = "127.0.0.1"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises ValueError, naming the variable, where one is no sensible value."""
        environment = of_instance(environment)
        return cls(
            torchserve_url=environment["TORCHSERVE_URL"].rstrip("/"),
            management_url=environment["TORCHSERVE_MANAGEMENT_URL"].rstrip("/"),
            model_store=Path(environment["CRACK_MODEL_STORE"]),
            feedback_dir=Path(environment["CRACK_FEEDBACK_DIR"]),
            data_dir=Path(environment.get("CRACK_DATA_DIR") or cls.data_dir),
            workspace=Path(environment["CRACK_RETRAIN_WORKSPACE"]),
            dvc_remote=environment["CRACK_DVC_REMOTE"],
            mlflow_url=environment["MLFLOW_TRACKING_URI"],
            after_labels=int(_number(environment, "CRACK_RETRAIN_AFTER_LABELS", cls.after_labels)),
            drain_s=_number(environment, "CRACK_DRAIN_S", cls.drain_s),
            metrics_host=environment.get("CRACK_RETRAIN_METRICS_HOST", cls.metrics_host),
            metrics_port=int(_number(environment, "CRACK_RETRAIN_METRICS_PORT")),
        )


class RetrainParams(BaseModel):
    """How a retraining learns, and what a promotion needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(ge=1)
    minutes: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    sets: dict[str, Annotated[float, Field(ge=0)]]
    feedback_ratio: float = Field(gt=0, lt=1)
    most_forgotten: float = Field(ge=0)
    held_out_ratio: float = Field(gt=0, lt=1)
    least_held_out: int = Field(ge=1)
    gate_margin: float = Field(ge=0)
    most_new_alarms: int = Field(ge=0)
    largest_slowdown: float = Field(ge=1)
    largest_crack_ratio: float = Field(gt=0, le=1)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError, naming what is wrong."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text())[SECTION])
        except (KeyError, ValidationError) as error:
            raise ValueError(f"{path}, section {SECTION!r}: {error}") from error


def _number(environment: Mapping[str, str], name: str, default: float = -1) -> float:
    text = environment.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1
    if value < 0:
        raise ValueError(f"{name}={text!r}: expected a number, not below zero.")
    return value
