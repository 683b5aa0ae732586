"""Compares our networks with what the official implementations gave: `python -m tests.parity FOLDER…`.

A case is a folder with `case.json` (what was run) and `tensors.npz` (what came out). Weights and inputs are drawn
again from rules. The checkpoint is written as the official code writes it and goes through the importer, which finds
the architecture from keys and shapes alone. Prints a line a case and exits with 1 if one fails; a case of a network
that is not there yet prints UNSUPPORTED and counts as a failure unless `--supported-only`.
"""

import argparse
import sys
from pathlib import Path

from i2i_rt.errors import CheckpointError
from tests.parity.case import UnsupportedCase
from tests.parity.harness import case_folders, run_case


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a case, or a folder of cases")
    parser.add_argument("--supported-only", action="store_true", help="leave out what is not there yet")
    options = parser.parse_args(arguments)
    empty = [path for path in options.folders if not case_folders([path])]
    if empty:
        print(f"no case.json in {', '.join(map(str, empty))}", file=sys.stderr)
        return 2
    folders = case_folders(options.folders)
    failures = 0
    for folder in folders:
        try:
            result = run_case(folder)
        except UnsupportedCase as reason:
            if not options.supported_only:
                failures += 1
                print(f"{folder.name:<48} UNSUPPORTED  {reason}")
            continue
        except (CheckpointError, ValueError, KeyError, OSError) as error:
            failures += 1
            print(f"{folder.name:<48} FAIL  {type(error).__name__}: {error}")
            continue
        failures += not result.passed
        print(result.line())
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
