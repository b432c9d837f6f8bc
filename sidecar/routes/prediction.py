"""`POST /predict`."""

from fastapi import APIRouter, Request, Response

from model.inference.options import Options
from sidecar.access import Access
from sidecar.documents import PREDICT_BODY
from sidecar.forms import read_image
from sidecar.predictor import Predictor


def prediction_routes(predictor: Predictor, access: Access) -> APIRouter:
    router = APIRouter(tags=["prediction"])

    @router.post("/predict", openapi_extra=PREDICT_BODY, response_class=Response, dependencies=[access.may_predict])
    async def predict(request: Request) -> Response:
        """The cracks of one photograph: as JSON, as a mask, as probability or drawn over the photograph."""
        image, fields = await read_image(request)
        prediction = await predictor.predict(image, Options.parse(fields), request.state.request_id)
        return Response(prediction.body, prediction.status, prediction.headers)

    return router
