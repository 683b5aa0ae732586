"""Clients that go, queues that are full, streams that nobody ends."""

import collections
import http.client
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from i2i_rt.serving.execution import Execution
from i2i_rt.serving.gateway.pace import LEAST
from tests.serving.reliability.case import Case, Seen
from tests.serving.reliability.target import MAX_IN_FLIGHT, SLOW_S, Answer, Target, png, request, translated

OVERLOAD_S = 0.05  # in which a request that is too many is refused, on a quiet machine
BUSY_MACHINE = 10  # times as long may it take on another
GOING = LEAST  # clients that go: a busy machine, whose pace is slow, may refuse one more as an overload
IDLE_S = Execution("").idle_s
STREAMS = Execution("").streams


def slow(target: Target, model: str = "patient-translate") -> bytes:
    data: bytes = request(model, {"frames": target.frames}).SerializeToString()
    return data


def after(target: Target, queued: int) -> None:
    """Checks that requests whose clients are gone are not worked on: the next one waits for one at most."""
    answer = target.ask(slow(target))
    assert answer.code == "OK" and np.array_equal(translated(answer), target.right)
    assert answer.seconds < SLOW_S * (2 + 0.5 * queued), f"the next request took {answer.seconds:.1f} s"


def _cancelled(target: Target) -> Seen:
    """One request is at work and the others wait when their client cancels them."""
    import grpc

    calls = [target.begin(slow(target)) for _ in range(GOING)]
    target.wait_in_flight(GOING)
    for call in calls:
        call.cancel()
    codes = {call.code().name for call in calls}
    assert codes == {grpc.StatusCode.CANCELLED.name}
    after(target, GOING - 1)
    return Seen(frozenset(codes))


def _deadlines(target: Target) -> Seen:
    with ThreadPoolExecutor(GOING) as pool:
        answers = list(pool.map(lambda _: target.ask(slow(target), timeout=0.15), range(GOING)))
    after(target, GOING - 1)
    assert max(answer.seconds for answer in answers) < 2
    return Seen(frozenset(answer.code for answer in answers))


def _closed_connections(target: Target) -> Seen:
    """HTTP clients that close their connections."""
    tensor = target.frames
    head = b'{"inputs":[{"name":"frames","datatype":"UINT8","shape":[2,64,96,3],"parameters":{"binary_data_size":%d}}]}'
    head %= tensor.nbytes
    connections = [http.client.HTTPConnection("127.0.0.1", target.served.http) for _ in range(GOING)]
    for connection in connections:
        headers = {"Inference-Header-Content-Length": str(len(head))}
        connection.request("POST", "/v2/models/patient-translate/infer", head + tensor.tobytes(), headers)
    target.wait_in_flight(GOING)
    for connection in connections:
        connection.close()
    after(target, GOING - 1)
    return Seen(frozenset())


def burst(target: Target, model: str, count: int) -> list[Answer]:
    """Sends requests all at once; those that are answered must be right."""
    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(lambda _: target.ask(slow(target, model)), range(count)))
    for answer in answers:
        assert answer.code != "OK" or np.array_equal(translated(answer), target.right)
    return answers


def counted(answers: list[Answer]) -> str:
    counts = collections.Counter(answer.code for answer in answers)
    return ", ".join(f"{count} {code}" for code, count in sorted(counts.items()))


def _full_queue(target: Target) -> Seen:
    """Ten requests where two are worked on, three may wait, and the server may hold one more for each instance."""
    answers = burst(target, "slow-translate", 10)
    refused = [answer.seconds for answer in answers if answer.code != "OK" and "timeout" not in answer.words]
    assert len(refused) >= 3 and max(refused) < OVERLOAD_S * BUSY_MACHINE, refused
    note = f"{counted(answers)}; refused within {max(refused) * 1e3:.0f} ms"
    return Seen(frozenset(answer.code for answer in answers), note=note)


def _waited_too_long(target: Target) -> Seen:
    """Four requests of 2 s, of which two are worked on at once, where each may wait for 1 s."""
    answers = burst(target, "slow-translate", 4)
    assert any("timeout" in answer.words for answer in answers), [answer.words for answer in answers]
    assert sum(answer.code == "OK" for answer in answers) >= 1
    return Seen(frozenset(answer.code for answer in answers), note=counted(answers))


