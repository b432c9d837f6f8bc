"""What can be wrong with a request for a mask, as stable codes with their HTTP status.

InferenceError
 +- code: ErrorCode   what clients branch on; it never changes its meaning
 +- message: str      what people read: what was found, what was expected, what to do
"""

from enum import Enum


class ErrorCode(Enum):
    """Every code that the inference core answers with; `.value` is its name on the wire, `.status` its HTTP status."""

    IMAGE_MISSING = ("image_missing", 400)
    PARAMETER_INVALID = ("parameter_invalid", 400)
    IMAGE_TOO_LARGE = ("image_too_large", 413)
    IMAGE_UNSUPPORTED = ("image_unsupported", 415)
    IMAGE_UNDECODABLE = ("image_undecodable", 422)
    IMAGE_TOO_SMALL = ("image_too_small", 422)
    PREDICTION_FAILED = ("prediction_failed", 500)

    status: int

    def __new__(cls, wire_name: str, status: int) -> "ErrorCode":
        member = object.__new__(cls)
        member._value_ = wire_name
        member.status = status
        return member


class InferenceError(Exception):
    """A request that cannot be answered with a mask, and why."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
