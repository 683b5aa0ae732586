"""Editing by codes: arithmetic, masks, components and the verb, on a small Swapping Autoencoder in PyTorch."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.editing import Codes, Direction, Editor
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator
from tests.small.swapping import SMALL, STRUCTURE, TEXTURE


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from i2i_rt.models import table
    from i2i_rt.stages.table import stages_of

    made = SMALL["swapping"]()
    return Bundle.create(
        tmp_path_factory.mktemp("editing") / "bundle",
        system="swapping",
        networks={name: table.describe(network) for name, network in made.networks.items()},
        stages={name: stage.spec for name, stage in stages_of("swapping", made.networks).items()},
        weights=table.weights_of(made.networks),
        provenance=Provenance("drawn", ""),
        preprocessing=asdict(made.preprocessing),
        style=made.style,
    )


@pytest.fixture(scope="module")
def editor(bundle: Bundle) -> Iterator[Editor]:
    with Translator.load(bundle.path, backend="torch") as translator:
        yield Editor(bundle, translator.session)


def picture(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of pictures, `before` and `after`, and the pictures `a.png` and `b.png`."""
    folder = tmp_path_factory.mktemp("photos")
    for name, seeds in (("before", (1, 2, 3)), ("after", (4, 5, 6))):
        (folder / name).mkdir()
        for seed in seeds:
            Image.fromarray(picture(seed)).save(folder / name / f"{seed}.png")
    Image.fromarray(picture(7)).save(folder / "a.png")
    Image.fromarray(picture(8)).save(folder / "b.png")
    return folder


def drawn(seed: int, height: int = 6, width: int = 8) -> Codes:
    random = np.random.default_rng(seed)
    structure = random.standard_normal((STRUCTURE, height, width)).astype(np.float32)
    return Codes(structure, random.standard_normal(TEXTURE).astype(np.float32), height * 4, width * 4)


def test_picture_of_any_size_comes_back_in_its_size(editor: Editor) -> None:
    codes = editor.encode(picture(0, 37, 50))
    assert codes.structure.shape == (STRUCTURE, 10, 13) and codes.texture.shape == (TEXTURE,)
    assert editor.decode(codes).shape == (37, 50, 3)


def test_swapping_is_what_the_stage_translate_does(editor: Editor) -> None:
    own, other = editor.encode(picture(0)), editor.encode(picture(1))
    session = editor._session
    expected = session.run("translate", {"frames": picture(0)[None], "style": other.texture[None]})["translated"][0]
    assert np.abs(editor.decode(own.with_texture(other)).astype(int) - expected).max() <= 1
    assert np.array_equal(own.with_texture(other, 0).texture, own.texture)


def test_difference_leads_from_one_mean_to_the_other(editor: Editor) -> None:
    before, after = [drawn(0), drawn(1)], [drawn(2), drawn(3), drawn(4)]
    direction = editor.difference(before, after, "texture")
    start = np.mean([codes.texture for codes in before], axis=0)
    np.testing.assert_allclose(start + direction.vector, np.mean([c.texture for c in after], axis=0), atol=1e-6)
    assert editor.difference(before, after, "structure").vector.shape == (STRUCTURE,)
    with pytest.raises(I2IError, match="at least one picture in each"):
        editor.difference(before, [], "texture")


def test_first_component_is_the_direction_in_which_codes_differ(editor: Editor) -> None:
    random = np.random.default_rng(0)
    axis = np.zeros(TEXTURE, np.float32)
    axis[2] = 1
    amounts = random.standard_normal(40) * 5
    group = [
        Codes(drawn(0).structure, (amount * axis + 0.1 * random.standard_normal(TEXTURE)).astype(np.float32), 24, 32)
        for amount in amounts
    ]
    found = editor.components(group, "texture", 3)
    assert found.explained[0] > 0.95 and sum(found.explained) <= 1 + 1e-6
    assert list(found.explained) == sorted(found.explained, reverse=True)
    # one standard deviation long, and of the sign that makes its largest number positive
    np.testing.assert_allclose(found.directions[0].vector[2], amounts.std(ddof=1), rtol=0.05)


