"""The key that opens a server's restricted calls, in a file that only the user who started it can read."""

import os
from pathlib import Path


def run_folder(port: int) -> Path:
    """Gives the folder of the server whose gRPC port it is."""
    run = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(run) / "i2i_rt" if run else Path.home() / ".cache" / "i2i_rt") / "serving" / str(port)


def find_key(port: int) -> str | None:
    """Gives the key of this user's server on this host; None where there is none."""
    try:
        return (run_folder(port) / "key").read_text().strip() or None
    except OSError:
        return None
