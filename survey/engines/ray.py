"""The engine on a Ray cluster: Ray Data takes names of photographs to actors with the inference core, and their rows back.

Actors read photographs and write pictures themselves, so sources and targets must be where every node reaches them. An actor
that is killed, or whose node vanishes, is started again with its block of names; photographs that are lost all the same are
tried once more, one by one. Left to others: what an actor does with a photograph (`local`), and the nodes, which have this
package installed.
"""

import logging
import os
import pickle
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from queue import Empty, Queue
from time import monotonic
from typing import Any

# Ray reports usage statistics to its maker. Where somebody inspects is their own business.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings are about Ray, not about the survey
if "RAY_ADDRESS" not in os.environ:
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on any system: it listens on this machine's loopback alone
    os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's 15, all other programs would go first

import pyarrow
import ray
import ray.data

from crack.temporary import OwnFolder
from inspection.rows import Row
from model.inference import runtime
from model.inference.card import Backend
from model.inference.options import Options
from model.inference.photograph import Limits
from survey.engines import SurveyError, local
from survey.processes import N_TRIES, PROCESS_BYTES, Core, default_n, parse_backend, unpack
from survey.task import Task, Tasks

_LARGEST_BLOCK = 256  # names; the queue of ten million photographs then has 40,000 blocks
_BLOCKS_PER_PROCESSOR = 32  # so that the last ones end at nearly the same time
_ROWS_S = 2.0  # an actor collects rows for so long, and sends them together
_N_WAITING = 1000  # lists of rows; beyond that the actors wait for the journal
_LOOK_S = 0.5
_N_STARTS = 3  # Ray gives up on a node that isn't up within 30 s, even where the machine is only busy
_STORE_BYTES = int(256e6)  # of a Ray that is started here: it holds the archive, names and rows
_Answer = Row | str  # or why no photograph can be answered


class RayEngine:
    """Examines photographs on the cluster that RAY_ADDRESS names; without it a Ray is started on this machine's loopback.

    Args:
        archive, backend, stopping: as `Processes` has them; with `auto`, one node chooses the backend for all actors, among
            those that every processor supports.
        options: how each photograph's cracks and scale are found.
        n_actors: the largest number, each on one processor; None takes all processors, also those that join later.
    """

    def __init__(self, archive: Path, options: Options, n_actors: int | None, backend: str, stopping: threading.Event) -> None:
        self._address = os.environ.get("RAY_ADDRESS")
        self.name = f"Ray at {self._address}" if self._address else "A Ray of this machine (RAY_ADDRESS names no cluster)"
        self.n_at_once = n_actors or default_n()
        self._n_actors = n_actors
        self._n_at_start = 1 if self._address else self.n_at_once  # a cluster may have to grow first
        self._options = options
        self._stopping = stopping
        self._folder = OwnFolder("crack-ray")  # its path is short, as Ray's sockets are there, too
        try:
            self._card = unpack(archive, self._folder.path)
            self._wanted = parse_backend(backend, self._card)
            self._archive = archive.read_bytes()
        except BaseException:
            self._folder.remove()
            raise

    def check(self) -> str:
        self._connect()
        # A node chooses the backend: this machine may run no actor, and processors differ.
        self._resources: dict[str, Any] = {"num_cpus": 1} | ({"memory": PROCESS_BYTES} if self._address else {})
        self._stored = ray.put(self._archive)
        try:
            backend = ray.get(ray.remote(**self._resources)(_settle).remote(self._stored, self._wanted))
        except ray.exceptions.RayError as error:
            raise SurveyError(f"{self.name} cannot load the model: {_sentence(error)}") from error
        self._wanted = tuple(backend)
        return f"{self._card.version} on {backend}"

    def rows(self, tasks: Tasks) -> Iterator[Row]:
        """Each photograph's row once, even if it was examined twice."""
        missing = dict.fromkeys(tasks.files)
        n_processors = max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        share = len(missing) // (_BLOCKS_PER_PROCESSOR * n_processors)
        for n_per_block in (min(max(share, 1), _LARGEST_BLOCK), 1):
            for answer in self._answers(replace(tasks, files=list(missing)), n_per_block):
                if isinstance(answer, str):
                    raise SurveyError(answer)
                if answer.file in missing:
                    del missing[answer.file]
                    yield answer
            if self._stopping.is_set() or not missing:
                return
        for task in replace(tasks, files=list(missing)):
            yield task.failed(f"Its actor ended, in {2 * N_TRIES} tries. Memory may be short; the logs of Ray say more.")

    def close(self) -> None:
        ray.shutdown()
        self._folder.remove()

    def _connect(self) -> None:
        if self._address:
            where: dict[str, Any] = {"address": self._address}
        else:
            where = {"address": "local", "num_cpus": self.n_at_once, "object_store_memory": _STORE_BYTES}
            where |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "_temp_dir": str(self._folder.path)}
        for n_left in reversed(range(_N_STARTS)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # a tip about graphics cards
                try:
                    ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
                    break
                except Exception as error:  # Ray raises many kinds, some of them plain Exceptions
                    if not n_left:
                        raise SurveyError(f"{self.name} does not answer ({_sentence(error)}).") from error
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = 1  # rows come back as soon as an actor yields them
        context.max_errored_blocks = -1  # the photographs of a failed block are tried again

    def _answers(self, tasks: Tasks, n_per_block: int) -> Iterator[_Answer]:
        blocks = [tasks.files[start : start + n_per_block] for start in range(0, len(tasks.files), n_per_block)]
        looked_at = ray.data.from_arrow([_names(block) for block in blocks]).map_batches(
            _Looker,
            fn_constructor_args=(
                self._stored,
                self._wanted,
                replace(tasks, files=()),
                self._options,
                Limits.from_environment(),
            ),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=self._n_at_start, max_size=self._n_actors),
            max_restarts=-1,
            max_task_retries=N_TRIES - 1,
            **self._resources,
        )
        arrived: Queue[list[_Answer] | Exception | None] = Queue(_N_WAITING)

        def receive() -> None:
            try:
                for table in looked_at.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    for together in table["rows"]:
                        arrived.put(pickle.loads(together.as_py()))  # noqa: S301 - from our own actors
                arrived.put(None)
            except Exception as error:
                arrived.put(error)

        receiver = threading.Thread(target=receive, daemon=True)  # so that Ctrl-C needn't wait for a row
        receiver.start()
        try:
            while not self._stopping.is_set():
                try:
                    answers = arrived.get(timeout=_LOOK_S)
                except Empty:
                    continue
                if answers is None:
                    return
                if isinstance(answers, Exception):
                    raise SurveyError(f"{self.name}: {_sentence(answers)}") from answers
                yield from answers
        finally:
            executor = looked_at._current_executor  # there is no public way to end it, and `close` needs all to have ended
            if executor is not None:
                executor.shutdown(force=True)
                while receiver.is_alive():
                    with suppress(Empty):
                        arrived.get(timeout=_LOOK_S)


