"""Surveys a mosaic, from its file to its mask and cracks, and continues where it was stopped. `mosaic.json` holds the options;
intermediate results are in a folder beside it, which is removed at the end.
"""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from tqdm import tqdm

from crack.files import take_place, whole
from crack.foreign import damage_named
from model.inference.card import threshold_level
from model.inference.errors import RequestError
from model.inference.runtime import AUTO
from survey.engines import StoppedError, SurveyError
from survey.folder import hold
from survey.mosaic import STATE
from survey.mosaic.blocks import Part, Place, join, measure_block, places
from survey.mosaic.probability import Passes
from survey.mosaic.raster import CACHE_BYTES, Raster
from survey.mosaic.writing import MASK, Mask, results, write_cracks, write_overviews
from survey.processes import EndedError, Processes
from survey.stopping import DONE, INTERRUPTED, SOME_MISSING, how_to_go_on, stopped_by_signals

_UNFINISHED = ".unfinished"


def survey_mosaic(path: Path, out: Path, archive: Path, n_processes: int, backend: str, threshold: float | None) -> int:
    """Survey the mosaic at `path`; returns the exit code.

    Raises:
        SurveyError: it cannot begin or continue.
    """
    with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        raster = Raster(path)
        unfinished, is_new = out / _UNFINISHED, not out.exists()
        unfinished.mkdir(0o700, parents=True, exist_ok=True)
        try:
            with (unfinished / "lock").open("wb") as lock:
                try:
                    hold(lock)
                except BlockingIOError as error:
                    raise SurveyError(f"Another survey is writing {out}. Wait for it, or choose another --out.") from error
                return _survey(raster, out, archive, n_processes, backend, threshold)
        finally:
            raster.close()
            if is_new and not (out / STATE).exists():  # created for nothing, as the archive is missing
                shutil.rmtree(out, ignore_errors=True)


def _survey(raster: Raster, out: Path, archive: Path, n_processes: int, backend: str, threshold: float | None) -> int:
    stopping = threading.Event()
    former = _read(out)
    if backend == AUTO and former:
        backend = str(former["asked"]["backend"])  # with another one, new tiles would differ from those that are there
    processes = Processes(archive, n_processes, backend, stopping)
    try:
        card = processes.card
        status = raster.path.stat()
        asked = {
            "mosaic": raster.path.name,
            "n_bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "model_version": card.version,
            "threshold": card.threshold if threshold is None else threshold,
        }
        if former:
            _check_asked(out, former["asked"], asked)
        height, width = raster.size_hw
        print(f"{raster.path}: {width} x {height} pixels of {1000 * raster.m_per_px:.3g} mm. Results: {out}", flush=True)
        if former.get("n_cracks") is None:
            asked["backend"] = str(processes.start())
            print(f"Model {card.version} on {asked['backend']}.", flush=True)
            _write(out, {"asked": asked})
            try:
                with stopped_by_signals(stopping):
                    former = _find(raster, out, processes, asked)
            except StoppedError:
                print(f"Stopped. {how_to_go_on()}")
                return INTERRUPTED
            except EndedError as error:
                raise SurveyError(f"{error} {how_to_go_on()}") from error
            _write(out, former)
        shutil.rmtree(out / _UNFINISHED, ignore_errors=True)
    finally:
        processes.close()
    print(
        f"Cracks: {former['n_cracks']}, total length {former['length_total_m']:.4g} m, largest width "
        f"{former['width_max_m'] or 0:.4g} m. {', '.join(results(raster))} are in {out}."
    )
    for sentence in former["unmeasured"]:
        print(sentence)
    return SOME_MISSING if former["unmeasured"] else DONE


