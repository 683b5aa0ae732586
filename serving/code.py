"""The tree of this package's own code that a server's Python models import, so that both run the same."""

import importlib.util
import shutil
from pathlib import Path

# in a checkout these lie beside the folder i2i_rt; a wheel has them inside it
PARTS = ("benchmarks", "export", "kernels", "serving")


def write_code(folder: Path, *, copy: bool = False) -> None:
    """Puts the package `i2i_rt` into a folder that a model puts into `sys.path`: as links, or as a copy."""
    target = folder / "i2i_rt"
    target.mkdir(parents=True)
    sources = {path.name: path for path in _folder("i2i_rt").iterdir() if path.name != "__pycache__"}
    sources |= {part: _folder(f"i2i_rt.{part}") for part in PARTS}
    for name, source in sources.items():
        if not copy:
            (target / name).symlink_to(source.resolve())
        elif source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy2(source, target / name)


def _folder(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent
