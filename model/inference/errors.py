"""What can be wrong with a request, as stable codes with their HTTP status: one list for the handler and for the sidecar.

RequestError
 +- code: ErrorCode   what clients branch on; it never changes its meaning
 +- message: str      what people read: what was found, what was expected, what to do
"""

from enum import Enum


class ErrorCode(Enum):
    """Every code that clients meet; `.value` is its name on the wire, `.status` its HTTP status."""

    # A photograph and what is asked of it: the inference core
    IMAGE_MISSING = ("image_missing", 400)
    PARAMETER_INVALID = ("parameter_invalid", 400)
    IMAGE_TOO_LARGE = ("image_too_large", 413)
    IMAGE_UNSUPPORTED = ("image_unsupported", 415)
    IMAGE_UNDECODABLE = ("image_undecodable", 422)
    IMAGE_TOO_SMALL = ("image_too_small", 422)
    PREDICTION_FAILED = ("prediction_failed", 500)
    # Feedback, and who may give it: the sidecar
    REQUEST_MALFORMED = ("request_malformed", 400)
    KEY_INVALID = ("key_invalid", 401)
    NOT_PERMITTED = ("not_permitted", 403)
    ORIGIN_REFUSED = ("origin_refused", 403)
    HOST_REFUSED = ("host_refused", 421)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    REQUEST_INCOMPLETE = ("request_incomplete", 408)
    STATE_CONFLICT = ("state_conflict", 409)
    MASK_INVALID = ("mask_invalid", 422)
    PRECONDITION_REQUIRED = ("precondition_required", 428)
    RATE_LIMITED = ("rate_limited", 429)
    INTERNAL_ERROR = ("internal_error", 500)
    TOO_MANY_CONNECTIONS = ("too_many_connections", 503)
    MODEL_UNAVAILABLE = ("model_unavailable", 503)
    KEYS_UNAVAILABLE = ("keys_unavailable", 503)
    ISSUER_UNAVAILABLE = ("issuer_unavailable", 503)
    SERVER_BUSY = ("server_busy", 503)
    STORAGE_FULL = ("storage_full", 507)

    status: int

    def __new__(cls, wire_name: str, status: int) -> "ErrorCode":
        member = object.__new__(cls)
        member._value_ = wire_name
        member.status = status
        return member


class RequestError(Exception):
    """A request that cannot be answered, and why."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["RequestError"], tuple[ErrorCode, str]]:
        """Lets it be pickled, to pass from process to process."""
        return RequestError, (self.code, self.message)
