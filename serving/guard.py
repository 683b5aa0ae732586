"""Holds a server on behalf of the process that started it, and clears up after both, however they end.

Run as a program of its own, it needs the standard library only:

    python -I guard.py FOLDER REGIONS SECONDS PROGRAM [ARGUMENT…]

The server is asked to stop when this program gets SIGTERM, or when its standard input ends because the process that
holds the other end has gone, in whatever way. After SECONDS it is killed. Then its model processes go, the regions of
shared memory whose names begin with REGIONS, and FOLDER. The exit code is the server's, 128 + N after signal N.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1


def hold(folder: Path, regions: str, seconds: int, command: list[str]) -> int:
    """Runs the server to its end and gives its exit code."""
    started = time.time()
    libc = ctypes.CDLL(None)
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for who started us, who then stops the server in order
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),  # should even this program be killed
    )
    (folder / "pid").write_text(str(server.pid))

    def stop(number: int, frame: object) -> None:
        server.terminate()
        signal.alarm(seconds)

    signal.signal(signal.SIGALRM, lambda number, frame: server.kill())
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_watch_input, daemon=True).start()
    status = server.wait()
    with contextlib.suppress(ProcessLookupError):  # processes of models that the server left behind
        os.killpg(server.pid, signal.SIGKILL)
    for region in Path("/dev/shm").glob(f"{regions}*"):
        region.unlink(missing_ok=True)
    if status != 0:
        _remove_environments(started)
    shutil.rmtree(folder, ignore_errors=True)
    return status if status >= 0 else 128 - status


def _watch_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _remove_environments(started: float) -> None:
    """Removes the empty folder that the Python backend makes at its start and leaves behind when it is killed."""
    for folder in Path("/tmp").glob("python_env_*"):
        with contextlib.suppress(OSError):  # of another user, in use, or gone meanwhile
            if folder.stat().st_mtime >= started - 1:
                folder.rmdir()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(hold(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
