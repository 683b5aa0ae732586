"""Sets of coloured digits, of scikit-learn's real ones: their colours, their imbalance, their known answers."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from i2i_rt.errors import I2IError
from i2i_rt.training.digits import PAIRS, Digits, Kind, colour_shares, placed, read_digits, read_idx, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures of 8 by 8 pixels a digit."""
    found = tmp_path_factory.mktemp("digits")
    real = load_digits()
    for digit in range(10):
        (found / str(digit)).mkdir()
        for number, image in enumerate(real.images[real.target == digit][:30]):
            Image.fromarray((image * 255 / 16).astype(np.uint8)).save(found / str(digit) / f"{number}.png")
    return found


@pytest.fixture(scope="module")
def digits(folder: Path) -> Digits:
    return read_digits(folder, 32)


def pictures(folder: Path) -> tuple[list[str], np.ndarray]:
    files = sorted(folder.iterdir())
    return [file.stem for file in files], np.stack([np.asarray(Image.open(file)) for file in files])


def look(image: np.ndarray) -> tuple[set[tuple[int, ...]], tuple[int, ...]]:
    """Gives all colours of a picture, and that of its corner."""
    return {tuple(colour) for colour in image.reshape(-1, 3).tolist()}, tuple(image[0, 0].tolist())


def test_small_digits_are_enlarged_and_in_the_middle(digits: Digits) -> None:
    assert digits.strokes.shape == (300, 32, 32) and np.bincount(digits.labels).tolist() == [30] * 10
    assert not digits.strokes[:, :2].any() and not digits.strokes[:, :, -2:].any()
    assert 0.1 < digits.strokes.mean() < 0.5
    image = np.arange(28 * 28).reshape(28, 28).astype(np.uint8)
    assert np.array_equal(placed(image, 28), image) and np.array_equal(placed(image, 32)[2:30, 2:30], image)


def test_single_digits_have_their_domains_colours_and_a_training_that_is_out_of_balance(
    digits: Digits, tmp_path: Path
) -> None:
    write(digits, tmp_path / "set", "single", train=120, test=60)

    _, a = pictures(tmp_path / "set" / "trainA")
    looks = [look(image) for image in a]
    assert all(colours == {(0, 0, 0), (255, 255, 255)} for colours, _ in looks)
    assert 40 < sum(corner == (0, 0, 0) for _, corner in looks) < 80
    for folder, rare in (("trainB", {PAIRS[0]}), ("testB", set(PAIRS))):
        names, b = pictures(tmp_path / "set" / folder)
        seen: dict[bool, set[object]] = {True: set(), False: set()}
        for name, (colours, corner) in zip(names, map(look, b), strict=True):
            (ink,) = colours - {corner}
            seen[int(name[-1]) >= 5].add((ink, corner))
        assert seen == {True: rare, False: set(PAIRS)}


@pytest.mark.parametrize("kind", ["single", "multiple"])
def test_answers_have_the_shape_of_one_side_and_the_colours_of_the_other(
    kind: Kind, digits: Digits, tmp_path: Path
) -> None:
    write(digits, tmp_path / "set", kind, train=2, test=12)

    side = {"single": 32, "multiple": 128}[kind]
    for domain, other in ("AB", "BA"):
        (names, content), (_, style), (found, answers) = (
            pictures(tmp_path / "set" / name) for name in (f"test{domain}", f"test{other}", f"answers{domain}{other}")
        )
        assert found == names and answers.shape == (12, side, side, 3)
        for image, exemplar, answer in zip(content, style, answers, strict=True):
            # what is background stays it
            assert np.array_equal((image == image[0, 0]).all(2), (answer == answer[0, 0]).all(2))
            if kind == "single" or (domain, other) == ("B", "A"):
                assert look(answer) == look(exemplar)
            else:
                assert np.array_equal(answer[0, 0], exemplar[0, 0])


def test_pictures_of_several_digits_show_each_class_once_in_a_hue_of_its_own(digits: Digits, tmp_path: Path) -> None:
    write(digits, tmp_path / "set", "multiple", train=6, test=1)

    names, b = pictures(tmp_path / "set" / "trainB")
    assert b.shape == (6, 128, 128, 3)
    for name, image in zip(names, b, strict=True):
        shown = name.partition("_")[2]
        colours, corner = look(image)
        assert len(set(shown)) == len(shown) == len(colours - {corner})
        assert corner in {(0, 0, 0), (255, 255, 255)}


