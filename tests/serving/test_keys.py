"""The administrator's key: where it comes from, and that nobody else can read it."""

from pathlib import Path

import pytest

from i2i_rt.errors import I2IError
from i2i_rt.serving import keys


def test_own_clients_find_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert keys.find_key(8001) is None
    folder = keys.run_folder(8001)
    folder.mkdir(parents=True)
    for key in ("first", "second"):
        keys.write_key(folder, key)
        assert keys.find_key(8001) == key
    assert (folder / keys.KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert keys.find_key(8002) is None


def test_given_key_is_the_files_or_the_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keys.VARIABLE, raising=False)
    assert keys.given_key(None) is None
    monkeypatch.setenv(keys.VARIABLE, "of the environment")
    assert keys.given_key(None) == "of the environment"
    file = tmp_path / "key"
    file.write_text("a key in the file\n")
    assert keys.given_key(file) == "a key in the file"


@pytest.mark.parametrize(
    "content", [b"", b"short", "a key with an umlaut: ü".encode(), b"two lines of a key\nof it", b"\xff" * 20]
)
def test_key_that_is_none_is_a_sentence(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(I2IError, match="key"):
        keys.given_key(file)
    with pytest.raises(I2IError, match="cannot be read"):
        keys.given_key(tmp_path / "none")
