"""The tables of docs/configuration.md that come from the parts' own settings: `make docs` writes them."""

import re
from pathlib import Path

from crack.instance import of_instance
from crack.settings import OfSeveralParts, Settings
from gradio_app.settings import PageSettings
from retrain.settings import Settings as RetrainSettings
from sidecar.settings import Settings as SidecarSettings

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
PARTS: dict[str, type[Settings]] = {
    "Sidecar and retrain job": OfSeveralParts,
    "Sidecar": SidecarSettings,
    "Page": PageSettings,
    "Retrain job": RetrainSettings,
}
_BETWEEN = re.compile(r"(<!-- settings: .* -->\n).*(<!-- end of settings -->)", re.DOTALL)


def page() -> str:
    """docs/configuration.md with the present tables."""
    tables = "\n".join(f"## {title}\n\n{_table(part)}" for title, part in PARTS.items())
    return _BETWEEN.sub(lambda found: f"{found[1]}\n{tables}\n{found[2]}", PAGE.read_text())


def _table(part: type[Settings]) -> str:
    inherited = {} if part is OfSeveralParts else OfSeveralParts.model_fields
    rows = ["| environment | meaning | default |", "|---|---|---|"]
    for name, field in part.model_fields.items():
        if field.alias and name not in inherited:
            default = of_instance({}).get(field.alias, field.default)
            rows.append(f"| `{field.alias}` | {field.description} | {f'`{default}`' if default else 'none'} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
