"""The models of a repository answer as a translator in this process does, or refuse with the right code."""

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.export import golden
from i2i_rt.importers.table import write_bundle
from i2i_rt.label_maps import edges_of
from i2i_rt.serving.backend.stage import StageModel
from i2i_rt.serving.execution import Execution
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.models import served_stage
from i2i_rt.serving.repository import Repository, write_models, write_repository
from i2i_rt.style import DRAWS_AT_ONCE
from i2i_rt.translator import Translator
from i2i_rt.video.stabilize import Stabilizer
from tests.serving.backend import fake_triton
from tests.serving.backend.fake_triton import FakeTriton, Refused
from tests.small import single, spade, stargan

LIMITS = Limits(side=256, pixels=128 * 192, batch=4, file_bytes=2**20)
START, END = 1, 2


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {"cut": single.cut(), "starganv2": stargan.small(), "spade": spade.small(vae=True)}
    written = {name: write_bundle(one, name, folder / name, Provenance("drawn", "")) for name, one in made.items()}
    for bundle in written.values():
        golden.record(bundle)
    return written


@pytest.fixture(scope="module", params=["session", "server"])
def triton(
    request: pytest.FixtureRequest, bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakeTriton]:
    """All models of these bundles, under their systems' names, computing with PyTorch.

    Each has a session of its own or, as in production, one that asks for stages that the server has as models.
    """
    folder = tmp_path_factory.mktemp("served") / "repository"
    if request.param == "session":
        paths = {name: bundle.path for name, bundle in bundles.items()}
        repository = write_repository(paths, folder, limits=LIMITS, threads=1, backend="torch", cache_size=3)
        with fake_triton.serving(repository) as running:
            yield running
        return
    for name, bundle in bundles.items():
        run = Execution(str(bundle.path), "server", precision="fp32", cache_size=3)
        write_models(folder / "models", name, bundle, run, LIMITS)
    with fake_triton.serving(Repository.open(folder)) as running:
        for name, bundle in bundles.items():
            for stage in bundle.stages:
                add_stage(running, name, bundle, stage)
        yield running


def add_stage(triton: FakeTriton, name: str, bundle: Bundle, stage: str) -> None:
    """Adds a model of one of a bundle's stages, as the server itself would run it."""
    limits = LIMITS if stage == "translate" else Limits(batch=DRAWS_AT_ONCE)  # a native model has no others
    model = StageModel()
    model.served, model.bundle = served_stage(name, bundle, stage, "fp32", limits), bundle
    model.execution = Execution(str(bundle.path), backend="torch", precision="fp32", threads=1)
    model.open()
    triton.models[model.served.name] = model


@pytest.fixture(scope="module")
def local(bundles: dict[str, Bundle]) -> Iterator[dict[str, Translator]]:
    """Translators of the same bundles in this process."""
    opened = {name: Translator.load(bundle.path, backend="torch", threads=1) for name, bundle in bundles.items()}
    yield opened
    for translator in opened.values():
        translator.close()