def test_a_seed_means_the_same_set_and_another_seed_another(digits: Digits, tmp_path: Path) -> None:
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        write(digits, tmp_path / name, "single", train=5, test=5, seed=seed)

    first, again, other = (pictures(tmp_path / name / "trainB") for name in ("first", "again", "other"))
    assert first[0] == again[0] and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_no_digit_is_both_learned_and_held_out(digits: Digits) -> None:
    numbered = Digits(np.arange(300)[:, None, None], digits.labels)
    train, test = numbered.split(50, np.random.default_rng(0))
    assert sorted([*train.strokes.ravel(), *test.strokes.ravel()]) == list(range(300)) and len(test.labels) == 50


def test_idx_files_are_read_packed_or_not(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
    content = struct.pack(">HBBIII", 0, 8, 3, 4, 28, 28) + images.tobytes()
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(struct.pack(">HBBI", 0, 8, 1, 4) + bytes([3, 1, 4, 1]))
    )
    found = read_digits(tmp_path, 28)
    assert found.labels.tolist() == [3, 1, 4, 1] and np.array_equal(found.strokes, images >= 128)

    (tmp_path / "images").write_bytes(content)
    assert np.array_equal(read_idx(tmp_path / "images", 3), images)
    (tmp_path / "images").write_bytes(content[:-1])
    with pytest.raises(I2IError, match="no complete IDX file of bytes with 3 axes"):
        read_idx(tmp_path / "images", 3)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(I2IError, match=r"t10k-labels-idx1-ubyte\.gz is missing"):
        read_digits(tmp_path)


def test_idx_files_that_are_damaged_or_empty_are_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 20, 8, 8) + bytes(range(256)) * 5))
    packed[10] = 0xFF  # the first block's kind, which does not exist
    (tmp_path / "images.gz").write_bytes(packed)
    with pytest.raises(I2IError, match=r"images\.gz is no complete IDX file"):
        read_idx(tmp_path / "images.gz", 3)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(struct.pack(">HBBIII", 0, 8, 3, 0, 8, 8))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 0))
    with pytest.raises(I2IError, match="hold no pictures"):
        read_digits(tmp_path)


def test_what_is_no_set_of_digits_is_refused(digits: Digits, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(I2IError, match="has no pictures in a folder 0"):
        read_digits(tmp_path)
    with pytest.raises(I2IError, match="there is no folder"):
        read_digits(tmp_path / "nowhere")
    with pytest.raises(I2IError, match="is not empty"):
        write(digits, folder, "single", train=1, test=1)
    with pytest.raises(I2IError, match="both need at least one"):
        write(digits, tmp_path / "set", "single", train=1, test=0)
    with pytest.raises(I2IError, match="of which 1 cannot be held out"):
        write(Digits(digits.strokes[:1], digits.labels[:1]), tmp_path / "set", "single", train=1, test=1)
    assert not (tmp_path / "set").exists()


def test_sets_that_are_not_complete_leave_nothing(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sets" / "digits"
    save = Image.Image.save

    def interrupted(image: Image.Image, path: Path) -> None:
        if "answers" in str(path):
            raise KeyboardInterrupt
        save(image, path)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(digits, folder, "single", train=2, test=1)
    assert not list(folder.parent.iterdir())

    monkeypatch.undo()
    folder.mkdir()
    write(digits, folder, "single", train=2, test=1)
    assert len(list(folder.iterdir())) == 6


def test_shares_of_colours_are_counted(digits: Digits, tmp_path: Path) -> None:
    write(digits, tmp_path / "set", "single", train=40, test=1)
    _, b = pictures(tmp_path / "set" / "trainB")

    shares = colour_shares(b)

    expected = [(corner, ink) for colours, corner in map(look, b) for ink in colours - {corner}]
    assert shares["red on green"] == pytest.approx(expected.count(((0, 255, 0), (255, 0, 0))) / 40)
    assert sum(shares.values()) == pytest.approx(1) and shares["red on green"] > 0.4
    noisy = b + np.random.default_rng(0).integers(0, 40, b.shape, np.uint8)
    assert colour_shares(np.clip(noisy, 0, 255)).keys() == shares.keys()
