"""Compares two surveyed mosaics of one structure, block by block of the later one, so that they may have any size.

The map tells which part of the earlier mosaic shows a block; what both show tells the rest: first how the whole of it is
shifted and turned, then each block by itself. A crack's points are looked at in the block that they are in; what became of
the whole crack is judged at the end, by the rules for photographs. Left to others: looking (`beside`), the rules
(`survey.changes`).
"""

import shutil
import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from tqdm import tqdm

from crack.files import take_place
from crack.temporary import OwnFolder
from inspection.findings import printable
from model.inference.errors import RequestError
from survey.changes import Bounds, Change, Kind, Part, Reason, judge
from survey.changes_page import Compared, Heading, Measured, counted, write_changes
from survey.engines import StoppedError, SurveyError
from survey.folder import Results, hold
from survey.laying import Float, inside, moved
from survey.mosaic import STATE
from survey.mosaic.beside import Looked, Pair, draw_block, lay, look, middle_xy
from survey.mosaic.blocks import BLOCK_PX, Place, places
from survey.mosaic.raster import CACHE_BYTES, Raster
from survey.mosaic.surveyed import Crack, Surveyed
from survey.mosaic.writing import CHANGES
from survey.mosaic.writing import write_changes as write_layers
from survey.pictures import INCOMING
from survey.processes import EndedError, Processes
from survey.results import CHANGES_PAGE
from survey.sights import APART, Sight, Traced
from survey.stopping import DONE, SOME_MISSING, stopped_by_signals

_MOST_FINER = 4.0  # times that the pixels of one mosaic may be as large as those of the other
# In pixels of the finer one of the two:
_BLOCK_PX = 1536  # the side of a block
_SHIFT_PX, _AROUND_PX = 1024, 512  # by which the map may be wrong, and what is read around a block to see that
_BEND_PX = 128  # by which a block may be shifted beside the whole
_N_TRIED, _N_LAID = 24, 6  # blocks by which the whole is laid over
_LEAST_DATA = 0.25  # of such a block
_NO_GROUND = "They have no ground in common."
_NOT_LAID = "They could not be laid over each other in any block that was tried."

_T = TypeVar("_T")
Indices = NDArray[np.intp]


def compare_mosaics(earlier: Surveyed, later: Surveyed, archive: Path, n_processes: int, backend: str, with_bom: bool) -> int:
    """Write what has changed into the later survey's folder; returns the exit code.

    Raises:
        SurveyError: nothing can be compared.
        StoppedError: it was stopped.
        BlockingIOError: another process compares one of the two.
    """
    stopping = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES))
        for each in (earlier, later):
            hold(stack.enter_context((each.folder / STATE).open("rb")), is_shared=each is earlier)
        before, after = Raster(earlier.mosaic), Raster(later.mosaic)
        stack.callback(before.close)
        stack.callback(after.close)
        processes = Processes(archive, n_processes, backend, stopping)
        stack.callback(processes.close)
        print(f"Mosaics: {earlier.mosaic}, {later.mosaic}.", flush=True)
        with stopped_by_signals(stopping):
            comparer = _Comparer(before, after, processes)
            comparer.lay()
            changes = comparer.compare(earlier.cracks(before), later.cracks(after))
            scratch = OwnFolder("crack-changes")
            stack.callback(scratch.remove)
            found = list(comparer.draw(changes, scratch.path))
        if stopping.is_set():
            raise StoppedError
        shutil.rmtree(later.folder / INCOMING, ignore_errors=True)  # of one that was killed
        (later.folder / INCOMING).mkdir()
        stack.callback(shutil.rmtree, later.folder / INCOMING, ignore_errors=True)
        write_layers(changes, after, later.folder / INCOMING)
        layers = sorted((later.folder / INCOMING).glob(f"{CHANGES}.*"), reverse=True)
        for path in layers:
            take_place(path, later.folder / path.name)
        made = "" if earlier.made == later.made else f"the earlier one by {earlier.made}, the later one by {later.made}"
        names = printable(earlier.folder.name), printable(later.folder.name)
        heading = Heading(
            printable(later.mosaic.name), *names, made, "blocks of the mosaic", tuple(path.name for path in layers)
        )
        survey = Results(later.folder)
        write_changes(survey, heading, found, comparer.without, [], with_bom)
    print(f"Blocks compared: {comparer.n_compared}; not compared: {len(comparer.without)}. Cracks: {counted(found)}.")
    if made:
        print(f"warning: The two surveys were made differently, {made}. A crack may look longer or wider for that alone.")
    print(survey.place(CHANGES_PAGE))
    return SOME_MISSING if comparer.without else DONE


