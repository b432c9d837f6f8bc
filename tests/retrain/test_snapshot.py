"""A snapshot of the real feedback store: the accepted corrections alone, near copies on one side of the cut."""

import csv
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crack.stores.states import State
from inspection.left_out import Kind, LookAlike
from model.dataset import LOOK_ALIKES_FILE, read_pairs
from model.synthetic import draw_surface, write_data_set
from retrain.settings import RetrainParams
from retrain.snapshot import FEEDBACK, HELD_OUT, LEARNED_FILE, LEAST_GROUPS, Label, held_out_ids, read_labels, take_snapshot
from sidecar.feedback import FeedbackStore
from sidecar.items import Item, Submission
from sidecar.labels import Mask, Photograph, Verdict
from tests.conftest import ROOT
from tests.photographs import jpeg, png

RULES = RetrainParams.read(ROOT / "params.yaml")


@pytest.fixture
def feedback_dir(tmp_path: Path) -> Path:
    """A store with twelve labels, accepted by themselves, and a complaint."""
    folder = tmp_path / "feedback"
    folder.mkdir()
    store = FeedbackStore(folder, quota_bytes=10**9, is_review_required=False)
    for seed in range(13):
        surface = draw_surface(seed, (64, 80), is_cracked=True)
        data = png(surface.image_hwc_u8)
        mask = Mask.of(surface.mask_hw) if seed < 12 else None
        store.save(Photograph.read(data), Submission(Verdict.OTHER, mask), "somebody", data)
    store.close()
    return folder


def test_a_snapshot_holds_the_accepted_labels_and_the_original_sets(feedback_dir: Path, tmp_path: Path) -> None:
    write_data_set(tmp_path / "data" / "synthetic", n_surfaces=3, seed=1, size_hw=(64, 80))
    out = tmp_path / "snapshot"
    found = take_snapshot(feedback_dir, tmp_path / "data", ["synthetic"], RULES, out)
    assert found.n_labels == 12
    assert len(read_pairs(out, ["synthetic"], "train")) == 3
    train, held_out = (read_pairs(out, [FEEDBACK], split) for split in ("train", HELD_OUT))
    assert (len(train) + len(held_out), len(held_out)) == (12, found.n_held_out)
    for pair in [*train, *held_out]:
        assert np.any(pair.read().mask_hw)


def test_a_set_may_have_folders_and_marks_of_what_is_no_crack(feedback_dir: Path, tmp_path: Path) -> None:
    original = tmp_path / "data" / "synthetic"
    write_data_set(original, n_surfaces=3, seed=1, size_hw=(64, 80))
    (pair, *_) = read_pairs(tmp_path / "data", ["synthetic"], "train")
    (original / "images" / "pier 3").mkdir()
    pair.image_path.rename(original / "images" / "pier 3" / pair.image_path.name)
    split = original / "split.csv"
    split.write_text(split.read_text().replace(f"{pair.image_path.name},", f"pier 3/{pair.image_path.name},"))
    marks = f"image,left,top,right,bottom,kind\npier 3/{pair.image_path.name},1,2,30,40,joint\n"
    (original / LOOK_ALIKES_FILE).write_text(marks)
    out = tmp_path / "snapshot"
    take_snapshot(feedback_dir, tmp_path / "data", ["synthetic"], RULES, out)
    copied = {each.image_path.name: each for each in read_pairs(out, ["synthetic"], "train")}
    assert copied[pair.image_path.name].read().look_alikes == ((1, 2, 30, 40),)


