"""The job's own repository."""

import subprocess
from pathlib import Path

from retrain.workspace import Workspace
from tests.conftest import ROOT


def test_another_remote_is_used_from_the_next_retraining_on(tmp_path: Path) -> None:
    for name in ("first", "second"):
        workspace = Workspace(tmp_path / "workspace", str(tmp_path / name), {})
        workspace.clean()
        workspace.prepare(ROOT / "params.yaml")
        (workspace.folder / "dvc.yaml").write_text(f"stages: {{say: {{cmd: echo {name} > said.txt, outs: [said.txt]}}}}\n")
        workspace.run("say")
        workspace.commit(name)
        assert list((tmp_path / name).rglob("*"))
        clone = tmp_path / f"clone of {name}"
        subprocess.run(["git", "clone", "--quiet", str(workspace.folder), str(clone)], check=True)
        assert str(tmp_path / name) in (clone / ".dvc" / "config").read_text()