def photograph(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def label_map(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gives fields of classes and the edges of their halves, `[64, 96]`."""
    fields = np.random.default_rng(seed).integers(0, 6, (4, 6), np.uint8).repeat(16, 0).repeat(16, 1)
    return fields, edges_of(fields // 2)


def one(value: int) -> np.ndarray:
    return np.array([value], np.int64)


def refused(
    triton: FakeTriton, model: str, inputs: Mapping[str, np.ndarray], code: str, words: str, **how: Any
) -> None:
    with pytest.raises(Refused, match=words) as found:
        triton.infer(model, inputs, **how)
    assert found.value.code == code


def test_stages_answer_exactly(triton: FakeTriton, local: dict[str, Translator]) -> None:
    frames = photograph(2, 64, 96)
    cut, stargan = local["cut"], local["starganv2"]
    answer = triton.infer("cut-translate", {"frames": frames})
    assert np.array_equal(answer["translated"], cut(frames))
    styles = [stargan.style(seed=seed, domain="dog") for seed in (1, 2)]
    answer = triton.infer("starganv2-translate", {"frames": frames, "style": np.stack([s.code for s in styles])})
    assert np.array_equal(answer["translated"], stargan(frames, styles))


def test_stage_of_label_maps_answers_exactly_whatever_came_before(
    triton: FakeTriton, local: dict[str, Translator]
) -> None:
    spade = local["spade"]
    style = spade.style(seed=1)
    for seed in range(3):
        labels, edges = label_map(seed)
        inputs = {"labels": labels[None], "edges": edges[None], "style": style.code[None]}
        answer = triton.infer("spade-translate", inputs)
        assert np.array_equal(answer["translated"][0], spade.fork()(labels, style, edges=edges))


def test_stage_refuses_what_the_graph_does_not_take(triton: FakeTriton) -> None:
    for shape, words in [((1, 62, 64), "multiple of 4"), ((1, 512, 64), "sides of 1 to 256"), ((5, 64, 64), "batch")]:
        refused(triton, "cut-translate", {"frames": photograph(*shape)}, "INVALID_ARG", words)
    refused(triton, "cut-translate", {"frames": np.zeros((1, 0, 64, 3), np.uint8)}, "INVALID_ARG", "must be")
    labels, edges = label_map()
    inputs = {"labels": labels[None], "edges": edges[None], "style": np.zeros((1, 16), np.float32)}
    refused(triton, "spade-translate", {**inputs, "labels": labels[None] + 5}, "INVALID_ARG", "has the label")
    refused(triton, "spade-translate", {**inputs, "edges": edges[None] * 2}, "INVALID_ARG", "edges are 0 and 1")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused(triton: FakeTriton, value: float) -> None:
    code = np.full((1, 6), value, np.float32)
    inputs = {"frames": photograph(1, 64, 64), "style": code}
    refused(triton, "starganv2-translate", inputs, "INVALID_ARG", "style holds values that are NaN or infinite")
    inputs = {"frame": photograph(64, 64), "style": code[0]}
    refused(triton, "starganv2-stream", inputs, "INVALID_ARG", "NaN or infinite", number=1, flags=START)


def test_only_outputs_that_were_asked_for_are_given(triton: FakeTriton) -> None:
    assert list(triton.infer("starganv2-style", {"seed": one(1), "domain": one(0)}, outputs=["style_id"])) == [
        "style_id"
    ]


@pytest.mark.parametrize("how", ["reference", "seed", "mean"])
def test_styles_are_the_translators(triton: FakeTriton, local: dict[str, Translator], how: str) -> None:
    reference = photograph(50, 70)
    given = {"reference": {"reference": reference}, "seed": {"seed": one(4)}, "mean": {}}[how]
    image, seed = given.get("reference"), 4 if how == "seed" else None
    answer = triton.infer("starganv2-style", {**given, "domain": one(1)})
    assert np.array_equal(answer["style"], local["starganv2"].style(image=image, seed=seed, domain="dog").code)
    again = triton.infer("starganv2-style", {"style_id": answer["style_id"]})
    assert np.array_equal(again["style"], answer["style"])
    other = triton.infer("starganv2-style", {**given, "domain": one(2)})
    assert other["style_id"] != answer["style_id"]


def test_oldest_styles_are_forgotten(triton: FakeTriton) -> None:
    names = [triton.infer("spade-style", {"seed": one(seed)})["style_id"] for seed in range(4)]
    refused(triton, "spade-style", {"style_id": names[0]}, "NOT_FOUND", "send what makes it again")
    for name in names[1:]:
        triton.infer("spade-style", {"style_id": name})


def test_wrong_styles_are_refused(triton: FakeTriton) -> None:
    known = "0 cat, 1 dog, 2 wild"
    for inputs, words in [
        ({"seed": one(1)}, f"give one of them as domain: {known}"),
        ({"seed": one(1), "domain": one(3)}, f"domain is 3; this model has {known}"),
        ({"seed": one(1), "domain": one(-1)}, f"domain is -1; this model has {known}"),
        ({"seed": one(-1), "domain": one(0)}, "seed is -1"),
        ({"seed": one(1), "reference": photograph(9, 9), "domain": one(0)}, "give one of them"),
        ({"reference": photograph(9, 300), "domain": one(0)}, "sides of 1 to 256"),
    ]:
        refused(triton, "starganv2-style", inputs, "INVALID_ARG", words)
        refused(triton, "starganv2-pipeline", {"frames": photograph(1, 64, 64), **inputs}, "INVALID_ARG", words)


@pytest.mark.parametrize("size", [(64, 64), (61, 75), (1, 1), (90, 17)])
def test_pipeline_takes_any_size(triton: FakeTriton, local: dict[str, Translator], size: tuple[int, int]) -> None:
    frames, style = photograph(2, *size), local["starganv2"].style(seed=3, domain="wild")
    wanted = local["starganv2"](frames, style)
    first = triton.infer("starganv2-pipeline", {"frames": frames, "seed": one(3), "domain": one(2)})
    assert np.array_equal(first["translated"], wanted)
    second = triton.infer("starganv2-pipeline", {"frames": frames, "style_id": first["style_id"]})
    assert np.array_equal(second["translated"], wanted) and second["style_id"] == first["style_id"]


def test_pipeline_takes_label_maps_with_edges_and_without(triton: FakeTriton, local: dict[str, Translator]) -> None:
    labels, edges = label_map()
    reference = photograph(40, 50)
    style = local["spade"].style(image=reference)
    for given in ({"edges": edges}, {}):
        inputs = {"labels": labels[None], **{name: array[None] for name, array in given.items()}}
        answer = triton.infer("spade-pipeline", {**inputs, "reference": reference})
        assert np.array_equal(answer["translated"][0], local["spade"].fork()(labels, style, **given))


def test_pipeline_keeps_the_codes_of_the_models_that_it_asks(
    triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = photograph(1, 64, 64)
    refused(triton, "starganv2-pipeline", {"frames": frames, "style_id": one(9)}, "NOT_FOUND", "no style of the name 9")
    refused(triton, "starganv2-pipeline", {"frames": frames}, "INVALID_ARG", "no style is given")

    def busy(requests: list[Any]) -> list[Any]:
        error = fake_triton.TritonError("x - Error when running inference: ... Exceeds maximum queue size", "INTERNAL")
        return [fake_triton.Response([], error)]

    monkeypatch.setattr(triton.models["starganv2-translate"], "execute", busy)
    given = {"frames": frames, "seed": one(3), "domain": one(2)}
    refused(triton, "starganv2-pipeline", given, "UNAVAILABLE", "maximum queue size")


def test_streams_keep_their_own_state(triton: FakeTriton, local: dict[str, Translator]) -> None:
    momenta = {1: 0.0, 2: 0.5, "a": 0.9}
    wanted = {
        number: Stabilizer(local["cut"], "light", momentum=momentum) if momentum else local["cut"]
        for number, momentum in momenta.items()
    }
    for index in range(20):
        for seed, number in enumerate(momenta):
            # frames of one scene that slowly gets darker
            frame = (photograph(45, 62, seed=seed) * (1 - index / 40)).astype(np.uint8)
            inputs = {"frame": frame}
            if index == 0 and momenta[number]:
                inputs["momentum"] = np.array([momenta[number]], np.float32)
            flags = START if index == 0 else END if index == 19 else 0
            answer = triton.infer("cut-stream", inputs, number=number, flags=flags)
            assert np.array_equal(answer["translated"], wanted[number](frame[None])[0])


def test_streams_have_the_style_of_their_first_frame(triton: FakeTriton, local: dict[str, Translator]) -> None:
    stargan, frame = local["starganv2"], photograph(33, 49)
    given = stargan.style(seed=8, domain="cat")
    starts = {
        1: ({"seed": one(8), "domain": one(0)}, given),
        2: ({"style": given.code}, given),
        3: ({"reference": frame, "domain": one(1)}, stargan.style(image=frame, domain="dog")),
        4: ({"domain": one(2)}, stargan.style(domain="wild")),
    }
    for flags in (START, 0, END):
        for number, (inputs, style) in starts.items():
            answer = triton.infer(
                "starganv2-stream", {"frame": frame, **(inputs if flags == START else {})}, number=number, flags=flags
            )
            assert np.array_equal(answer["translated"], stargan(frame, style))


def test_streams_of_label_maps_keep_the_plan(triton: FakeTriton, local: dict[str, Translator]) -> None:
    spade = local["spade"].fork()
    style = spade.style(seed=2)
    for index in range(4):
        labels, edges = label_map(index)
        inputs = {"frame": labels, "edges": edges}
        if index == 0:  # there are no statistics that the momentum could be of
            inputs |= {"seed": one(2), "momentum": np.array([0.5], np.float32)}
        answer = triton.infer("spade-stream", inputs, number=1, flags=START if index == 0 else 0)
        assert np.array_equal(answer["translated"], spade(labels, style, edges=edges))


def test_streams_that_were_not_started_are_refused(triton: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = {"frame": photograph(32, 32)}
    refused(triton, "cut-stream", frame, "INVALID_ARG", "has not been started", number=1)
    wrong = {**frame, "momentum": np.array([1.0], np.float32)}
    refused(triton, "cut-stream", wrong, "INVALID_ARG", "momentum is 1", number=1, flags=START)
    refused(triton, "cut-stream", frame, "INVALID_ARG", "has not been started", number=1)
    triton.infer("cut-stream", frame, number=1, flags=START)
    late = {**frame, "momentum": np.array([0.5], np.float32)}
    refused(triton, "cut-stream", late, "INVALID_ARG", "for the frame that starts", number=1)
    triton.infer("cut-stream", frame, number=1, flags=END)
    refused(triton, "cut-stream", frame, "INVALID_ARG", "has not been started", number=1)
    triton.infer("cut-stream", frame, number=1, flags=START)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    refused(triton, "cut-stream", frame, "INVALID_ARG", "idle for too long", number=1)


def test_no_more_streams_than_agreed_are_open(triton: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = triton.models["cut-stream"]
    monkeypatch.setattr(model, "_streams", {})
    monkeypatch.setattr(model, "execution", replace(model.execution, streams=2))
    frame = {"frame": photograph(32, 32)}
    for number in (1, 2, 2):
        triton.infer("cut-stream", frame, number=number, flags=START)
    refused(triton, "cut-stream", frame, "UNAVAILABLE", "2 streams are open", number=3, flags=START)
    triton.infer("cut-stream", frame, number=3, flags=START | END)
    triton.infer("cut-stream", frame, number=1, flags=END)
    triton.infer("cut-stream", frame, number=3, flags=START)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + model.execution.idle_s + 0.1)
    triton.infer("cut-stream", frame, number=3)
    triton.infer("cut-stream", frame, number=4, flags=START)  # in place of 2, which was idle
    refused(triton, "cut-stream", frame, "INVALID_ARG", "idle for too long", number=2)


def encoded(picture: Image.Image, format: str, **options: Any) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


def turned() -> np.ndarray:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(photograph(20, 30)), "JPEG", exif=exif)


PICTURES = {
    "plain.jpg": lambda: encoded(Image.fromarray(photograph(47, 61)), "JPEG"),
    "plain.png": lambda: encoded(Image.fromarray(photograph(47, 61)), "PNG"),
    "plain.webp": lambda: encoded(Image.fromarray(photograph(47, 61)), "WEBP"),
    "turned.jpg": turned,
    "grey.jpg": lambda: encoded(Image.fromarray(photograph(24, 24)).convert("L"), "JPEG"),
    "cmyk.jpg": lambda: encoded(Image.fromarray(photograph(24, 24)).convert("CMYK"), "JPEG"),
    "deep.png": lambda: encoded(Image.fromarray(photograph(24, 24)[..., 0].astype(np.uint16) * 257), "PNG"),
    "clear.png": lambda: encoded(Image.fromarray(np.dstack((photograph(24, 36), photograph(24, 36)[..., 0]))), "PNG"),
    "profile.jpg": lambda: encoded(Image.fromarray(photograph(24, 24)), "JPEG", icc_profile=profile()),
    "one.png": lambda: encoded(Image.fromarray(photograph(1, 1)), "PNG"),
}


def profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("system", ["cut", "starganv2"])
def test_files_are_translated_as_the_command_does(
    triton: FakeTriton, bundles: dict[str, Bundle], tmp_path: Path, name: str, system: str
) -> None:
    content = PICTURES[name]()
    answer = triton.infer(f"{system}-image", {"image": content})
    (tmp_path / name).write_bytes(content.tobytes())
    domain = ["--domain", "cat"] if system == "starganv2" else []
    command = ["translate", str(bundles[system].path), str(tmp_path / name), "-o", str(tmp_path / "out" / name)]
    assert main([*command, "--backend", "torch", "--threads", "1", *domain]) == 0
    assert answer["translated"].tobytes() == (tmp_path / "out" / name).read_bytes()


def test_files_of_label_maps_are_translated(triton: FakeTriton, local: dict[str, Translator]) -> None:
    labels, _ = label_map()
    answer = triton.infer("spade-image", {"image": encoded(Image.fromarray(labels), "PNG")})
    picture = np.asarray(Image.open(io.BytesIO(answer["translated"].tobytes())))
    assert np.array_equal(picture, local["spade"].fork()(labels))
    refused(triton, "spade-image", {"image": PICTURES["plain.jpg"]()}, "INVALID_ARG", "known are PNG")
    refused(triton, "spade-image", {"image": encoded(Image.fromarray(labels + 9), "PNG")}, "INVALID_ARG", "label")


def bomb(side: int) -> np.ndarray:
    return encoded(Image.new("RGB", (side, side)), "PNG")


def with_size(width: int, height: int) -> np.ndarray:
    """Gives a PNG whose header states another size."""
    import zlib

    content = bytearray(PICTURES["plain.png"]().tobytes())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return np.frombuffer(bytes(content), np.uint8)


def damaged() -> np.ndarray:
    content = PICTURES["plain.png"]().copy()
    content[len(content) // 2 :][:40] = 0
    return content


def moving(format: str) -> np.ndarray:
    first, second = (Image.fromarray(photograph(24, 24, seed=seed)) for seed in (1, 2))
    return encoded(first, format, save_all=True, append_images=[second])


BROKEN = {
    "random": (lambda: photograph(100).reshape(-1), "is no image that can be read; known are JPEG, PNG, WEBP"),
    "svg": (lambda: np.frombuffer(b"<svg xmlns='http://www.w3.org/2000/svg'/>", np.uint8), "is no image"),
    "gif": (lambda: encoded(Image.fromarray(photograph(9, 9)), "GIF"), "is no image"),
    "half a JPEG": (lambda: PICTURES["plain.jpg"]()[:1500], "cut off or damaged"),
    "the header of a JPEG": (lambda: PICTURES["plain.jpg"]()[:20], "image"),
    "damaged PNG": (damaged, "cut off or damaged"),
    "bomb": (lambda: bomb(5000), "image is 5000x5000; the server takes"),
    "huge header": (lambda: with_size(2**31 - 1, 2**31 - 1), "image (is|states)"),
    "long header": (lambda: with_size(257, 1), "image is 257x1; the server takes sides of 1 to 256"),
    "moving PNG": (lambda: moving("PNG"), "is animated"),
    "moving WebP": (lambda: moving("WEBP"), "is animated"),
    "large file": (lambda: np.zeros(2**20 + 1, np.uint8), "has 1048577 bytes; the server takes up to 1048576"),
    "empty": (lambda: np.zeros(0, np.uint8), r"must be \[bytes\]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(triton: FakeTriton, name: str) -> None:
    make, words = BROKEN[name]
    refused(triton, "cut-image", {"image": make()}, "INVALID_ARG", words)


def test_no_pixel_of_a_file_is_decoded_before_its_size_is_known(
    triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bomb(5000)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decoded"))
    refused(triton, "cut-image", {"image": content}, "INVALID_ARG", "the server takes")


def test_work_that_nobody_waits_for_is_not_begun(triton: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton.models["cut-translate"], "answer", lambda *_: pytest.fail("begun"))
    refused(triton, "cut-translate", {"frames": photograph(1, 64, 64)}, "CANCELLED", "no longer waits", cancelled=True)


def test_failure_of_one_request_is_not_its_neighbours(triton: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> None:
    model = triton.models["cut-translate"]
    answer = model.answer

    def failing(inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        if inputs["frames"].max() == 0:
            raise ZeroDivisionError("nothing but black")
        return answer(inputs, request)

    monkeypatch.setattr(model, "answer", failing)
    good, bad = photograph(1, 64, 64), np.zeros((1, 64, 64, 3), np.uint8)
    requests = [
        fake_triton.Request("cut-translate", [fake_triton.Tensor("frames", frames)], ["translated"])
        for frames in (good, bad, good)
    ]
    first, second, third = model.execute(requests)
    assert not first.has_error() and not third.has_error()
    assert second.error().code == "INTERNAL" and "ZeroDivisionError: nothing but black" in second.error().message()


def test_requests_run_together_where_the_device_gains_by_it(
    triton: FakeTriton, local: dict[str, Translator], monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = triton.models["cut-translate"]
    runs: list[int] = []
    full: list[bool] = []
    run = model._session.run

    def counted(stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        runs.append(len(inputs["frames"]))
        if full and len(inputs["frames"]) > 2:
            raise MemoryError
        answer: dict[str, np.ndarray] = run(stage, inputs)
        return answer

    monkeypatch.setattr(model._session, "run", counted)
    frames = [photograph(count, 64, 64, seed=count) for count in (1, 2)]
    requests = [
        fake_triton.Request("cut-translate", [fake_triton.Tensor("frames", array)], ["translated"], cancelled=gone)
        for array, gone in [(frames[0], False), (frames[0], True), (frames[1], False)]
    ]

    def check() -> None:
        first, second, third = model.execute(requests)
        assert second.error().code == "CANCELLED"
        for response, array in ((first, frames[0]), (third, frames[1])):
            difference = np.from_dlpack(response.output_tensors()[0]).astype(int) - local["cut"](array)
            assert np.abs(difference).max() <= 1  # joined, they may be rounded in another way

    check()
    assert runs == [1, 2]  # on a CPU one by one
    monkeypatch.setattr(model._session, "device", "cuda")
    runs.clear()
    check()
    assert runs == [3]
    full.append(True)
    runs.clear()
    check()
    assert runs == [3, 1, 2]  # too much at once is no reason to refuse each