def _find(raster: Raster, out: Path, processes: Processes, asked: dict[str, Any]) -> dict[str, Any]:
    """Predict, write the mask, measure and write the cracks; returns the content of `mosaic.json`."""
    unfinished = out / _UNFINISHED
    level = threshold_level(asked["threshold"])
    blocks = list(places(raster.size_hw))
    with tqdm(desc="predicting", unit="tile", smoothing=0.1, dynamic_ncols=True) as bar:
        passes = Passes(raster, processes, unfinished, bar.update)
        try:
            bar.total = passes.n_tiles + len(blocks)
            passes.run()
            bar.set_description("measuring")
            with Mask(raster, unfinished / "plain.tif") as mask:
                for top, prob_hw_u8, is_valid in passes.join():
                    mask.write(top, prob_hw_u8 >= level, is_valid)
            write_overviews(unfinished / "plain.tif", unfinished / MASK)
            parts, unmeasured = _measure(raster, passes, processes, blocks, level, bar)
        finally:
            passes.close()
    figures = write_cracks(join(parts), raster, asked["model_version"], unfinished)
    for name in results(raster):
        take_place(unfinished / name, out / name)  # on disk before mosaic.json says that they are there
    return {
        "asked": asked,
        "place": str(raster.path),
        "n_cracks": len(figures),
        "length_total_m": round(sum(crack["length_m"] for crack in figures), 3),
        "width_max_m": max((crack["width_max_m"] for crack in figures if crack["width_max_m"] is not None), default=None),
        "unmeasured": unmeasured,
    }


def _measure(
    raster: Raster, passes: Passes, processes: Processes, blocks: list[Place], level: int, bar: "tqdm[Any]"
) -> tuple[list[Part], list[str]]:
    """All blocks' parts of cracks, and a sentence about each block that can't be measured."""
    parts: list[Part] = []
    unmeasured: list[str] = []

    def calls() -> Iterator[Callable[[], list[Part] | RequestError]]:
        of_rows, rows = -1, np.zeros((0, 0), np.uint8)
        for place in blocks:
            if of_rows != place.seen_top:
                of_rows, rows = place.seen_top, passes.read(place.seen_top, place.seen_bottom)
            own = rows[place.top - place.seen_top : place.bottom - place.seen_top, place.left : place.right]
            if (own >= level).any():
                prob_hw_u8 = rows[:, place.seen_left : place.seen_right].copy()
                image_hwc_u8, _ = raster.read(place.seen_top, place.seen_left, *prob_hw_u8.shape)
                yield partial(_measure_block, processes, prob_hw_u8, image_hwc_u8, level, place)
            else:
                yield list

    for place, found in zip(blocks, processes.in_order(calls()), strict=True):
        bar.update()
        if isinstance(found, RequestError):
            where = f"Rows {place.top} to {place.bottom}, columns {place.left} to {place.right}"
            unmeasured.append(f"{where} have a mask and no measured cracks: {found.message}")
        else:
            parts += found
    return parts, unmeasured


def _measure_block(
    processes: Processes, prob_hw_u8: NDArray[np.uint8], image_hwc_u8: NDArray[np.uint8], level: int, place: Place
) -> list[Part] | RequestError:
    try:
        return processes.call(measure_block, prob_hw_u8, image_hwc_u8, level, place)
    except RequestError as error:
        return error


def _read(out: Path) -> dict[str, Any]:
    state = out / STATE
    if not state.exists():
        return {}
    with damage_named(str(state), "Choose another folder by --out."):
        told: dict[str, Any] = json.loads(state.read_bytes())
        told["asked"]["backend"]
        return told


def _write(out: Path, told: dict[str, Any]) -> None:
    with whole(out / STATE, incoming=out / _UNFINISHED / STATE) as file:
        file.write(json.dumps(told, indent=2).encode() + b"\n")


def _check_asked(out: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    differing = {name: (found.get(name), value) for name, value in expected.items() if found.get(name) != value}
    if differing:
        what = ", ".join(f"{name} {was!r} instead of {now!r}" for name, (was, now) in differing.items())
        raise SurveyError(f"{out} holds another survey ({what}). Choose another folder by --out.")