class _Points:
    """The cracks of a mosaic, and for each point of their lines, one after the other, what was found there.

    Attributes:
        mapped_xy: in the later mosaic's pixels, as the whole of the two mosaics is laid over each other.
        xy: the same, as the blocks are.
        line, crack: which line of all, and which crack, a point is of.
        ids, by: as in `Sight`.
        is_clear: whether the other mosaic could show a crack there.
    """

    def __init__(self, cracks: Sequence[Traced]) -> None:
        self._cracks = cracks
        lines = [(number, line) for number, crack in enumerate(cracks) for line in crack.lines_xy]
        lengths = [len(line) for _, line in lines]
        self.mapped_xy = np.concatenate([np.zeros((0, 2)), *(line for _, line in lines)])
        self.xy = self.mapped_xy.copy()
        self.line = np.repeat(np.arange(len(lines)), lengths)
        self.crack = np.repeat(np.array([number for number, _ in lines], np.intp), lengths)
        self.ids, self.by = np.zeros(len(self.xy), np.int32), np.full(len(self.xy), -1, np.intp)
        self.is_clear = np.zeros(len(self.xy), np.bool_)

    def near(self, place: Place) -> Indices:
        """Those in a block or its margin."""
        return np.flatnonzero(inside(self.mapped_xy - _corner(place), _seen_hw(place)))

    def is_own(self, near: Indices, place: Place) -> NDArray[np.bool_]:
        """Which of them are in the block itself."""
        own_hw = (place.bottom - place.top, place.right - place.left)
        return inside(self.mapped_xy[near] - (place.left, place.top), own_hw)

    def pieces(self, near: Indices, place: Place) -> list[Traced]:
        """The cracks, each with these points alone, in the pixels of the block with its margin."""
        lines: defaultdict[int, list[Float]] = defaultdict(list)
        for run in _runs(near, self.line):
            lines[int(self.crack[run[0]])].append(self.mapped_xy[run] - _corner(place))
        return [replace(self._cracks[number], lines_xy=lines_xy) for number, lines_xy in lines.items()]

    def sights(self) -> list[tuple[Traced, Sight]]:
        """Each whole crack."""
        lines: defaultdict[int, list[Indices]] = defaultdict(list)
        for run in _runs(np.arange(len(self.xy)), self.line):
            lines[int(self.crack[run[0]])].append(run)
        return [
            (
                replace(self._cracks[number], lines_xy=[self.xy[run] for run in runs]),
                [(self.ids[run], self.by[run]) for run in runs],
            )
            for number, runs in lines.items()
        ]

    def clear(self) -> set[int]:
        """The numbers of the cracks most of whose points the other mosaic could show."""
        n_of, n_clear = (np.bincount(self.crack, weights) for weights in (None, self.is_clear))
        return {self._cracks[number].id for number in np.flatnonzero(n_clear >= 0.5 * n_of).tolist()}