def test_structure_components_take_every_place_as_a_code(editor: Editor) -> None:
    assert len(editor.components([drawn(0)], "structure", STRUCTURE).directions) == STRUCTURE
    with pytest.raises(I2IError, match=f"1 pictures have {STRUCTURE} principal directions of structure"):
        editor.components([drawn(0)], "structure", STRUCTURE + 1)
    with pytest.raises(I2IError, match="have 1 principal directions of texture"):
        editor.components([drawn(0), drawn(1)], "texture", 2)


def test_mask_has_what_looks_alike() -> None:
    codes = drawn(0)
    codes.structure[:, 1:3, 2:5] = 3 * codes.structure[:, 1:2, 2:3]  # the same code in another length
    mask = codes.similar_to(1, 2, threshold=0.99, softness=0)
    assert mask[1:3, 2:5].min() == 1 and mask.sum() == 6
    soft = codes.similar_to(1, 2, threshold=0.5, softness=0.5)
    assert ((soft > 0) & (soft < 1)).any()
    with pytest.raises(I2IError, match="outside of the structure code"):
        codes.similar_to(6, 0)


def test_region_moves_inside_of_its_mask_only(editor: Editor) -> None:
    codes = drawn(0)
    mask = np.zeros((6, 8), np.float32)
    mask[2, 3] = 1
    direction = Direction(np.ones(STRUCTURE, np.float32), "structure", editor.model)
    moved = codes.moved(direction, 2, mask)
    difference = moved.structure - codes.structure
    assert np.allclose(difference[:, 2, 3], 2) and np.count_nonzero(difference) == STRUCTURE
    assert np.array_equal(moved.texture, codes.texture)
    with pytest.raises(I2IError, match="one for the whole picture"):
        codes.moved(Direction(np.ones(TEXTURE, np.float32), "texture", editor.model), 1, mask)
    with pytest.raises(I2IError, match=f"the direction has 3 numbers; this model's texture has {TEXTURE}"):
        codes.moved(Direction(np.ones(3, np.float32), "texture", editor.model), 1)


def test_clone_copies_and_leaves_out_what_lands_outside() -> None:
    codes, source = drawn(0), drawn(1, 5, 5)
    mask = np.zeros((5, 5), np.float32)
    mask[0:2, 0:3] = 1
    edited = codes.cloned(source, mask, rows=5, columns=1).structure
    np.testing.assert_array_equal(edited[:, 5, 1:4], source.structure[:, 0, 0:3])
    edited[:, 5, 1:4] = codes.structure[:, 5, 1:4]
    np.testing.assert_array_equal(edited, codes.structure)
    half = codes.cloned(source, 0.5 * np.ones((5, 5), np.float32), rows=-4, columns=-4).structure
    np.testing.assert_allclose(half[:, 0, 0], (codes.structure[:, 0, 0] + source.structure[:, 4, 4]) / 2, rtol=1e-6)
    with pytest.raises(I2IError, match="lands inside"):
        codes.cloned(source, mask, rows=6)


