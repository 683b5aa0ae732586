"""Real-time GAN image-to-image translation."""

from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from i2i_rt.bundle import Bundle as Bundle
    from i2i_rt.translator import Translator as Translator

__version__ = "0.1.0"
__all__ = ["Bundle", "Translator", "__version__"]

# In a checkout export/, kernels/, serving/ and benchmarks/ lie beside this folder; a wheel puts them inside it.
# Python started in the repository root finds this folder before any installed copy, so it looks beside it too.
_root = _Path(__file__).parent.parent
if __name__ == "i2i_rt" and (_root / "pyproject.toml").is_file():
    __path__.append(str(_root))


def __getattr__(name: str) -> Any:
    if name == "Bundle":
        from i2i_rt.bundle import Bundle

        return Bundle
    if name == "Translator":
        from i2i_rt.translator import Translator

        return Translator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