def test_the_same_labels_give_the_same_snapshot_and_replace_the_former(feedback_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "snapshot"
    (tmp_path / "data").mkdir()
    first = take_snapshot(feedback_dir, tmp_path / "data", [], RULES, out)
    (out / "stray").touch()
    assert take_snapshot(feedback_dir, tmp_path / "data", [], RULES, out) == first
    assert not (out / "stray").exists()


def test_sets_that_may_not_be_written_are_copied_and_the_copy_replaced(feedback_dir: Path, tmp_path: Path) -> None:
    original = tmp_path / "data" / "synthetic"
    write_data_set(original, n_surfaces=3, seed=1, size_hw=(64, 80))
    for path in (original / "images", original / "masks", original):
        path.chmod(0o555)
    out = tmp_path / "snapshot"
    first = take_snapshot(feedback_dir, tmp_path / "data", ["synthetic"], RULES, out)
    for folder in (out / "synthetic", out / "synthetic" / "images"):
        assert folder.stat().st_mode & stat.S_IWUSR  # root may write anywhere, a container's user may not
    assert take_snapshot(feedback_dir, tmp_path / "data", ["synthetic"], RULES, out) == first


FORGETTING: list[Callable[[FeedbackStore, Item], object]] = [
    lambda store, item: store.delete(item.id, "eve", item.etag),
    lambda store, item: store.review(item.id, "eve", item.etag, is_accepted=False),
]


def test_a_photograph_that_is_taken_back_while_the_snapshot_is_taken_neither_ends_it_nor_trains(
    feedback_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file is about to be copied at that moment; deleted and rejected in turn."""
    write_data_set(tmp_path / "data" / "synthetic", n_surfaces=1, seed=1, size_hw=(64, 80))
    copyfile = shutil.copyfile
    steps_left = n_steps = 0

    def copy(source: Path, target: Path) -> object:
        nonlocal steps_left
        if steps_left == 0:
            FORGETTING[n_steps % 2](store, item)
        steps_left -= 1
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    while True:
        trial = tmp_path / str(n_steps)
        shutil.copytree(feedback_dir, trial, copy_function=copyfile)
        store = FeedbackStore(trial, quota_bytes=10**9, is_review_required=False)
        item = store.items([State.ACCEPTED], 20, 0)[n_steps % 12]
        steps_left = n_steps
        found = take_snapshot(trial, tmp_path / "data", ["synthetic"], RULES, tmp_path / "snapshot")
        store.close()
        if steps_left >= 0:  # it was over before
            break
        folder = tmp_path / "snapshot" / FEEDBACK
        assert found.n_labels == 11
        assert item.id not in (folder / "split.csv").read_text()
        assert {path.name for path in (folder / "images").iterdir()} == {
            Path(label.image_file).name for label in read_labels(trial)
        }
        n_steps += 1
    assert n_steps >= 3 + 2 * 11  # of the set, and of the labels


def test_a_file_that_another_program_removed_is_named(feedback_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = read_labels(feedback_dir)[0].image_file
    (feedback_dir / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing, though its label is accepted"):
        take_snapshot(feedback_dir, tmp_path / "data", [], RULES, tmp_path / "snapshot")


@pytest.mark.parametrize("is_former_there", [True, False])
def test_killed_while_it_takes_the_formers_place_it_forgets_nothing(
    feedback_dir: Path, tmp_path: Path, is_former_there: bool
) -> None:
    out = tmp_path / "snapshot"
    (tmp_path / "data").mkdir()
    take_snapshot(feedback_dir, tmp_path / "data", [], RULES, out)
    out.rename(tmp_path / "snapshot.tmp")
    learned = [label.id for label in read_labels(feedback_dir)]
    (tmp_path / "snapshot.tmp" / LEARNED_FILE).write_text(json.dumps(learned))
    if is_former_there:  # in part: its record of what was learned went first
        out.mkdir()
    assert take_snapshot(feedback_dir, tmp_path / "data", [], RULES, out).n_held_out == 0


def test_near_copies_are_on_one_side_and_what_trained_is_never_held_out_later() -> None:
    labels = [Label(str(number), "", "", f"wall {number // 3}") for number in range(300)]
    few, many = held_out_ids(labels[:60], RULES), held_out_ids(labels, RULES)
    assert 20 <= len(few) <= 22
    assert 20 <= len(many) <= 22
    assert {label.id for label in labels[:60]} & many <= few
    sides: dict[str, set[bool]] = {}
    for label in labels:
        sides.setdefault(label.group, set()).add(label.id in many)
    assert all(len(side) == 1 for side in sides.values())


@pytest.mark.parametrize(("n_labels", "n_held_out"), [(0, 0), (1, 0), (2, 1), (39, 19), (40, 20), (1000, 20)])
def test_no_more_are_held_out_than_a_claim_needs_and_never_more_than_half(n_labels: int, n_held_out: int) -> None:
    labels = [Label(str(number), "", "", str(number)) for number in range(n_labels)]
    assert len(held_out_ids(labels, RULES)) == n_held_out


def test_one_place_alone_is_not_all_that_judges() -> None:
    """However early its turn comes."""
    for name in "abcdefgh":
        labels = [Label(str(number), "", "", name if number < 20 else str(number)) for number in range(60)]
        held_out = held_out_ids(labels, RULES)
        assert len({label.group for label in labels if label.id in held_out}) >= LEAST_GROUPS


CHANGES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "cropped": lambda image_hwc_u8: image_hwc_u8[30:, 40:],
    "mirrored": lambda image_hwc_u8: image_hwc_u8[:, ::-1],
    "turned": np.rot90,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_of_a_photograph_is_on_its_side(tmp_path: Path, change: str) -> None:
    (tmp_path / "data").mkdir()
    folder = tmp_path / "feedback"
    folder.mkdir()
    store = FeedbackStore(folder, quota_bytes=10**9, is_review_required=False)
    copies = dict[str, str]()
    for seed in range(8):
        surface = draw_surface(seed, (192, 256), is_cracked=True)
        items = []
        for turn in (lambda pixels: pixels, CHANGES[change]):
            data = png(np.ascontiguousarray(turn(surface.image_hwc_u8)))
            mask = Mask.of(np.ascontiguousarray(turn(surface.mask_hw)))
            items.append(store.save(Photograph.read(data), Submission(Verdict.OTHER, mask), "somebody", data))
        copies[items[0].image_file] = items[1].image_file
    store.close()
    take_snapshot(folder, tmp_path / "data", [], RULES, tmp_path / "snapshot")
    held_out = {f"images/{pair.image_path.name}" for pair in read_pairs(tmp_path / "snapshot", [FEEDBACK], HELD_OUT)}
    assert len(held_out) == 8
    assert all((one in held_out) == (copy in held_out) for one, copy in copies.items())


def test_a_near_copy_of_a_label_that_was_learned_from_and_taken_back_is_not_held_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    folder = tmp_path / "feedback"
    folder.mkdir()
    store = FeedbackStore(folder, quota_bytes=10**9, is_review_required=False)

    def save(seed: int, copy: Callable[[NDArray[np.uint8]], bytes]) -> Item:
        surface = draw_surface(seed, (64, 80), is_cracked=True)
        data = copy(surface.image_hwc_u8)
        return store.save(Photograph.read(data), Submission(Verdict.OTHER, Mask.of(surface.mask_hw)), "somebody", data)

    first = [save(seed, png) for seed in range(12)]
    take_snapshot(folder, tmp_path / "data", [], RULES, tmp_path / "snapshot")
    learned = set(json.loads((tmp_path / "snapshot" / LEARNED_FILE).read_text()))
    for item in first:
        store.review(item.id, "eve", item.etag, is_accepted=False)
    again = {save(seed, jpeg).id for seed, item in enumerate(first) if item.id in learned}
    new = {save(seed, png).id for seed in range(20, 30)}
    store.close()
    take_snapshot(folder, tmp_path / "data", [], RULES, tmp_path / "snapshot")
    held_out = {pair.image_path.stem for pair in read_pairs(tmp_path / "snapshot", [FEEDBACK], HELD_OUT)}
    assert held_out & new
    assert not held_out & again


def test_a_group_that_is_most_of_the_labels_is_learned_from() -> None:
    labels = [Label(str(number), "", "", "one wall" if number < 30 else str(number)) for number in range(40)]
    assert held_out_ids(labels, RULES) == {str(number) for number in range(30, 40)}


def test_what_was_learned_from_is_not_held_out_when_others_are_forgotten() -> None:
    labels = [Label(str(number), "", "", str(number)) for number in range(300)]
    learned = {label.id for label in labels} - held_out_ids(labels, RULES)
    left = labels[:40]
    assert held_out_ids(left, RULES) & learned
    assert not held_out_ids(left, RULES, learned) & learned


def test_no_store_has_no_labels(tmp_path: Path) -> None:
    assert read_labels(tmp_path) == []


def test_a_set_that_is_not_there_is_named(feedback_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        take_snapshot(feedback_dir, tmp_path, ["nowhere"], RULES, tmp_path / "snapshot")


def test_what_was_marked_as_no_crack_is_listed_beside_the_labels(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    folder = tmp_path / "feedback"
    folder.mkdir()
    store = FeedbackStore(folder, quota_bytes=10**9, is_review_required=False)
    surface = draw_surface(1, (64, 80), is_cracked=True)
    data = png(surface.image_hwc_u8)
    marked = (LookAlike((2, 3, 40, 9), Kind.JOINT), LookAlike((50, 1, 70, 60), Kind.CABLE))
    said = Submission(Verdict.OTHER, Mask.of(surface.mask_hw), look_alikes=marked)
    item = store.save(Photograph.read(data), said, "somebody", data)
    store.close()
    take_snapshot(folder, tmp_path / "data", [], RULES, tmp_path / "snapshot")
    with (tmp_path / "snapshot" / FEEDBACK / LOOK_ALIKES_FILE).open(newline="") as file:
        found = [tuple(row.values()) for row in csv.DictReader(file)]
    name = Path(item.image_file).name
    assert found == [(name, "2", "3", "40", "9", "joint"), (name, "50", "1", "70", "60", "cable")]
