"""What a server's processes use: CPU time and resident memory, by their part in it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from i2i_rt.errors import MissingDependencyError

if TYPE_CHECKING:
    import psutil

PARTS = {"tritonserver": "tritonserver", "triton_python_backend_stub": "stubs"}  # a process's name -> its part


class Processes:
    """The processes of a server, all of them under the one that was started.

    Raises:
        MissingDependencyError: where psutil is not installed.
    """

    def __init__(self, pid: int) -> None:
        try:
            import psutil
        except ImportError:
            raise MissingDependencyError("psutil", "client", "measuring the server's processes") from None
        self._root = psutil.Process(pid)
        self._gone = psutil.NoSuchProcess

    def _parts(self) -> Iterator[tuple[str, "psutil.Process"]]:
        for process in (self._root, *self._root.children(recursive=True)):
            try:
                # the system keeps 15 letters of a name; psutil completes it from the command line where it can
                name = process.name()
                part = next((part for known, part in PARTS.items() if known[:15] == name[:15]), "gateway")
                yield part, process
            except self._gone:
                continue

    def cpu_s(self) -> dict[str, float]:
        """Gives user and system time by part."""
        found: dict[str, float] = {}
        for part, process in self._parts():
            try:
                times = process.cpu_times()
            except self._gone:
                continue
            found[part] = found.get(part, 0.0) + times.user + times.system
        return found

    def memory_mib(self) -> dict[str, float]:
        """Gives resident memory by part."""
        found: dict[str, float] = {}
        for part, process in self._parts():
            try:
                resident = process.memory_info().rss / 2**20
            except self._gone:
                continue
            found[part] = found.get(part, 0.0) + resident
        return found


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Gives what was used between two readings, by part."""
    return {part: after[part] - before.get(part, 0.0) for part in after}
