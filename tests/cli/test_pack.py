"""`i2i-rt pack`: what it writes and prints, and what it refuses."""

from pathlib import Path

import pytest

from i2i_rt.cli import main
from tests.training.conftest import draw_pictures


def test_folders_become_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_pictures(tmp_path / "photos" / "trainA", 3)
    draw_pictures(tmp_path / "photos" / "testB", 2)

    assert main(["pack", str(tmp_path / "photos"), "-o", str(tmp_path / "shards")]) == 0

    assert sorted(file.name for file in (tmp_path / "shards").iterdir()) == ["test-000000.tar", "train-000000.tar"]
    assert f"i2i-rt train SYSTEM --data {tmp_path / 'shards'} -o RUN" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["{data}/none", "-o", "{data}/shards"], "there is no folder", id="missing"),
        pytest.param(["{data}/photos/trainA", "-o", "{data}/shards"], "has no pictures in folders", id="wrong-folder"),
        pytest.param(["{data}/photos", "-o", "{data}/photos"], "exists and is not empty", id="full"),
        pytest.param(["{data}/photos", "-o", "{data}/shards", "--shard-mb", "0"], "--shard-mb is 0", id="no-size"),
    ],
)
def test_mistakes_get_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_pictures(tmp_path / "photos" / "trainA", 1)

    assert main(["pack", *(word.format(data=tmp_path) for word in words)]) == 2

    message = capsys.readouterr().err
    assert sentence in message and message.count("\n") == 1
    assert not (tmp_path / "shards").exists()
