"""docs/systems.md is what the code says, and every mark in it holds for a small network of each kind."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.editing import Editor
from i2i_rt.errors import UnsupportedError
from i2i_rt.export import build, verify
from i2i_rt.export.bake import bake
from i2i_rt.export.formats import FORMATS
from i2i_rt.export.fused_nodes import inlined
from i2i_rt.export.tensorrt_graph import prepare
from i2i_rt.export.trial import Trial
from i2i_rt.importers.table import IMPORTERS, write_bundle
from i2i_rt.runtime import gates
from i2i_rt.runtime.backends import BACKENDS, Choice, open_session, problem
from i2i_rt.spec import StageSpec
from i2i_rt.stages.table import STAGES
from i2i_rt.style import Style, StyleMaker
from i2i_rt.systems.table import SYSTEMS
from i2i_rt.translator import Translator
from tests import capabilities
from tests.capabilities import (
    COLUMNS,
    COMPARED,
    ENTRIES,
    TRAINED_ONLY,
    Model,
    draws_styles,
    models,
    small_configurations,
)
from tests.tensorrt_bindings.parser import refused

ROOT = Path(__file__).parents[1]
SIZES = ((64, 96), (128, 64))
# networks of few channels average little of bf16's rounding out; a wrong graph is far below
GATES_DB = {**gates.GATES_DB, "bf16": 24.0}
PAIRS = [(entry, precision) for entry in COMPARED for precision in entry.precisions if precision not in TRAINED_ONLY]

# system -> the test that imports files as the official code writes them
IMPORT_TESTS = {
    **{
        system: "importers/test_single.py::test_official_file_becomes_a_bundle_that_translates_as_the_network_does"
        for system in ("cyclegan", "cut", "fastcut", "sincut", "pix2pix")
    },
    "spade": "importers/test_spade.py::test_published_networks_need_no_options",
    "cycada": "importers/test_cycada.py::test_generator_is_read_as_cyclegans",
    "swapping": "importers/test_swapping.py::test_bundle_is_written_and_opens",
    "step": "importers/test_step.py::test_bundle_names_the_files_and_runs",
    "gpunit": "importers/test_gpunit.py::test_bundle_translates_as_the_networks_do",
    "egscit": "importers/test_egscit.py::test_bundle_runs",
    "starganv2": "importers/test_stargan.py::test_bundle_has_the_stages",
    "smoothing": "importers/test_stargan.py::test_bundle_has_the_stages",
    "tunit": "importers/test_tunit.py::test_bundle_has_the_stages",
    "munit": "importers/test_munit.py::test_bundle_has_the_stages",
    "unit": "importers/test_munit.py::test_shared_networks_translate_as_they_did",
    "bicyclegan": "importers/test_bicyclegan.py::test_bundle_runs",
}

# what trains networks of a system whose name it does not bear
PARTS = {"segmentation": "cycada", "munit-paired": "step"}


def test_document_is_what_the_code_says() -> None:
    assert capabilities.DOCUMENT.read_text() == capabilities.markdown(), "run: python -m tests.capabilities --write"


def test_every_system_is_described() -> None:
    assert set(ENTRIES) == set(IMPORTERS) == set(STAGES)
    assert {PARTS.get(name, name.partition("-")[0]) for name in SYSTEMS} <= set(ENTRIES)
    assert set(models()) == set(small_configurations()), "a small configuration has the name of no system"
    for system, entry in ENTRIES.items():
        variants = [model.name for model in models().values() if model.system == system]
        assert variants and set(entry.variants) == (set(variants) if len(variants) > 1 else set())


@pytest.mark.parametrize("system", ENTRIES)
def test_every_option_of_an_importer_is_described(system: str) -> None:
    assert set(ENTRIES[system].options) == set(capabilities.options_of(system))


@pytest.mark.parametrize("system", IMPORTERS)
def test_import_mark_has_a_test(system: str) -> None:
    file, name = IMPORT_TESTS[system].split("::")
    tree = ast.parse((ROOT / "tests" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def graphs() -> list[Model]:
    """Gives the configurations whose graphs are not those of another one too."""
    found: list[Model] = []
    for model in models().values():
        if not any(other.covers(model) for other in found):
            found = [other for other in found if not model.covers(other)] + [model]
    return found


@dataclass(frozen=True)
class Exported:
    """A small network with all its graphs, and their comparison with PyTorch."""

    model: Model
    bundle: Bundle
    records: list[verify.Record]

    def open(self, backend: str = "onnxruntime") -> Translator:
        return Translator.load(self.bundle.path, backend=backend, precision="fp32")

    @cached_property
    def maker(self) -> StyleMaker:
        choice = Choice(BACKENDS["onnxruntime"], "fp32", "")
        return StyleMaker(self.bundle, open_session(self.bundle, choice))

    @property
    def domain(self) -> str | None:
        """A target domain, where the model has several."""
        return self.model.style.domains[-1] if self.model.style is not None and self.model.style.domains else None

    def frames(self) -> np.ndarray:
        """Gives two frames as `translate` takes them: photographs, or label maps."""
        size = self.bundle.stages["translate"].fixed_size or SIZES[0]
        with open_session(self.bundle, Choice(BACKENDS["torch"], "fp32", "")) as reference:
            inputs = Trial(self.bundle, reference, verify.sample_photographs()).inputs("translate", size, 2)
        return inputs[self.bundle.stages["translate"].inputs[0].name]


def export(model: Model, path: Path) -> Exported:
    """Writes a small network's bundle, exports every stage in every format, and compares at two sizes and batches."""
    made = small_configurations()[model.name]()
    bundle = write_bundle(made, model.system, path, Provenance("drawn with seed 0", sha256=""))
    build.build(bundle, PAIRS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "SIZES", SIZES)
        patch.setattr(verify, "median_ms", lambda runs, seconds=0.0: [0.0] * len(runs))
        return Exported(model, bundle, verify.verify(bundle, gates_db=GATES_DB))


