"""Style codes for requests: their names, the last ones of which are kept, and the making of them."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import numpy as np

from i2i_rt.serving.backend.refusal import Refusal
from i2i_rt.style import Style, StyleMaker

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Keeps what was used last, up to a number."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[int, Value] = OrderedDict()

    def get(self, key: int, make: Callable[[], Value]) -> Value:
        """Gives what is kept under a key, else what `make` gives, which is then kept."""
        value = self._kept.pop(key) if key in self._kept else make()
        self._kept[key] = value
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return value


def style_id(weights_sha256: str, inputs: Mapping[str, np.ndarray]) -> int:
    """Gives the name of a style: 63 bits of the hash of what makes it, equal on every server.

    `inputs` are the request's; those that make a style are `reference`, `seed` and `domain`.
    """
    digest = hashlib.sha256(weights_sha256.encode())
    for name in ("reference", "seed", "domain"):
        if name in inputs:
            digest.update(f"{name}{inputs[name].shape}".encode())
            digest.update(inputs[name].tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1


class Styles:
    """Makes the styles of a bundle from the inputs of requests."""

    def __init__(self, maker: StyleMaker, weights_sha256: str, cache_size: int) -> None:
        self._maker, self._weights_sha256 = maker, weights_sha256
        self._recent: Recent[Style] = Recent(cache_size)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[int, Style]:
        """Gives the style that a request's `style_id`, `reference`, `seed` and `domain` ask for, and its name.

        Raises:
            I2IError: where they ask for none that this model has.
        """
        require_at_most_one(inputs, "style_id", "reference", "seed")
        if "style_id" in inputs:
            name = int(inputs["style_id"][0])
            return name, self._recent.get(name, lambda: _unknown(name))
        name = style_id(self._weights_sha256, inputs)
        return name, self._recent.get(name, lambda: self._made(inputs))

    def _made(self, inputs: Mapping[str, np.ndarray]) -> Style:
        stage = "style_from_image" if "reference" in inputs else "style_from_noise"
        domain = self._domain(inputs, stage)
        if "reference" in inputs:
            return self._maker.from_image(inputs["reference"], domain)
        if "seed" in inputs:
            seed = int(inputs["seed"][0])
            if seed < 0:
                raise Refusal("INVALID_ARG", f"seed is {seed}; it must be at least 0")
            return self._maker.from_seed(seed, domain)
        return self._maker.mean(domain)

    def _domain(self, inputs: Mapping[str, np.ndarray], stage: str) -> str | None:
        names = self._maker.info.domains
        known = ", ".join(f"{index} {name}" for index, name in enumerate(names))
        if "domain" not in inputs:
            if self._maker.needs_domain(stage):
                raise Refusal("INVALID_ARG", f"this model has several domains; give one of them as domain: {known}")
            return None
        index = int(inputs["domain"][0])
        if not 0 <= index < len(names):
            raise Refusal("INVALID_ARG", f"domain is {index}; this model has {known}")
        return names[index]


def require_at_most_one(inputs: Mapping[str, np.ndarray], *names: str) -> None:
    """Raises `Refusal` where a request gives more than one of the inputs that each say a style."""
    given = [name for name in names if name in inputs]
    if len(given) > 1:
        raise Refusal("INVALID_ARG", f"{' and '.join(given)} each say a style; give one of them")


def _unknown(name: int) -> Style:
    raise Refusal("NOT_FOUND", f"no style of the name {name} is known, or known any more; send what makes it again")
