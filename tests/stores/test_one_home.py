"""A table, its columns and the words in them are written down in crack/stores alone; read from the sources."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crack.stores.states import JobState, State
from crack.stores.tables import METADATA, SQLITE_FILES
from tests.test_imports import FOLDERS, REPOSITORY, imported_names, lies_in, sources

HOME = REPOSITORY / "crack" / "stores"
DATABASES = ("sqlite3", "sqlalchemy", "alembic", "psycopg")
SQL = re.compile(r"\b(SELECT .* FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|(CREATE|ALTER|DROP) (TABLE|INDEX)|PRAGMA)\b")
# Of the words, those that mean nothing else elsewhere.
WORDS = {word.value for word in (*State, *JobState)} - {"accepted", "rejected", "failed", "queued", "running", "promoted"}
NAMES = {*SQLITE_FILES.values(), "near_keys", "feedback_folder", "inspections_folder"}

MLFLOWS = REPOSITORY / "retrain" / "mlflow_server.py"  # keeps a copy of MLflow's own database

OUTSIDE = [path for folder in FOLDERS for path in sources(folder) if not path.is_relative_to(HOME) and path != MLFLOWS]


def texts(path: Path) -> Iterator[str]:
    """Every text in a file's code; docstrings are among them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def where(names: Iterator[tuple[Path, str]]) -> list[str]:
    return [f"{path.relative_to(REPOSITORY)}: {name}" for path, name in names]


def test_no_other_module_talks_to_a_database() -> None:
    found = (
        (path, name) for path in OUTSIDE for name in imported_names(path) if any(lies_in(name, each) for each in DATABASES)
    )
    assert where(found) == []


def test_no_other_module_holds_sql_or_the_name_of_a_stores_file() -> None:
    assert where((path, text) for path in OUTSIDE for text in texts(path) if SQL.search(text) or text in NAMES) == []


def test_no_other_module_spells_out_a_state() -> None:
    assert where((path, text) for path in OUTSIDE for text in texts(path) if text in WORDS) == []


@pytest.mark.parametrize("table", METADATA.tables.values(), ids=str)
def test_a_tables_columns_are_asked_for_by_the_modules_beside_it_alone(table: object) -> None:
    asked = re.compile(rf"from crack\.stores\.tables import .*\b{str(table).upper()}\b")
    assert where((path, str(table)) for path in OUTSIDE if asked.search(path.read_text())) == []