# one test a network, whose export takes most of the time
@pytest.mark.parametrize("model", graphs(), ids=lambda model: model.name)
def test_every_mark_holds(model: Model, tmp_path: Path) -> None:
    exported = export(model, tmp_path / "bundle")
    check_graphs(exported)
    check_statistics_in_float32(exported)
    check_tensorrt_takes_the_graphs(exported)
    check_description(exported)
    check_style_from_an_image(exported)
    check_style_from_a_seed(exported)
    check_clip(exported, tmp_path)
    check_baked_style(exported, tmp_path)
    check_editing(exported)


def check_graphs(exported: Exported) -> None:
    compared = {(record.backend, record.precision, record.stage) for record in exported.records}
    runnable = {
        (backend.name, precision, stage)
        for backend in BACKENDS.values()
        for precision in backend.precisions.keys() - set(TRAINED_ONLY)
        if backend.format in {entry.name for entry in COMPARED} and problem(backend, precision) is None
        for stage in exported.model.stages
    }
    assert compared == runnable
    for record in exported.records:
        assert record.passed, (record.backend, record.precision, record.stage, verify.fidelity(record), record.cases)
    sizes = {(case.height, case.width) for record in exported.records for case in record.cases}
    assert sizes >= (set(SIZES) if COLUMNS["any size"](exported.model) is not None else set())


def check_statistics_in_float32(exported: Exported) -> None:
    import onnx

    for artifact in exported.bundle.artifacts():
        if artifact.precision != "fp16":
            continue
        graph = onnx.load(exported.bundle.path / artifact.file).graph
        producers = {output: node for node in graph.node for output in node.output}
        for node in graph.node:
            if node.op_type != "InstanceNormalization":
                continue
            source = producers[node.input[0]]
            while source.op_type == "Reshape":
                source = producers[source.input[0]]
            assert source.op_type == "Cast" and source.attribute[0].i == onnx.TensorProto.FLOAT, artifact.stage


def check_tensorrt_takes_the_graphs(exported: Exported) -> None:
    """Compared with the list of what its parser takes; no engine is built here."""
    for artifact in exported.bundle.artifacts():
        if artifact.format == "onnx":
            assert refused(prepare(inlined(exported.bundle.path / artifact.file))) == [], artifact.file


def check_description(exported: Exported) -> None:
    opened = Bundle.open(exported.bundle.path)
    assert opened.stages == exported.model.stages and opened.style == exported.model.style
    assert any(tensor.name == "style" for tensor in exported.model.main.inputs) == (opened.style is not None)
    for stage in opened.stages.values():
        assert StageSpec.from_json(stage.to_json()) == stage


