"""All cases, in the order in which they run: what a service does not survive unharmed comes last."""

from tests.serving.reliability import failures, grpc_requests, http_requests, load, pictures, soak
from tests.serving.reliability.case import Case

GROUPS: dict[str, tuple[Case, ...]] = {
    "Requests over gRPC": grpc_requests.CASES,
    "Requests over HTTP": http_requests.CASES,
    "Pictures": pictures.CASES,
    "Clients, queues and streams": load.CASES,
    "Endurance": soak.CASES,
    "Processes, versions and the service itself": failures.CASES,
}
CASES = tuple(case for cases in GROUPS.values() for case in cases)
