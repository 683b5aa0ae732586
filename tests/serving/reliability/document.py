"""docs/reliability.md, made of a run of all cases."""

from collections.abc import Mapping
from pathlib import Path

from tests.serving.reliability.case import Case, Result
from tests.serving.reliability.cases import GROUPS

FILE = Path(__file__).parents[3] / "docs" / "reliability.md"
AT_ONCE_S = 0.5  # in which all models are asked, even where the machine is busy
COLUMNS = "| what is done | expected | right again after | seen |\n|---|---|---|---|\n"


def row_start(case: Case) -> str:
    """Gives the part of a case's row that does not depend on the run."""
    kind = " (long form)" if case.is_long else ""
    return f"| {case.name}{kind} | {', '.join(sorted(case.expected)) or '–'} |"


def row(result: Result) -> str:
    after = "at once" if result.recovery_s < AT_ONCE_S else f"{result.recovery_s:.1f} s"
    return f"{row_start(result.case)} {after} | {result.note or '–'} |"


def text_of(head: str, results: Mapping[str, Result]) -> str:
    """Gives the document: its head as it is, and a table for each group of cases, by the cases' names."""
    tables = [
        f"## {group}\n\n{COLUMNS}" + "".join(f"{row(results[case.name])}\n" for case in cases)
        for group, cases in GROUPS.items()
    ]
    return "\n".join([f"{head.rstrip()}\n", *tables])


def head_of(text: str) -> str:
    """Gives what is in front of the tables."""
    return text.partition("\n## ")[0]
