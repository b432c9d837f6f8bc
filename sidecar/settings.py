"""Where things are and what is allowed, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from crack.doors import Doors
from crack.instance import of_instance
from crack.issuer import LOOPBACK, issuer_url, page_client
from model.inference.photograph import MEGABYTE, MEGAPIXEL, Limits
from sidecar.keys import keys_path

GIGABYTE = 1024**3
N_BODIES = 6  # of the largest, unless CRACK_BUSY_MEGABYTES says otherwise: 60 of photographs of 12 megapixels


@dataclass(frozen=True)
class Settings:
    """docs/configuration.md lists each variable with its meaning; docs/security.md those that begin with CRACK_OIDC."""

    port: int
    torchserve_url: str
    management_url: str
    model_store: Path
    feedback_dir: Path
    inspections_dir: Path
    keys_path: Path
    page_port: int
    host: str = "127.0.0.1"
    data_dir: Path | None = None
    quota_bytes: int = 20 * GIGABYTE
    inspections_quota_bytes: int = 20 * GIGABYTE
    requests_per_minute: int = 600
    limits: Limits = field(default_factory=Limits)
    max_pixels_at_once: int = Limits.max_pixels
    max_bytes_at_once: int = N_BODIES * Limits.max_bytes
    retrain_after_labels: int = 50
    is_review_required: bool = True
    is_position_kept: bool = False
    prometheus_url: str = ""
    oidc_issuer: str = ""
    oidc_audiences: tuple[str, ...] = ()
    oidc_claim: str = "scope"
    oidc_scopes: str = "predict=crack:predict,feedback=crack:feedback,review=crack:review"
    doors: Doors = field(default_factory=Doors)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises ValueError, naming the variable, where one is no sensible value."""
        environment = of_instance(environment)
        feedback_dir, limits = Path(environment["CRACK_FEEDBACK_DIR"]), Limits.from_environment(environment)
        return cls(
            host=environment.get("CRACK_SIDECAR_HOST", cls.host),
            port=_positive(environment, "CRACK_SIDECAR_PORT"),
            torchserve_url=environment["TORCHSERVE_URL"].rstrip("/"),
            management_url=environment["TORCHSERVE_MANAGEMENT_URL"].rstrip("/"),
            model_store=Path(environment["CRACK_MODEL_STORE"]),
            feedback_dir=feedback_dir,
            inspections_dir=Path(environment["CRACK_INSPECTIONS_DIR"]),
            data_dir=Path(environment["CRACK_DATA_DIR"]) if environment.get("CRACK_DATA_DIR") else None,
            keys_path=keys_path(environment),
            quota_bytes=_positive(environment, "CRACK_QUOTA_GB", cls.quota_bytes // GIGABYTE) * GIGABYTE,
            inspections_quota_bytes=_positive(
                environment, "CRACK_INSPECTIONS_QUOTA_GB", cls.inspections_quota_bytes // GIGABYTE
            )
            * GIGABYTE,
            requests_per_minute=_positive(environment, "CRACK_REQUESTS_PER_MINUTE", cls.requests_per_minute),
            limits=limits,
            max_pixels_at_once=_at_once(
                environment, "CRACK_BUSY_MEGAPIXELS", "CRACK_MAX_MEGAPIXELS", MEGAPIXEL, limits.max_pixels, 1
            ),
            max_bytes_at_once=_at_once(
                environment, "CRACK_BUSY_MEGABYTES", "CRACK_MAX_MEGABYTES", MEGABYTE, limits.max_bytes, N_BODIES
            ),
            retrain_after_labels=_positive(environment, "CRACK_RETRAIN_AFTER_LABELS", cls.retrain_after_labels),
            is_review_required=_choice(environment, "CRACK_REVIEW", {"required": True, "automatic": False}),
            page_port=_positive(environment, "CRACK_PAGE_PORT"),
            prometheus_url=environment.get("CRACK_PROMETHEUS_URL", cls.prometheus_url),
            doors=Doors.from_environment(environment, below="/api"),
            is_position_kept=_choice(environment, "CRACK_POSITION", {"dropped": False, "kept": True}),
            oidc_issuer=issuer_url(environment),
            oidc_audiences=tuple(filter(None, (environment.get("CRACK_OIDC_AUDIENCE"), page_client(environment)))),
            oidc_claim=environment.get("CRACK_OIDC_CLAIM", cls.oidc_claim),
            oidc_scopes=environment.get("CRACK_OIDC_SCOPES", cls.oidc_scopes),
        )

    @property
    def is_on_loopback(self) -> bool:
        return self.host in LOOPBACK


def _at_once(environment: Mapping[str, str], name: str, name_of_one: str, unit: int, most_of_one: int, n_default: int) -> int:
    at_once = unit * _positive(environment, name, -(-n_default * most_of_one // unit))
    if at_once < most_of_one:
        raise ValueError(
            f"{name}={at_once // unit}: expected {name_of_one} or more, which is "
            f"{most_of_one / unit:.4g}: the largest photographs would never be taken."
        )
    return at_once


def _positive(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{name}={text!r}: expected a positive whole number.")
    return int(text)


def _choice(environment: Mapping[str, str], name: str, meanings: dict[str, bool]) -> bool:
    """The first of the words is the default."""
    text = environment.get(name, next(iter(meanings)))
    if text not in meanings:
        raise ValueError(f"{name}={text!r}: expected one of {', '.join(meanings)}.")
    return meanings[text]