def _too_many(target: Target) -> Seen:
    """More requests than may be in flight; other models' are refused as well, and health still answers."""
    models = ("patient-translate", "slow-translate")
    with ThreadPoolExecutor(MAX_IN_FLIGHT) as pool:
        work = [pool.submit(target.ask, slow(target, models[number % 2])) for number in range(MAX_IN_FLIGHT)]
        target.wait_in_flight(MAX_IN_FLIGHT)
        more = [target.ask(request("cut-translate", {"frames": target.frames}).SerializeToString()) for _ in range(10)]
        live = target.post("/v2/health/live", method="GET")
        answers = [one.result() for one in work]
    refused = [answer.seconds for answer in more if "in flight" in answer.words]
    assert len(refused) == len(more) and live.code == "200"
    assert statistics.median(refused) < OVERLOAD_S and max(refused) < OVERLOAD_S * BUSY_MACHINE, refused
    for answer in answers[::2]:  # the others wait in a queue that has a time-out
        assert answer.code == "OK" and np.array_equal(translated(answer), target.right)
    note = f"{len(more)} refused, within {max(refused) * 1e3:.0f} ms"
    return Seen(frozenset(answer.code for answer in (*answers, *more)), note=note)


def frame(target: Target, number: int, *, start: bool = False, end: bool = False) -> tuple[str, np.ndarray]:
    """Sends a frame of the stream of a number."""
    given: dict[str, Any] = {"sequence_id": number, "sequence_start": start, "sequence_end": end}
    return target.asked("cut-stream", {"frame": target.frames[0]}, **given)


def _no_start(target: Target) -> Seen:
    codes = {frame(target, 501)[0], target.asked("cut-stream", {"frame": target.frames[0]})[0]}
    frame(target, 502, start=True, end=True)
    return Seen(frozenset({*codes, frame(target, 502)[0]}))


def _abandoned(target: Target) -> Seen:
    """Streams that are never ended, as many as may be open: another one is refused, and taken once they are idle."""
    started = time.monotonic()
    for number in range(1000, 1000 + STREAMS):
        code, found = frame(target, number, start=True)
        assert code == "OK" and np.array_equal(found, target.right[0])
    last = time.monotonic()
    seen = {frame(target, 2000, start=True)[0]}
    assert time.monotonic() - started < IDLE_S, "this machine is too slow for the case"
    while (code := frame(target, 2000, start=True)[0]) != "OK":
        seen.add(code)
        assert time.monotonic() - last < 3 * IDLE_S
        time.sleep(0.05)
    waited = time.monotonic() - last
    assert waited <= IDLE_S + 0.5, f"a stream's place was free after {waited:.1f} s"
    while time.monotonic() < last + IDLE_S + 1:  # the server has forgotten all of them by then
        assert frame(target, 2000)[0] == "OK"
        time.sleep(0.1)
    seen.add(frame(target, 1000 + STREAMS - 1)[0])
    frame(target, 2000, end=True)
    assert frame(target, 1000, start=True)[0] == "OK" and frame(target, 1000, end=True)[0] == "OK"
    note = f"a place was free {max(0.0, waited):.1f} s after the last frame; they are idle after {IDLE_S:g} s"
    return Seen(frozenset(seen), since=time.monotonic(), note=note)


def _pictures_and_frames(target: Target) -> Seen:
    """Eight kinds of requests from eight clients at once."""
    frames, styled = request("cut-translate", {"frames": target.frames}), request("starganv2-pipeline", target.styled)

    def ask(number: int) -> str:
        if number % 3 == 0:
            return target.ask(frames.SerializeToString()).code
        if number % 3 == 1:
            return target.ask(styled.SerializeToString()).code
        return {"200": "OK"}.get(code := target.post("/v2/models/cut-image/infer", png(target.frames[0])).code, code)

    with ThreadPoolExecutor(8) as pool:
        return Seen(frozenset(pool.map(ask, range(120))), note="120 requests")


CASES = (
    Case(f"a gRPC client cancels {GOING} requests", frozenset({"CANCELLED"}), _cancelled),
    Case("a gRPC client's deadlines pass", frozenset({"DEADLINE_EXCEEDED"}), _deadlines),
    Case("HTTP clients close their connections", frozenset(), _closed_connections),
    Case("a full queue", frozenset({"OK", "UNAVAILABLE"}), _full_queue),
    Case("a queue's time-out", frozenset({"OK", "UNAVAILABLE"}), _waited_too_long),
    Case("more requests than may be in flight", frozenset({"OK", "UNAVAILABLE"}), _too_many),
    Case("frames of streams that were not started", frozenset({"INVALID_ARGUMENT"}), _no_start),
    Case(f"{STREAMS} abandoned streams", frozenset({"UNAVAILABLE", "INVALID_ARGUMENT"}), _abandoned),
    Case("eight clients with pictures, frames and styles", frozenset({"OK"}), _pictures_and_frames),
)
