"""The document of training names every system that trains."""

from pathlib import Path

from i2i_rt.systems.table import SYSTEMS

DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"


def test_every_system_is_in_the_document() -> None:
    table = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]

    assert {name.strip("`") for line in table for name in line.split("|")[1].strip().split(", ")} == set(SYSTEMS)
