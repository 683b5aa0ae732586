"""What every benchmark writes: rows and the machine under them. JSON is the record, Markdown a view of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from i2i_rt.benchmarks.measure import Timing
from i2i_rt.bundle import write_json
from i2i_rt.errors import I2IError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Start:
    """What a fresh process pays before the first picture, and what a second session in that process pays."""

    import_s: float
    open_s: float
    first_run_ms: float
    reopen_s: float
    reopened_first_run_ms: float


@dataclass(frozen=True)
class Row:
    """One thing that was measured. Without a timing, `note` says why: a wrong result or a missing part has no time."""

    case: str  # "translate", "video", "training step"
    name: str  # of what runs: a backend, a system
    precision: str
    height: int  # 0: it stands for every shape
    width: int
    batch: int
    timing: Timing | None = None
    images_per_s: float | None = None
    peak_memory_mib: float | None = None  # of the process, from its start to the end of this row
    device_memory_mib: float | None = None  # what the process took on the GPU
    psnr_db: float | None = None  # against PyTorch float32; None where it is equal to the last bit or unknown
    largest_difference: int | None = None  # in 8-bit levels
    ratios: Mapping[str, float] = field(default_factory=dict)  # baseline -> its time / this time, medians of one run
    new_shape_ms: float | None = None  # the first run with this shape in a session that had run another one
    start: Start | None = None
    wrong: bool = False  # the result was below the gate
    note: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}".strip()

    @property
    def shape(self) -> str:
        return f"{self.height}x{self.width}" + (f" x{self.batch}" if self.batch > 1 else "")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Row":
        timing, start = data["timing"], data["start"]
        return cls(**{**data, "timing": timing and Timing(**timing), "start": start and Start(**start)})


@dataclass(frozen=True)
class Report:
    """A benchmark's result: how it was measured, on what, the rows, and further figures by name."""

    title: str
    rule: str
    environment: Mapping[str, Any]
    rows: tuple[Row, ...]
    figures: Mapping[str, float | str] = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Writes `<name>.json` and `<name>.md`; gives their paths."""
        return write_files(folder, name, asdict(self), self.markdown())

    @classmethod
    def read(cls, file: str | Path) -> "Report":
        """Reads a JSON record.

        Raises:
            I2IError: where the file is missing or is no record of a benchmark.
        """
        try:
            data = json.loads(Path(file).read_text())
            rows = tuple(Row.from_json(row) for row in data["rows"])
            return cls(data["title"], data["rule"], data["environment"], rows, data["figures"])
        except OSError as error:
            raise I2IError(f"the benchmark record {file} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise I2IError(f"{file} is no JSON record of 'i2i-rt bench' ({error})") from error

    def markdown(self) -> str:
        parts = [
            f"# {self.title}",
            f"Measured {self.rule}. Times are wall clock, of all runs; no outlier is left out.",
        ]
        parts.append(markdown_table(table(self.rows)))
        parts += ["\n".join(f"- {line}" for line in notes(self.rows))] if notes(self.rows) else []
        starts = start_table(self.rows)
        if len(starts) > 1:
            parts += ["## Start", markdown_table(starts)]
        if self.figures:
            lines = [["figure", "value"], *([name, _figure(value)] for name, value in self.figures.items())]
            parts += ["## Figures", markdown_table(lines)]
        stamp = [["", ""], *([name, _stamp(value)] for name, value in self.environment.items())]
        parts += ["## Machine", markdown_table(stamp)]
        return "\n\n".join(parts) + "\n"


def table(rows: tuple[Row, ...]) -> list[list[str]]:
    """Gives the timed rows as text with a header; columns in which no row has anything are left out."""
    rows = tuple(row for row in rows if row.timing is not None)
    several = len({row.case for row in rows}) > 1
    baselines = list(dict.fromkeys(name for row in rows for name in row.ratios))
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("case", lambda row: row.case if several else ""),
        ("name", lambda row: row.label),
        ("size", lambda row: row.shape),
        ("p50 ms", lambda row: _ms(row.timing.p50_ms) if row.timing else ""),
        ("p90 ms", lambda row: _ms(row.timing.p90_ms) if row.timing else ""),
        ("p99 ms", lambda row: _ms(row.timing.p99_ms) if row.timing else ""),
        ("max ms", lambda row: _ms(row.timing.max_ms) if row.timing else ""),
        ("images/s", lambda row: _ms(row.images_per_s)),
        ("runs", lambda row: str(row.timing.runs) if row.timing else ""),
        ("spread", lambda row: f"{row.timing.spread:.2f}" if row.timing else ""),
        ("new shape ms", lambda row: _ms(row.new_shape_ms)),
        ("peak MiB", lambda row: "" if row.peak_memory_mib is None else f"{row.peak_memory_mib:.0f}"),
        ("GPU MiB", lambda row: "" if row.device_memory_mib is None else f"{row.device_memory_mib:.0f}"),
        ("PSNR dB", fidelity),
        *((f"x {name}", _ratio_column(name)) for name in baselines),
    ]
    cells = [[header, *(text(row) for row in rows)] for header, text in columns]
    return [list(line) for line in zip(*(column for column in cells if any(column[1:])), strict=True)]


def notes(rows: tuple[Row, ...]) -> list[str]:
    """Gives each note once, behind the names, precisions and sizes that share it."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.note:
            found.setdefault((row.name, row.note), []).append(row)
    lines = []
    for (name, note), group in found.items():
        precisions = ", ".join(dict.fromkeys(row.precision for row in group if row.precision))
        shapes = ", ".join(dict.fromkeys(row.shape for row in group if row.height))
        lines.append(f"{name} {precisions}".strip() + (f" at {shapes}" if shapes else "") + f": {note}")
    return lines


