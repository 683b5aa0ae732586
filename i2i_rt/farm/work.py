"""What is to be done, as it travels to the workers, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from i2i_rt.style import Style
from i2i_rt.translator import Translator
from i2i_rt.video.inputs import Task
from i2i_rt.video.intake import Intake
from i2i_rt.video.part import Part, PartResult, VideoOptions
from i2i_rt.video.stabilize import Strength


@dataclass(frozen=True)
class Model:
    """A bundle in a session, ready to translate; `styles` has several where a video passes through them."""

    translator: Translator
    intake: Intake
    styles: tuple[Style, ...] = ()


@dataclass(frozen=True)
class Job:
    """What all work of a farm has in common.

    Attributes:
        open_model: opens the bundle in a backend and a precision; is called once in each process.
        folder: the farm's own, beside the results.
    """

    open_model: Callable[[str, str], Model]
    backend: str
    precision: str
    options: VideoOptions
    stabilize: Strength
    folder: Path


@dataclass(frozen=True)
class VideoWork:
    """A part of a video; `output` names its segments."""

    number: int
    task: Task
    part: Part
    output: Path


@dataclass(frozen=True)
class ImagesWork:
    """A few images."""

    number: int
    tasks: tuple[Task, ...]


Work = VideoWork | ImagesWork


@dataclass(frozen=True)
class ImageOutcome:
    """What came of one image; `error` is empty where it was written."""

    task: Task
    error: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of a piece of work.

    Attributes:
        seconds: how long it took, in the worker.
        tries: how many workers began it.
        result: of a part of a video; None where there is an error.
        images: of images.
        error: why there is no result, in one sentence.
        fatal: nothing else will be translated either, because the model cannot be opened.
    """

    number: int
    seconds: float
    tries: int
    result: PartResult | None = None
    images: tuple[ImageOutcome, ...] = field(default=())
    error: str = ""
    fatal: bool = False
