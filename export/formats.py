"""The table of formats. The command line, the documentation and the tests all read it."""

from collections.abc import Sequence
from dataclasses import dataclass

from i2i_rt.errors import UnsupportedError, closest


@dataclass(frozen=True)
class Format:
    """A kind of exported graph."""

    name: str
    suffix: str
    precisions: tuple[str, ...]  # that its graphs are written in
    computes: tuple[str, ...]  # what a backend can compute from them
    backends: tuple[str, ...]
    devices: str
    dynamic: str


FORMATS = {
    entry.name: entry
    for entry in (
        Format(
            name="onnx",
            suffix=".onnx",
            precisions=("fp32", "fp16", "int8"),
            computes=("fp32", "fp16", "int8"),
            backends=("onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt"),
            devices="CPU, NVIDIA GPU",
            dynamic="N, H, W",
        ),
        Format(
            name="openvino",
            suffix=".xml",
            precisions=("fp32", "int8"),
            computes=("fp32", "bf16", "int8"),
            backends=("openvino",),
            devices="CPU",
            dynamic="N, H, W",
        ),
        Format(
            name="aot-inductor",
            suffix=".pt2",
            precisions=("fp32", "bf16", "fp16"),
            computes=("fp32", "bf16", "fp16"),
            backends=("aot-inductor",),
            devices="CPU, NVIDIA GPU",
            dynamic="N, H, W",
        ),
        Format(
            name="tensorrt",
            suffix=".engine",
            precisions=("fp32", "fp16", "bf16", "int8", "fp8"),
            computes=("fp32", "fp16", "bf16", "int8", "fp8"),
            backends=("tensorrt",),
            devices="the NVIDIA GPU that it was built on",
            dynamic="N, H, W within its profiles",
        ),
    )
}


def plan(formats: Sequence[str], precisions: Sequence[str]) -> list[tuple[Format, str]]:
    """Gives every pair of a format and a precision to export.

    Raises:
        UnsupportedError: where a name is unknown, or a format is not written in a precision; it names the option
            to change.
    """
    known = sorted({precision for entry in FORMATS.values() for precision in (*entry.precisions, *entry.computes)})
    pairs = []
    for name in formats:
        if name not in FORMATS:
            raise UnsupportedError(f"--format: no format is called {name!r}; {closest(name, FORMATS)}")
        for precision in precisions:
            entry = FORMATS[name]
            if precision not in known:
                raise UnsupportedError(
                    f"--precision: no precision is called {precision!r}; {closest(precision, known)}"
                )
            if precision in entry.precisions:
                pairs.append((entry, precision))
            elif precision in entry.computes:
                raise UnsupportedError(
                    f"{name} graphs are written in {entry.precisions[0]} and computed in {precision} when they run: "
                    f"export with --precision {entry.precisions[0]}, then translate with --precision {precision}"
                )
            else:
                others = [other.name for other in FORMATS.values() if precision in other.precisions]
                hint = f", or --format {others[0]}" if others else ""
                raise UnsupportedError(
                    f"--format {name} has no {precision}: use --precision {','.join(entry.precisions)}{hint}"
                )
    return pairs


def markdown() -> str:
    """Gives the table for the documentation."""
    rows = [
        "| format | file | written in | computed in | backends | devices | dynamic axes |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {entry.name} | `{entry.suffix}` | {', '.join(entry.precisions)} | {', '.join(entry.computes)} "
        f"| {', '.join(entry.backends)} | {entry.devices} | {entry.dynamic} |"
        for entry in FORMATS.values()
    ]
    return "\n".join(rows) + "\n"
