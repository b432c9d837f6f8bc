"""BentoML: a service of worker processes."""

from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.core import N_PARALLEL, N_WORKERS, Core


@bentoml.service(workers=N_WORKERS, threads=N_PARALLEL)
class Crack:
    def __init__(self) -> None:
        self._core = Core()

    @bentoml.api
    def predict(
        self, image: Annotated[Path, ContentType("image/*")], context: bentoml.Context
    ) -> Annotated[bytes, ContentType("image/png")]:
        return self._core.mask(image.read_bytes())