class _Comparer:
    """
    Attributes:
        n_compared: blocks.
        without: why others were not, by their place.
    """

    def __init__(self, earlier: Raster, later: Raster, processes: Processes) -> None:
        self._earlier, self._later, self._processes = earlier, later, processes
        if earlier.is_local != later.is_local:
            raise SurveyError(
                f"Either {earlier.path} or {later.path} is in local coordinates, so where they overlap is not known. "
                "Georeference both in the same coordinates."
            )
        px = earlier.m_per_px / later.m_per_px
        if max(px, 1 / px) > _MOST_FINER:
            raise SurveyError(
                f"A pixel of {earlier.path} is {1000 * earlier.m_per_px:.3g} mm, one of {later.path} "
                f"{1000 * later.m_per_px:.3g} mm; expected at most {_MOST_FINER:g} times as much."
            )
        self._fine = min(1.0, px)  # the side of the smaller pixel in the later mosaic's
        self._settle = np.eye(3)  # from where the map shows an earlier place to where it is, in the later mosaic's pixels
        self._block_px = round(_BLOCK_PX * self._fine)
        self._places = list(places(later.size_hw, self._block_px))
        self._to_later: dict[Place, Float] = {}
        self._reading = threading.Lock()  # blocks are read in the threads that need them, so that few are in memory
        self.without: dict[str, str] = {}

    @property
    def n_compared(self) -> int:
        return len(self._to_later)

    def lay(self) -> None:
        """Find how the whole of the earlier mosaic is shifted and turned beside the later one, by some of the blocks. Raises
        SurveyError if none fits.
        """
        order = np.random.default_rng(0).permutation(len(self._places)).tolist()
        laid, reasons = list[tuple[Float, Float]](), Counter[str]()
        for found in self._processes.in_order(partial(self._lay, self._places[number]) for number in order):
            if isinstance(found, str):
                reasons[found] += 1
            else:
                laid.append(found)
            if len(laid) == _N_LAID or reasons.total() - reasons[_NO_GROUND] == _N_TRIED:
                break
        if not laid:
            reason = next((each for each in reasons if each != _NO_GROUND), _NO_GROUND)
            raise SurveyError(f"Nothing could be compared, and nothing was written. {reason}")
        mapped_xy, found_xy = zip(*laid, strict=True)
        turned, _ = cv2.estimateAffinePartial2D(
            np.concatenate(mapped_xy), np.concatenate(found_xy), ransacReprojThreshold=_BEND_PX / 4
        )
        self._settle = np.vstack([turned, (0, 0, 1)])

    def compare(self, before: Sequence[Crack], after: Sequence[Crack]) -> list[Change]:
        """What became of each crack, in the later mosaic's pixels."""
        bounds = Bounds.of(BLOCK_PX)
        old = _Points([Traced.of(*crack, self._on_later, 0) for crack in before])
        new = _Points([Traced.of(*crack, np.copy, 0) for crack in after])
        all_near = ((place, old.near(place), new.near(place)) for place in self._places)
        blocks = [each for each in all_near if old.is_own(each[1], each[0]).any() or new.is_own(each[2], each[0]).any()]

        calls = (
            partial(self._look, place, old.pieces(near_old, place), new.pieces(near_new, place), bounds)
            for place, near_old, near_new in blocks
        )
        results = tqdm(self._processes.in_order(calls), total=len(blocks), desc="comparing", unit="block")
        for (place, near_old, near_new), looked in zip(blocks, results, strict=True):
            is_old, is_new = old.is_own(near_old, place), new.is_own(near_new, place)
            own_old, own_new = near_old[is_old], near_new[is_new]
            if isinstance(looked, Looked):
                old.ids[own_old], old.by[own_old] = (each[is_old] for each in looked.before)
                new.ids[own_new], new.by[own_new] = (each[is_new] for each in looked.after)
                old.xy[own_old] = looked.before_xy[is_old] + _corner(place)
                old.is_clear[own_old] = looked.is_clear[is_old]
                if looked.to_later is not None:
                    self._to_later[place] = looked.to_later
            elif isinstance(looked, str):
                old.ids[own_old], old.by[own_old], new.ids[own_new], new.by[own_new] = APART, 0, APART, 0
            is_shown = (old.by[own_old] >= 0).any() or (new.by[own_new] >= 0).any()
            if place not in self._to_later and is_shown:
                where = f"Rows {place.top} to {place.bottom}, columns {place.left} to {place.right}"
                self.without[where] = looked if isinstance(looked, str) else Reason.APART.value
        clear = old.clear()
        return judge(new.sights(), old.sights(), lambda crack: crack.id in clear, bounds)

    def draw(self, changes: Sequence[Change], folder: Path) -> Iterator[Compared]:
        """Each block, with the changes that are to be shown in its pictures; these are written into `folder`."""
        at_home: defaultdict[Place, list[Measured]] = defaultdict(list)
        for change in changes:
            points_xy = _telling(change)
            x, y = middle = points_xy[len(points_xy) // 2]
            row, column = (
                int(np.clip(at, 0, side - 1) // self._block_px) for at, side in zip((y, x), self._later.size_hw, strict=True)
            )
            place = self._places[row * -(-self._later.size_hw[1] // self._block_px) + column]
            map_x, map_y = self._later.map_xy(middle[None])[0].tolist()
            at_home[place].append(Measured(change, 1000 * self._later.m_per_px, (map_x, map_y)))

        calls = (partial(self._draw, place, changes) for place in at_home)
        results = tqdm(self._processes.in_order(calls), total=len(at_home), desc="drawing", unit="block")
        for (place, measured), pictures in zip(at_home.items(), results, strict=True):
            paths = {panel: folder / f"{uuid.uuid4().hex}.jpg" for panel in pictures}
            for panel, path in paths.items():
                path.write_bytes(pictures[panel])
            names = (self._earlier.path.name,)
            middle_x, middle_y = self._later.map_xy(
                np.array([((place.left + place.right) / 2, (place.top + place.bottom) / 2)])
            )[0]
            yield Compared(self._later.path.name, names, measured, paths, place=f", around {middle_x:.1f}, {middle_y:.1f}")

    def _lay(self, place: Place) -> tuple[Float, Float] | str:
        """Points (n, 2) of a block: where the map shows them, and where they are, on the later mosaic; or a sentence."""
        pair = self._read(place, _AROUND_PX)
        if pair is None or min(pair.earlier_has_data.mean(), pair.later_has_data.mean()) < _LEAST_DATA:
            return _NO_GROUND
        to_later = self._call(lay, pair, _SHIFT_PX * self._fine)
        if isinstance(to_later, np.ndarray):
            points_xy = middle_xy(_seen_hw(place))
            mapped_xy = moved(pair.guess @ np.linalg.inv(to_later), points_xy)
            return mapped_xy + _corner(place), points_xy + _corner(place)
        return to_later or _NOT_LAID

    def _look(self, place: Place, before: Sequence[Traced], after: Sequence[Traced], bounds: Bounds) -> Looked | str | None:
        """None where the earlier mosaic doesn't cover the block."""
        pair = self._read(place, _BEND_PX)
        return self._call(look, pair, before, after, bounds, _BEND_PX * self._fine) if pair else None

    def _draw(self, place: Place, changes: Sequence[Change]) -> dict[str, bytes]:
        formers, pair = [], self._read(place, _BEND_PX)
        if pair:  # pixels without data are black
            former_hwc_u8 = pair.earlier_hwc_u8 * pair.earlier_has_data[..., None]
            formers = [(former_hwc_u8, self._to_later.get(place, pair.guess))]
        later_hwc_u8, has_data = (pair.later_hwc_u8, pair.later_has_data) if pair else self._read_later(place)
        told = [part for change in changes if (part := _within(change, place)).parts]
        return self._processes.call(draw_block, formers, later_hwc_u8 * has_data[..., None], told)

    def _call(self, function: Callable[..., _T], *arguments: Any) -> _T | str:
        """A sentence if the process can't do it."""
        try:
            return self._processes.call(function, *arguments)
        except (EndedError, RequestError, RuntimeError) as error:
            return str(error)

    def _on_later(self, points_xy: Float) -> Float:
        """From the earlier mosaic's pixels, as the whole is laid over the later one."""
        return moved(self._settle, self._later.pixel_xy_of(self._earlier, points_xy))

    def _read(self, place: Place, more_px: float) -> Pair | None:
        """A block with its margin, and the earlier mosaic there and around; None if that ends before.

        Args:
            more_px: how much around, in pixels of the finer one of the two.
        """
        more_px *= self._fine
        low, high = np.array(_corner(place)) - more_px, np.array([place.seen_right, place.seen_bottom]) + more_px
        around_xy = moved(np.asarray(np.linalg.inv(self._settle)), _corners(low, high))
        earlier_xy = self._earlier.pixel_xy_of(self._later, around_xy)
        if not np.isfinite(earlier_xy).all():
            return None
        end = np.array(self._earlier.size_hw[::-1])
        left, top = np.clip(np.floor(earlier_xy.min(axis=0)), 0, end).astype(int).tolist()
        right, bottom = np.clip(np.ceil(earlier_xy.max(axis=0)), 0, end).astype(int).tolist()
        if right - left < 2 or bottom - top < 2:
            return None
        corners_xy = _corners(np.array([left, top]), np.array([right, bottom]))
        later_xy = self._on_later(corners_xy) - _corner(place)
        guess = cv2.getPerspectiveTransform((corners_xy - (left, top)).astype(np.float32), later_xy.astype(np.float32))
        with self._reading:
            earlier = self._earlier.read(top, left, bottom - top, right - left)
        return Pair(*earlier, *self._read_later(place), np.asarray(guess, np.float64))

    def _read_later(self, place: Place) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        with self._reading:
            return self._later.read(place.seen_top, place.seen_left, *_seen_hw(place))


def _telling(change: Change) -> Float:
    """The points of the piece of a crack that tells most about its change."""
    best = Part.UNKNOWN if change.kind in (Kind.UNCERTAIN, Kind.OUTSIDE) else Part.CHANGED
    return max(change.parts, key=lambda each: (each[1] is best, len(each[0])))[0]


def _within(change: Change, place: Place) -> Change:
    """With its parts in a block and its margin, in the pixels there."""
    parts = []
    for points_xy, part in change.parts:
        seen_xy = points_xy - _corner(place)
        is_within = np.flatnonzero(inside(seen_xy, _seen_hw(place)))
        parts += [(seen_xy[run], part) for run in _runs(is_within, np.zeros(len(seen_xy)))]
    return replace(change, parts=tuple(parts))


def _runs(indices: Indices, line: NDArray[Any]) -> list[Indices]:
    """Cut where an index is left out, or another line begins."""
    if not len(indices):
        return []
    return np.split(indices, np.flatnonzero((np.diff(indices) != 1) | (np.diff(line[indices]) != 0)) + 1)


def _corner(place: Place) -> tuple[int, int]:
    return (place.seen_left, place.seen_top)


def _seen_hw(place: Place) -> tuple[int, int]:
    return (place.seen_bottom - place.seen_top, place.seen_right - place.seen_left)


def _corners(low: NDArray[Any], high: NDArray[Any]) -> Float:
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])], np.float64)