def check_style_from_an_image(exported: Exported) -> None:
    maker, image = exported.maker, verify.sample_photographs()[1]
    if COLUMNS["style from an image"](exported.model) is None:
        with pytest.raises(UnsupportedError):
            maker.from_image(image, exported.domain)
        return
    style = maker.from_image(image, exported.domain)
    other = maker.from_image(255 - image, exported.domain)
    assert style.code.shape == (maker.size,) and np.isfinite(style.code).all()
    assert not np.allclose(style.code, other.code)


def check_style_from_a_seed(exported: Exported) -> None:
    maker = exported.maker
    if exported.model.style is None:
        with pytest.raises(UnsupportedError):
            maker.from_seed(1)
        return
    if draws_styles(exported.model):  # a condition: after --fit
        with pytest.raises(UnsupportedError, match="--fit"):
            maker.from_seed(1, exported.domain)
        maker.fit(verify.sample_photographs(), exported.domain)
    styles = [maker.from_seed(seed, exported.domain).code for seed in (1, 1, 2)]
    assert np.array_equal(styles[0], styles[1]) and not np.array_equal(styles[0], styles[2])


def drawn_style(exported: Exported) -> Style | None:
    """Makes some style where the model takes one."""
    if exported.model.style is None:
        return None
    maker = exported.maker
    if COLUMNS["style from an image"](exported.model) is not None:
        return maker.from_image(verify.sample_photographs()[2], exported.domain)
    return maker.from_seed(1, exported.domain)


def check_clip(exported: Exported, folder: Path) -> None:
    from i2i_rt.video.intake import intake_of
    from i2i_rt.video.part import VideoOptions
    from i2i_rt.video.translate import translate_video
    from tests.video import clips

    if COLUMNS["video"](exported.model) is None:
        with pytest.raises(UnsupportedError, match="translates nothing"):
            exported.open()
        return
    painted: Callable[[int, int, int], np.ndarray] = clips.picture
    if exported.bundle.labels is not None:
        palette = np.array(exported.bundle.labels.palette, np.uint8)

        def painted(index: int, height: int, width: int) -> np.ndarray:
            classes = (np.arange(width) * 3 // width + index) % len(palette)
            return palette[classes][None].repeat(height, axis=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "FRAMES", 4)
        clip = clips.write_clip(folder / "clip.mp4", make=painted)
    with exported.open("openvino") as translator:
        translator.current_style = drawn_style(exported)
        summary = translate_video(
            translator,
            clip,
            folder / "out.mp4",
            VideoOptions(batch=2, fixed=translator.fixed_size),
            intake=intake_of(exported.bundle),
        )
        size = translator.fixed_size or (clips.HEIGHT, clips.WIDTH)
    frames = clips.frames_of(folder / "out.mp4")
    assert summary.frames == len(frames) == 4
    assert all(picture.shape == (*size, 3) and picture.std() > 1 for _, picture in frames)


def check_baked_style(exported: Exported, folder: Path) -> None:
    style = drawn_style(exported)
    if style is None:
        return
    baked = bake(exported.bundle, folder / "baked", {"style": style.code[None]}, style.origin)
    build.build(baked, [(FORMATS["onnx"], "fp32")])
    frames = exported.frames()
    with exported.open() as translator:
        expected = translator(frames, style).astype(int)
    for backend in ("torch", "onnxruntime"):
        with Translator.load(baked.path, backend=backend, precision="fp32") as translator:
            assert not translator.has_style
            assert np.abs(translator(frames) - expected).max() <= 1


def check_editing(exported: Exported) -> None:
    with open_session(exported.bundle, Choice(BACKENDS["onnxruntime"], "fp32", "")) as session:
        if COLUMNS["editing"](exported.model) is None:
            with pytest.raises(UnsupportedError):
                Editor(exported.bundle, session)
            return
        editor = Editor(exported.bundle, session)
        first, second = (editor.encode(frame) for frame in exported.frames())
        same, swapped = (editor.decode(codes).astype(int) for codes in (first, first.with_texture(second)))
    assert np.abs(swapped - same).mean() > 1
