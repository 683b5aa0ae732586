"""What the suite is made of: something that is done to a service, the codes that it must answer, and what must hold."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.serving.reliability.target import Target

SETTLED_S = 10.0  # for what a request left behind to be gone


@dataclass(frozen=True)
class Seen:
    """What came of a case.

    Attributes:
        codes: that were answered.
        since: when the fault was, on the monotonic clock; None: at the end of the case.
        note: what was counted or measured, for the document.
    """

    codes: frozenset[str]
    since: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Case:
    """One thing that happens to servers.

    Attributes:
        name: what is done, in words; unique.
        expected: the codes that are answered, all of them: of gRPC by name, of HTTP by number.
        run: does it; raises AssertionError where something is wrong or lost.
        restarts: how often the server is started again for it.
        within_s: until every model answers right again.
        is_long: belongs to the long form.
    """

    name: str
    expected: frozenset[str]
    run: Callable[[Target], Seen]
    restarts: int = 0
    within_s: float = 5.0
    is_long: bool = False


@dataclass(frozen=True)
class Result:
    """A case that held.

    Attributes:
        recovery_s: from the fault to the moment at which all models had answered right.
    """

    case: Case
    recovery_s: float
    note: str


def judge(case: Case, target: Target, *, patience: float = 1.0) -> Result:
    """Runs a case and checks what must hold after every one.

    Args:
        case: what to do.
        target: to whom.
        patience: times as long as on a quiet machine may the service take to be right again.

    Raises:
        AssertionError: where an answer has another code; the models are not right in time; the server was started again
            without need; processes, requests or shared memory are left behind.
    """
    before, within_s = target.state(), case.within_s * patience
    seen = case.run(target)
    since = time.monotonic() if seen.since is None else seen.since
    found = f"{sorted(seen.codes)} in place of {sorted(case.expected)}"
    assert seen.codes == case.expected, f"{case.name}: {found}; {seen.note}"
    while target.metric("i2i_rt_restarts_total") < before.restarts + case.restarts:
        assert time.monotonic() - since < within_s, f"{case.name}: the server was not started again"
        time.sleep(0.02)
    target.wait_right(within_s - (time.monotonic() - since))
    recovery_s = time.monotonic() - since
    held = replace(before, restarts=before.restarts + case.restarts)
    end = time.monotonic() + SETTLED_S
    while (after := target.state()) != held:  # processes of a model that was loaded anew go by and by
        assert time.monotonic() < end, f"{case.name}: {after} in place of {held}"
        time.sleep(0.05)
    return Result(case, recovery_s, seen.note)


def one(code: str, *, since: float | None = None, note: str = "") -> Seen:
    """Gives what came of a case with one answer."""
    return Seen(frozenset({code}), since, note)
