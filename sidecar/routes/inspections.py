"""`/inspections`: photographs that belong together, their cracks, people's decisions, and the report."""

import datetime
import json
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Header, Query, Request, Response
from pydantic import BaseModel, StringConstraints, model_validator
from starlette.concurrency import run_in_threadpool

from inspection.findings import Mark
from inspection.taken import Taken
from model.inference import standards
from model.inference.errors import ErrorCode, RequestError
from model.inference.options import Options
from model.inference.options import Response as Asked
from model.inference.photograph import Limits, read_size
from sidecar import inspecting
from sidecar.access import Access
from sidecar.decoding import Decoding
from sidecar.documents import CHANGE_BODY, ETAG, FILE, KEEP_BODY, REPORT, names_in
from sidecar.forms import MAX_NAME_CHARACTERS, file, read_image, read_parts, seen, texts
from sidecar.inspections import Head, Inspection, InspectionStore, Kept
from sidecar.kept import digest_aside
from sidecar.keys import Caller
from sidecar.look_alikes import read_look_alikes, read_zones
from sidecar.names import check_names
from sidecar.prediction import Prediction
from sidecar.predictor import Predictor
from sidecar.ranges import file_answer
from sidecar.reporting import FORMS, MAX_FINDINGS, Reporting

_UNTOLD = ("file", "n_bytes", "mtime_ns", "sha256", "seconds", "lines", "cracks")  # fields of a row that lists leave out
_UNNAMED = "photograph"
_ADDED, _CHANGED = names_in(KEEP_BODY), names_in(CHANGE_BODY)

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
Seen = Annotated[
    str | None, Header(description="the ETag of the state that you looked at; without it nothing is changed (428)")
]


