"""The job's settings: places from the environment, and the rules of a retraining from the section `retrain` of params.yaml."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crack.settings import OfSeveralParts, Port, Seconds, Url
from model.params import read_sections

SECTION = "retrain"


class Settings(OfSeveralParts):
    """Where the job finds its neighbours, and where it works."""

    data_dir: Path = Field(
        Path("data"), alias="CRACK_DATA_DIR", description="folder of the original sets, from which it also learns"
    )
    workspace: Path = Field(alias="CRACK_RETRAIN_WORKSPACE", description="the job's own repository")
    dvc_remote: str = Field(
        alias="CRACK_DVC_REMOTE",
        description="where data and models are pushed: a folder, or an address such as `s3://bucket/path`",
    )
    mlflow_url: Url = Field(alias="MLFLOW_TRACKING_URI", description="the MLflow server")
    drain_s: Seconds = Field(
        60,
        alias="CRACK_DRAIN_S",
        description="seconds for which the former version stays loaded after its last waiting request, to finish its answers",
    )
    metrics_host: str = Field("127.0.0.1", alias="CRACK_RETRAIN_METRICS_HOST", description="where it publishes its metrics")
    metrics_port: Port = Field(alias="CRACK_RETRAIN_METRICS_PORT", description="at which port")


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
            return cls.model_validate(read_sections(path)[SECTION])
        except (KeyError, ValidationError) as error:
            raise ValueError(f"{path}, section {SECTION!r}: {error}") from error
