"""The data that a retraining learns from and is judged by, copied at one moment: the original sets, and the accepted
corrections.

The corrections become one more set, `feedback`, in the form of the others (`model.dataset`). Its split `held-out` is never
learned from: copies of one photograph, and photographs of one place, stay on one side, and a label that a retraining has
learned from is never held out later; each snapshot passes the list of these on.
"""

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from crack.copies import Description, Index
from crack.files import write_whole
from crack.foreign import SPLIT_COLUMNS, damage_named, read_rows
from crack.stores import feedback
from crack.stores.database import Database
from crack.stores.tables import SQLITE_FILES, Part
from model.dataset import LOOK_ALIKES_COLUMNS, LOOK_ALIKES_FILE
from model.inference.photograph import decode
from retrain.settings import RetrainParams

FEEDBACK = "feedback"
HELD_OUT = "held-out"
FACTS_FILE = "snapshot.json"
UNFINISHED = ".tmp"  # the suffix of a snapshot that is being taken
PURGED_FILE = "purged.json"  # what `crack retrain purge` has taken out since
LEARNED_FILE = "learned.json"  # ids of labels that were ever in the split `train`, and the groups of these in the store
LEAST_GROUPS = 5  # of held-out labels: a gain on each of fewer is chance more often than once in 20


@dataclass(frozen=True)
class Label:
    """An accepted correction of the feedback store, files relative to it."""

    id: str
    image_file: str
    mask_file: str
    group: str
    look_alikes: str | None = None  # JSON (`sidecar.look_alikes`); None in stores of earlier versions


@dataclass(frozen=True)
class Snapshot:
    """`digest`: SHA-256 over the labels' files, which are named by their content."""

    n_labels: int
    n_held_out: int
    digest: str

    @classmethod
    def read(cls, folder: Path) -> "Snapshot":
        with damage_named(str(folder / FACTS_FILE), "Remove it: the next retraining takes the snapshot again."):
            return cls(**json.loads((folder / FACTS_FILE).read_bytes()))


def read_labels(feedback_dir: Path, store_url: str = "") -> list[Label]:
    """The accepted corrections; none if there is no store. The sidecar may be writing meanwhile."""
    if not store_url and not (feedback_dir / SQLITE_FILES[Part.FEEDBACK]).is_file():
        return []
    with closing(Database(Part.FEEDBACK, feedback_dir, store_url)) as database, database.reading() as connection:
        return [Label(group=row.pop("near_group"), **row) for row in map(dict, feedback.accepted(connection))]


def masks(labels: Sequence[Label]) -> dict[str, str]:
    """The mask's file by the label's id."""
    return {label.id: label.mask_file for label in labels}


def read_masks(folder: Path) -> dict[str, str]:
    """As `masks`, of the labels in a snapshot."""
    rows = read_rows(folder / FEEDBACK / "split.csv", SPLIT_COLUMNS)
    return {Path(row["image"]).stem: f"masks/{row['mask']}" for row in rows}


