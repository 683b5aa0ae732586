"""Style codes: made once per clip from a picture, a seed or a mean; mixed, moved, kept in a file. Needs NumPy only."""

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, UnsupportedError, closest
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.runtime.session import Session
from i2i_rt.spec import StyleInfo

MEAN_DRAWS = 10_000  # StarGAN v2's truncation takes the mean of as many mapped codes
DRAWS_AT_ONCE = 500
FITTED = "styles.npz"


@dataclass(frozen=True)
class Style:
    """One style code and the model that it belongs to.

    Attributes:
        code: float32 `[S]`.
        system, weights_sha256: of the model that made it; another model cannot read it.
        origin: how it was made, in words.
    """

    code: np.ndarray
    system: str
    weights_sha256: str
    origin: str

    @property
    def sha256(self) -> str:
        """Of the code: what tells two styles apart."""
        return hashlib.sha256(np.ascontiguousarray(self.code, np.float32).tobytes()).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Writes an `.npz` file; the name appears when it is complete."""
        path = Path(path)
        check_output(path)
        temporary = path.with_name(f".{path.name}.part.npz")
        np.savez(temporary, code=self.code, system=self.system, weights_sha256=self.weights_sha256, origin=self.origin)
        temporary.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Style":
        """Reads a file that `save` wrote.

        Raises:
            I2IError: where there is none, or it is no style file.
        """
        content = _arrays(Path(path), ("code", "system", "weights_sha256", "origin"), "style file; 'i2i-rt style'")
        return cls(
            np.asarray(content["code"], np.float32),
            str(content["system"]),
            str(content["weights_sha256"]),
            str(content["origin"]),
        )


class StyleMaker:
    """Makes the styles of one bundle, in whatever session runs it."""

    def __init__(self, bundle: Bundle, session: Session | None) -> None:
        """Takes the session that runs the bundle's stages; without one only requests and files can be checked."""
        self._bundle, self._session = bundle, session
        self._weights_sha256: str | None = None

    @property
    def info(self) -> StyleInfo:
        """Says what the bundle's styles are.

        Raises:
            UnsupportedError: where it has none.
        """
        if self._bundle.style is None:
            raise UnsupportedError(f"{self._bundle.path} is {self._bundle.system}, which has no style")
        return self._bundle.style

    @property
    def size(self) -> int:
        """The length of a style code."""
        for tensor in self._bundle.stages["translate"].inputs:
            if tensor.name == "style":
                return tensor.axes[1].size or 0
        raise UnsupportedError(f"{self._bundle.path} has no style to give; it may be baked into its stages")

    def from_image(self, image: np.ndarray, domain: str | None = None) -> Style:
        """Gives the style of a picture, RGB `[H, W, 3]`, uint8.

        Raises:
            UnsupportedError: where the system takes no style from pictures.
            I2IError: where the domain is missing or unknown.
        """
        _ = self.info
        self.check_request(domain, image=True)
        inputs = {"reference": self._prepared(image)[None]}
        if self.needs_domain("style_from_image"):
            inputs["domain"] = np.array([self.domain_index(domain)], np.int64)
        where = self._domain_words("as", domain)
        return self._style(self._run("style_from_image", inputs)[0], f"from a picture{where}")

    def from_seed(self, seed: int, domain: str | None = None) -> Style:
        """Draws a style as the paper says: from the prior, through the mapping network, or around fitted codes."""
        self.check_request(domain)
        random = np.random.Generator(np.random.PCG64(seed))
        where = self._domain_words("as", domain)
        origin = f"seed {seed}{where}"
        made = self._made(seed=seed, domain=domain)
        if made is not None:
            return self._style(made, origin)
        if self.info.prior == "normal":
            return self._style(random.standard_normal(self.size), origin)
        if self.info.prior == "network":
            return self._style(self._mapped(random, 1, domain)[0], origin)
        mean, deviation = self._fitted(domain)
        return self._style(mean + deviation * random.standard_normal(self.size), origin)

    def mean(self, domain: str | None = None) -> Style:
        """Gives the mean style: what mixing towards makes results safer and less varied."""
        self.check_request(domain)
        where = self._domain_words("of", domain)
        origin = f"the mean{where}"
        made = self._made(domain=domain)
        if made is not None:
            return self._style(made, origin)
        if self.info.prior == "normal":
            return self._style(np.zeros(self.size), origin)
        if self.info.prior == "network":
            random = np.random.Generator(np.random.PCG64(0))
            draws = [self._mapped(random, DRAWS_AT_ONCE, domain) for _ in range(MEAN_DRAWS // DRAWS_AT_ONCE)]
            return self._style(np.mean(np.concatenate(draws), axis=0), origin)
        return self._style(self._fitted(domain)[0], origin)

    def fit(self, images: Iterable[np.ndarray], domain: str | None = None) -> Path:
        """Measures mean and deviation of the styles of pictures and keeps them in the bundle, for `from_seed`.

        Raises:
            UnsupportedError: where the system has its own prior.
            I2IError: where there are fewer than two pictures.
        """
        if self.info.prior != "fitted":
            raise UnsupportedError(f"{self._bundle.system} draws styles from its own prior; nothing is to be fitted")
        self.check_request(domain, image=True)
        codes = np.array([self.from_image(image, domain).code for image in images])
        if len(codes) < 2:
            raise I2IError(f"a mean and a deviation need at least 2 pictures, not {len(codes)}")
        file = self._bundle.path / FITTED
        content: dict[str, Any] = dict(np.load(file)) if file.is_file() else {}
        if str(content.get("weights_sha256", "")) != self._sha256():
            content = {"weights_sha256": self._sha256()}
        name = self._fitted_name(domain)
        content |= {f"mean.{name}": codes.mean(axis=0), f"deviation.{name}": codes.std(axis=0, ddof=1)}
        temporary = file.with_name(f".{file.name}.part.npz")
        np.savez(temporary, **content)
        return temporary.replace(file)

    def mix(self, a: Style, b: Style, share: float) -> Style:
        """Gives the style between two: `share` 0 is `a`, 1 is `b`. Line or arc, as the system's prior asks."""
        self.check(a)
        self.check(b)
        mixed = _slerp(a.code, b.code, share) if self.info.mixing == "spherical" else a.code + share * (b.code - a.code)
        return self._style(mixed, f"({a.origin}) mixed with {share:g} of ({b.origin})")

    def add(self, style: Style, direction: np.ndarray, amount: float) -> Style:
        """Moves a style along a direction `[S]`."""
        self.check(style)
        if direction.size != style.code.size:
            raise I2IError(f"the direction has {direction.size} numbers; a style of this bundle has {style.code.size}")
        moved = style.code + amount * direction.reshape(-1)
        return self._style(moved, f"({style.origin}) moved by {amount:g}")

    def check(self, style: Style, name: str = "the style") -> None:
        """Raises `I2IError` where a style belongs to another model."""
        if style.weights_sha256 != self._sha256() or style.code.shape != (self.size,):
            raise I2IError(
                f"{name} belongs to another model: {style.system} {style.weights_sha256[:12]}, "
                f"{style.code.size} numbers; "
                f"{self._bundle.path} is {self._bundle.system} {self._sha256()[:12]}, {self.size} numbers"
            )

    def direction(self, path: str | Path) -> np.ndarray:
        """Reads a file with the array `direction` `[S]`; those of `i2i-rt edit` also say to which model it belongs.

        Raises:
            I2IError: where it is no such file, or belongs to another model or to another kind of code.
        """
        content = _arrays(Path(path), ("direction",), "direction file; 'i2i-rt edit BUNDLE vector'")
        model, kind = str(content.get("model", self._sha256())), str(content.get("kind", "texture"))
        if model != self._sha256():
            raise I2IError(
                f"{path} belongs to another model, {model[:12]}; "
                f"{self._bundle.path} is {self._bundle.system} {self._sha256()[:12]}"
            )
        if kind != "texture":
            raise I2IError(f"{path} is a direction of the {kind}, which is no style; 'i2i-rt edit' moves along it")
        return np.asarray(content["direction"], np.float32)

    def check_request(self, domain: str | None, *, image: bool = False) -> None:
        """Raises `I2IError` where no style can be made: of a picture (`image`), or else drawn or the mean.

        It runs nothing, so that mistakes are known before minutes of work.
        """
        if domain is not None:
            self.domain_index(domain)
        stages = self._bundle.stages
        if image and "style_from_image" not in stages:
            raise UnsupportedError(f"{self._bundle.system} has no encoder of styles in this bundle; use a seed")
        if not image and self.info.prior == "fitted":
            self._fitted(domain)
        stage = "style_from_image" if image else "style_from_noise"
        if domain is None and self.needs_domain(stage):
            self.domain_index(None)

    def domain_index(self, domain: str | None) -> int:
        """Gives the index of a target domain, by its name or its number.

        Raises:
            I2IError: where it is missing or out of range; the sentence lists them.
        """
        return domain_index(self.info, domain)

    def _domain_words(self, word: str, domain: str | None) -> str:
        """Gives a domain's name for a style's origin, whether it was named or numbered."""
        return "" if domain is None else f" {word} {self.info.domains[self.domain_index(domain)]}"

    def _made(
        self, *, image: np.ndarray | None = None, seed: int | None = None, domain: str | None
    ) -> np.ndarray | None:
        return None if self._session is None else self._session.style(image, seed, domain)

    def _mapped(self, random: np.random.Generator, count: int, domain: str | None) -> np.ndarray:
        spec = self._bundle.stages["style_from_noise"]
        noise = random.standard_normal((count, spec.inputs[0].axes[1].size or 0)).astype(np.float32)
        inputs = {"noise": noise}
        if self.needs_domain("style_from_noise"):
            inputs["domain"] = np.full(count, self.domain_index(domain), np.int64)
        return self._run("style_from_noise", inputs)

    def _fitted(self, domain: str | None) -> tuple[np.ndarray, np.ndarray]:
        name, file = self._fitted_name(domain), self._bundle.path / FITTED
        advice = (
            f"{self._bundle.system} has no mean style and draws none before pictures of the target domain were "
            f"measured: i2i-rt style {self._bundle.path} --fit FOLDER"
            + (f" --domain {domain}" if domain else "")
            + "; or take the style of one picture, as --reference does"
        )
        if not file.is_file():
            raise UnsupportedError(advice)
        content = np.load(file)
        if f"mean.{name}" not in content or str(content["weights_sha256"]) != self._sha256():
            raise UnsupportedError(advice)
        return content[f"mean.{name}"], content[f"deviation.{name}"]

    def _fitted_name(self, domain: str | None) -> str:
        return "all" if domain is None else self.info.domains[self.domain_index(domain)]

    def needs_domain(self, stage: str) -> bool:
        """Says whether the bundle has a stage, and it asks for a target domain."""
        spec = self._bundle.stages.get(stage)
        return spec is not None and any(tensor.name == "domain" for tensor in spec.inputs)

    def _prepared(self, image: np.ndarray) -> np.ndarray:
        """Brings a reference to the size that the encoder takes, else to that of the official test script."""
        _, height, width, _ = self._bundle.stages["style_from_image"].inputs[0].axes
        if height.size is None or width.size is None:
            return Preprocessing(**self._bundle.preprocessing)(image)
        picture = Image.fromarray(image).resize((width.size, height.size), Image.Resampling.BICUBIC)
        return np.array(picture)

    def _run(self, stage: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        if self._session is None:
            raise UnsupportedError(f"{self._bundle.path} was opened without a session, which the stage {stage} needs")
        return self._session.run(stage, inputs)["style"]

    def _style(self, code: np.ndarray, origin: str) -> Style:
        return Style(np.asarray(code, np.float32).reshape(-1), self._bundle.system, self._sha256(), origin)

    def _sha256(self) -> str:
        if self._weights_sha256 is None:
            self._weights_sha256 = self._bundle.weights_sha256()
        return self._weights_sha256


@dataclass(frozen=True)
class StylePath:
    """Styles to pass through during a clip, evenly spaced; the way between two is eased, so that no corner shows."""

    maker: StyleMaker
    styles: tuple[Style, ...]

    def at(self, position: float) -> Style:
        """Gives the style at a position of the clip, 0 (its begin) to 1 (its end)."""
        if len(self.styles) == 1:
            return self.styles[0]
        place = min(max(position, 0.0), 1.0) * (len(self.styles) - 1)
        index = min(int(place), len(self.styles) - 2)
        share = place - index
        eased = share * share * (3 - 2 * share)
        mixed = self.maker.mix(self.styles[index], self.styles[index + 1], eased)
        return replace(mixed, origin=f"a path of {len(self.styles)} styles")


def one_for_each(style: Style | Sequence[Style], count: int) -> list[Style]:
    """Gives a style for each of `count` frames, of one for all or one for each.

    Raises:
        I2IError: where there are others than one for each.
    """
    styles = [style] * count if isinstance(style, Style) else list(style)
    if len(styles) != count:
        raise I2IError(f"there are {len(styles)} styles for {count} frames; give one, or one for each")
    return styles


def domain_index(info: StyleInfo, domain: str | None) -> int:
    """Gives the index of a target domain, by its name or its number.

    Raises:
        I2IError: where it is missing or out of range; the sentence lists them.
    """
    names = info.domains
    if not names:
        raise I2IError(f"this model has one domain only; leave --domain {domain} out")
    known = ", ".join(f"{index} {name}" for index, name in enumerate(names))
    if domain is None:
        raise I2IError(f"this model has several domains; name one with --domain: {known}")
    if domain in names:
        return names.index(domain)
    if domain.isdecimal() and int(domain) < len(names):
        return int(domain)
    near = closest(domain, names) if not domain.isdecimal() else ""
    hint = f"; {near}" if near.startswith("did") else ""
    raise I2IError(f"no domain is called {domain!r}; this model has {known}{hint}")


def check_output(path: Path) -> None:
    """Raises `I2IError` where no style file of that name can be written."""
    if path.suffix != ".npz":
        raise I2IError(f"the style file is {path}; its name must end in .npz")
    if not path.parent.is_dir():
        raise I2IError(f"{path} cannot be written: there is no folder {path.parent}")


def _arrays(path: Path, names: Sequence[str], what: str) -> dict[str, Any]:
    """Reads the arrays of an `.npz` file, of which those named must be there."""
    if not path.is_file():
        raise I2IError(f"there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in {*names, *content}}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise I2IError(f"{path} is no {what} writes one") from error


def _slerp(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Gives the point on the arc between two codes, whose length goes evenly from one's to the other's."""
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    line: np.ndarray = a + share * (b - a)
    if min(lengths) < 1e-12:
        return line
    cosine = float(np.clip(np.dot(a / lengths[0], b / lengths[1]), -1, 1))
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-6:
        return line
    result: np.ndarray = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return result
