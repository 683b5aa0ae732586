"""The key that opens a server's restricted calls, in a file that only the user who started it can read."""

import os
from pathlib import Path

from i2i_rt.errors import I2IError

HEADER = "i2i-rt-key"  # of HTTP; in gRPC the name of the metadata
VARIABLE = "I2I_RT_ADMIN_KEY"
KEY_FILE = "key"
SHORTEST = 16  # characters


def run_folder(port: int) -> Path:
    """Gives the folder of the server whose gRPC port it is."""
    run = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(run) / "i2i_rt" if run else Path.home() / ".cache" / "i2i_rt") / "serving" / str(port)


def find_key(port: int) -> str | None:
    """Gives the key of this user's server on this host; None where there is none."""
    try:
        return (run_folder(port) / KEY_FILE).read_text().strip() or None
    except OSError:
        return None


def write_key(folder: Path, key: str) -> None:
    """Puts a key into a run folder, readable by this user alone."""
    file = folder / KEY_FILE
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(key + "\n")


def given_key(file: Path | None) -> str | None:
    """Gives the key that an administrator chose: in a file, or in the variable I2I_RT_ADMIN_KEY; None without one.

    Raises:
        I2IError: where the file cannot be read, or the key is too short to be one.
    """
    if file is None and VARIABLE not in os.environ:
        return None
    try:
        key = os.environ[VARIABLE] if file is None else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise I2IError(f"the key file {file} cannot be read: {error}") from error
    key = key.strip()
    if len(key) < SHORTEST or not key.isascii() or not key.isprintable():
        raise I2IError(
            f"the key of {file or VARIABLE} must be one line of at least {SHORTEST} ASCII characters; "
            "openssl rand -hex 32 makes one"
        )
    return key
