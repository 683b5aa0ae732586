"""Finds a Triton Inference Server on this machine: a container's, or the one in the wheel nvidia-pytriton."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from i2i_rt.errors import UnsupportedError

VARIABLE = "I2I_RT_SERVING_ENV"
CONTAINER = Path("/opt/tritonserver/bin/tritonserver")

# asked of an environment's own Python, which may be another one than ours
_QUESTION = """
import json, sys, sysconfig
print(json.dumps({"packages": sysconfig.get_path("purelib"), "library": sysconfig.get_config_var("LIBDIR"),
                  "version": "%d.%d" % sys.version_info[:2]}))
"""


@dataclass(frozen=True)
class Installation:
    """A server that can be started.

    Attributes:
        program: the executable.
        environment: variables that it needs beside our own.
        backend: the files that make the folder of the Python backend; none where the server has its own.
        caches: the folder of its response caches; None where it knows itself.
        where: in words.
    """

    program: Path
    where: str
    environment: Mapping[str, str] = field(default_factory=dict)
    backend: tuple[Path, ...] = ()
    caches: Path | None = None

    def knows(self, option: str) -> bool:
        """Says whether the server has an option, of which newer releases have more."""
        environment = {**os.environ, **self.environment}
        words = subprocess.run([self.program, "--help"], env=environment, capture_output=True, text=True, check=False)
        return option in words.stdout + words.stderr


def find_server() -> Installation:
    """Finds a server: on PATH, in a container's place, then in the wheel.

    The wheel is looked for in the environment that I2I_RT_SERVING_ENV names, in the one that `make setup` puts beside
    this one, and in this one.

    Raises:
        UnsupportedError: where there is none; the sentence says how to get one.
    """
    named = os.environ.get(VARIABLE)
    if named and not (Path(named) / "bin" / "python").is_file():
        raise UnsupportedError(f"{VARIABLE} is {named}, where there is no environment with a bin/python")
    found = shutil.which("tritonserver")
    program = Path(found) if found else CONTAINER
    if program.is_file():
        return Installation(program, str(program), _variables(Path(named)) if named else {})
    beside = Path(sys.prefix).with_name(Path(sys.prefix).name + "-serving")
    for environment in ([Path(named)] if named else []) + [beside, Path(sys.prefix)]:
        installation = _in_wheel(environment)
        if installation is not None:
            return installation
    raise UnsupportedError(
        "there is no Triton Inference Server here: neither a program tritonserver on PATH nor its wheel; "
        f"python -m venv serving, serving/bin/pip install 'i2i-rt[serving,cpu]', and set {VARIABLE} to that folder"
    )


def _variables(environment: Path) -> dict[str, str]:
    """Gives what makes the server's model processes use an environment's packages."""
    path = f"{environment.absolute() / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {"PATH": path, "VIRTUAL_ENV": str(environment.absolute())}


def _in_wheel(environment: Path) -> Installation | None:
    python = environment / "bin" / "python"
    if not any(environment.glob("lib/python3*/site-packages/pytriton/tritonserver/bin/tritonserver")):
        return None
    answer = json.loads(subprocess.check_output([python, "-I", "-c", _QUESTION], text=True))
    packages = Path(answer["packages"])
    wheel = packages / "pytriton" / "tritonserver"
    stub = wheel / "python_backend_stubs" / answer["version"] / "triton_python_backend_stub"
    if not stub.is_file():
        raise UnsupportedError(
            f"the server in {environment} has no support for its Python {answer['version']}; make an environment "
            f"with another one and set {VARIABLE}"
        )
    backend = wheel / "backends" / "python"
    libraries = [str(packages / "nvidia_pytriton.libs"), answer["library"], os.environ.get("LD_LIBRARY_PATH", "")]
    return Installation(
        wheel / "bin" / "tritonserver",
        f"the wheel in {environment}",
        _variables(environment) | {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))},
        (backend / "libtriton_python.so", backend / "triton_python_backend_utils.py", stub),
        wheel / "caches",
    )
