"""Label maps through two stages: what is computed again, and what is not, when the map or the style changes."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import I2IError
from i2i_rt.export import build, formats
from i2i_rt.importers.table import write_bundle
from i2i_rt.layout import SPARE
from i2i_rt.translator import Translator
from tests.small.spade import CLASSES, SMALL

SIZE = (96, 64)


@pytest.fixture(scope="module", params=SMALL)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("labels") / "bundle"
    return write_bundle(SMALL[request.param](), "spade", path, Provenance("drawn with seed 0", sha256=""))


@pytest.fixture
def translator(bundle: Bundle) -> Iterator[Translator]:
    with Translator.load(bundle.path, backend="torch", precision="fp32") as translator:
        yield translator


def maps(translator: Translator, count: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws label maps and edges of a size that the model takes."""
    random = np.random.default_rng(seed)
    height, width = translator.fixed_size or SIZE
    coarse = random.integers(0, CLASSES, (count, height // 16, width // 16), np.uint8)
    labels = coarse.repeat(16, 1).repeat(16, 2)
    return labels, (random.random(labels.shape) < 0.05).astype(np.uint8)


def dense(translator: Translator, labels: np.ndarray, edges: np.ndarray, seed: int = 0) -> np.ndarray:
    inputs = {"labels": labels, "edges": edges}
    if translator.has_style:
        inputs["style"] = np.repeat(translator.style(seed=seed).code[None], len(labels), 0)
    return translator.session.run("translate", inputs)["translated"]


class Calls:
    """Counts what a session runs, and keeps the last inputs of each stage."""

    def __init__(self, translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stages: list[str] = []
        self.inputs: dict[str, dict[str, np.ndarray]] = {}
        run = translator.session.run

        def watched(stage: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            self.stages.append(stage)
            self.inputs[stage] = inputs
            return run(stage, inputs)

        monkeypatch.setattr(translator.session, "run", watched)

    def take(self) -> list[str]:
        taken, self.stages = self.stages, []
        return taken


def check(translator: Translator, labels: np.ndarray, edges: np.ndarray, seed: int = 0) -> None:
    style = translator.style(seed=seed) if translator.has_style else None
    actual = translator(labels, style, edges=edges).astype(int)
    expected = dense(translator, labels, edges, seed)
    assert actual.shape == expected.shape and np.abs(actual - expected).max() <= 1 and expected.std() > 5


def test_batches_and_odd_sizes_are_as_the_dense_network_gives_them(translator: Translator) -> None:
    for count in (1, 3):
        labels, edges = maps(translator, count)
        check(translator, labels, edges)
        if translator.fixed_size is None:
            check(translator, labels[:, :61, 3:50], edges[:, :61, 3:50])


def test_a_known_map_is_only_rendered(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, edges = maps(translator)
    check(translator, labels, edges)
    calls = Calls(translator, monkeypatch)
    check(translator, labels.copy(), edges.copy(), seed=1)
    assert calls.take() == ["render", "translate"]
    check(translator, labels, 1 - edges)
    assert calls.take() == ["layout", "render", "translate"]


def test_painting_computes_what_is_new(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    labels, edges = maps(translator)
    check(translator, labels, edges)
    calls = Calls(translator, monkeypatch)
    for step in range(4):
        labels = labels.copy()
        labels[0, 8 * step : 8 * step + 11, 20:33] = step
        check(translator, labels, edges)
        assert calls.take() == ["layout", "render", "translate"]
        assert len(calls.inputs["layout"]["patches_1"]) <= 15 * 17


def test_a_video_keeps_its_tables_in_bounds(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(translator, monkeypatch)
    for seed in range(8):
        check(translator, *maps(translator, seed=seed))
        rows = {name: len(table) for name, table in calls.inputs["render"].items() if name.startswith("table_6")}
        used = len(np.unique(calls.inputs["render"]["index_1"]))
        assert all(used <= count <= max(2 * used, SPARE) for count in rows.values())


def test_edges_between_zero_and_one_or_above_go_the_dense_way(
    translator: Translator, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, edges = maps(translator)
    calls = Calls(translator, monkeypatch)
    check(translator, labels, 3 * edges)
    assert calls.take() == ["translate", "translate"]


def test_inputs_are_checked_as_those_of_translate(translator: Translator) -> None:
    labels, edges = maps(translator)
    with pytest.raises(I2IError, match="edges has shape"):
        translator(labels, edges=edges[:, :-3])


def test_warm_up_runs_the_two_stages(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(translator, monkeypatch)
    translator.warm_up(*(translator.fixed_size or (40, 50)), batch=2)
    assert calls.take() == ["layout", "render", "render"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("exported") / "bundle"
    bundle = write_bundle(SMALL["spade"](), "spade", path, Provenance("drawn with seed 0", sha256=""))
    build.build(bundle, formats.plan(["onnx", "openvino"], ["fp32"]))
    return bundle


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_graphs_are_used_where_they_are_there(exported: Bundle, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Translator.load(exported.path, backend=name, precision="fp32") as translator:
        calls = Calls(translator, monkeypatch)
        for count in (2, 1, 2):
            check(translator, *maps(translator, count, seed=count))
            assert calls.take() == ["layout", "render", "translate"]


def without_render(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [artifact for artifact in exported.artifacts() if artifact.stage != "render"]
    monkeypatch.setattr(Bundle, "artifacts", lambda self: kept)


def with_a_wrong_layout(exported: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        {"backend": "onnxruntime", "precision": "fp32", "stage": a.stage, "artifact_sha256": a.sha256}
        | {"passed": a.stage != "layout", "median_ms": 1.0}
        for a in exported.artifacts()
        if a.format == "onnx"
    ]
    monkeypatch.setattr(Bundle, "verification", lambda self: records)


@pytest.mark.parametrize("spoil", [without_render, with_a_wrong_layout])
def test_the_dense_graph_stands_in_where_one_is_missing_or_wrong(
    exported: Bundle, spoil: Callable[[Bundle, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(exported, monkeypatch)
    with Translator.load(exported.path, backend="onnxruntime", precision="fp32") as translator:
        calls = Calls(translator, monkeypatch)
        check(translator, *maps(translator))
        assert calls.take() == ["translate", "translate"]