def test_direction_file_has_what_others_read(tmp_path: Path) -> None:
    direction = Direction(np.arange(TEXTURE, dtype=np.float32), "texture", "abc")
    file = direction.save(tmp_path / "new" / "d.npz")
    with np.load(file) as content:
        assert set(content) == {"direction", "kind", "model"}
        assert content["direction"].dtype == np.float32 and content["direction"].shape == (TEXTURE,)
    assert Direction.load(file).kind == "texture" and Direction.load(file).model == "abc"


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_other_files_are_no_directions(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        np.savez(tmp_path / "d.npz", direction=np.zeros((2, 2)), kind="texture", model="a")
    else:
        (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(I2IError, match="is no direction file"):
        Direction.load(tmp_path / "d.npz")


def test_systems_without_codes_are_refused(bundle: Bundle) -> None:
    with pytest.raises(UnsupportedError, match="has no stage 'encode'"):
        Editor(bundle, FakeSession())


def edit(bundle: Bundle, *words: object) -> int:
    return main(["edit", str(bundle.path), *map(str, words), "--backend", "torch"])


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as opened:
        return opened.size


def test_verb_swaps_and_interpolates(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    pair = photos / "a.png", photos / "b.png"
    assert edit(bundle, "swap", *pair, "-o", tmp_path / "swap.png") == 0
    assert edit(bundle, "interpolate", *pair, "--share", 0, 0.5, 1, "-o", tmp_path / "mix.png") == 0
    assert size_of(tmp_path / "swap.png") == (96, 64) and size_of(tmp_path / "mix.png") == (3 * 96, 64)
    mixed, swapped = (np.array(Image.open(tmp_path / name)).astype(int) for name in ("mix.png", "swap.png"))
    assert np.abs(mixed[:, -96:] - swapped).max() <= 1
    assert np.abs(mixed[:, :96] - swapped).max() > 10


def test_verb_finds_directions_and_moves_along_them(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    assert edit(bundle, "vector", photos / "before", photos / "after", "-o", file) == 0
    assert edit(bundle, "move", photos / "a.png", file, "--amount", 0, -2, "-o", tmp_path / "moved.png") == 0
    assert size_of(tmp_path / "moved.png") == (2 * 96, 64)
    components = tmp_path / "pca"
    assert edit(
        bundle, "pca", photos / "before", "--kind", "structure", "--components", 2, "--preview", photos / "a.png",
        "-o", components,
    ) == 0  # fmt: skip
    assert sorted(path.name for path in components.iterdir()) == ["preview.png", "structure-1.npz", "structure-2.npz"]
    assert size_of(components / "preview.png") == (5 * 96, 2 * 64)
    result, mask = tmp_path / "region.png", tmp_path / "mask.png"
    assert edit(
        bundle, "region", photos / "a.png", components / "structure-1.npz", "--at", "40,30", "--amount", 3,
        "--show-mask", mask, "-o", result,
    ) == 0  # fmt: skip
    assert size_of(result) == size_of(mask) == (96, 64)
    assert np.array(Image.open(mask))[30, 40, 0] == 255


def test_verb_clones(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    target, source, result = photos / "a.png", photos / "b.png", tmp_path / "clone.png"
    assert edit(bundle, "clone", target, "--source", source, "--box", "0,0,96,64", "-o", result) == 0
    assert edit(bundle, "swap", source, target, "-o", tmp_path / "swap.png") == 0
    # all of the structure from one, the texture from the other: a swap
    assert np.abs(np.array(Image.open(result)).astype(int) - np.array(Image.open(tmp_path / "swap.png"))).max() <= 1
    brush = np.zeros((64, 96), np.uint8)
    brush[8:24, 8:40] = 255
    Image.fromarray(brush).save(tmp_path / "brush.png")
    assert edit(bundle, "clone", target, "--mask", tmp_path / "brush.png", "--to", "40,20", "-o", result) == 0
    assert size_of(result) == (96, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["swap", "{}/a.png", "{}/none.png", "-o", "{}/x.png"], "there is no file"),
        (["swap", "{}/a.png", "{}/b.png", "-o", "{}/x.gif"], "images are written as"),
        (["interpolate", "{}/a.png", "{}/b.png", "--share", "2", "-o", "{}/x.png"], "--share is 2"),
        (["vector", "{}/before", "{}/nothing", "-o", "{}/x.npz"], "there is no folder"),
        (["vector", "{}/before", "{}/after", "-o", "{}/x.png"], "must end in .npz"),
        (["pca", "{}/before", "-o", "{}/new"], "3 pictures have 2 principal directions of texture"),
        (["move", "{}/a.png", "{}/b.png", "-o", "{}/x.png"], "is no direction file"),
        (["region", "{}/a.png", "{}/other.npz", "--at", "1,1", "-o", "{}/x.png"], "belongs to another model"),
        (["clone", "{}/a.png", "--box", "90,0,8,8", "--to", "0,0", "-o", "{}/x.png"], "leaves the source"),
        (["clone", "{}/a.png", "--box", "0,0,8,8", "-o", "{}/x.png"], "changes nothing; give --to, --source"),
        (["clone", "{}/a.png", "--box", "0,0,8,8", "--to", "200,0", "-o", "{}/x.png"], "is outside of the picture"),
    ],
)
def test_verb_says_what_is_wrong(
    bundle: Bundle, photos: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    Direction(np.zeros(STRUCTURE, np.float32), "structure", "other").save(photos / "other.npz")
    assert edit(bundle, *(word.format(photos) for word in words)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
