"""What MLflow is told, and what becomes of a retraining if it can't be: nothing, as what is served was decided before."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from retrain.cycle import record
from retrain.settings import Settings
from retrain.snapshot import Snapshot
from retrain.stages import CHAMPION
from retrain.tracking import RECORD_FILE, Tracking
from retrain.verdict import Verdict
from tests.conftest import ARCHIVE
from tests.ports import NOBODY

VERDICT = Verdict("1", "2", (), {}, {})


def settings(folder: Path) -> Settings:
    own = {"RETRAIN_WORKSPACE": str(folder), "MODEL_STORE": str(ARCHIVE.parent), "RETRAIN_METRICS_PORT": "8083"}
    return Settings.from_environment({f"CRACK_{name}": value for name, value in own.items()} | {"MLFLOW_TRACKING_URI": NOBODY})


def test_a_record_that_cannot_be_kept_is_told_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / CHAMPION).symlink_to(ARCHIVE)
    (tmp_path / "unrecorded").write_text("in the way of a folder")
    said = record(settings(tmp_path), tmp_path, VERDICT, Snapshot(0, 0, ""), {}, {}, None)
    assert said.startswith(" It is not recorded in MLflow: ")
    assert "unrecorded" in said


@pytest.fixture
def by_hand(tmp_path: Path) -> Tracking:
    """Records among which somebody registered a model by hand."""
    url = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    client.create_registered_model("crack")
    client.create_model_version("crack", f"file://{tmp_path}/by-hand")
    return Tracking(url, tmp_path)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow's own
def test_a_model_that_somebody_registered_by_hand_is_none_of_ours(by_hand: Tracking) -> None:
    by_hand.name_served("20260101-000000", None)
    assert by_hand.has("20260101-000000") is False


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow's own
def test_a_damaged_record_is_named_and_the_others_do_not_wait_for_it(
    by_hand: Tracking, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = tmp_path / "unrecorded"
    for name, content in (("torn", b'{"figures": {'), ("deep", b"[" * 10_000), ("bare", b"{}")):
        (waiting / name).mkdir(parents=True)
        (waiting / name / RECORD_FILE).write_bytes(content)
    (waiting / "folder" / RECORD_FILE).mkdir(parents=True)
    assert by_hand.send_waiting()
    told = caplog.text
    assert told.count(f"{RECORD_FILE} cannot be read (") == 4
    assert f"Restore it from a backup, or remove {waiting / 'torn'}: only MLflow's record" in told
    with pytest.raises(ValueError, match="cannot be read"):  # it may be of a photograph that is purged
        by_hand.remove("1", [])