class AboutInspection(BaseModel):
    """The details of an inspection, as a client sends them."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    structure: Text = ""
    element: Text = ""
    date: datetime.date | Literal[""] = ""
    inspector: Text = ""
    position: Literal["dropped", "kept"] = "dropped"

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, sent: dict[str, Any]) -> dict[str, Any]:
        check_names(sent, cls.model_fields)
        return sent

    def head(self) -> Head:
        told = self.model_dump(exclude={"position", "date"})
        return Head(**told, date=str(self.date), is_position_kept=self.position == "kept")


class Told(BaseModel):
    """An inspection; `n_by_state` counts its photographs by what was decided."""

    id: str
    name: str
    structure: str
    element: str
    date: str
    inspector: str
    is_position_kept: bool
    made_by: str
    made_at: str
    changed_at: str
    n_photographs: int
    n_by_state: dict[Mark, int]

    @classmethod
    def of(cls, inspection: Inspection) -> "Told":
        return cls(**asdict(inspection))


class Inspections(BaseModel):
    items: list[Told]
    total: int


class Photographs(BaseModel):
    """`items`: photographs without their cracks, and how many there are in the inspection."""

    items: list[dict[str, Any]]
    total: int


def inspection_routes(
    store: InspectionStore,
    reporting: Reporting,
    predictor: Predictor,
    decoding: Decoding,
    limits: Limits,
    access: Access,
) -> APIRouter:
    router = APIRouter(prefix="/inspections", tags=["inspections"])

    @router.post("")
    def create(about: Annotated[AboutInspection, Form()], caller: Annotated[Caller, access.may_predict]) -> Told:
        """Begin an inspection. Only with `position=kept` does it keep where and when its photographs were taken."""
        return Told.of(store.create(about.head(), caller.name))

    @router.get("", dependencies=[access.may_predict])
    def list_inspections(
        limit: Annotated[int, Query(ge=1, le=500)] = 50, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
    ) -> Inspections:
        """List all inspections, the most recently changed first."""
        found = store.inspections(limit, offset)
        return Inspections(items=[Told.of(each) for each in found], total=store.n_inspections())

    @router.get("/{inspection_id}", dependencies=[access.may_predict])
    def get(inspection_id: str) -> Told:
        """One inspection."""
        return Told.of(store.get(inspection_id))

    @router.post("/{inspection_id}", dependencies=[access.may_predict])
    def change(inspection_id: str, about: Annotated[AboutInspection, Form()]) -> Told:
        """Change an inspection's details; `position=dropped` deletes where and when its photographs were taken."""
        return Told.of(store.change(inspection_id, about.head()))

    @router.delete("/{inspection_id}")
    def delete(inspection_id: str, caller: Annotated[Caller, access.may_review]) -> dict[str, str]:
        """Delete an inspection with all its contents."""
        store.delete(inspection_id, caller.name)
        return {"status": "deleted"}

    @router.post("/{inspection_id}/photographs", openapi_extra=KEEP_BODY, responses=ETAG)
    async def add(
        inspection_id: str, request: Request, response: Response, caller: Annotated[Caller, access.may_predict]
    ) -> dict[str, Any]:
        """Predict a photograph, measure its cracks and store everything. Sending the same photograph again changes nothing."""
        inspection = await run_in_threadpool(store.get, inspection_id)
        pieces, fields = await read_image(request, _ADDED)
        image = b"".join(pieces)
        name = fields.get("name", "")[:MAX_NAME_CHARACTERS].replace("/", "_") or _UNNAMED
        options = Options.parse({field: value for field, value in fields.items() if field != "response"})
        options = replace(options, response=Asked.PROBABILITY, summary=None)
        photograph_id = await digest_aside(pieces)
        known = await run_in_threadpool(store.find, inspection_id, photograph_id)
        if known is None:
            size_hw = await run_in_threadpool(read_size, image, limits)
            prediction = _answered(
                await predictor.predict(pieces, replace(options, standard=None, exposure=None), request.state.request_id)
            )
            looked = await decoding.call(
                size_hw, inspecting.look, image, prediction.body, prediction.threshold, options, limits
            )
            if not inspection.is_position_kept:
                looked = replace(looked, taken=Taken())
            found = await run_in_threadpool(inspecting.new, inspection_id, photograph_id, name, options, prediction, looked)
            contents = {found.image_file: looked.stored, found.levels_file: prediction.body}
            known = await run_in_threadpool(store.add, found, contents, caller.name)
        return _whole(known, response)

    @router.get("/{inspection_id}/photographs", dependencies=[access.may_predict])
    def list_photographs(
        inspection_id: str,
        state: Annotated[list[Mark] | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> Photographs:
        """List the photographs in the order in which they were added, with thumbnails, without their cracks."""
        found = store.photographs(inspection_id, state or (), limit, offset)
        total = store.get(inspection_id).n_photographs
        return Photographs(items=[_listed(each) for each in found], total=total)

    @router.get("/{inspection_id}/photographs/{photograph_id}", dependencies=[access.may_predict], responses=ETAG)
    def get_photograph(inspection_id: str, photograph_id: str, response: Response) -> dict[str, Any]:
        """One photograph with its cracks, in pixels and, where it has a scale, in millimetres."""
        return _whole(store.photograph(inspection_id, photograph_id), response)

    @router.get(
        "/{inspection_id}/photographs/{photograph_id}/{part}",
        dependencies=[access.may_predict],
        response_class=Response,
        responses=FILE,
    )
    def get_part(
        request: Request, inspection_id: str, photograph_id: str, part: Literal["image", "levels", "mask"]
    ) -> Response:
        """The photograph, the model's crack probability (PNG, 0 to 255), or the mask that somebody painted."""
        found = store.photograph(inspection_id, photograph_id)
        file = {"image": found.image_file, "levels": found.levels_file, "mask": found.mask_file}[part]
        if file is None:
            raise RequestError(ErrorCode.NOT_FOUND, f"Nobody has painted a mask for {found.row.file}. Ask for levels.")
        return file_answer(request, file, store.read(file), found.etag)

    @router.post("/{inspection_id}/photographs/{photograph_id}", openapi_extra=CHANGE_BODY, responses=ETAG)
    async def change_photograph(
        inspection_id: str,
        photograph_id: str,
        request: Request,
        response: Response,
        caller: Annotated[Caller, access.may_predict],
        if_match: Seen = None,
    ) -> dict[str, Any]:
        """Decide about a photograph, replace its mask, choose another threshold, give it a scale, mark areas as no crack or as
        ignored. Fields that are not sent stay as they are.
        """
        etag = seen(if_match)
        found = await run_in_threadpool(store.as_seen, inspection_id, photograph_id, etag)
        form = await read_parts(request, _CHANGED, max_files=1)
        mask, fields, is_mask_sent = file(form, "mask").joined(), texts(form), "mask" in form
        changed = _said(found, fields)
        contents: dict[str, bytes] = {}
        is_scale_new = "mm_per_px" in fields and inspecting.is_scaled_by_marker(found)  # each crack had its own
        if is_mask_sent or "threshold" in fields or "zones" in fields or is_scale_new:
            image = await run_in_threadpool(store.read, found.image_file)
            levels = await run_in_threadpool(store.read, found.levels_file)
            painted = mask or None
            if not is_mask_sent and found.mask_file:
                painted = await run_in_threadpool(store.read, found.mask_file)
            size_hw, threshold = (found.row.height or 0, found.row.width or 0), _threshold(found, fields)
            facts, painted = await decoding.call(
                size_hw,
                inspecting.look_again,
                image,
                levels,
                threshold,
                inspecting.scales_of(changed),
                painted,
                changed.zones,
                size_hw,
                limits,
            )
            changed = inspecting.measured_anew(changed, facts, painted)
            contents = {changed.mask_file: painted} if changed.mask_file and painted else {}
        return _whole(await run_in_threadpool(store.change_photograph, changed, etag, contents, caller.name), response)

    @router.delete("/{inspection_id}/photographs/{photograph_id}")
    def delete_photograph(
        inspection_id: str, photograph_id: str, caller: Annotated[Caller, access.may_review], if_match: Seen = None
    ) -> dict[str, str]:
        """Delete one photograph of an inspection."""
        store.delete_photograph(inspection_id, photograph_id, seen(if_match), caller.name)
        return {"status": "deleted"}

    @router.get("/{inspection_id}/report", dependencies=[access.may_predict], response_class=Response, responses=REPORT)
    async def report(
        inspection_id: str,
        format: Literal["html", "pdf", "xlsx"] = "html",  # noqa: A002
        findings: Annotated[int, Query(ge=0, le=MAX_FINDINGS)] = 30,
        standard: Literal[*standards.names()] | None = None,  # type: ignore[valid-type]
        exposure: str | None = None,
    ) -> Response:
        """The report: cover, summary, one page for each of the first findings. Rejected photographs are only listed by name.
        With `format=xlsx` the tables of all photographs and cracks, for Excel.
        """
        inspection = await run_in_threadpool(store.get, inspection_id)
        content = await reporting.report(inspection, format, findings, standard, exposure)
        name, media_type = FORMS[format]
        headers = {"Content-Disposition": f'inline; filename="{name}"', "Content-Security-Policy": _NO_SCRIPTS}
        return Response(content, headers=headers, media_type=media_type)

    return router


_NO_SCRIPTS = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"


def _answered(prediction: Prediction) -> Prediction:
    """Raises RequestError with what the model server found wrong."""
    if prediction.status == 200:
        return prediction
    told = json.loads(prediction.body)
    raise RequestError(next(code for code in ErrorCode if code.value == told["code"]), told["message"])


def _said(photograph: Kept, fields: dict[str, str]) -> Kept:
    """The photograph, changed as the fields say, except for mask and threshold. Raises RequestError."""
    if "state" in fields:
        if fields["state"] not in list(Mark):
            raise RequestError(ErrorCode.PARAMETER_INVALID, f"state={fields['state']!r}: expected one of {', '.join(Mark)}.")
        photograph = replace(photograph, state=Mark(fields["state"]))
    if "note" in fields:
        photograph = replace(photograph, note=fields["note"])
    size_hw = (photograph.row.height or 0, photograph.row.width or 0)
    if "look_alikes" in fields:
        photograph = replace(photograph, look_alikes=read_look_alikes(fields["look_alikes"], size_hw))
    if "zones" in fields:
        photograph = replace(photograph, zones=read_zones(fields["zones"], size_hw))
    if "mm_per_px" in fields:
        scale = None
        if fields["mm_per_px"]:
            mm_per_px = Options.parse({"mm_per_px": fields["mm_per_px"]}).mm_per_px or 0.0
            scale = inspecting.given_scale(mm_per_px, fields.get("scale_note", ""))
        photograph = replace(photograph, row=replace(photograph.row, scale=scale))
    return photograph


def _threshold(photograph: Kept, fields: dict[str, str]) -> float:
    """Empty means the model's own; a field that is not sent changes nothing. Raises RequestError."""
    text = fields.get("threshold")
    if text is None:
        return photograph.row.threshold or photograph.model_threshold
    return Options.parse({"threshold": text}).threshold or 0.0 if text else photograph.model_threshold


def _listed(photograph: Kept) -> dict[str, Any]:
    row = {name: value for name, value in asdict(photograph.row).items() if name not in _UNTOLD}
    taken = {"taken": asdict(photograph.taken)} if photograph.taken != Taken() else {}
    names = ("id", "state", "note", "etag", "quality", "model_threshold", "added_by", "added_at", "changed_by", "changed_at")
    about = {name: getattr(photograph, name) for name in names}
    n_cracks = len(photograph.row.cracks or ())
    left_out = {"look_alikes": [asdict(each) for each in photograph.look_alikes], "zones": photograph.zones}
    facts = {"name": photograph.row.file, **row, **taken, "has_mask": bool(photograph.mask_file), "n_cracks": n_cracks}
    return about | facts | left_out


def _whole(photograph: Kept, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = photograph.etag
    told = photograph.told()
    return _listed(photograph) | {"cracks": told.cracks, "lines": photograph.row.lines}
