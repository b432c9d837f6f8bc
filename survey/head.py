"""`inspection.toml` in a survey's folder: what was inspected, by whom and when, for the report's cover and the workbook."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from crack.foreign import damage_named, decode
from inspection.findings import printable
from survey.folder import Survey

INSPECTION = "inspection.toml"
NAMED = ("structure", "element", "date", "inspector")


def read_inspection(survey: Survey) -> dict[str, str]:
    """What `inspection.toml` says, if it is there: each of its keys is a line of the cover. Raises ValueError, OSError."""
    with damage_named(survey.place(INSPECTION), 'Expected lines such as structure = "Bridge 7".'):
        try:
            content = survey.read(INSPECTION)
        except FileNotFoundError:
            return {}
        told = tomllib.loads(decode(content))
        for name, value in told.items():
            if isinstance(value, dict | list):
                raise ValueError(f"{name} is no text")
        return {name: str(value) for name, value in told.items()}


def write_inspection(survey: Survey, head: Mapping[str, Any]) -> None:
    """Write it from the details of an inspection that a server keeps, unless it is there."""
    if INSPECTION in survey.listing():
        return
    told = {name: head[name] for name in NAMED if head[name]}
    if head["structure"]:
        told = {"inspection": head["name"], **told}  # else its name is the title
    with survey.whole(INSPECTION) as path:
        lines = (f"{name} = {json.dumps(printable(text), ensure_ascii=False)}\n" for name, text in told.items())
        path.write_text("".join(lines), encoding="utf-8")
