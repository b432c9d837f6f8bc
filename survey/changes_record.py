"""A comparison with an earlier survey as the report reads it. Left to others: writing it (`changes_page`)."""

import hashlib
import json

from crack.foreign import damage_named
from inspection.findings import Photograph, printable
from inspection.report.changes import Changed, Changes
from survey.findings import Findings

PICTURES = "changes"  # the folder
RECORD = f"{PICTURES}/changes.json"  # in it, as the report needs both


def read_changes(later: Findings) -> Changes | None:
    """What `changes_page` wrote, for a report; None if it never did. Photographs whose cracks or scale have changed since are
    left out, and the rows say so. Raises ValueError if it can't be read, OSError.
    """
    with damage_named(
        later.survey.place(RECORD), "Compare the surveys again, or remove it to write the report without changes."
    ):
        try:
            content = later.survey.read(RECORD)
        except FileNotFoundError:
            return None
        record = json.loads(content)
        rows = [(name, text) for name, text in record["rows"]]
        photographs, outdated = [], []
        for each in record["photographs"]:
            if later.survey.find(each["file"]) is None or digest(later.find(each["file"])) != each["digest"]:
                outdated.append(printable(each["file"]))
            else:
                photographs.append(Changed(each["file"], each["earlier_file"], each["note"], each["pictures"], each["lines"]))
        if outdated:
            told = f"{', '.join(outdated[:20])}. Compare the surveys again"
            rows.append(("Examined again or with another scale since, not shown", told))
        return Changes(record["earlier"], rows, photographs, later.survey.read)


def digest(photograph: Photograph) -> str:
    """Of a photograph's cracks and scale: their numbers and millimetres hold as long as it is the same."""
    return hashlib.sha256(json.dumps([photograph.row.cracks, photograph.told_scale]).encode()).hexdigest()
