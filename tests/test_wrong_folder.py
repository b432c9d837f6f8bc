"""Commands in a wrong place or with arguments for others. Where nothing is, they name the place, and create nothing."""

import importlib
import logging
from contextlib import suppress
from pathlib import Path

import pytest

from crack.console import COMMANDS
from retrain.__main__ import main as retraining

PLACES = {
    "retrain history": "retrain_data",
    "retrain --dry-run": "retrain_data",
    "retrain status": "model_store",
    "retrain rollback": "model_store",
    "retrain adopt": "model_store",
    f"retrain purge {'0' * 64}": "retrain_workspace",
    "keys list": "retrain_data/keys.json",
    "keys remove crew-7": "retrain_data",
    "keys open": "retrain_data",
    "store move": "CRACK_STORE_URL is not set",
    "report results": "results",
}


@pytest.mark.parametrize(
    "line", [f"purge {'0' * 64} --dry-run", "rollback 20261126-215744", "rollback --dry-run", "status --checkpoint models"]
)
def test_an_argument_that_a_retraining_command_does_not_heed_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        retraining(line.split())
    assert f"and {line.split()[0]} does not heed it" in capsys.readouterr().err


@pytest.mark.parametrize("line", PLACES)
def test_nothing_is_created_and_the_place_is_named(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *arguments = line.split()
    with caplog.at_level(logging.ERROR), suppress(SystemExit):
        importlib.import_module(COMMANDS[name].module).main(arguments)
    assert PLACES[line] in "".join(capsys.readouterr()) + caplog.text
    assert list(tmp_path.iterdir()) == []