def take_snapshot(
    feedback_dir: Path, data_dir: Path, sets: Sequence[str], params: RetrainParams, out_dir: Path, store_url: str = ""
) -> Snapshot:
    """Copy everything into `out_dir`, which is replaced as a whole at the end.

    Raises:
        FileNotFoundError: a set is not in `data_dir`.
    """
    building = out_dir.with_name(out_dir.name + UNFINISHED)
    if is_whole(out_dir):  # left by a kill before it replaced the former one, which may be partly gone
        _replace(out_dir, building)
    elif building.exists():
        shutil.rmtree(building)
    building.mkdir(parents=True)
    for name in sets:
        if not (data_dir / name / "split.csv").is_file():
            raise FileNotFoundError(
                f"{data_dir / name} holds no split.csv. Set CRACK_DATA_DIR to the folder of the original sets."
            )
        _copy_set(data_dir / name, building / name)
    labels = _copy_labels(feedback_dir, store_url, building / FEEDBACK)
    learned = _read_learned(out_dir / LEARNED_FILE)
    # A learned label that was taken back is not among the labels, but a near copy of it has its group in the store.
    known = {label.id for label in labels if not learned.isdisjoint((label.id, label.group))}
    in_store, labels = labels, with_copies_grouped(labels, building / FEEDBACK)
    held_out = held_out_ids(labels, params, known)
    learned |= {name for label in in_store if label.id not in held_out for name in (label.id, label.group)}
    write_whole(building / LEARNED_FILE, json.dumps(sorted(learned)).encode() + b"\n")
    with (building / FEEDBACK / "split.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "mask", "split", "group"])
        for label in labels:
            image, mask = Path(label.image_file).name, Path(label.mask_file).name
            rows.writerow([image, mask, HELD_OUT if label.id in held_out else "train", label.group])
    _write_look_alikes(labels, building / FEEDBACK / LOOK_ALIKES_FILE)
    digest = hashlib.sha256("\n".join(f"{label.image_file} {label.mask_file}" for label in labels).encode()).hexdigest()
    found = Snapshot(len(labels), len(held_out), digest)
    # Written last: with it, the snapshot is whole.
    write_whole(building / FACTS_FILE, json.dumps(asdict(found)).encode() + b"\n")
    _replace(out_dir, building)
    return found


def is_whole(folder: Path) -> bool:
    """Whether a snapshot that replaces the one in `folder` was taken completely."""
    return (folder.with_name(folder.name + UNFINISHED) / FACTS_FILE).is_file()


def _read_learned(path: Path) -> set[str]:
    if not path.exists():
        return set()
    advice = "Bring it back, in that folder, by: git checkout dvc.lock && dvc checkout"
    with damage_named(str(path), advice):
        return set(map(str, json.loads(path.read_bytes())))


def _write_look_alikes(labels: Sequence[Label], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(LOOK_ALIKES_COLUMNS)
        for label in labels:
            for each in json.loads(label.look_alikes or "[]"):
                rows.writerow([Path(label.image_file).name, *each["box"], each["kind"]])


def _replace(out_dir: Path, building: Path) -> None:
    if out_dir.exists():
        shutil.rmtree(out_dir)
    building.replace(out_dir)


def _copy_labels(feedback_dir: Path, store_url: str, target: Path) -> list[Label]:
    """Copy the labels that are accepted at one moment: they are read again until the files of all accepted ones are copied.

    Files in the store are named by their content, so a file that was copied earlier is still the same.

    Raises:
        FileNotFoundError: another program has removed a file of the store.
    """
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True)
    copied, gone = set[str](), set[str]()
    while True:
        labels = read_labels(feedback_dir, store_url)
        files = {file for label in labels for file in (label.image_file, label.mask_file)}
        if files <= copied:
            break
        for file in sorted(files - copied):
            try:
                shutil.copyfile(feedback_dir / file, target / file)
                copied.add(file)
            except FileNotFoundError as error:  # its photograph was deleted since the labels were read
                if file in gone:
                    raise FileNotFoundError(
                        f"{feedback_dir / file} is missing, though its label is accepted: another program changed "
                        f"{feedback_dir}. Put the file back, or delete the photograph (DELETE /feedback/ID)."
                    ) from error
                gone.add(file)
    for file in copied - files:
        (target / file).unlink()
    return labels


def _copy_set(source: Path, target: Path) -> None:
    """Copy the content without permissions: a read-only original must not make the copy read-only."""
    tables = [path for path in (source / "split.csv", source / LOOK_ALIKES_FILE) if path.is_file()]
    for path in (*tables, *(source / "images").rglob("*"), *(source / "masks").rglob("*")):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def with_copies_grouped(labels: Sequence[Label], folder: Path) -> list[Label]:
    """The labels with one group for all that are linked by their groups in the store, or as copies of one another: cropped,
    turned or mirrored ones, and overlapping photographs of one place.

    Args:
        folder: with the labels' files.
    """
    described = [Description.of(decode((folder / label.image_file).read_bytes())) for label in labels]
    index = Index.build(described)
    first = {label.group: label.group for label in labels}

    def group_of(group: str) -> str:
        while first[group] != group:
            group = first[group]
        return group

    for label, one in zip(labels, described, strict=True):
        for copy in index.copies(one):
            # The first in the order in which groups are held out, so that a held-out group stays so as it grows.
            now, other = sorted((group_of(label.group), group_of(labels[copy].group)), key=_rank)
            first[other] = now
    return [replace(label, group=group_of(label.group)) for label in labels]


def held_out_ids(labels: Sequence[Label], params: RetrainParams, learned: AbstractSet[str] = frozenset()) -> set[str]:
    """The ids of the labels to hold out: as many labels and groups as a proof of gain needs, but at most a share of all; whole
    groups, none of which contains an id in `learned`.
    """
    known = {label.group for label in labels if label.id in learned}
    groups: dict[str, set[str]] = {}
    for label in labels:
        if label.group not in known:
            groups.setdefault(label.group, set()).add(label.id)
    most = params.held_out_ratio * len(labels)
    held_out: set[str] = set()
    n_groups = 0
    for group in sorted(groups, key=_rank):
        is_proof = len(held_out) >= params.least_held_out and n_groups >= LEAST_GROUPS
        if not is_proof and len(held_out | groups[group]) <= most:
            held_out |= groups[group]
            n_groups += 1
    return held_out


def _rank(group: str) -> bytes:
    """A random order that is the same in each retraining."""
    return hashlib.sha256(f"held-out/{group}".encode()).digest()
