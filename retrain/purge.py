"""Removes photographs from everything that past retrainings keep: their snapshots and reports, in DVC's cache and in every
remote.

A revision keeps its name, by which people and MLflow know it: in its place git shows a commit (`git replace`) whose `dvc.lock`
refers to the same data without the photographs. `data/purged.json` names them, and the stages refuse such data. Weights stay as
they are, and the result names the versions that learned from a photograph.
"""

import csv
import hashlib
import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from dvc.repo import Repo
from dvc_data.hashfile.tree import Tree

from crack.foreign import damage_named
from retrain.snapshot import FEEDBACK, HELD_OUT, PURGED_FILE, UNFINISHED
from retrain.stages import DATA, N_PICTURES, REPORT
from retrain.tracking import Tracking
from retrain.verdict import PICTURES
from retrain.workspace import Workspace

Listing = dict[str, str]
"""A folder as DVC stores it: the path of each file in it, and the hash of its content."""


@dataclass
class Revision:
    """One past retraining, as its `dvc.lock` tells; hashes of folders, None where there is none."""

    name: str
    lock: dict[str, Any]
    is_trained: bool  # on this revision's data, not on a former one's
    is_judged: bool

    @classmethod
    def read(cls, workspace: Workspace, name: str) -> "Revision":
        first = yaml.safe_load(workspace.lock(name, is_replaced=False))["stages"]  # before anything was purged

        def ran(stage: str) -> bool:
            used = {each["path"]: each["md5"] for each in first.get(stage, {}).get("deps", ())}
            return bool(used.get("data") == next(out["md5"] for out in first["snapshot"]["outs"] if out["path"] == "data"))

        return cls(name, yaml.safe_load(workspace.lock(name)), ran("train"), ran("judge"))

    def out(self, stage: str, path: str) -> str | None:
        outs = self.lock["stages"].get(stage, {}).get("outs", ())
        return next((str(out["md5"]) for out in outs if out["path"] == path), None)

    @property
    def data(self) -> str:
        return str(self.out("snapshot", "data"))

    def replace(self, changed: dict[str, str]) -> bool:
        """Make the outputs refer to other folders; the dependencies of the stages are changed with them. Returns whether there
        were any.
        """
        found = [out for stage in self.lock["stages"].values() for out in stage["outs"] if out["md5"] in changed]
        for out in found:
            out["md5"] = changed[out["md5"]]
            out.pop("size", None)
            out.pop("nfiles", None)
        return bool(found)


class Objects:
    """The objects that DVC stores for the workspace in `folder`: in its cache and in the remotes at these addresses."""

    def __init__(self, folder: Path, remotes: Collection[str]) -> None:
        self._cache = Repo(str(folder)).cache.local
        repositories = [Repo(str(folder), config={"remote": {"storage": {"url": url}}}) for url in sorted(remotes)]
        self._stores = [self._cache, *(repository.cloud.get_remote_odb("storage") for repository in repositories)]

    def folders(self) -> set[str]:
        """The hashes of the folders in the cache: also of snapshots whose retraining failed, which no revision refers to."""
        return {oid for oid in self._cache.all() if oid.endswith(".dir")}

    def read(self, oid: str) -> bytes:
        for store in self._stores:
            if store.exists(oid):
                return bytes(store.fs.cat_file(store.oid_to_path(oid)))
        raise FileNotFoundError(f"DVC has no object {oid}, neither in its cache nor in a remote. Restore it from a backup.")

    def read_json(self, oid: str) -> Any:
        advice = "Restore it there from a backup or the other place; without it, the revisions that have it can't be purged."
        with damage_named(f"DVC's object {oid}, in its cache or a remote,", advice):
            return json.loads(self.read(oid))

    def listing(self, oid: str) -> Listing:
        return {entry["relpath"]: entry["md5"] for entry in self.read_json(oid)}

    def write(self, content: bytes, suffix: str = "") -> str:
        """Store the content in the cache and in every remote; returns its hash."""
        oid = _hash(content) + suffix
        for store in self._stores:
            if not store.exists(oid):
                store.add_bytes(oid, content)
        return oid

    def write_listing(self, listing: Listing) -> str:
        tree = Tree.from_list([{"md5": oid, "relpath": place} for place, oid in listing.items()], hash_name="md5")
        tree.digest()
        return self.write(tree.as_bytes(), ".dir")

    def delete(self, oids: Collection[str]) -> None:
        for store in self._stores:
            for oid in oids:
                if store.exists(oid):
                    store.delete(oid)


