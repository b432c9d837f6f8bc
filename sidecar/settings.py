"""What the sidecar reads from the environment."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from crack.doors import Doors
from crack.instance import LOOPBACK
from crack.issuer import issuer_url, page_client
from crack.settings import GIGABYTE, Count, OfSeveralParts, Port, Positive, Reader, one_of
from model.inference.photograph import MEGABYTE, MEGAPIXEL, Limits
from sidecar import keys

N_BODIES = 6  # of the largest size, unless CRACK_BUSY_MEGABYTES is set; about 60 of photographs of 12 megapixels


def _at_once(variable: str, unit: int, one: str, variable_of_one: str, n_default: int, environment: Mapping[str, str]) -> int:
    most_of_one = getattr(Limits.from_environment(environment), one)
    text = environment.get(variable, str(-(-n_default * most_of_one // unit)))
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{variable}={text!r}: expected a positive whole number.")
    if int(text) * unit < most_of_one:
        raise ValueError(
            f"{variable}={text}: expected {variable_of_one} or more, which is {most_of_one / unit:.4g}: "
            "otherwise the largest photographs would never be accepted."
        )
    return int(text) * unit


def _audiences(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, (environment.get("CRACK_OIDC_AUDIENCE"), page_client(environment))))


class Settings(OfSeveralParts):
    """The sidecar's settings. Its address is also where the page and the survey look for it (`BACKEND_URL`)."""

    host: str = Field("127.0.0.1", alias="CRACK_SIDECAR_HOST", description="where the sidecar listens")
    port: Port = Field(alias="CRACK_SIDECAR_PORT", description="at which port")
    page_host: str = Field("127.0.0.1", alias="CRACK_PAGE_HOST", description="where the page listens, for the log")
    page_port: Port = Field(alias="CRACK_PAGE_PORT", description="the page's port, for the log")
    prometheus_url: str = Field("", alias="CRACK_PROMETHEUS_URL", description="where Prometheus is, for the log")
    quota_gb: Positive = Field(20, alias="CRACK_QUOTA_GB", description="how much disk space the feedback store may use")
    inspections_dir: Path = Field(
        alias="CRACK_INSPECTIONS_DIR", description="the store of [inspections](inspecting.md#inspections-kept-by-the-server)"
    )
    inspections_quota_gb: Positive = Field(
        20, alias="CRACK_INSPECTIONS_QUOTA_GB", description="how much disk space it may use, including its index"
    )
    requests_per_minute: Count = Field(
        600,
        alias="CRACK_REQUESTS_PER_MINUTE",
        description="the most predictions, the most changes and the most reads for each key. Without keys there is no limit",
    )
    review: Annotated[str, one_of("required", "automatic")] = Field(
        "required",
        alias="CRACK_REVIEW",
        description="`required`, or `automatic`: labels that pass every check train without a review",
    )
    position: Annotated[str, one_of("dropped", "kept")] = Field(
        "dropped",
        alias="CRACK_POSITION",
        description="whether stored photographs keep where, when and by whom they were taken: `dropped` or `kept`",
    )
    oidc_claim: str = Field(
        "scope", alias="CRACK_OIDC_CLAIM", description="the claim in a token that names its [scopes](security.md)"
    )
    oidc_scopes: str = Field(
        "predict=crack:predict,feedback=crack:feedback,review=crack:review",
        alias="CRACK_OIDC_SCOPES",
        description="which scopes give which rights",
    )

    kept_megabytes: Count = Field(
        64,
        alias="CRACK_KEPT_MEGABYTES",
        description="memory for probabilities, so that feedback about a recent prediction needs no second one",
    )
    kept_minutes: Count = Field(60, alias="CRACK_KEPT_MINUTES", description="how long each probability is kept")

    limits: Limits
    doors: Doors
    keys_path: Path
    max_pixels_at_once: int
    max_bytes_at_once: int
    oidc_issuer: str
    oidc_audiences: tuple[str, ...]

    composed: ClassVar[Mapping[str, Reader]] = {
        **OfSeveralParts.composed,
        "limits": Limits.from_environment,
        "doors": partial(Doors.from_environment, below="/api"),
        "keys_path": keys.keys_path,
        "max_pixels_at_once": partial(_at_once, "CRACK_BUSY_MEGAPIXELS", MEGAPIXEL, "max_pixels", "CRACK_MAX_MEGAPIXELS", 1),
        "max_bytes_at_once": partial(_at_once, "CRACK_BUSY_MEGABYTES", MEGABYTE, "max_bytes", "CRACK_MAX_MEGABYTES", N_BODIES),
        "oidc_issuer": issuer_url,
        "oidc_audiences": _audiences,
    }

    @property
    def kept_bytes(self) -> int:
        return self.kept_megabytes * MEGABYTE

    @property
    def quota_bytes(self) -> int:
        return int(self.quota_gb * GIGABYTE)

    @property
    def inspections_quota_bytes(self) -> int:
        return int(self.inspections_quota_gb * GIGABYTE)

    @property
    def is_review_required(self) -> bool:
        return self.review == "required"

    @property
    def is_position_kept(self) -> bool:
        return self.position == "kept"

    @property
    def is_on_loopback(self) -> bool:
        return self.host in LOOPBACK
