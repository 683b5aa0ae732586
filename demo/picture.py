"""Makes the picture for the README: the clip's photograph and its translation side by side, moving.

python -m demo.picture demo/bundle docs/images/demo.webp
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from demo import clip
from i2i_rt.errors import I2IError
from i2i_rt.translator import Translator

FRAMES = 60
FRAMES_PER_SECOND = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("output", type=Path, help="the animated WebP to write")
    arguments = parser.parse_args()
    try:
        with Translator.load(arguments.bundle) as translator:
            pairs = [np.hstack([frame, translator(frame)]) for frame in clip.frames(FRAMES)]
    except I2IError as error:
        print(f"picture: {error}", file=sys.stderr)
        return 2
    first, *rest = map(Image.fromarray, pairs)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    first.save(
        arguments.output,
        save_all=True,
        append_images=rest,
        duration=1000 // FRAMES_PER_SECOND,
        loop=0,
        quality=70,
        method=6,
    )
    print(f"wrote {arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