def purge(workspace: Workspace, tracking: Tracking, ids: Sequence[str]) -> list[str]:
    """Remove the photographs with these ids; returns sentences about the versions that learned from them, and about remotes
    that are not there any more.

    If it is killed, the same call finishes it: a revision is replaced only after the files that it loses are deleted.

    Raises:
        ConnectionError: MLflow may have pictures of a photograph, and is away; the same call later finishes the purge.
    """
    past = [Revision.read(workspace, name) for name in workspace.revisions()]
    remotes = workspace.remotes()
    gone_remotes = sorted(remote for remote in remotes if "://" not in remote and not Path(remote).is_dir())
    objects = Objects(workspace.folder, remotes.difference(gone_remotes))  # DVC would create their folders
    referred = {oid for each in past for oid in (each.data, each.out("judge", str(REPORT))) if oid}
    before = {oid: objects.listing(oid) for oid in referred | objects.folders()}
    after = {oid: dict(listing) for oid, listing in before.items()}
    for listing in after.values():
        photographs = _photographs(listing, ids)
        if photographs:
            for place in photographs | _masks(objects, listing, photographs):
                del listing[place]
            known = objects.read_json(listing[PURGED_FILE]) if PURGED_FILE in listing else []
            missing = json.dumps(sorted({*known, *photographs}), indent=2)
            listing[PURGED_FILE] = objects.write(f"{missing}\n".encode())
    for each in past:
        report = each.out("judge", str(REPORT))
        if report and each.is_judged:
            shown = [place for place in before[report] if place.startswith(_pictures(objects, before[each.data], ids))]
            if shown:
                tracking.remove(each.name, [f"{REPORT}/{place}" for place in shown])
                after[report] = {place: oid for place, oid in after[report].items() if place not in shown}
    changed = {oid: objects.write_listing(after[oid]) for oid in referred if after[oid] != before[oid]}
    told = _learned(objects, past, before, ids)
    told += [
        f"Nothing was removed from {remote}, where former retrainings kept copies: no such folder is there now. Delete what is "
        "left of it elsewhere, such as on a former machine or a share that is not mounted."
        for remote in gone_remotes
    ]
    left = {oid for listing in after.values() for oid in listing.values()}
    gone = {oid for listing in before.values() for oid in listing.values()} - left
    objects.delete(gone)
    for path in (
        path
        for place in (DATA / FEEDBACK, Path(f"{DATA}{UNFINISHED}", FEEDBACK), REPORT)
        for path in (workspace.folder / place).rglob("*.*")
    ):
        if path.stem in ids or _hash(path.read_bytes()) in gone:
            path.unlink()
    for each in past:
        if each.replace(changed):
            workspace.replace_lock(each.name, yaml.safe_dump(each.lock, sort_keys=False))
    objects.delete({oid for oid in before if after[oid] != before[oid]})
    return told


def _hash(content: bytes) -> str:
    """As DVC names objects."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _photographs(listing: Listing, ids: Sequence[str]) -> set[str]:
    of_feedback = (place for place in listing if PurePosixPath(place).parent == PurePosixPath(FEEDBACK, "images"))
    return {place for place in of_feedback if PurePosixPath(place).stem in ids}


def _rows(objects: Objects, listing: Listing) -> list[dict[str, str]]:
    content = objects.read(listing[f"{FEEDBACK}/split.csv"]).decode()
    return list(csv.DictReader(io.StringIO(content)))


def _masks(objects: Objects, listing: Listing, photographs: Collection[str]) -> set[str]:
    """The masks that no other photograph has: empty masks of the same size are one file."""
    masks: dict[bool, set[str]] = {True: set(), False: set()}
    for row in _rows(objects, listing):
        masks[f"{FEEDBACK}/images/{row['image']}" in photographs].add(f"{FEEDBACK}/masks/{row['mask']}")
    return (masks[True] - masks[False]) & listing.keys()


def _pictures(objects: Objects, listing: Listing, ids: Sequence[str]) -> tuple[str, ...]:
    """The prefixes of the names of the report's pictures that show these ids; the report shows the first held-out labels."""
    held_out = [row["image"] for row in _rows(objects, listing) if row["split"] == HELD_OUT][:N_PICTURES]
    return tuple(f"{PICTURES}/{number:02d} " for number, image in enumerate(held_out) if PurePosixPath(image).stem in ids)


def _learned(objects: Objects, past: Sequence[Revision], listings: dict[str, Listing], ids: Sequence[str]) -> list[str]:
    parents, learned = dict[str, list[str]](), dict[str, set[str]]()
    for each in past:
        models = each.out("train", "models") if each.is_trained else None
        if models is None:
            continue
        (card,) = (oid for place, oid in objects.listing(models).items() if place.endswith(".json"))
        card_found = objects.read_json(card)
        version, parent = str(card_found["version"]), card_found["training"]["parent"]
        parents[version] = []
        while parent:
            parents[version].append(parent["version"])
            parent = parent["training"]["parent"]
        rows = _rows(objects, listings[each.data])
        trained = {PurePosixPath(row["image"]).stem for row in rows if row["split"] == "train"}
        learned[version] = trained & set(ids)
    told = [f"Version {version} learned from {', '.join(sorted(found))}." for version, found in learned.items() if found]
    for version, ancestors in parents.items():
        began = [ancestor for ancestor in ancestors if learned.get(ancestor)]
        if began:
            told.append(f"Version {version} began with the weights of version {began[0]}, which did.")
    return sorted(set(told))
