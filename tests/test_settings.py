"""Settings: one parser for all parts, and documents that say what the code reads."""

import re
from pathlib import Path

import pytest

from crack.instance import of_instance
from crack.settings import Settings
from deploy.settings_tables import PAGE, page
from gradio_app.settings import PageSettings
from model.inference.photograph import Limits
from retrain.settings import Settings as RetrainSettings
from sidecar.settings import Settings as SidecarSettings

ROOT = Path(__file__).parents[1]
PARTS: tuple[type[Settings], ...] = (SidecarSettings, PageSettings, RetrainSettings)
VARIABLES = sorted({field.alias for part in PARTS for field in part.model_fields.values() if field.alias})


@pytest.mark.parametrize("part", PARTS, ids=["sidecar", "page", "retrain"])
def test_an_empty_variable_counts_as_unset(part: type[Settings]) -> None:
    empty = dict.fromkeys(
        [*VARIABLES, "CRACK_INSTANCE", "CRACK_MAX_MEGABYTES", "CRACK_BUSY_MEGAPIXELS", "CRACK_PUBLIC_URL"], ""
    )
    assert repr(part.from_environment(empty)) == repr(part.from_environment({}))


def test_an_empty_limit_is_the_default_in_a_worker_too() -> None:
    assert Limits.from_environment({"CRACK_MAX_MEGAPIXELS": ""}) == Limits()


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many", "٣x"])
def test_sidecar_and_retrain_job_agree_on_how_many_labels_are_no_number(text: str) -> None:
    said = f"CRACK_RETRAIN_AFTER_LABELS={text!r}: expected a positive whole number."
    for part in (SidecarSettings, RetrainSettings):
        with pytest.raises(ValueError, match=re.escape(said)):
            part.from_environment({"CRACK_RETRAIN_AFTER_LABELS": text})


def test_a_size_may_be_a_fraction() -> None:
    assert SidecarSettings.from_environment({"CRACK_QUOTA_GB": "0.5"}).quota_bytes == 2**29


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "much"])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"CRACK_QUOTA_GB='{text}': expected a positive number"):
        SidecarSettings.from_environment({"CRACK_QUOTA_GB": text})


@pytest.mark.parametrize(
    ("part", "variable"),
    [(SidecarSettings, "TORCHSERVE_URL"), (PageSettings, "BACKEND_URL"), (RetrainSettings, "MLFLOW_TRACKING_URI")],
)
def test_an_address_without_its_scheme_is_named(part: type[Settings], variable: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}='localhost:8080': expected http://ADDRESS:PORT"):
        part.from_environment({variable: "localhost:8080"})


@pytest.mark.parametrize("text", ["http://::1:8000", "http://[::1:8000", "http://:8000", "http://a b:1", "http://host:80000"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected http://ADDRESS:PORT, with an IPv6 address in brackets"):
        PageSettings.from_environment({"BACKEND_URL": text})


def test_an_address_may_be_of_ipv6() -> None:
    assert PageSettings.from_environment({"BACKEND_URL": "http://[::1]:8000/"}).backend_url == "http://[::1]:8000"


def test_every_fault_is_named_at_once() -> None:
    wrong = {
        "CRACK_SIDECAR_PORT": "70000",
        "CRACK_REVIEW": "perhaps",
        "CRACK_MAX_MEGAPIXELS": "0",
        "CRACK_PUBLIC_URL": "nowhere",
        "CRACK_OIDC_ISSUER": "ftp://issuer",
    }
    with pytest.raises(ValueError, match="CRACK_") as caught:
        SidecarSettings.from_environment(wrong)
    sentences = str(caught.value).splitlines()
    assert sorted(re.match(r"\w+", sentence)[0] for sentence in sentences) == sorted(wrong)  # type: ignore[index]


def test_an_empty_remote_is_not_the_working_folder() -> None:
    assert RetrainSettings.from_environment({"CRACK_DVC_REMOTE": ""}).dvc_remote == of_instance({})["CRACK_DVC_REMOTE"]


def test_the_document_has_the_tables_of_now() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_every_variable_that_the_code_reads_is_documented() -> None:
    documents = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    folders = ("crack", "model", "handler", "sidecar", "gradio_app", "retrain", "survey", "inspection", "deploy")
    code = "\n".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    read = set(re.findall(r'"(CRACK_[A-Z_]+)"', code))
    one_part_tells_another = {
        "CRACK_WORKER_THREADS",
        "CRACK_PROMETHEUS_CONFIGURATION",
        "CRACK_RETRAIN_PID",
        "CRACK_SMALL_GAIN_ACCEPTED",
    }
    assert {name for name in read if name not in documents} <= one_part_tells_another
