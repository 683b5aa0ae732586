"""What a server answers in place of a result; each message says which server and model, and what it said.

    ServingError
      ├─ Refused           the request is not what the model takes: another shape, dtype, size, name
      ├─ NotFound          no such model, version, style id or region of shared memory
      ├─ Busy              it cannot be taken now: the queue is full, or the server restarts
      ├─ DeadlineExceeded  no answer in the time that was given
      ├─ ServerFault       the model or the server failed
      │    └─ ModelDied    the model's process has ended; the server is to be restarted
      ├─ Denied            it needs a key, or a certificate
      ├─ Unreachable       there is no connection
      └─ StreamLost        the server no longer knows this video stream

`docs/serving.md` has the table of codes.
"""

from i2i_rt.errors import I2IError


class ServingError(I2IError):
    """A request that came to nothing.

    Attributes:
        taken: whether the server may have begun the work; where not, even a frame of a stream may be sent again.
        retry_after_s: when the server asks to be asked again; None where it does not say.
    """

    def __init__(self, message: str, *, taken: bool = True, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.taken = taken
        self.retry_after_s = retry_after_s


class Refused(ServingError):
    """The request is not what the model takes."""


class NotFound(ServingError):
    """There is no such model, version, style id or region of shared memory."""


class Busy(ServingError):
    """The server cannot take the request now: its queue is full, it drains, or it restarts.

    Attributes:
        overloaded: whether others' requests are the reason; asking again soon makes that worse.
    """

    def __init__(self, message: str, *, overloaded: bool, retry_after_s: float | None = None) -> None:
        super().__init__(message, taken=False, retry_after_s=retry_after_s)
        self.overloaded = overloaded


class DeadlineExceeded(ServingError):
    """There was no answer in the time that was given."""


class ServerFault(ServingError):
    """The model or the server failed."""


class ModelDied(ServerFault):
    """The model's process has ended; the server has to be restarted, which `i2i-rt serve` does by itself."""


class Denied(ServingError):
    """The server wants a key or a certificate for this."""


class Unreachable(ServingError):
    """There is no connection to the server."""


class StreamLost(ServingError):
    """The server no longer knows this video stream: it was restarted, or the stream was idle for too long."""


# how Triton words that a queue is full, or that a request waited in it for too long
TRITON_BUSY = ("Exceeds maximum queue size", "Request timeout expired")
QUEUE_FULL = (*TRITON_BUSY, "overload", "in flight")
NOT_SENT = ("failed to connect", "Connection refused", "DNS resolution failed", "No route to host")


def from_grpc(code: str, details: str, what: str, retry_after_s: float | None = None) -> ServingError:
    """Gives the error for a status code of gRPC, by its name; `what` says of whom: "translate at grpc://host:8001"."""
    said = f"{what}: {details.strip()}" if details.strip() else f"{what}: {code}"
    if _asks_for_key(details) or code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        return Denied(said, taken=False)
    if code in ("INVALID_ARGUMENT", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "FAILED_PRECONDITION"):
        return Refused(said, taken=False)
    if code == "NOT_FOUND":
        return _not_found(said)
    if code in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return DeadlineExceeded(said)
    if code == "UNAVAILABLE":
        if any(text in details for text in NOT_SENT):
            return Unreachable(f"{what} cannot be reached: {details.rpartition(': ')[2].strip()}", taken=False)
        return _unavailable(said, retry_after_s)
    return ModelDied(said) if _stub_is_dead(details) else ServerFault(said)


def from_http(status: int, body: str, what: str, retry_after_s: float | None = None) -> ServingError:
    """Gives the error for a status of HTTP."""
    said = f"{what}: {body.strip()}" if body.strip() else f"{what}: HTTP status {status}"
    if status in (401, 403):
        return Denied(said, taken=False)
    if status == 404:
        return _not_found(said)
    if status in (408, 499, 504):
        return DeadlineExceeded(said)
    if status in (429, 503):
        return Busy(said, overloaded=_is_overload(said), retry_after_s=retry_after_s)
    if 400 <= status < 500:
        return Refused(said, taken=False)
    return ModelDied(said) if _stub_is_dead(body) else ServerFault(said)


def _not_found(said: str) -> ServingError:
    # a server that drains, or reloads a model, has none of its versions
    if "no available versions" in said:
        return Busy(said, overloaded=False)
    return NotFound(said, taken=False)


def _unavailable(said: str, retry_after_s: float | None) -> ServingError:
    # gRPC's own words for a connection that broke; the server's words speak of the server
    if any(text in said for text in ("Socket closed", "Connection reset", "recvmsg", "GOAWAY", "Broken pipe")):
        return Unreachable(said)
    return Busy(said, overloaded=_is_overload(said), retry_after_s=retry_after_s)


def _is_overload(said: str) -> bool:
    return any(text in said for text in QUEUE_FULL)


def _asks_for_key(details: str) -> bool:
    # Triton's own answer to a restricted call without the key has the code UNAVAILABLE
    return "This protocol is restricted" in details


def _stub_is_dead(details: str) -> bool:
    return "Stub process" in details and "not healthy" in details
