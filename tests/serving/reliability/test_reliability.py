"""Every case of the suite against one real service; the long ones have the marker `soak`."""

from collections.abc import Iterator

import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.serving.installation import Installation
from tests.serving.reliability import document
from tests.serving.reliability.case import Case, judge
from tests.serving.reliability.cases import CASES, GROUPS
from tests.serving.reliability.target import Target

PATIENCE = 4.0  # with machines that run other tests as well


@pytest.fixture(scope="module")
def target(
    installation: Installation, exported: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    found = Target(exported, tmp_path_factory.mktemp("reliability"))
    try:
        yield found
    finally:
        assert found.close() == 0, found.served.said()


def marked(case: Case) -> object:
    marks = [pytest.mark.serving, *([pytest.mark.soak] if case.is_long else [])]
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_service_holds(case: Case, target: Target) -> None:
    judge(case, target, patience=PATIENCE)


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_document_has_a_row_for_each_case() -> None:
    text = document.FILE.read_text()
    for group, cases in GROUPS.items():
        table = text.partition(f"\n## {group}\n")[2].partition("\n## ")[0]
        rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
        starts = [document.row_start(case) for case in cases]
        assert len(rows) == len(starts), group
        for line, start in zip(rows, starts, strict=True):
            assert line.startswith(start), f"run python -m tests.serving.reliability --write: {line}"
