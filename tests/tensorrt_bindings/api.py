"""What the bindings say of themselves, as far as this project uses it: names and signatures.

python -m tests.tensorrt_bindings.api           # says whether api.json is still what the bindings say
python -m tests.tensorrt_bindings.api --write   # writes it
"""

import argparse
import inspect
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.tensorrt_bindings.bindings import VERSIONS, download

FILE = Path(__file__).with_name("api.json")
CLASSES = (
    "Builder", "BuilderFlag", "DataType", "ExecutionContextAllocationStrategy", "IBuilderConfig", "ICudaEngine",
    "IExecutionContext", "IHostMemory", "ILogger", "INetworkDefinition", "IOptimizationProfile", "ITensor",
    "ITimingCache", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser", "ParserError", "Runtime",
    "TensorFormat",
)  # fmt: skip
PLUGIN_CLASSES = (
    "AutoTuneCombination", "KernelLaunchParams", "ShapeExpr", "ShapeExprs", "SymInt32", "SymIntExprs", "TensorDesc",
)  # fmt: skip


def describe(tensorrt: ModuleType) -> dict[str, Any]:
    """Gives the classes and functions of `tensorrt` and, after `plugin.`, of `tensorrt.plugin`."""
    found = {name: _class(_named(tensorrt, name)) for name in CLASSES}
    found |= {f"plugin.{name}": _class(getattr(tensorrt.plugin, name)) for name in PLUGIN_CLASSES}
    found |= {
        f"plugin.{name}": signatures(value)
        for name, value in inspect.getmembers(tensorrt.plugin, inspect.isfunction)
        if not name.startswith("_")
    }
    return found


def _named(tensorrt: ModuleType, name: str) -> type:
    found: type = getattr(tensorrt, name)
    return found


def _class(kind: type) -> dict[str, Any]:
    members = getattr(kind, "__members__", None)
    if members is not None and not isinstance(members, property):
        return {"members": sorted(members)}
    described: dict[str, Any] = {"methods": {}, "attributes": []}
    for name in dir(kind):
        if name.startswith("_") and name != "__init__":
            continue
        value = getattr(kind, name)
        if callable(value) and not isinstance(value, type):
            described["methods"][name] = signatures(value)
        else:
            described["attributes"].append(name)
    return described


def signatures(function: Any) -> list[str]:
    """Gives a line for each overload, with names, defaults and what is given, such as `f(self, flags=) -> X`."""
    found = re.findall(rf"^(?:\d+\. )?{function.__name__}(\(.*) -> (.+)$", inspect.getdoc(function) or "", re.MULTILINE)
    lines = [(text, given) for text, given in found if "*args, **kwargs" not in text]
    if not lines:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return []
        names = [f"{name}=" if p.default is not p.empty else name for name, p in signature.parameters.items()]
        return [f"{function.__name__}({', '.join(names)})"]
    return [f"{function.__name__}({', '.join(_parameters(text))}) -> {_short(given)}" for text, given in lines]


def _parameters(text: str) -> list[str]:
    """Gives the names in a signature of pybind11, those with a default followed by `=`."""
    depth, parts = 0, [""]
    for character in text.strip("()"):
        depth += (character in "[(<{") - (character in "])>}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.partition(":")[0].strip() + ("=" if re.search(r" = ", part) else "") for part in parts if part.strip()]


def _short(given: str) -> str:
    return given.rpartition(".")[2].rstrip("]") if "tensorrt" in given else given


def of_bindings(unpacked: Path) -> dict[str, Any]:
    """Describes unpacked bindings, in a process of its own."""
    code = (
        "import json, pathlib\n"
        "from tests.tensorrt_bindings import api, bindings\n"
        f"print(json.dumps(api.describe(bindings.load(pathlib.Path({str(unpacked)!r})))))"
    )
    root = Path(__file__).parents[2]
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    described: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])  # the libraries print too
    return described


def _text(found: dict[str, dict[str, Any]]) -> str:
    """Gives JSON with a class or function a line."""
    versions = [
        f"{json.dumps(version)}: {{\n"
        + ",\n".join(f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(names.items()))
        + "\n}"
        for version, names in found.items()
    ]
    return "{\n" + ",\n".join(versions) + "\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write api.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {version: of_bindings(download(version, Path(folder))) for version in VERSIONS}
    if arguments.write:
        FILE.write_text(_text(found))
    same = json.loads(FILE.read_text()) == found
    print(f"{FILE.name} is {'' if same else 'not '}what the bindings say")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
