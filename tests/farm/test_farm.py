"""A farm without Ray: each file once and as `translate` makes it, whatever was there before or goes wrong."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i_rt.errors import I2IError, MediaError
from i2i_rt.farm import farm as farm_module
from i2i_rt.farm import split
from i2i_rt.farm.farm import Farm, FileResult
from i2i_rt.farm.results import load
from i2i_rt.farm.split import parts_of
from i2i_rt.farm.work import Job, Model, VideoWork
from i2i_rt.farm.worker import Worker
from i2i_rt.style import StylePath
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator
from i2i_rt.video import inputs
from i2i_rt.video.frame_index import FrameIndex, index_of
from i2i_rt.video.intake import Pictures
from i2i_rt.video.part import Part, VideoOptions
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader
from i2i_rt.video.segments import FRAMES_PER_SEGMENT
from i2i_rt.video.style_walk import StyleWalk
from i2i_rt.video.translate import translate_video
from i2i_rt.video.writer import Encoding
from tests.fakes import StyledSession, styled_bundle
from tests.farm.stand_in import InThisProcess, Silent, open_model
from tests.video.clips import frames_of, picture, sound_packets, write_clip

pytest.importorskip("av")

LOSSLESS = VideoOptions(encoding=Encoding(crf=0))
FRAMES = 5 * FRAMES_PER_SEGMENT + 20


def long_clip(path: Path, *, options: dict[str, str] | None = None) -> Path:
    ticks = [0, *np.cumsum([20 if step % 3 else 50 for step in range(FRAMES - 1)]).tolist()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.video.clips.FRAMES", FRAMES)
        return write_clip(
            path,
            ticks=ticks,
            sound=["aac"],
            options={"g": "25"} | (options or {}),
            make=lambda index, height, width: picture(index % 64, height, width),
        )


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long clip, a short one, an image, a broken video and a text."""
    folder = tmp_path_factory.mktemp("clips")
    long_clip(folder / "long.mp4")
    write_clip(folder / "short.mkv", sound=["aac"])
    Image.fromarray(picture(5)).save(folder / "image.png")
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    (folder / "notes.txt").write_text("neither")
    return folder


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "FRAMES_PER_PART", FRAMES_PER_SEGMENT)


@pytest.fixture
def firsts(clips: Path) -> list[int]:
    """Where the parts of long.mp4 begin."""
    firsts = [part.first for part in parts_of(probe(clips / "long.mp4"), LOSSLESS, "off")]
    assert len(firsts) >= 4
    return firsts


def farm_of(output: Path, workers: InThisProcess, *, settings: dict[str, Any] | None = None, **job: Any) -> Farm:
    given = {"open_model": open_model, "options": LOSSLESS, "stabilize": "off"} | job
    return Farm(
        Job(backend="auto", precision="auto", folder=output / ".farm", **given),
        settings or {},
        workers.connect,
        Silent(),
    )


def run(source: Path | str, output: Path, workers: InThisProcess | None = None, **job: Any) -> dict[str, FileResult]:
    output.mkdir(exist_ok=True)
    farm = farm_of(output, workers or InThisProcess(), **job)
    return {result.task.source.name: result for result in farm.run(inputs.find(str(source), f"{output}/").tasks)}


def assert_as_translated(source: Path, output: Path, whole: Path) -> None:
    translate_video(lambda frames: 255 - frames, source, whole, LOSSLESS)
    before, after = frames_of(whole), frames_of(output)
    assert [time for time, _ in after] == [time for time, _ in before]
    assert all((a == b).all() for (_, a), (_, b) in zip(after, before, strict=True))
    assert sound_packets(output) == sound_packets(whole)


