"""`POST /predict`."""

from fastapi import APIRouter, Request, Response

from model.inference.options import Options
from sidecar.access import Access
from sidecar.documents import PREDICT_BODY, names_in
from sidecar.forms import read_image
from sidecar.predictor import Predictor

_FIELDS = names_in(PREDICT_BODY)


def prediction_routes(predictor: Predictor, access: Access) -> APIRouter:
    router = APIRouter(tags=["prediction"])

    @router.post("/predict", openapi_extra=PREDICT_BODY, response_class=Response, dependencies=[access.may_predict])
    async def predict(request: Request) -> Response:
        """Find the cracks of one photograph: the answer is JSON, a mask, the probability, or the photograph with its cracks
        drawn.
        """
        image, fields = await read_image(request, _FIELDS)
        prediction = await predictor.predict(image, Options.parse(fields), request.state.request_id)
        return Response(prediction.body, prediction.status, prediction.headers)

    return router
