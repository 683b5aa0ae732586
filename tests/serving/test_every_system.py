"""Every system on the real server, in all of its models, bit for bit: the long form of test_served_models.py."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.importers.base import Imported
from i2i_rt.importers.table import write_bundle
from i2i_rt.runtime import backends
from i2i_rt.serving.golden import canary_of
from i2i_rt.serving.installation import Installation
from i2i_rt.serving.models import default_domain
from i2i_rt.serving.repository import write_repository
from i2i_rt.serving.server import TritonServer
from i2i_rt.stages.table import STAGES
from i2i_rt.style import Style
from i2i_rt.translator import Translator
from tests.serving.conftest import LIMITS
from tests.serving.test_served_models import infer

pytestmark = [pytest.mark.serving, pytest.mark.soak]
SMALL: dict[str, Callable[[], Imported]] = {
    name: make
    for file in sorted((Path(__file__).parents[1] / "small").glob("[a-z]*.py"))
    for name, make in importlib.import_module(f"tests.small.{file.stem}").SMALL.items()
}
BACKENDS = ("onnxruntime", "openvino")
SIZES = ((61, 75), (33, 127), (1, 1), (5, 90))  # height, width


@dataclass
class Served:
    """One bundle on a server, as `<system>` of each backend, and what gives its right answers."""

    bundle: Bundle
    client: Any
    backend: str
    random: np.random.Generator

    def ask(self, model: str, inputs: Mapping[str, np.ndarray], output: str = "translated", **how: Any) -> np.ndarray:
        return infer(self.client, f"{self.backend}-{model}", inputs, output, **how)

    def frames(self, count: int, height: int, width: int) -> dict[str, np.ndarray]:
        """Gives frames, or label maps with the edges that the system takes, of the one size where it has one."""
        spec = self.bundle.stages[self.bundle.main_stage]
        height, width = spec.fixed_size or (height, width)
        shape = (count, -(-height // 8), -(-width // 8))
        if self.bundle.labels is None:
            coarse = self.random.integers(0, 256, (*shape, 3), np.uint8)
        else:
            coarse = self.random.integers(0, len(self.bundle.labels.names), shape, np.uint8)
        source = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width].copy()
        given = {spec.inputs[0].name: source}
        if any(tensor.name == "edges" for tensor in spec.inputs):
            given["edges"] = (self.random.random(source.shape) > 0.95).astype(np.uint8)
        return given


@pytest.fixture(scope="module", params=SMALL)
def exported_system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    name = request.param
    system = name if name in STAGES else name.rpartition("-")[0]
    folder = tmp_path_factory.mktemp("bundle") / name
    bundle = write_bundle(SMALL[name](), system, folder, Provenance("drawn", sha256=""))
    assert main(["export", str(folder), "--format", "onnx,openvino", "--no-verify"]) == 0
    return bundle


@pytest.fixture(scope="module", params=BACKENDS)
def served(
    request: pytest.FixtureRequest,
    exported_system: Bundle,
    installation: Installation,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    from tritonclient.grpc import InferenceServerClient

    folder = tmp_path_factory.mktemp("served") / "repository"
    repository = write_repository(
        {request.param: exported_system.path}, folder, limits=LIMITS, threads=1, backend=request.param
    )
    with TritonServer(repository.models_folder, installation=installation) as server:
        server.wait_ready()
        with InferenceServerClient(server.address) as client:
            for model in repository.models:
                canary = canary_of(model, exported_system)
                if canary is not None:
                    assert canary.problem(client._client_stub.ModelInfer(canary.request())) is None
            yield Served(exported_system, client, request.param, np.random.default_rng(0))


def styles_of(translator: Translator) -> list[tuple[dict[str, np.ndarray], Style]]:
    """Gives requests for styles, each with its style: of seeds and of pictures, in different domains."""
    bundle = translator.bundle
    if bundle is None or bundle.style is None:
        return []
    picture = np.random.default_rng(1).integers(0, 256, (70, 85, 3), np.uint8)
    made = []
    for index in range(2):
        names = bundle.style.domains
        domain = names[index % len(names)] if names else None
        where = {"domain": np.array([index % len(names)])} if names else {}
        if bundle.style.prior != "fitted":
            made.append(({"seed": np.array([index]), **where}, translator.style(seed=index, domain=domain)))
        if "style_from_image" in bundle.stages:
            made.append(({"reference": picture, **where}, translator.style(image=picture, domain=domain)))
    return made


def test_every_answer_is_the_translators(served: Served, tmp_path: Path) -> None:
    bundle = served.bundle
    if bundle.main_stage != "translate":
        return check_task(served)
    spec = bundle.stages["translate"]
    source = spec.inputs[0].name
    with Translator.load(bundle.path, backend=served.backend, threads=1) as translator:
        styles = styles_of(translator)
        for given, style in styles:
            assert np.array_equal(served.ask("style", given, "style"), style.code)
        for count, *size in ((1, 64, 64), (3, 96, 64)):
            height, width = (axis.fit(side) for axis, side in zip(spec.inputs[0].axes[1:3], size, strict=True))
            inputs = served.frames(count, height, width)
            chosen = [styles[index % len(styles)][1] for index in range(count)] if styles else None
            wanted = translator.fork()(inputs[source], chosen, edges=inputs.get("edges"))
            inputs |= {"style": np.stack([style.code for style in chosen])} if chosen else {}
            assert np.array_equal(served.ask("translate", inputs), wanted)
        for given, style in styles:
            for height, width in SIZES:
                inputs = served.frames(2, height, width)
                wanted = translator.fork()(inputs[source], style, edges=inputs.get("edges"))
                assert np.array_equal(served.ask("pipeline", {**inputs, **given}), wanted)
        check_stream(served, translator.fork(), styles)
        if not styles or bundle.style is None or bundle.style.prior != "fitted":
            check_image(served, tmp_path)


def check_stream(served: Served, translator: Translator, styles: list[tuple[dict[str, np.ndarray], Style]]) -> None:
    start, translator.current_style = styles[-1] if styles else ({}, None)
    for index in range(4):
        frames, *edges = (array[0] for array in served.frames(1, 61, 75).values())
        inputs = {"frame": frames} | ({"edges": edges[0]} if edges else {}) | (start if index == 0 else {})
        how = {"sequence_id": 5, "sequence_start": index == 0, "sequence_end": index == 3}
        wanted = translator(frames, edges=edges[0] if edges else None)
        assert np.array_equal(served.ask("stream", inputs, **how), wanted)


def check_image(served: Served, folder: Path) -> None:
    file, output = folder / "a.png", folder / "b.png"
    Image.fromarray(next(iter(served.frames(1, 61, 75).values()))[0]).save(file)
    domain = default_domain(served.bundle)
    words = ["translate", str(served.bundle.path), str(file), "-o", str(output), "--backend", served.backend]
    assert main([*words, "--threads", "1", *(["--domain", domain] if domain else [])]) == 0
    answer = served.ask("image", {"image": np.frombuffer(file.read_bytes(), np.uint8)})
    assert answer.tobytes() == output.read_bytes()


def check_task(served: Served) -> None:
    """Compares a network that translates nothing with its session."""
    bundle, stage = served.bundle, served.bundle.main_stage
    inputs = served.frames(2, *(axis.fit(64) for axis in bundle.stages[stage].inputs[0].axes[1:3]))
    with backends.open_session(bundle, backends.choose(bundle, served.backend), threads=1) as session:
        for name, wanted in session.run(stage, inputs).items():
            assert np.array_equal(served.ask(stage, inputs, name), wanted)