def test_every_file_becomes_what_translate_makes_of_it(clips: Path, firsts: list[int], tmp_path: Path) -> None:
    workers, output = InThisProcess(), tmp_path / "out"
    results = run(clips, output, workers)
    assert {name: result.state for name, result in results.items()} == {
        "broken.mp4": "failed", "image.png": "done", "long.mp4": "done", "short.mkv": "done",
    }  # fmt: skip
    assert "is no video that can be read" in results["broken.mp4"].error
    assert [results[name].frames for name in ("image.png", "long.mp4", "short.mkv")] == [1, FRAMES, 20]
    assert sum(isinstance(piece, VideoWork) for piece in workers.done) == len(firsts) + 1
    assert_as_translated(clips / "long.mp4", output / "long.mp4", tmp_path / "long.mp4")
    assert_as_translated(clips / "short.mkv", output / "short.mp4", tmp_path / "short.mp4")
    with Image.open(output / "image.png") as image:
        assert (np.asarray(image) == 255 - picture(5)).all()
    assert sorted(file.name for file in output.iterdir()) == [".farm", "image.png", "long.mp4", "short.mp4"]
    assert sorted(file.name for file in (output / ".farm").iterdir()) == ["done.jsonl", "lock"]


def test_a_second_run_does_only_what_is_not_done_or_has_changed(clips: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(source / name)
    Image.fromarray(picture(5)).save(source / "c.png")

    def states(**settings: str) -> str:
        return "".join(result.state[0] for result in run(source, output, settings=settings).values())

    assert states() == "ddd"
    assert states() == "eee"
    (output / "a.mp4").unlink()
    assert states() == "dee"
    (output / "b.mp4").write_bytes(b"of somebody else")
    assert states() == "ede"
    os.utime(source / "c.png", (1, 1))
    assert states() == "eed"
    assert states(seed="2") == "ddd"
    with (output / ".farm" / "done.jsonl").open("a") as ledger:
        ledger.write('{"output": "a.m')  # as a full disk leaves it
    assert states(seed="2") == "eee"
    (output / "c.png").unlink()
    assert states(seed="2") == "eed"
    assert states(seed="2") == "eee"


def test_an_interrupted_run_goes_on_with_the_parts_that_are_missing(
    clips: Path, firsts: list[int], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = run(clips / "long.mp4", output, InThisProcess(interrupted_after=3))
    assert first["long.mp4"].state == "interrupted"
    assert [file.name for file in output.iterdir()] == [".farm"]
    second = InThisProcess()
    result = run(clips / "long.mp4", output, second)["long.mp4"]
    assert (result.state, result.frames, len(second.done)) == ("done", FRAMES - firsts[3], len(firsts) - 3)
    assert_as_translated(clips / "long.mp4", output / "long.mp4", tmp_path / "long.mp4")


def test_parts_of_other_settings_are_not_used_and_do_not_stay(clips: Path, firsts: list[int], tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(clips / "long.mp4", output, InThisProcess(interrupted_after=3))
    run(clips / "long.mp4", output, InThisProcess(interrupted_after=1), settings={"seed": "2"})
    assert len(list((output / ".farm").glob("long.mp4-*"))) == 1
    again = InThisProcess()
    assert run(clips / "long.mp4", output, again)["long.mp4"].frames == FRAMES
    assert len(again.done) == len(firsts)


def test_all_parts_done_and_only_the_joining_left(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise MediaError("No space left on device")

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(farm_module.FarmClip, "finish", full_disk)
        assert run(clips / "long.mp4", output)["long.mp4"].error == "No space left on device"
    workers = InThisProcess()
    assert run(clips / "long.mp4", output, workers)["long.mp4"].state == "done"
    assert not workers.done
    assert_as_translated(clips / "long.mp4", output / "long.mp4", tmp_path / "long.mp4")


def test_a_clip_whose_key_frames_are_not_complete_is_read_from_its_start(tmp_path: Path) -> None:
    source = long_clip(tmp_path / "in.mp4", options={"x264-params": "intra-refresh=1:bframes=0"})
    index = index_of(probe(source))
    assert index is not None and len(index.keys) > 5
    assert run(source, tmp_path / "out")["in.mp4"].state == "done"
    assert_as_translated(source, tmp_path / "out" / "in.mp4", tmp_path / "whole.mp4")


def test_a_clip_that_decodes_otherwise_from_its_middle_is_done_whole(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FrameReader._opencv

    def worse_after_a_seek(self: FrameReader, begin_s: float | None) -> Iterator[Any]:
        for time, duration, picture_ in original(self, begin_s):
            yield time, duration, picture_ if begin_s is None else lambda picture_=picture_: picture_() // 2

    monkeypatch.setattr(FrameReader, "_opencv", worse_after_a_seek)
    workers, output = InThisProcess(), tmp_path / "out"
    result = run(clips / "long.mp4", output, workers)["long.mp4"]
    assert (result.state, result.frames) == ("done", FRAMES)
    assert [piece.part for piece in workers.done if isinstance(piece, VideoWork)][-1] == Part()
    assert_as_translated(clips / "long.mp4", output / "long.mp4", tmp_path / "whole.mp4")


def test_a_damaged_clip_is_done_whole_and_as_translate_does_it(clips: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.mp4", tmp_path / "out"
    content = bytearray((clips / "long.mp4").read_bytes())
    half = len(content) // 2
    content[half : half + 600] = bytes(600)
    source.write_bytes(content)
    result = run(source, output)["in.mp4"]
    assert result.state == "done"
    assert "is damaged or cut off" in result.notes[0]
    assert_as_translated(source, output / "in.mp4", tmp_path / "whole.mp4")


def test_what_kills_its_workers_is_given_up_and_the_others_go_on(clips: Path, tmp_path: Path) -> None:
    class Deadly(InThisProcess):
        def run(self, job: Job, work: Any) -> Any:
            tries = job.folder / "tries"
            (tries / str(work[0].number)).write_bytes(b"...")  # three began it, and left nothing
            (tries / str(work[1].number)).write_bytes(b".")
            return super().run(job, work)

    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(source / name)
    results = run(source, output, Deadly())
    assert (results["a.mp4"].state, results["a.mp4"].error) == ("failed", "3 processes died while they translated it")
    assert (results["b.mp4"].state, results["b.mp4"].retries) == ("done", 1)
    assert run(source, output)["a.mp4"].state == "done"  # another run tries again


def test_a_fault_of_the_network_is_of_one_file(clips: Path, tmp_path: Path) -> None:
    def fails_on_one(backend: str, precision: str) -> Model:
        def translate(frames: np.ndarray) -> np.ndarray:
            if frames.shape[1] == 32:
                raise MemoryError("1 TB")
            return 255 - frames

        return Model(Translator(FakeSession(translate)), Pictures())

    source = tmp_path / "in"
    source.mkdir()
    write_clip(source / "a.mp4", size=(32, 64))
    write_clip(source / "b.mp4")
    results = run(source, tmp_path / "out", open_model=fails_on_one)
    assert [(result.state, result.error) for result in results.values()] == [
        ("failed", "MemoryError: 1 TB"), ("done", ""),
    ]  # fmt: skip


def test_a_model_that_cannot_be_opened_ends_it_all(clips: Path, tmp_path: Path) -> None:
    def broken(backend: str, precision: str) -> Model:
        raise I2IError("bundle.json is cut off")

    with pytest.raises(I2IError, match=r"bundle\.json is cut off"):
        run(clips, tmp_path / "out", open_model=broken)


def test_two_farms_do_not_write_into_one_folder(clips: Path, tmp_path: Path) -> None:
    class Second(InThisProcess):
        def choose(self, folder: Path) -> tuple[str, str]:
            with pytest.raises(MediaError, match="another farm is writing into"):
                run(clips, tmp_path / "out")
            return super().choose(folder)

    assert run(clips / "short.mkv", tmp_path / "out", Second())["short.mkv"].state == "done"


def test_what_is_written_is_counted_while_parts_are_translated(clips: Path, firsts: list[int], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    output = tmp_path / "out"
    output.mkdir()
    watcher = Silent()

    class Watched(InThisProcess):
        def run(self, job: Job, work: Any) -> Any:
            seen.append(watcher.written())
            for outcome in super().run(job, work):
                seen.append(watcher.written())
                yield outcome

    farm = farm_of(output, Watched())
    farm.watcher = watcher
    farm.run(inputs.find(str(clips / "long.mp4"), f"{output}/").tasks)
    assert seen == [(done, FRAMES) for done in (*firsts, FRAMES)]


def test_styles_walk_on_across_parts(clips: Path, firsts: list[int], tmp_path: Path) -> None:
    bundle = styled_bundle(tmp_path / "bundle", StyledSession())

    def styled(backend: str, precision: str) -> Model:
        translator = Translator(StyledSession(), "", bundle)
        styles = tuple(replace(translator.style(seed=seed), code=code) for seed, code in enumerate(codes))
        return Model(translator, Pictures(), styles)

    codes = [np.array(levels, np.float32) for levels in ((0, 250, 40), (250, 0, 90))]
    output, model = tmp_path / "out", styled("", "")
    workers = InThisProcess()
    assert run(clips / "long.mp4", output, workers, open_model=styled)["long.mp4"].state == "done"
    assert len(workers.done) == len(firsts)
    walk = StyleWalk(model.translator, StylePath(model.translator.styles, model.styles))
    translate_video(walk, clips / "long.mp4", tmp_path / "whole.mp4", LOSSLESS, begin=walk.begin)
    before, after = frames_of(tmp_path / "whole.mp4"), frames_of(output / "long.mp4")
    assert all((a == b).all() for (_, a), (_, b) in zip(after, before, strict=True))
    assert len({image.tobytes() for _, image in after}) > 200


@pytest.mark.parametrize("batch", [1, 7, 8])
def test_parts_begin_where_segments_and_batches_do_and_near_after_key_frames(
    clips: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.undo()
    total, every = 20_000, 250
    index = FrameIndex(np.arange(total) / 25, np.arange(0, total, every))
    monkeypatch.setattr("i2i_rt.farm.split.index_of", lambda clip: index)
    clip = replace(probe(clips / "long.mp4"), indexed_frames=total)
    parts = parts_of(clip, VideoOptions(batch=batch), "off")
    firsts = [part.first for part in parts]
    assert all(first % 60 == 0 and first % batch == 0 for first in firsts)
    lengths = np.diff([*firsts, total])
    assert lengths.min() >= 300 and lengths.max() < 1500
    assert [part.frames for part in parts] == [*lengths[:-1], None]
    if batch == 1:
        assert np.mean([first % every for first in firsts[1:]]) < 30  # any other place costs 125 on average


def test_short_and_steadied_clips_stay_whole(clips: Path) -> None:
    assert parts_of(probe(clips / "short.mkv"), VideoOptions(), "off") == [Part()]
    assert parts_of(probe(clips / "long.mp4"), VideoOptions(), "strong") == [Part(history=True)]


def test_results_of_parts_are_read_back(clips: Path, tmp_path: Path) -> None:
    job = Job(open_model, "fake", "fp32", LOSSLESS, "off", tmp_path)
    (tmp_path / "tries").mkdir()
    task = inputs.Task(clips / "short.mkv", tmp_path / "out.mp4", True)
    outcome = Worker(job)(VideoWork(0, task, Part(), tmp_path / "part-00000"))
    assert outcome.result is not None and outcome.result.frames == 20
    assert load(tmp_path / "part-00000") == replace(outcome.result, new_frames=0)
    (tmp_path / "part-00000.json").write_text(json.dumps({"segments": []}))
    assert load(tmp_path / "part-00000") is None
    assert load(tmp_path / "part-00001") is None
