"""Golden cases: recorded for every stage, the network's own answers, and of no use for other weights."""

from pathlib import Path

import numpy as np
import pytest

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import BundleError
from i2i_rt.export import golden
from i2i_rt.importers.table import write_bundle
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator
from tests.capabilities import small_configurations


def small_bundle(name: str, path: Path) -> Bundle:
    made = small_configurations()[name]()
    return write_bundle(made, name.split("-")[0], path, Provenance("drawn with seed 0", sha256=""))


def test_gradient_has_no_equal_neighbours() -> None:
    picture = golden.gradient(64).astype(int)
    assert (np.abs(np.diff(picture, axis=1)).sum(axis=2) > 0).all()
    assert (np.abs(np.diff(picture, axis=0)).sum(axis=2) > 0).all()


def test_case_is_the_networks_translation(bundle: Bundle) -> None:
    golden.record(bundle)
    case = bundle.golden("translate")
    assert case is not None
    with Translator.load(bundle.path, backend="torch", precision="fp32") as translator:
        np.testing.assert_array_equal(translator(case.inputs["frames"]), case.outputs["translated"])


@pytest.mark.parametrize("name", ["munit", "starganv2", "tunit"])
def test_style_case_names_the_style_of_the_translation(name: str, tmp_path: Path) -> None:
    bundle = small_bundle(name, tmp_path / "bundle")
    golden.record(bundle)
    style, translate = bundle.golden("style"), bundle.golden("translate")
    assert style is not None and translate is not None
    np.testing.assert_array_equal(style.outputs["style"], translate.inputs["style"][0])
    with Translator.load(bundle.path, backend="torch", precision="fp32") as translator:
        domain = str(style.inputs["domain"][0]) if "domain" in style.inputs else None
        seed = int(style.inputs["seed"][0]) if "seed" in style.inputs else None
        made = translator.style(image=style.inputs.get("reference"), seed=seed, domain=domain)
        np.testing.assert_array_equal(made.code, style.outputs["style"])


def test_mean_style_is_recorded_where_there_is_one(tmp_path: Path) -> None:
    munit, tunit = small_bundle("munit", tmp_path / "munit"), small_bundle("tunit", tmp_path / "tunit")
    for bundle in (munit, tunit):
        golden.record(bundle)
    case = munit.golden("image")
    assert case is not None and tunit.golden("image") is None
    with Translator.load(munit.path, backend="torch", precision="fp32") as translator:
        np.testing.assert_array_equal(translator(case.inputs["frames"]), case.outputs["translated"])


def test_label_maps_come_without_edges(tmp_path: Path) -> None:
    bundle = small_bundle("spade", tmp_path / "bundle")
    golden.record(bundle)
    case = bundle.golden("translate")
    assert case is not None and not case.inputs["edges"].any() and len(np.unique(case.inputs["labels"])) > 1
    assert bundle.golden("layout") is not None and bundle.golden("render") is not None


def test_case_of_other_weights_is_none(bundle: Bundle, tmp_path: Path) -> None:
    golden.record(bundle)
    other = tiny_bundle(tmp_path / "other", width=4)
    (other.path / "golden").mkdir()
    (other.path / "golden" / "translate.npz").write_bytes((bundle.path / "golden" / "translate.npz").read_bytes())
    assert other.golden("translate") is None
    assert bundle.golden("render") is None


def test_damaged_case_is_a_sentence(bundle: Bundle) -> None:
    golden.record(bundle)
    file = bundle.path / "golden" / "translate.npz"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(BundleError, match="export again"):
        bundle.golden("translate")
