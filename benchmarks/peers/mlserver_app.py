"""MLServer: a custom runtime that speaks its protocol, in parallel workers; `model-settings.json` is written beside it."""

from mlserver import MLModel
from mlserver.codecs import Base64Codec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.core import Core


class Crack(MLModel):
    async def load(self) -> bool:
        self._core = Core()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (image,) = Base64Codec.decode_input(payload.inputs[0])
        mask = Base64Codec.encode_output("mask", [self._core.mask(image)], use_bytes=False)
        return InferenceResponse(model_name=self.name, outputs=[mask])
