"""Many requests of many kinds, many streams: every answer is right, and what the service holds does not grow."""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from i2i_rt.video.stabilize import Stabilizer
from i2i_rt.video.stills import decode_still
from tests.serving.reliability.case import Case, Seen
from tests.serving.reliability.pictures import file_of
from tests.serving.reliability.target import Target, model_processes, regions, request, server_process, translated

SHM = Path("/dev/shm")
CLIENTS = 6
WARM_UP = 500  # requests, after which nothing may grow
GROWTH_MB = 10  # of the server, of all its models together, and of the gateway
MOMENTUM = 0.9

Ask = Callable[[], str]  # gives the code of an answer that was right, or of a refusal that was due


def _frames(target: Target, height: int, width: int, count: int) -> Ask:
    frames = np.random.default_rng(height * width).integers(0, 256, (count, height, width, 3), np.uint8)
    right = target.translators["cut"](frames)
    data = request("cut-translate", {"frames": frames}).SerializeToString()

    def ask() -> str:
        answer = target.ask(data)
        np.testing.assert_array_equal(translated(answer), right)
        return answer.code

    return ask


def _styled(target: Target, height: int, width: int, seed: int) -> Ask:
    frames = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)
    translator = target.translators["starganv2"].fork()
    right = translator(frames, translator.style(seed=seed, domain="cat"))
    inputs = {"frames": frames, "seed": np.array([seed], np.int64), "domain": np.zeros(1, np.int64)}
    data = request("starganv2-pipeline", inputs).SerializeToString()

    def ask() -> str:
        answer = target.ask(data)
        np.testing.assert_array_equal(translated(answer), right)
        return answer.code

    return ask


def _picture(target: Target, height: int, width: int, kind: str) -> Ask:
    file = file_of(np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8), kind)
    right = target.translators["cut"](decode_still(file, kind).image)

    def ask() -> str:
        answer = target.post("/v2/models/cut-image/infer", file)
        found = Image.open(io.BytesIO(answer.content))
        assert found.format == kind
        if kind == "PNG":
            np.testing.assert_array_equal(np.asarray(found), right)
        else:
            assert found.size == (width, height)
        return "OK" if answer.code == "200" else answer.code

    return ask


def _malformed(target: Target, number: int) -> Ask:
    made = request("cut-translate", {"frames": target.frames})
    made.inputs[0].shape[:] = ((2, 2**32, 2**32, 3), (2, 64, 96), (2, 65, 96, 3), (-1, 64, 96, 3))[number % 4]
    data = made.SerializeToString()

    def ask() -> str:
        code = target.ask(data).code
        assert code == "INVALID_ARGUMENT", code
        return code

    return ask


def kinds(target: Target) -> list[Ask]:
    """Requests of several sizes, formats and systems; one of twenty is malformed."""
    sizes = ((64, 64), (60, 92), (128, 96), (33, 47), (200, 256))
    proper = [
        *(
            _frames(target, 4 * (height // 4), 4 * (width // 4), 1 + index % 3)
            for index, (height, width) in enumerate(sizes)
        ),
        *(_styled(target, height, width, seed) for seed, (height, width) in enumerate(sizes)),
        *(_picture(target, height, width, kind) for height, width in sizes[:3] for kind in ("PNG", "JPEG", "WEBP")),
    ]
    return [*proper, _malformed(target, len(proper))]


def memory_mb(target: Target) -> dict[str, float]:
    """Gives what the service holds, by parts."""
    held = {
        "gateway": psutil.Process(target.served.process.pid).memory_info().rss,
        "server": server_process(target.served).memory_info().rss,
        "models": sum(process.memory_info().rss for process in model_processes(target.served)),
        "shared memory": sum((SHM / name).stat().st_blocks * 512 for name in regions(target.served)),
    }
    return {name: size / 2**20 for name, size in held.items()}


def _mixed(count: int) -> Callable[[Target], Seen]:
    def run(target: Target) -> Seen:
        asks = kinds(target)
        order = np.random.default_rng(31).permutation(np.arange(count) % len(asks))
        with ThreadPoolExecutor(CLIENTS) as pool:
            codes = set(pool.map(lambda index: asks[index](), order[:WARM_UP]))
            before = memory_mb(target)
            codes |= set(pool.map(lambda index: asks[index](), order[WARM_UP:]))
        after = memory_mb(target)
        grown = {name: after[name] - before[name] for name in after}
        if count > 2 * WARM_UP:  # of fewer, too little can be said
            assert max(grown.values()) <= GROWTH_MB, f"from {before} MB to {after} MB"
        note = ", ".join(f"{name} {size:+.1f} MB" for name, size in grown.items())
        return Seen(frozenset(codes), note=f"after the first {WARM_UP}: {note}" if count > WARM_UP else "")

    return run


def _streams(streams: int, count: int) -> Callable[[Target], Seen]:
    """Videos side by side, each with statistics of its own."""

    def run(target: Target) -> Seen:
        def video(number: int) -> set[str]:
            random = np.random.default_rng(number)
            scene = random.integers(0, 256, (48 + 4 * number, 56, 3), np.uint8)
            stabilizer = Stabilizer(target.translators["cut"].fork(), "light", momentum=MOMENTUM)
            codes = set()
            for index in range(count):
                frame = (scene * (1 - index / (2 * count))).astype(np.uint8)
                inputs: dict[str, Any] = {"frame": frame}
                if index == 0:
                    inputs["momentum"] = np.array([MOMENTUM], np.float32)
                code, found = target.asked(
                    "cut-stream",
                    inputs,
                    sequence_id=3000 + number,
                    sequence_start=index == 0,
                    sequence_end=index == count - 1,
                )
                np.testing.assert_array_equal(found, stabilizer(frame[None])[0], err_msg=f"frame {index} of {number}")
                codes.add(code)
            return codes

        started = time.monotonic()
        with ThreadPoolExecutor(streams) as pool:
            codes = set().union(*pool.map(video, range(streams)))
        return Seen(frozenset(codes), note=f"{streams * count / (time.monotonic() - started):.0f} frames/s, all exact")

    return run


BOTH = frozenset({"OK", "INVALID_ARGUMENT"})
CASES = (
    Case("300 mixed requests, one of twenty malformed", BOTH, _mixed(300)),
    Case("4 streams of 20 frames side by side", frozenset({"OK"}), _streams(4, 20)),
    Case("3,000 mixed requests, one of twenty malformed", BOTH, _mixed(3000), is_long=True),
    Case("8 streams of 200 frames side by side", frozenset({"OK"}), _streams(8, 200), is_long=True),
)
