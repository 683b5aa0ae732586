"""Keys of compiled artifacts: equal ones say nothing, others say what differs in one sentence."""

import dataclasses
import threading
from pathlib import Path

import pytest

from i2i_rt.runtime.artifact_key import ArtifactKey, key_file, locked

KEY = ArtifactKey(
    stage="translate",
    precision="fp16",
    weights_sha256="a",
    device="NVIDIA H100",
    capability="9.0",
    library="TensorRT",
    library_version="10.16",
    shapes=[{"frames": [[1, 64, 64, 3], [1, 256, 256, 3], [4, 512, 512, 3]]}],
    options={"plugins": "none"},
)


def test_equal_keys_have_no_difference() -> None:
    assert KEY.difference(dataclasses.replace(KEY)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"device": "NVIDIA L4", "capability": "8.9", "library_version": "11.4"},
            "it was made for NVIDIA H100 (9.0) with TensorRT 10.16, and here is NVIDIA L4 (8.9) with TensorRT 11.4",
        ),
        ({"weights_sha256": "b"}, "it was made from other weights than the bundle has now"),
        ({"precision": "bf16"}, "it is translate in fp16, not translate in bf16"),
        (
            {"shapes": [{"frames": [[1, 64, 64, 3]] * 3}]},
            "it was made for frames 1x64x64x3 to 4x512x512x3, not for frames 1x64x64x3",
        ),
        ({"options": {"plugins": "NormAct"}}, "it was made with plugins none, not NormAct"),
        ({"i2i_rt": "9.9"}, f"it was made by i2i_rt {KEY.i2i_rt}, and this is 9.9"),
    ],
)
def test_difference_is_told_in_words(change: dict[str, object], words: str) -> None:
    assert KEY.difference(dataclasses.replace(KEY, **change)) == words


def test_key_comes_back_from_its_file(tmp_path: Path) -> None:
    artifact = tmp_path / "translate.fp16.engine"
    artifact.write_bytes(b"an engine")
    KEY.write(artifact)
    assert key_file(artifact).name == "translate.fp16.json"
    assert ArtifactKey.read(artifact) == KEY


@pytest.mark.parametrize("content", [None, "", "{}", '{"unknown": 1}', "[]"])
def test_missing_and_damaged_keys_are_none(tmp_path: Path, content: str | None) -> None:
    artifact = tmp_path / "translate.fp16.engine"
    artifact.write_bytes(b"an engine")
    if content is not None:
        key_file(artifact).write_text(content)
    assert ArtifactKey.read(artifact) is None


def test_key_of_another_file_is_none(tmp_path: Path) -> None:
    """As after a crash between the two files: the key says nothing of what lies there now."""
    artifact = tmp_path / "translate.fp16.engine"
    artifact.write_bytes(b"an engine")
    KEY.write(artifact)
    artifact.write_bytes(b"a newer engine")
    assert ArtifactKey.read(artifact) is None


def test_second_builder_waits_for_the_first(tmp_path: Path) -> None:
    artifact, order, inside = tmp_path / "an.engine", [], threading.Event()

    def second() -> None:
        inside.wait(10)
        with locked(artifact):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with locked(artifact):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_folder_that_cannot_be_written_does_not_stop_anybody(tmp_path: Path) -> None:
    with locked(tmp_path / "nowhere" / "an.engine"):
        pass
