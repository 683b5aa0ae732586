"""`i2i-rt eval styles`: how smooth and how various the styles of a bundle are."""

import argparse
import time
from pathlib import Path

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.cli import add_backend_options, open_translator, positive
from i2i_rt.cli.eval_pictures import to_images
from i2i_rt.cli.eval_report import Score, add_features_option, progress, report
from i2i_rt.cli.style_options import seed
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.metrics.folders import pictures
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.style import Style, StyleMaker
from i2i_rt.translator import Translator
from i2i_rt.video.sizes import resized
from i2i_rt.video.stills import read_still

STYLES = """Translates pictures with drawn styles, and measures the space of styles by what comes out.

PS          perceptual smoothness of the way from one style to another, 0 to 1: the harmonic mean of
alignment   the distance of a way's ends over its length; 1 where there is no detour
uniformity  how alike its steps are; 1 where all are
diversity   LPIPS of all pairs of results with different styles

A way leads in equal steps from one code to another, on the line or, where the system mixes so, on the arc; its lengths
are LPIPS's with absolute differences in place of squares, so that the triangle inequality holds.
"""


def add(measures: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = measures.add_parser(
        "styles",
        help="perceptual smoothness (PS) and diversity of a bundle's styles",
        description=STYLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("sources", type=Path, help="a folder of pictures to translate")
    parser.add_argument("--domain", metavar="NAME", help="the target domain, by its name or number")
    parser.add_argument(
        "--references", type=Path, metavar="FOLDER", help="take styles of these pictures, not drawn ones"
    )
    parser.add_argument("--steps", type=positive, default=20, help="of a way (default: 20)")
    parser.add_argument("--results", type=positive, default=10, help="of each source, for the diversity (default: 10)")
    parser.add_argument("--count", type=positive, help="sources to take, the first ones (default: all)")
    parser.add_argument("--seed", type=seed, default=0, help="of the styles (default: 0)")
    add_features_option(parser)
    add_backend_options(parser)
    parser.set_defaults(evaluate=_styles)


def _styles(arguments: argparse.Namespace) -> int:
    from i2i_rt.metrics.lpips import lpips
    from i2i_rt.metrics.styles import diversity, path_smoothness

    started_s = time.perf_counter()
    if arguments.results < 2:
        raise I2IError("--results is 1; diversity needs at least 2 results of a source")
    bundle = Bundle.open(arguments.bundle)
    if bundle.style is None:
        raise UnsupportedError(f"{bundle.path} takes no style: {bundle.system} has none, or one is baked in")
    StyleMaker(bundle, None).check_request(arguments.domain, image=arguments.references is not None)
    sources = pictures(arguments.sources)[: arguments.count]
    references = pictures(arguments.references) if arguments.references is not None else []
    distance = lpips(arguments.features)
    generator = np.random.default_rng(arguments.seed)
    alignment, uniformity, ps, diversities = [], [], [], []
    with open_translator(arguments, bundle.path) as translator:
        prepare = Preprocessing(**bundle.preprocessing)
        for source in progress(sources):
            picture = prepare(read_still(source).image)
            styles = [_style(translator, arguments, references, generator) for _ in range(arguments.results)]
            way = [translator.mix(styles[0], styles[1], share) for share in np.linspace(0, 1, arguments.steps + 1)]
            scores = path_smoothness(distance, to_images(_results(translator, picture, way))[None])
            alignment += scores.alignment.tolist()
            uniformity += scores.uniformity.tolist()
            ps += scores.ps.tolist()
            diversities += diversity(distance, to_images(_results(translator, picture, styles))[None]).tolist()
    means = [float(np.mean(values)) for values in (ps, alignment, uniformity, diversities)]
    return report(
        "styles",
        [
            Score("ps", "PS", means[0], "higher"),
            Score("alignment", "alignment", means[1], "higher"),
            Score("uniformity", "uniformity", means[2], "higher"),
            Score("diversity", "diversity (LPIPS)", means[3], "higher"),
        ],
        arguments,
        {"bundle": arguments.bundle, "sources": arguments.sources},
        started_s=started_s,
        counted=f"{len(sources)} sources, a way of {arguments.steps} steps and {arguments.results} results of each",
        steps=arguments.steps,
        results=arguments.results,
        seed=arguments.seed,
        domain=arguments.domain,
        sources={
            source.stem: {"ps": score, "diversity": value}
            for source, score, value in zip(sources, ps, diversities, strict=True)
        },
    )


def _style(
    translator: Translator, arguments: argparse.Namespace, references: list[Path], generator: np.random.Generator
) -> Style:
    if references:
        image = read_still(references[int(generator.integers(len(references)))]).image
        return translator.style(image=image, domain=arguments.domain)
    return translator.style(seed=int(generator.integers(2**31)), domain=arguments.domain)


def _results(translator: Translator, picture: np.ndarray, styles: list[Style]) -> np.ndarray:
    """Gives a picture `[H, W, 3]` in every style, `[N, H, W, 3]`."""
    if translator.fixed_size is not None:
        picture = resized(picture, translator.fixed_size)
    return np.stack([translator(picture, style) for style in styles])
