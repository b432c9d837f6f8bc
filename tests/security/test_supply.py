"""What is installed can be listed, and so be audited by anyone at any time."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_the_bill_of_materials_names_every_package_and_what_it_needs(tmp_path: Path) -> None:
    bom = tmp_path / "sbom.json"
    command = [Path(sys.executable).with_name("cyclonedx-py"), "environment", sys.prefix, "--of", "JSON", "-o", bom]
    subprocess.run(command, check=True, capture_output=True)
    listed = {component["name"].lower().replace("_", "-") for component in json.loads(bom.read_text())["components"]}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert locked <= {name.replace(".", "-") for name in listed}
