"""Files that come with the project for commands to read: configurations of TorchServe and Prometheus, recipes, the Procfile.

In the repository they are links to the files that people edit, in an installed package copies (pyproject.toml).
"""

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


def shipped(name: str | Path) -> Path:
    """The file or folder of that name in the current folder or, if there is none, the one shipped with the package."""
    here = Path(name)
    return here if here.exists() or not (_FOLDER / here).exists() else _FOLDER / here
