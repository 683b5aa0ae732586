"""The cross-check: what is read of the other program, and what is said where it is missing or fails."""

from pathlib import Path

import pytest

from i2i_rt.benchmarks.serving import perf_analyzer
from i2i_rt.benchmarks.serving.perf_analyzer import Finding, check
from i2i_rt.errors import UnsupportedError
from i2i_rt.serving.installation import Installation

WRITES = """#!/bin/sh
test -e "$LD_LIBRARY_PATH"/libb64.so.0d || ls "${LD_LIBRARY_PATH%%:*}"/libb64.so.0d > /dev/null || exit 9
while [ "$1" != "-f" ]; do shift; done
printf 'Concurrency,Inferences/Second,p50 latency,p99 latency\\n1,50.5,1200,5300\\n' > "$2"
"""


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a stand-in on PATH, and libraries where the server has them."""
    (folder / "perf_analyzer").write_text(text)
    (folder / "perf_analyzer").chmod(0o755)
    (folder / "libb64-1234.so.0d").touch()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    installation = Installation(folder / "tritonserver", "in a test", {"LD_LIBRARY_PATH": str(folder)})
    monkeypatch.setattr(perf_analyzer, "find_server", lambda: installation)


def asked() -> Finding:
    return check("127.0.0.1:9", "echo-uint8", "values", (64, 64, 3), 10)


def test_its_table_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, WRITES, monkeypatch)
    assert asked() == Finding(1.2, 5.3, 50.5)


def test_its_own_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "#!/bin/sh\necho 'no such model' >&2\nexit 1\n", monkeypatch)
    with pytest.raises(UnsupportedError, match="failed: no such model"):
        asked()


def test_where_it_is_missing_the_sentence_says_who_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match="not on PATH; the wheel of tritonclient"):
        asked()
