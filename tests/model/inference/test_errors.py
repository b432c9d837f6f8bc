"""Errors: their body, and their codes and statuses as docs/errors.md lists them."""

import json
import re
from pathlib import Path

from model.inference.answer import error_body
from model.inference.errors import ErrorCode, RequestError

TABLE = Path(__file__).parents[3] / "docs" / "errors.md"
ROW = re.compile(r"^\| (\d{3}) \| (.+?) \|", re.MULTILINE)


def test_an_error_tells_clients_a_code_and_people_a_sentence() -> None:
    error = RequestError(ErrorCode.IMAGE_UNDECODABLE, 'It is "torn".')
    assert json.loads(error_body(error)) == {"status": "error", "code": "image_undecodable", "message": 'It is "torn".'}


def test_the_documentation_has_each_code_in_the_row_of_its_status() -> None:
    rows = ROW.findall(TABLE.read_text())
    told = [(code, int(status)) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)]
    assert sorted(told) == sorted((code.value, code.status) for code in ErrorCode)
