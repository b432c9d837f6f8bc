"""Compares two inspections, in a process of its own (`survey.inspections`), one at a time for all browsers. A comparison about
which no browser asks any more is stopped. Left to others: the screen (`browser/changes.js`).
"""

import json
import logging
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio_app.answers import Answer, told
from gradio_app.backend import Backend, BackendError
from gradio_app.kept import KEPT_S, Kept

logger = logging.getLogger("gradio_app")

LEFT_ALONE_S = 600.0  # a phone that is locked asks nothing
MOST_WAITING = 10
_GONE = "The page keeps comparisons for a day, or until it is restarted, and this one is gone. Start it again."
_ENDED = "The comparison ended in the middle, perhaps because memory is short. Try again, or ask whoever runs the page."
_ALONE = "The comparison was stopped because nobody watched it. Start it again."
_STOPPED = "Stopped."


class Comparing:
    """What the page does to compare inspections."""

    def __init__(self, backend: Backend, kept: Kept) -> None:
        self._backend = backend
        self._kept = kept
        self._turn = threading.Lock()
        self._comparisons: dict[str, _Comparison] = {}

    def calls(self) -> tuple[Callable[..., Answer], ...]:
        """The methods that scripts may call."""
        return self.start_comparison, self.follow_comparison, self.stop_comparison

    @told
    def start_comparison(self, said: dict[str, Any]) -> Answer:
        """Compare the inspection `later` with `earlier`; returns the comparison's `id`."""
        if said["earlier"] == said["later"]:
            raise BackendError("An inspection cannot be compared with itself. Choose another.")
        found = {which: self._backend.inspection(said[which]) for which in ("earlier", "later")}
        for each in found.values():
            if not each["n_photographs"]:
                raise BackendError(f"{each['name']} holds no photograph yet.")
        self._comparisons = {name: each for name, each in self._comparisons.items() if time.time() - each.started_at < KEPT_S}
        if sum(not each.is_over for each in self._comparisons.values()) >= MOST_WAITING:
            raise BackendError("Too many comparisons wait on this page. Try again later.")
        folder = self._kept.downloadable("comparison")
        folder.mkdir()
        ids = {which: each["id"] for which, each in found.items()}
        asked = {"url": self._backend.url, "folder": str(folder), **ids}
        comparison = _Comparison(asked, self._backend.key(), folder, self._turn)
        name = uuid.uuid4().hex
        self._comparisons[name] = comparison
        return {"id": name}

    @told
    def follow_comparison(self, name: str) -> Answer:
        """How far it is: `doing`, in words; once it `is_over`, with a `result` or the reason why there is none."""
        comparison = self._find(name)
        comparison.ask(self._backend.key())
        if comparison.error:
            raise BackendError(comparison.error)
        if comparison.result is None:
            return {"is_over": False, **comparison.progress}
        return {"is_over": True, "result": self._shown(comparison.result)}

    @told
    def stop_comparison(self, name: str) -> Answer:
        self._find(name).stop(_STOPPED)
        return {}

    def close(self) -> None:
        for comparison in self._comparisons.values():
            comparison.stop(_STOPPED)

    def _find(self, name: str) -> "_Comparison":
        if name not in self._comparisons:
            raise BackendError(_GONE)
        return self._comparisons[name]

    def _shown(self, result: dict[str, Any]) -> Answer:
        """The result, with addresses for paths."""
        photographs = [each | {"pictures": self._urls(each["pictures"])} for each in result["photographs"]]
        return result | {"photographs": photographs, "files": self._urls(result["files"])}

    def _urls(self, paths: dict[str, str]) -> dict[str, str]:
        return {name: self._kept.url(Path(path)) for name, path in paths.items()}


class _Comparison:
    """One comparison, from its start in a thread.

    Attributes:
        progress: what is told while it is under way.
        error: why it ended without a result, as a sentence; empty if it has not.
        result: as `survey.inspections` tells it.
    """

    def __init__(self, asked: dict[str, Any], key: str | None, folder: Path, turn: threading.Lock) -> None:
        self.started_at = time.time()
        self.progress: Answer = {"doing": "waiting for another comparison to end" if turn.locked() else "starting"}
        self.error = ""
        self.result: dict[str, Any] | None = None
        self._asked = asked
        self._key = key
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._alone = self._watch()
        threading.Thread(target=self._run, args=(turn,), daemon=True).start()

    @property
    def is_over(self) -> bool:
        return bool(self.error) or self.result is not None

    def ask(self, key: str | None) -> None:
        """Somebody still watches it, who is known to the server by `key`; a token becomes a new one from time to time."""
        self._alone.cancel()
        if self.is_over:
            return
        self._alone = self._watch()
        with self._lock:
            if key != self._key:
                self._key = key
                self._say({"key": key})

    def stop(self, why: str) -> None:
        self._alone.cancel()
        with self._lock:
            if not self.is_over:
                self.error = why
                if self._process:
                    self._process.kill()
                    self._process.wait()

    def _watch(self) -> threading.Timer:
        timer = threading.Timer(LEFT_ALONE_S, self.stop, (_ALONE,))
        timer.daemon = True
        timer.start()
        return timer

    def _run(self, turn: threading.Lock) -> None:
        found: dict[str, Any] = {}
        try:
            with turn, self._started() as process:
                for line in process.stdout or ():
                    found = json.loads(line)
                    if "doing" in found:
                        self.progress = found
        except OSError as error:
            logger.error("a comparison cannot go on: %s", error)
        with self._lock:
            if not self.error and "result" in found:
                self.result = found["result"]
            else:
                self.error = self.error or found.get("error", _ENDED)
                shutil.rmtree(self._folder.parent, ignore_errors=True)

    def _started(self) -> "subprocess.Popen[str]":
        with self._lock:
            if self.error:
                raise InterruptedError(self.error)
            command = [sys.executable, "-m", "survey.inspections"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._say(self._asked | {"key": self._key})
            return self._process

    def _say(self, told: dict[str, Any]) -> None:
        """To the process, if there is one. Within the lock."""
        if self._process and self._process.stdin:
            try:
                self._process.stdin.write(f"{json.dumps(told)}\n")
                self._process.stdin.flush()
            except OSError:  # it has ended, which `_run` sees
                pass
