"""Label maps from files: what is read, what is refused and where, edges, resizing, colours."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from i2i_rt.errors import I2IError, MediaError
from i2i_rt.label_maps import check_labels, colourise, decode_labels, edges_of, read_instances, read_labels, resize
from i2i_rt.label_names import label_info
from i2i_rt.spec import LabelInfo

COCO = label_info("coco", 182, unknown=True, edges=True)
ADE20K = label_info("ade20k", 150, unknown=True, edges=False)
CITYSCAPES = label_info("cityscapes", 35, unknown=False, edges=True)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 34, (5, 7), np.uint8)


def save(values: np.ndarray, file: Path, palette: bool = False) -> Path:
    picture = Image.fromarray(values)
    if palette:
        picture.putpalette([level for level in range(256) for _ in range(3)])
    picture.save(file)
    return file


def test_grey_palette_and_npy_hold_indices(labels: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", labels.astype(np.int64))
    files = [
        save(labels, tmp_path / "grey.png"),
        save(labels, tmp_path / "palette.png", palette=True),
        save(labels.astype(np.uint16), tmp_path / "deep.png"),
        tmp_path / "a.npy",
    ]
    for file in files:
        read = read_labels(file, CITYSCAPES)
        assert read.dtype == np.uint8 and (read == labels).all(), file.name


@pytest.mark.parametrize("info", [COCO, ADE20K], ids=["coco", "ade20k"])
def test_picture_painted_in_the_palette_is_read_back(info: LabelInfo, tmp_path: Path) -> None:
    values = np.arange(len(info.names), dtype=np.uint8)[None].repeat(2, 0)
    painted = colourise(values, info)
    again = read_labels(save(painted, tmp_path / "a.png"), info)
    assert (colourise(again, info) == painted).all()
    # of two classes with one colour, which the data sets have, the first is read
    assert (again <= values).all() and (again == values).mean() > 0.98


def test_black_is_unknown_where_no_class_is_black(tmp_path: Path) -> None:
    file = save(np.zeros((2, 2, 3), np.uint8), tmp_path / "a.png")
    assert (read_labels(file, COCO) == 255).all() and (colourise(read_labels(file, COCO), COCO) == 0).all()
    assert (read_labels(file, ADE20K) == 0).all() and (read_labels(file, CITYSCAPES) == 0).all()


def test_wrong_label_is_named_with_its_place(labels: np.ndarray) -> None:
    labels[3, 2] = 35
    with pytest.raises(I2IError, match=r"the label 35 at row 3, column 2; known are 0 to 34$"):
        check_labels(labels, CITYSCAPES)
    labels[3, 2] = 255
    with pytest.raises(I2IError, match="the label 255 at row 3, column 2"):
        check_labels(labels, CITYSCAPES)
    assert check_labels(labels, COCO)[3, 2] == 255
    with pytest.raises(I2IError, match=r"the label -1 at row 0, column 1.*255 for unknown"):
        check_labels(np.array([[0, -1]]), COCO)
    with pytest.raises(I2IError, match="the label 256 at"):
        check_labels(np.array([[256]], np.uint16), COCO)


def test_wrong_colour_is_named_with_its_place(tmp_path: Path) -> None:
    painted = colourise(np.zeros((3, 4), np.uint8), COCO)
    painted[1, 3] = 1, 2, 3
    with pytest.raises(I2IError, match=r"the colour \(1, 2, 3\) at row 1, column 3"):
        read_labels(save(painted, tmp_path / "a.png"), COCO)


def test_what_is_no_label_map_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "float.npy", np.zeros((2, 2)))
    np.save(tmp_path / "flat.npy", np.zeros(4, int))
    np.save(tmp_path / "object.npy", np.array([[{}]]), allow_pickle=True)
    for name in ("text.png", "float.npy", "flat.npy", "object.npy", "missing.png", "missing.npy"):
        with pytest.raises(MediaError, match=name):
            read_labels(tmp_path / name, COCO)
    with pytest.raises(MediaError, match=f"^there is no file {tmp_path / 'missing.png'}$"):
        read_labels(tmp_path / "missing.png", COCO)
    with pytest.raises(MediaError, match="one number a pixel"):
        read_instances(save(np.zeros((2, 2, 3), np.uint8), tmp_path / "colour.png"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_instances_keep_large_numbers(dtype: type, tmp_path: Path) -> None:
    values = np.array([[0, 7], [200 if dtype is np.uint8 else 33003, 7]], dtype)
    # a PNG has 16 bits at most
    file = tmp_path / ("a.tiff" if dtype is np.int32 else "a.png")
    assert (read_instances(save(values, file)) == values).all()
    np.save(tmp_path / "a.npy", values)
    assert (read_instances(tmp_path / "a.npy") == values).all()


@given(arrays.arrays(np.int32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 3)))
def test_edges_are_where_any_neighbour_differs(instances: np.ndarray) -> None:
    edges = edges_of(instances)
    height, width = instances.shape
    for row in range(height):
        for column in range(width):
            places = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            around = [instances[place] for place in places if 0 <= place[0] < height and 0 <= place[1] < width]
            assert edges[row, column] == any(value != instances[row, column] for value in around)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_resizing_picks_what_pil_picks(height: int, width: int, new_height: int, new_width: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    expected = np.asarray(Image.fromarray(values).resize((new_width, new_height), Image.Resampling.NEAREST))
    assert (resize(values, new_width, new_height) == expected).all()
    assert (resize(values.astype(np.int64) << 40, new_width, new_height) >> 40 == expected).all()


def test_classes_of_the_data_sets() -> None:
    for info, count in ((COCO, 182), (ADE20K, 151), (CITYSCAPES, 35)):
        assert len(info.names) == len(info.palette) == count
        assert all(info.names) and len(set(info.names)) == count
        assert LabelInfo.from_json({**vars(info), "palette": [list(colour) for colour in info.palette]}) == info
    assert (COCO.names[0], COCO.names[-1]) == ("person", "wood") and COCO.palette[0] == (128, 0, 0)
    assert (ADE20K.names[0], ADE20K.names[3], ADE20K.palette[3]) == ("unknown", "sky", (6, 230, 230))
    assert (CITYSCAPES.names[7], CITYSCAPES.palette[7]) == ("road", (128, 64, 128))
    assert len(set(COCO.palette)) == 182


def test_bytes_of_a_png_are_read_as_the_file_is(tmp_path: Path) -> None:
    painted = colourise(np.array([[0, 1], [2, 255]], np.uint8), COCO)
    content = save(painted, tmp_path / "a.png").read_bytes()
    assert np.array_equal(decode_labels(content, COCO, "bytes"), read_labels(tmp_path / "a.png", COCO))
    Image.fromarray(painted).save(tmp_path / "a.bmp")
    with pytest.raises(MediaError, match="the map cannot be read as a label map"):
        decode_labels((tmp_path / "a.bmp").read_bytes(), COCO, "the map")
    with pytest.raises(MediaError, match="the map cannot be read as a label map"):
        decode_labels(content[:50], COCO, "the map")
