"""The TorchServe handler: one thin class over `model.inference`, which is packed beside it in the archive.

TorchServe loads this module from the unpacked archive, makes one object of its only class in each worker, and calls
`initialize` once and `handle` for each batch. Whatever `handle` raised would fail the whole batch, so it raises nothing.
"""

import fcntl
import gc
import io
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

from model.inference import card, headers, runtime
from model.inference.answer import answer, error_body
from model.inference.cores import SharedCores
from model.inference.deadline import Deadline, TimedSegmenter, count_ended
from model.inference.errors import ErrorCode, RequestError
from model.inference.formats import EXPECTED
from model.inference.observation import Observation
from model.inference.options import Options
from model.inference.photograph import Limits
from model.inference.processors import n_usable_cores
from model.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)


class CrackHandler:
    """Answers each photograph with its cracks, as described in `model.inference.answer`."""

    def initialize(self, context: Any) -> None:
        """Load the model of this worker's archive and run it once, so that a READY worker is fast at once."""
        folder = Path(context.system_properties["model_dir"])
        n_threads, n_cores = int(os.environ.get("CRACK_WORKER_THREADS", "1")), n_usable_cores()
        wanted = {name: context.model_yaml_config[name] for name in ("runtime", "precision")}
        model_card = card.ModelCard.read(folder / card.FILE_NAME)
        shared = Path(tempfile.gettempdir())  # all workers of a server share this folder
        with _one_at_a_time(shared / f"crack-start-{os.getuid()}.lock"):
            agreed = shared / f"crack-backend-{os.getuid()}-{model_card.version}.json"
            if agreed.is_file() and set(wanted.values()) == {runtime.AUTO}:  # else two workers' masks could differ
                wanted = dict(zip(wanted, json.loads(agreed.read_text()), strict=True))
            self._backend, on_share, seconds = runtime.choose(folder, model_card, n_threads, **wanted)
            agreed.write_text(json.dumps(self._backend))
            n_ended = count_ended(shared)
        on_all = runtime.load(folder, self._backend, n_cores) if n_cores > n_threads else on_share
        tile_hwc_u8 = np.zeros((256, 256, 3), np.uint8)
        for network in (on_all, on_share):
            Segmenter(model_card, network).probability(tile_hwc_u8)
        begun = time.monotonic()
        Segmenter(model_card, on_share).probability(tile_hwc_u8)
        seconds_per_pixel = (time.monotonic() - begun) / 256**2
        self._cores = SharedCores(shared / f"crack-cores-{os.getuid()}.lock", on_all, on_share)
        self._deadline = Deadline(shared)
        self._segmenter = TimedSegmenter(model_card, self._cores, self._deadline, seconds_per_pixel)
        self._limits = Limits.from_environment()
        timings = ", ".join(f"{backend} {1000 * value:.0f} ms" for backend, value in seconds.items())
        logger.info(
            "model version %s is ready on %s, %d threads, %d when alone%s",
            model_card.version,
            self._backend,
            n_threads,
            n_cores,
            f" (a tile took {timings})" if timings else "",
        )
        labels = {"runtime": self._backend.runtime, "precision": self._backend.precision, "version": model_card.version}
        labels |= {"ModelName": context.model_name, "Level": "Model"}
        context.metrics.add_metric("crack_backend_info", 1, "Count", None, _dimensions(**labels), MetricTypes.GAUGE)
        labels = {"ModelName": context.model_name, "Level": "Model"}
        context.metrics.add_metric(
            "crack_overdue_workers_total", n_ended, "Count", None, _dimensions(**labels), MetricTypes.COUNTER
        )
        # Metrics reach TorchServe's Java process as lines on the standard output. Each single line would wake that process, ten
        # times per answer, and take processor time from the workers. So the lines of an answer go out together, and those that
        # TorchServe's worker writes for each request ("Backend received inference") are dropped.
        self._lines = io.StringIO()
        metrics_logger = logging.getLogger("ts.metrics.caching_metric")
        metrics_logger.addHandler(logging.StreamHandler(self._lines))
        metrics_logger.propagate = False
        logging.getLogger().addFilter(lambda record: record.levelno > logging.INFO)
        gc.freeze()  # torch, which TorchServe imports, leaves half a million objects to look through

    def handle(self, requests: list[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One body for each request, in their order; status and headers go through TorchServe's context."""
        with self._cores.answering(), self._deadline.answering():  # the deadline doesn't count the wait for other workers
            bodies = [self._respond(index, request, context) for index, request in enumerate(requests)]
        sys.stdout.write(self._lines.getvalue())
        sys.stdout.flush()
        self._lines.seek(0)
        self._lines.truncate()
        return bodies

    def _respond(self, index: int, request: Mapping[str, Any], context: Any) -> bytes:
        came = {name.lower(): value for name, value in context.get_all_request_header(index).items()}
        request_id = came.get(headers.DOOR_REQUEST_ID.lower(), "")
        if headers.REQUEST_ID_FORM.fullmatch(request_id):
            context.set_response_header(index, headers.DOOR_REQUEST_ID, request_id)
        else:
            request_id = context.get_request_id(index)
        context.set_response_header(index, headers.MODEL_VERSION, self._segmenter.card.version)
        try:
            image = _image(request)
            options = Options.parse(_fields(request, came))
            result = answer(self._segmenter, image, options, backend=self._backend, request_id=request_id, limits=self._limits)
        except RequestError as error:
            return self._respond_with_error(index, request_id, error, context)
        except Exception as error:  # one bad photograph must not fail its batch, whatever it hit
            logger.exception("request %s failed", request_id)
            failure = RequestError(
                ErrorCode.PREDICTION_FAILED,
                f"The prediction failed ({type(error).__name__}: {error}). Send it again, or report request {request_id}.",
            )
            return self._respond_with_error(index, request_id, failure, context)
        context.set_response_content_type(index, result.content_type)
        for name, value in result.headers.items():
            context.set_response_header(index, name, value)
        if headers.PROBE.lower() not in came:
            self._observe(index, request_id, result.observation, context)
        return result.body

    def _respond_with_error(self, index: int, request_id: str, error: RequestError, context: Any) -> bytes:
        context.set_response_status(error.code.status, error.code.value, index)
        context.set_response_content_type(index, "application/json")
        self._count(index, request_id, error.code.value, context)
        return error_body(error)

    def _observe(self, index: int, request_id: str, seen: Observation, context: Any) -> None:
        """Publish the figures that `metrics.yaml` declares."""
        version = self._segmenter.card.version
        for stage, seconds in (("decode", seen.decode_s), ("run", seen.run_s), ("encode", seen.encode_s)):
            labels = _dimensions(stage=stage, version=version)
            context.metrics.add_metric("crack_stage_seconds", seconds, "Seconds", index, labels, MetricTypes.HISTOGRAM)
        for name, value, unit in (
            ("crack_area_ratio", seen.crack_ratio, "Ratio"),
            ("crack_confidence_ratio", seen.confidence, "Ratio"),
            ("crack_brightness_ratio", seen.brightness, "Ratio"),
            ("crack_sharpness_ratio", seen.sharpness, "Ratio"),
            ("crack_photograph_megapixels", seen.megapixels, "Megapixels"),
        ):
            context.metrics.add_metric(name, value, unit, index, _dimensions(version=version), MetricTypes.HISTOGRAM)
        self._count(index, request_id, "success", context)

    def _count(self, index: int, request_id: str, code: str, context: Any) -> None:
        """One more answer: for Prometheus and, by its request, in the log, where these lines go that are no metric."""
        labels = _dimensions(code=code, version=self._segmenter.card.version)
        context.metrics.add_metric("crack_answers_total", 1, "Count", index, labels, MetricTypes.COUNTER)
        self._lines.write(f"request id={request_id} code={code}\n")


def _dimensions(**labels: str) -> list[Dimension]:
    return [Dimension(name, value) for name, value in labels.items()]


@contextmanager
def _one_at_a_time(lock_path: Path) -> Iterator[None]:
    with lock_path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _image(request: Mapping[str, Any]) -> bytes:
    image = request.get("image") or request.get("body")  # a multipart part, or the raw body
    if not image:
        others = ", ".join(repr(name) for name in request if name not in ("image", "body"))
        found = f"The request holds {others}, but no image." if others else "The request is empty."
        advice = f"Send a photograph ({EXPECTED}) as the part 'image', or as the body itself."
        raise RequestError(ErrorCode.IMAGE_MISSING, f"{found} {advice}")
    return _as_bytes(image)


def _fields(request: Mapping[str, Any], came: Mapping[str, Any]) -> dict[str, str]:
    """Beside the image: a form's parts or, so that a photograph can be sent without a form, headers like X-Crack-Response.

    TorchServe takes a millisecond to look through a form of 50 kB.
    """
    by_name = {name: came[header.lower()] for name, header in headers.OPTIONS.items() if header.lower() in came}
    by_part = {name: _as_bytes(request[name]).decode(errors="replace") for name in headers.OPTIONS if name in request}
    return by_name | by_part


def _as_bytes(value: Any) -> bytes:
    """A part's bytes; TorchServe hands over text or parsed JSON instead where a part declares itself as such."""
    return bytes(value) if isinstance(value, (bytes, bytearray)) else str(value).encode()
