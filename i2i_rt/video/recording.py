"""Where `i2i-rt live` writes its frames: a video with the times of their arrival, or a folder of pictures."""

from pathlib import Path

import cv2
import numpy as np

from i2i_rt.errors import MediaError
from i2i_rt.video.mux import check_output
from i2i_rt.video.probe import load_av
from i2i_rt.video.writer import Encoding, VideoWriter


class VideoRecording:
    """A video of frames as they come. It takes the size of the first; a stream that returns with another is resized."""

    def __init__(self, path: Path) -> None:
        check_output(path)
        load_av()
        if not path.parent.is_dir():
            raise MediaError(f"{path} cannot be written: there is no folder {path.parent}")
        self.path = path
        self.frames = 0
        self._writer: VideoWriter | None = None
        self._size = (0, 0)  # width, height

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Takes an RGB frame `[H, W, 3]` uint8 that arrived `time_s` after the first one."""
        height, width = frame.shape[:2]
        if self._writer is None:
            self._size = width, height
            # the encoder must not be slower than the network
            self._writer = VideoWriter(self.path, height, width, encoding=Encoding(preset="ultrafast"))
        elif self._size != (width, height):
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(frame, time_s)
        self.frames += 1

    def close(self) -> None:
        """Completes the file; without a frame there is none."""
        if self._writer is not None:
            self._writer.close()

    @property
    def size_bytes(self) -> int:
        """Gives the size of the complete file."""
        return self.path.stat().st_size


class FrameFolder:
    """A folder of JPEG pictures, numbered from 1."""

    def __init__(self, path: Path) -> None:
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise MediaError(f"{path} is not empty; name a new folder for the frames")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.frames = 0

    def write(self, frame: np.ndarray, time_s: float) -> None:
        """Takes an RGB frame `[H, W, 3]` uint8."""
        _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
        file = self.path / f"{self.frames + 1:06d}.jpg"
        temporary = file.with_suffix(".part")
        try:
            temporary.write_bytes(data.tobytes())
            temporary.replace(file)
        except OSError as error:
            raise MediaError(f"{file} cannot be written: {error.strerror}") from error
        self.frames += 1

    def close(self) -> None:
        """Does nothing: each picture is complete."""

    @property
    def size_bytes(self) -> int:
        """Gives the size of all pictures."""
        return sum(file.stat().st_size for file in self.path.iterdir())


def open_recording(path: Path) -> VideoRecording | FrameFolder:
    """Takes a name with a suffix for a video and one without for a folder.

    Raises:
        MediaError: where nothing can be written there.
    """
    return VideoRecording(path) if path.suffix else FrameFolder(path)
