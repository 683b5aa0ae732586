"""What `make demo` runs: photographs, a first piece of training, and the shipped model from export to video.

    python -m demo.run

Everything is written below demo/output/. The shipped model was trained by demo/train.sh in the same way, for longer.
"""

import shutil
import sys
import time
from pathlib import Path

from demo import clip, photos
from i2i_rt.cli import main as i2i_rt

HERE = Path(__file__).parent
OUTPUT = HERE / "output"
# the shipped model's own options (demo/train.sh), for a few steps
TRAINING = (
    *("--width", "16", "--blocks", "6", "--discriminator-width", "32"),
    *("--resize", "none", "--crop-size", "80", "--learning-rate", "4e-4", "--threads", "1", "--steps", "20"),
)


def shown(path: Path) -> str:
    """Gives a path as the user would type it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def say(text: str) -> None:
    print(f"\n── {text}", flush=True)


def call(*words: str) -> None:
    """Prints a command and runs it in this process.

    Raises:
        SystemExit: where it fails, with its exit code.
    """
    print(f"$ i2i-rt {' '.join(words)}", flush=True)
    status = i2i_rt(list(words))
    if status:
        print(f"the demo stops here: 'i2i-rt {words[0]}' ended with exit code {status}", file=sys.stderr)
        raise SystemExit(status)


def main() -> None:
    started = time.perf_counter()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    data, run, bundle, bench = (OUTPUT / name for name in ("photos", "training", "sketch", "bench"))
    video, sketched, compared = (OUTPUT / f"{name}.mp4" for name in ("clip", "clip-sketch", "clip-compare"))

    say("1. Photographs, and sketches of other photographs")
    photos.write(data, crops=24)
    print(f"wrote {shown(data)}/trainA and trainB")

    say("2. The first 20 steps of training; the model that ships with the demo had more (demo/train.sh)")
    call("train", "fastcut", "--data", shown(data), "-o", shown(run), *TRAINING)

    say("3. The trained model, exported and compared with its PyTorch network")
    shutil.copytree(HERE / "bundle", bundle)
    call("export", shown(bundle), "--format", "onnx,openvino")

    say("4. A clip with sound, from a photograph that training never saw")
    clip.write(video)
    print(f"wrote {shown(video)}")

    say("5. The clip, translated")
    call("translate", shown(bundle), shown(video), "-o", shown(sketched))
    call("translate", shown(bundle), shown(video), "-o", shown(compared), "--compare")

    say("6. How fast each backend is here")
    # torch-compile would take as long as all the rest
    call("bench", shown(bundle), "--backend", "torch,onnxruntime,openvino", "--quick", "-o", shown(bench))

    say(f"Done in {time.perf_counter() - started:.0f} s. What to look at:")
    for path, what in (
        (compared, "photograph and sketch side by side, with the sound"),
        (sketched, "the sketch alone"),
        (bench / "latency.png", "the backends of this machine; latency.md beside it is the table"),
        (bundle / "verification.json", "how each exported graph compares with the network"),
        (run / "samples", "what 20 steps of training give: not much yet"),
    ):
        print(f"  {shown(path):<36}  {what}")
    print(f"\nYour own pictures: i2i-rt translate {shown(bundle)} PICTURE.jpg -o sketch.png")


if __name__ == "__main__":
    main()
