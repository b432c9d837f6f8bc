"""The one form of the sidecar's errors: a code, a sentence, and the headers that belong to them.

Left to others: which code has which status (`model.inference.errors`), and who raises it.
"""

import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Route

from crack.refusals import error_body, error_headers
from crack.stores.faults import StoreAwayError
from model.inference.errors import ErrorCode, RequestError
from sidecar.forms import AS_A_FILE
from sidecar.rates import RateLimitedError

logger = logging.getLogger("sidecar.refusals")


def answer_errors_in_one_form(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    def answered(error: RequestError, allowed: str = "") -> Response:
        headers = error_headers(error.code.status)
        if isinstance(error, RateLimitedError):
            headers["Retry-After"] = str(error.retry_after_s)
        if error.code is ErrorCode.KEY_INVALID:
            headers["WWW-Authenticate"] = "Bearer"
        if allowed:
            headers["Allow"] = allowed
        return Response(error_body(error.code.value, error.message), error.code.status, headers)

    async def refused(request: Request, error: Exception) -> Response:
        match error:
            case RequestError():
                return answered(error)
            case StoreAwayError():
                logger.error("a store's database does not answer: %s", error)
                message = (
                    "The store's database does not answer, or is locked. Nothing was saved. Send it again in some seconds."
                )
                return answered(RequestError(ErrorCode.SERVER_BUSY, message))
            case ClientDisconnect():  # for the log and the metrics: nobody reads it
                return answered(RequestError(ErrorCode.REQUEST_INCOMPLETE, "The client left before the end of its request."))
            case RequestValidationError():
                return answered(RequestError(ErrorCode.PARAMETER_INVALID, f"{_faults(error)}. {_how(request)}See /docs."))
            case HTTPException(status_code=404):
                return answered(RequestError(ErrorCode.NOT_FOUND, "There is no such address. /docs lists all addresses."))
            case HTTPException(status_code=405):
                allowed = _methods_of_address(request, routes)
                message = f"This address takes {allowed}. See /docs."
                return answered(RequestError(ErrorCode.METHOD_NOT_ALLOWED, message), allowed)
            case HTTPException():
                return answered(
                    RequestError(
                        ErrorCode.PARAMETER_INVALID, f"The request cannot be read: {error.detail} {AS_A_FILE} See /docs."
                    )
                )
        logger.exception("a request failed", exc_info=error)
        return answered(RequestError(ErrorCode.INTERNAL_ERROR, f"The request failed ({type(error).__name__}). Report it."))

    for kind in (RequestError, StoreAwayError, ClientDisconnect, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, refused)


def _faults(error: RequestValidationError) -> str:
    """What is wrong about each field: the first fault, where it may be of several types."""
    told: dict[str, str] = {}
    for fault in error.errors():
        name = str(fault["loc"][1] if len(fault["loc"]) > 1 else fault["loc"][0])  # behind it: places in lists, and types
        told.setdefault(name, " is missing" if fault["type"] == "missing" else f"={fault.get('input')!r}: {fault['msg']}")
    return "; ".join(f"{name}{what}" for name, what in told.items())


def _how(request: Request) -> str:
    is_json = "json" in request.headers.get("Content-Type", "")
    return "The body is JSON: send the fields as a form, with curl as -F name=value. " if is_json else ""


def _methods_of_address(request: Request, routes: Sequence[BaseRoute]) -> str:
    """All of them, with a comma between: Starlette names only those of the first route with that path."""
    methods = {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