def start_table(rows: tuple[Row, ...]) -> list[list[str]]:
    """Gives the start of each backend and precision as text with a header."""
    header = ["name", "import s", "open s", "first run ms", "second session s", "its first run ms"]
    lines = {
        (row.name, row.precision): [
            row.label,
            f"{row.start.import_s:.2f}",
            f"{row.start.open_s:.2f}",
            _ms(row.start.first_run_ms),
            f"{row.start.reopen_s:.2f}",
            _ms(row.start.reopened_first_run_ms),
        ]
        for row in rows
        if row.start is not None
    }
    return [header, *lines.values()]


def comparison(old: Report, new: Report) -> list[list[str]]:
    """Gives old and new medians of the rows that both have, with old / new: above 1 is faster now."""
    before = {_key(row): row.timing for row in old.rows if row.timing is not None}
    lines = [["case", "name", "size", "old ms", "new ms", "old / new"]]
    for row in new.rows:
        timing = before.get(_key(row))
        if row.timing is None or timing is None:
            continue
        ratio = f"{timing.p50_ms / row.timing.p50_ms:.2f}"
        lines.append([row.case, row.label, row.shape, _ms(timing.p50_ms), _ms(row.timing.p50_ms), ratio])
    return lines


def write_files(folder: Path, name: str, record: Mapping[str, Any], markdown: str) -> tuple[Path, Path]:
    """Writes a report's record, `<name>.json`, and its view, `<name>.md`; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    file, view = folder / f"{name}.json", folder / f"{name}.md"
    write_json(file, {"format_version": FORMAT_VERSION, **record})
    view.write_text(markdown)
    return file, view


def markdown_table(lines: list[list[str]]) -> str:
    header, *rest = lines
    rows = [header, ["---"] * len(header), *rest]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def fidelity(row: Row) -> str:
    """Says how close a row's result is to PyTorch float32: "exact", or the PSNR in dB."""
    if row.largest_difference == 0:
        return "exact"
    return "" if row.psnr_db is None else f"{row.psnr_db:.1f}"


def _key(row: Row) -> tuple[str, str, str, int, int, int]:
    return row.case, row.name, row.precision, row.height, row.width, row.batch


def _ratio_column(name: str) -> Callable[[Row], str]:
    return lambda row: f"{row.ratios[name]:.2f}" if name in row.ratios else ""


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _stamp(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {entry}" for key, entry in value.items() if entry is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "unknown" if value is None else str(value)