class _Looker:
    """An actor on a node: it turns blocks of file names into rows."""

    def __init__(
        self, archive: "ray.ObjectRef[bytes]", wanted: Sequence[str], tasks: Tasks, options: Options, limits: Limits
    ) -> None:
        folder = OwnFolder("crack-survey")
        try:
            unpack(BytesIO(ray.get(archive)), folder.path)
            self._core = Core.load(folder.path, wanted, 1)
        finally:
            folder.remove()
        self._tasks, self._options, self._limits = tasks, options, limits

    def __call__(self, block: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        """Yield our rows packed into few rows of Ray's: it makes a block of each, and an actor waits until the driver has taken
        all blocks but two.
        """
        answers: list[_Answer] = []
        since = monotonic()
        for name in block["file"]:
            answers.append(self._answer(os.fsdecode(name)))
            if monotonic() - since > _ROWS_S:
                yield {"rows": [pickle.dumps(answers)]}
                answers, since = [], monotonic()
        if answers:
            yield {"rows": [pickle.dumps(answers)]}

    def _answer(self, file: str) -> _Answer:
        task = Task(self._tasks.source, self._tasks.pictures, file)
        try:
            return local.row(self._core, task, self._options, self._limits)
        except (SurveyError, OSError) as error:
            return str(error)


def _settle(archive: bytes, wanted: Sequence[str]) -> Backend:
    """The backend for all actors: of those that other processors support as well, the fastest on this one."""
    folder = OwnFolder("crack-survey")
    try:
        card = unpack(BytesIO(archive), folder.path)
        everywhere = tuple(backend for backend in card.backends if "bf16" not in backend.precision)
        timed = replace(card, backends=everywhere) if runtime.AUTO in wanted else card
        return runtime.choose(folder.path, timed, 1, runtime=wanted[0], precision=wanted[1])[0]
    finally:
        folder.remove()


def _names(files: Sequence[str]) -> Any:
    return pyarrow.table({"file": pyarrow.array([*map(os.fsencode, files)], pyarrow.binary())})  # names may be any bytes


def _sentence(error: BaseException) -> str:
    """The last line of the message: in Ray's stack traces it says what happened."""
    return str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
