"""Images translated into images, reading and writing beside the network; one bad file does not stop the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from i2i_rt.errors import I2IError
from i2i_rt.video import pipeline
from i2i_rt.video.inputs import Task
from i2i_rt.video.intake import Intake, Pictures
from i2i_rt.video.sizes import Size, resized, size_note, target_size
from i2i_rt.video.stills import Still, write_still


@dataclass(frozen=True)
class StillResult:
    """What came of one image: its size and what was changed, or the error that stopped it."""

    task: Task
    height: int = 0
    width: int = 0
    notes: tuple[str, ...] = ()
    error: I2IError | None = None


@dataclass(frozen=True)
class _Item:
    task: Task
    still: Still | None = None
    before: np.ndarray | None = None  # as the network takes it
    edges: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    error: I2IError | None = None


def translate_stills(
    translate: Callable[..., np.ndarray],
    tasks: Sequence[Task],
    *,
    size: Size | None,
    max_pixels: int,
    compare: bool,
    fixed: Size | None = None,
    intake: Intake | None = None,
    advance: Callable[[int], None] = lambda files: None,
) -> list[StillResult]:
    """Translates images; the results come in the order of `tasks`.

    Args:
        translate: takes what the intake gives, `[N, …]`, and `edges=` where there are some; gives uint8 RGB frames
            `[N, H, W, 3]`.
        tasks: what to read and where to write.
        size: the height and width at which images are translated; None: their own.
        max_pixels: larger images are made smaller.
        compare: writes the input to the left of the result.
        fixed: the only size that the model takes; None: any.
        intake: reads the files; by default as pictures.
        advance: is called with 1 when an image is done.
    """
    results: list[StillResult] = []
    intake = intake or Pictures()

    def prepare(task: Task) -> _Item:
        still = intake.read(task.source)
        height, width = still.image.shape[:2]
        wanted = target_size(height, width, size=size, max_pixels=max_pixels, fixed=fixed)
        notes = still.notes
        if wanted != (height, width):
            notes += (size_note((height, width), wanted, size=size, max_pixels=max_pixels, fixed=fixed),)
        alpha = None if still.alpha is None else resized(still.alpha, wanted)
        image = intake.resized(still.image, wanted)
        return _Item(task, replace(still, alpha=alpha), image, intake.edges(task.source, wanted), notes)

    def infer(item: _Item) -> _Item:
        assert item.still is not None and item.before is not None
        edges = {} if item.edges is None else {"edges": item.edges[None]}
        after = translate(item.before[None], **edges)[0]
        return replace(item, still=replace(item.still, image=after))

    def write(item: _Item) -> _Item:
        assert item.still is not None and item.before is not None
        still = item.still
        if compare:
            alpha = None if still.alpha is None else np.concatenate((still.alpha, still.alpha), axis=1)
            still = replace(still, image=np.concatenate((intake.shown(item.before), still.image), axis=1), alpha=alpha)
        return replace(item, still=still, notes=item.notes + write_still(item.task.output, still))

    def collect(item: _Item) -> None:
        item = _guarded(write, item)
        height, width = item.still.image.shape[:2] if item.still is not None else (0, 0)
        results.append(StillResult(item.task, height, width, item.notes, item.error))
        advance(1)

    pipeline.run(
        tasks,
        lambda task: _guarded(lambda _: prepare(task), _Item(task)),
        lambda item: _guarded(infer, item),
        collect,
        depth=2,
    )
    return results


def _guarded(work: Callable[[_Item], _Item], item: _Item) -> _Item:
    """Lets an item's first error travel with it to the end."""
    if item.error is not None:
        return item
    try:
        return work(item)
    except I2IError as error:
        return _Item(item.task, error=error)
