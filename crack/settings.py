"""What the settings of all parts have in common: they are environment variables, read once at the start; an empty one counts
as unset, and all wrong ones are named at once.

Left to others: where things are by default (`crack.instance`), and which variables a part reads.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from crack.foreign import read_text
from crack.instance import of_instance

GIGABYTE = 1024**3
Reader = Callable[[Mapping[str, str]], Any]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError("expected a positive whole number.")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise ValueError("expected a port from 1 to 65535.")
    return int(text)


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise ValueError("expected a positive number.")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise ValueError("expected a number of seconds, not below zero.")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", text)
    except ValueError:  # of an IPv6 address without its brackets, say
        is_whole = False
    if not is_whole:
        raise ValueError("expected http://ADDRESS:PORT, with an IPv6 address in brackets: http://[::1]:8000.")
    return text.rstrip("/")


def one_of(*words: str) -> BeforeValidator:
    """A setting that must be one of these words."""

    def known(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}.")
        return text

    return BeforeValidator(known)


Count = Annotated[int, BeforeValidator(_count)]
Port = Annotated[int, BeforeValidator(_port)]
Positive = Annotated[float, BeforeValidator(_positive)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Url = Annotated[str, AfterValidator(_url)]


class Settings(BaseModel):
    """A part's settings: each field's alias is its variable, and its description goes into docs/configuration.md."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    composed: ClassVar[Mapping[str, Reader]] = MappingProxyType({})
    """Fields that are made of several variables, or defined elsewhere; a reader raises ValueError, naming the variable."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Raises ValueError, with a sentence for each invalid variable."""
        values: dict[str, Any] = dict(of_instance(environment))
        faults = []
        for name, read in cls.composed.items():
            try:
                values[name] = read(values)
            except ValueError as error:
                faults.append(str(error))
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            wrong = (each for each in error.errors() if each["type"] == "value_error")
            faults += [f"{each['loc'][0]}={each['input']!r}: {each['ctx']['error']}" for each in wrong]
        if faults:
            raise ValueError("\n".join(dict.fromkeys(faults)))
        return settings


def read_store_url(environment: Mapping[str, str]) -> str:
    """The URL of the PostgreSQL that holds the stores' tables; empty for SQLite. It contains a password, so no message repeats
    it.
    """
    path, url = environment.get("CRACK_STORE_URL_FILE"), environment.get("CRACK_STORE_URL", "")
    if path:
        try:
            url = read_text(Path(path)).strip()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"CRACK_STORE_URL_FILE={path!r} cannot be read ({error}). Put the database's URL there."
            ) from error
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("CRACK_STORE_URL: expected postgresql://USER:PASSWORD@HOST/DATABASE.")
    return url


class OfSeveralParts(Settings):
    """Settings that the sidecar and the retrain job share."""

    torchserve_url: Url = Field(
        alias="TORCHSERVE_URL", description="TorchServe's address for predictions; by default as `TS_INFERENCE_ADDRESS` says"
    )
    management_url: Url = Field(
        alias="TORCHSERVE_MANAGEMENT_URL", description="its address for management; by default as `TS_MANAGEMENT_ADDRESS` says"
    )
    model_store: Path = Field(alias="CRACK_MODEL_STORE", description="the folder of the served archive")
    feedback_dir: Path = Field(alias="CRACK_FEEDBACK_DIR", description="the feedback store")
    data_dir: Path | None = Field(
        None,
        alias="CRACK_DATA_DIR",
        description="folder of training photographs; none of them is accepted as feedback. Set by make: `../shared/data`",
    )
    retrain_after_labels: Count = Field(
        50, alias="CRACK_RETRAIN_AFTER_LABELS", description="accepted labels after which a retraining starts by itself"
    )

    store_url: str = Field(repr=False)

    composed: ClassVar[Mapping[str, Reader]] = MappingProxyType({"store_url": read_store_url})
