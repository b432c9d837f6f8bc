"""Survey a folder of photographs, or an orthomosaic: `crack survey --help`.

Each photograph is examined once, however often the survey is killed and started again: its answers are in the journal in the
survey's folder (`folder`). `--engine` chooses a running sidecar, this machine alone, or a cluster.
"""

import argparse
import io
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from crack.faults import in_words
from crack.instance import of_instance
from crack.serving import Serving
from inspection.rows import Status
from model.inference.errors import RequestError
from model.inference.millimetres import Scale, ScaleSource
from model.inference.options import Options, Quality
from survey.arguments import NOT_OF_MOSAICS, SCALES, address, key_in, make_parser, with_lists
from survey.engines import SurveyError
from survey.engines.http import HttpEngine
from survey.findings import About, Findings
from survey.opening import open_source, open_survey
from survey.results import Tally, write_results
from survey.sources import Source, is_photograph
from survey.stopping import DONE, INTERRUPTED, NOT_POSSIBLE, SOME_MISSING, how_to_go_on, stopped_by_signals
from survey.surveyor import Engine, Surveyor, ask_all
from survey.tables import PHOTOGRAPHS


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        places = of_instance(os.environ)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_POSSIBLE
    parser = make_parser(places["BACKEND_URL"])
    try:
        chosen = parser.parse_args(with_lists(sys.argv[1:] if arguments is None else arguments))
    except (OSError, UnicodeError) as error:
        parser.exit(NOT_POSSIBLE, f"error: {error}\n")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be any bytes
    try:
        is_mosaic = _is_file(chosen) and not is_photograph(Path(chosen.sources[0]))
        survey = survey_mosaic if is_mosaic else survey_photographs
        return survey(chosen, Path(places["CRACK_MODEL_STORE"]))
    except (SurveyError, RequestError, ValueError, OSError) as error:
        parser.exit(NOT_POSSIBLE, f"error: {in_words(error)}\n")
    except KeyboardInterrupt:
        print(f"\nStopped. {how_to_go_on()}")
        return INTERRUPTED


def survey_mosaic(chosen: argparse.Namespace, model_store: Path) -> int:
    """As `survey_photographs`."""
    needless = [f"--{name.replace('_', '-')}" for name in NOT_OF_MOSAICS if getattr(chosen, name)]
    if needless:
        raise SurveyError(
            f"{', '.join(needless)}: not for a mosaic, whose file already holds scale and position. Leave it out."
        )
    if chosen.engine in ("http", "ray") or chosen.quality != Quality.NORMAL:
        raise SurveyError(
            f"{chosen.sources[0]} is one file: expected --engine local and --quality normal for it. Leave both out."
        )
    try:
        from survey.mosaic.run import survey_mosaic as run  # rasterio and pyogrio, which nothing else here needs
    except ImportError as error:
        raise SurveyError(
            f"A mosaic needs the packages rasterio and pyogrio ({error}). In the project's folder run: pip install '.[survey]'"
        ) from error
    from survey.processes import default_n

    options = Options.parse({} if chosen.threshold is None else {"threshold": chosen.threshold})
    if isinstance(chosen.out, str):
        raise SurveyError(
            f"--out {chosen.out}: expected a folder of this machine for a mosaic. Copy the results when it has ended."
        )
    source = Path(chosen.sources[0]).resolve()
    out = chosen.out.resolve() if chosen.out else _beside(source)
    archive = chosen.archive or model_store / Serving.read(model_store).default
    return run(source, out, archive, chosen.concurrency or default_n(), chosen.backend, options.threshold)


