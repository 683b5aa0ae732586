"""Refusals of the gateway itself, with the codes of both protocols."""

from i2i_rt.errors import I2IError

# code of gRPC, by name -> status of HTTP
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 400,
    "FAILED_PRECONDITION": 400,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 413,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


# letters of a refusal, which may quote what was sent: gRPC takes 8 KB of them, in which a letter may be 12 bytes
LONGEST = 500


class Refused(I2IError):
    """A request that goes no further.

    Attributes:
        code: of gRPC, by name.
        retry_after_s: when to ask again; None where that is of no use.
    """

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message if len(message) <= LONGEST else f"{message[:LONGEST]}…")
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)


class Gone(Refused):
    """The server, or the process of a model, has ended; the supervisor starts another."""

    def __init__(self, message: str) -> None:
        super().__init__("UNAVAILABLE", message, retry_after_s=1.0)
