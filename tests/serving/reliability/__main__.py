"""Runs every case, the long ones too, and writes docs/reliability.md: python -m tests.serving.reliability --write."""

import argparse
import platform
import tempfile
import time
from pathlib import Path

from tests.serving.conftest import export_small
from tests.serving.reliability import document
from tests.serving.reliability.case import judge
from tests.serving.reliability.cases import CASES
from tests.serving.reliability.target import NAMES, Target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the document; without it only the rows are shown")
    write = parser.parse_args().write
    results = {}
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        folder = Path(name)
        bundles = export_small(folder, NAMES)
        started = time.monotonic()
        with Target(bundles, folder) as target:
            for case in CASES:
                results[case.name] = judge(case, target)
                print(document.row(results[case.name]), flush=True)
            assert target.close() == 0, target.served.said()
    minutes = (time.monotonic() - started) / 60
    print(f"{len(CASES)} cases in {minutes:.1f} minutes; Python {platform.python_version()}")
    if write:
        head = document.head_of(document.FILE.read_text())
        document.FILE.write_text(document.text_of(head, results))


if __name__ == "__main__":
    main()