def survey_photographs(chosen: argparse.Namespace, model_store: Path) -> int:
    """Do what `main` was asked for; returns the exit code. Raises what `main` catches."""
    given = {name: getattr(chosen, name) for name in ("quality", "threshold", "mm_per_px", "standard", "exposure", *SCALES)}
    options = Options.parse({name: value for name, value in given.items() if value is not None})
    source = open_source(chosen.sources)
    out = _out(chosen, source)
    files, others = source.photographs(out)
    if not files:
        found = "; ".join(f"{name}: {reason}" for name, reason in islice(others.items(), 3)) or "it is empty"
        raise SurveyError(f"{source} holds no photograph ({found}).")
    all_files, stopping = sorted([*files, *others]), threading.Event()
    question = {"quality": options.quality.value, "threshold": options.threshold or "of the model"}
    question |= {name: value for name in SCALES if (value := getattr(options, name)) is not None}
    try:
        survey = open_survey(out, question)
    except BlockingIOError as error:
        raise SurveyError(f"Another survey is writing {out}. Wait for it, or choose another folder by --out.") from error
    try:
        engine = _engine(chosen, replace(options, mm_per_px=None, standard=None, exposure=None), model_store, stopping)
    except BaseException:
        survey.close()
        raise
    try:
        surveyor = Surveyor(source, survey, engine, stopping)
        remaining = [file for file in files if not surveyor.is_answered(file)]
        n_files = f"{len(files)} {'photograph' if len(files) == 1 else 'photographs'}"
        print(f"{source}: {n_files}, {len(files) - len(remaining)} already done. Results: {out}")
        if others:
            survey.leave_out(others)
            print(f"{len(others)} left out for the reasons in {PHOTOGRAPHS}: {', '.join(islice(others, 5))}")
        changed = [file for file in remaining if surveyor.is_changed(file)]
        if changed:
            print(f"{len(changed)} have changed since they were examined, and are examined again: {', '.join(changed[:5])}")
        reason = _examine(surveyor, remaining, len(files)) if remaining else None
        given_scale = None if options.mm_per_px is None else Scale(options.mm_per_px, ScaleSource.GIVEN)
        about = About(source, given_scale, chosen.exif, options.judged_by())
        about.save(survey)
        asked = f"quality {question['quality']}, threshold {question['threshold']}"
        tally, asked, sheet = write_results(Findings(survey, about, all_files), chosen.bom, chosen.also, asked)
        n_remaining = sum(not surveyor.is_answered(file) for file in remaining) if stopping.is_set() else 0
    finally:
        engine.close()
        survey.close()
    _tell(tally, asked, sheet)
    if reason:
        raise SurveyError(f"{reason} {how_to_go_on()}")
    if n_remaining:
        print(f"Stopped, {n_remaining} remain. {how_to_go_on()}")
        return INTERRUPTED
    return DONE if tally.counts[Status.PREDICTED] == len(all_files) else SOME_MISSING


def _examine(surveyor: Surveyor, remaining: Sequence[str], n_files: int) -> str | None:
    """Examine those that remain of all files; returns what `ask_all` does."""
    print(f"{surveyor.engine.name} answers with model {surveyor.engine.check()}.", flush=True)
    n_done = n_files - len(remaining)
    progress = tqdm(total=n_files, initial=n_done, desc="surveying", unit="photo", smoothing=0.1, dynamic_ncols=True)
    with progress as bar, stopped_by_signals(surveyor.stopping):
        return ask_all(surveyor, remaining, bar)


def _tell(tally: Tally, asked: str, sheet: str) -> None:
    print(f"{', '.join(f'{tally.counts[status]} {status}' for status in Status if tally.counts[status])}; {asked}.")
    if len(tally.versions) > 1:
        print("The model changed during the survey: shares of crack may not be comparable between photographs.")
    if tally.n_unmeasured:
        print(
            f"{tally.n_unmeasured} were answered by an older version, which measured less. To measure them fully, choose "
            "another --out."
        )
    print(sheet)


def _out(chosen: argparse.Namespace, source: Source) -> Path | str:
    """Where the results go, a folder or a URL. Raises SurveyError where the photographs are."""
    beside = _beside(Path(chosen.sources[0]).resolve()) if _is_file(chosen) else source.results
    out: Path | str = chosen.out if isinstance(chosen.out, str) else chosen.out.resolve() if chosen.out else beside
    if str(out) == str(source):
        raise SurveyError(f"--out {chosen.out} is the folder of photographs itself. Choose another.")
    return out


def _is_file(chosen: argparse.Namespace) -> bool:
    """Whether one file of this machine is to be surveyed, and neither a folder nor a pattern."""
    return len(chosen.sources) == 1 and os.path.isfile(chosen.sources[0])


def _beside(source: Path) -> Path:
    return source.with_name(f"{source.stem}-cracks")


def _engine(chosen: argparse.Namespace, options: Options, model_store: Path, stopping: threading.Event) -> Engine:
    if chosen.engine not in ("local", "ray"):
        key, n_at_once = key_in(chosen.key_file), chosen.concurrency or 4
        return HttpEngine(address(chosen.url), key, options, n_at_once, chosen.retries, stopping)
    archive = chosen.archive or model_store / Serving.read(model_store).default
    if chosen.engine == "ray":
        try:
            from survey.engines.ray import RayEngine
        except ImportError as error:
            raise SurveyError(
                f"--engine ray needs the package ray ({error}). In the project's folder run: pip install '.[ray]'"
            ) from error
        return RayEngine(archive, options, chosen.concurrency, chosen.backend, stopping)
    from survey.engines.local import LocalEngine  # a runtime and POSIX, which a client of a server doesn't need
    from survey.processes import default_n

    return LocalEngine(archive, options, chosen.concurrency or default_n(), chosen.backend, stopping)


if __name__ == "__main__":
    from crack.console import by_former_name

    sys.exit(by_former_name("survey"))
