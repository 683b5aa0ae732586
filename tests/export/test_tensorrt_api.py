"""Everything that the code uses of TensorRT exists in version 10 and in version 11, with these arguments."""

import json
import re
from pathlib import Path

import pytest

from tests.gpu_stand_ins import engines
from tests.tensorrt_bindings import api
from tests.tensorrt_bindings.bindings import VERSIONS, bindings_of
from tests.tensorrt_bindings.uses import problems

ROOT = Path(__file__).parents[2]
API = json.loads(api.FILE.read_text())
USERS = sorted(
    file
    for folder in ("i2i_rt", "export", "kernels", "serving", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
    if re.search(r"^\s+import tensorrt\b", file.read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", USERS, ids=lambda file: file.stem)
def test_every_name_and_argument_exists(file: Path, version: str) -> None:
    found, checked = problems(file.read_text(), API[version])
    assert not found
    assert checked > 0


def test_users_are_found() -> None:
    assert {"tensorrt.py", "tensorrt_builder.py", "tensorrt_library.py"} <= {file.name for file in USERS}
    assert sum(problems(file.read_text(), API[VERSIONS[0]])[1] for file in USERS) > 50


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag has no FP16"),
        ("config.set_flags(trt.BuilderFlag.TF32)", "IBuilderConfig has no set_flags"),
        ("trt.Bulider(None)", "there is no Bulider"),
        ("builder.create_network(1, 2)", "does not fit"),
        ("builder.create_network(flag=1)", "does not fit"),
        ("builder.create_builder_config().int8_calibrator", "IBuilderConfig has no int8_calibrator"),
        ("use(trt.DataType.FLOAT64)", "DataType has no FLOAT64"),
    ],
)
def test_checker_notices(line: str, problem: str) -> None:
    source = f"""
def build(config: "trt.IBuilderConfig") -> None:
    import tensorrt as trt

    builder = trt.Builder(None)
    {line}
"""
    found, _ = problems("import tensorrt as trt\n" + source, API["11.4.0.106"])
    assert len(found) == 1 and problem in found[0]


def test_checker_follows_attributes_of_self() -> None:
    source = """
import tensorrt as trt
class Engine:
    def run(self):
        self._context.execute_v9()
    def __init__(self):
        self._engine: trt.ICudaEngine = load()
        self._context = self._engine.create_execution_context()
"""
    assert problems(source, API["11.4.0.106"])[0] == ["line 5: IExecutionContext has no execute_v9"]


@pytest.mark.parametrize("version", VERSIONS)
def test_stand_in_has_nothing_that_the_library_lacks(version: str) -> None:
    for name, described in API[version].items():
        stand_in = getattr(engines, name, None)
        if stand_in is None:
            continue
        members = {member for member in getattr(stand_in, "__members__", ()) if not member.startswith("_")}
        assert members <= set(described.get("members", ()))
        methods = {method for method, value in vars(stand_in).items() if callable(value) and method[0] != "_"}
        assert methods - {"Severity"} <= set(described.get("methods", ())), name


@pytest.mark.parametrize("version", VERSIONS)
def test_list_is_what_the_bindings_say(version: str, request: pytest.FixtureRequest) -> None:
    assert api.of_bindings(bindings_of(version, request)) == API[version]
