"""Small training sets of photographs, one for each way in which a system's data can lie, for measuring speed."""

from pathlib import Path

import cv2
import numpy as np

from i2i_rt.benchmarks.inputs import drawn_labels
from i2i_rt.export.verify import sample_photographs
from i2i_rt.systems.base import Arrangement

SIZE = 286  # pixels a side
LABELS = 19
JPEG_QUALITY = 90


def write_set(folder: Path, arrangement: Arrangement, pictures: int) -> Path:
    """Writes `pictures` crops of photographs as JPEGs, with drawn label maps where labels are needed.

    The crops are no training set that anything could be learned from; a set that is there already is left as it is.
    """
    path = folder / arrangement
    if path.is_dir():
        return path
    for name, labels in FOLDERS[arrangement].items():
        (path / name).mkdir(parents=True)
        count = 1 if arrangement == "single" else pictures
        for number, image in enumerate(_labels(count) if labels else _photographs(count)):
            # linked pictures: each latent code's folder has one of each of two classes
            stem = f"{number // 2:04d}/{number % 2}" if arrangement == "linked" else f"{number:04d}"
            file = path / name / f"{stem}.{'png' if labels else 'jpg'}"
            file.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(file), image, [] if labels else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return path


# folders of a set, and whether they hold label maps
FOLDERS: dict[Arrangement, dict[str, bool]] = {
    "unpaired": {"trainA": False, "trainB": False},
    "paired": {"trainA": False, "trainB": False},
    "triplets": {"trainA": False, "trainB": False},
    "single": {"trainA": False, "trainB": False},
    "labelled": {"train_img": False, "train_label": True},
    "domains": {"train/a": False, "train/b": False},
    "views": {"train": False},
    "pictures": {"train": False},
    "adaptation": {"train_img": False, "train_label": True, "train_target": False},
    "linked": {"train": False, "train_shape": True},
}


def _photographs(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    crops = []
    for number in range(count):
        photographs = sample_photographs()
        photograph = photographs[number % len(photographs)]
        top, left = (int(random.integers(side - SIZE + 1)) for side in photograph.shape[:2])
        crops.append(photograph[top : top + SIZE, left : left + SIZE, ::-1])  # OpenCV writes BGR
    return crops


def _labels(count: int) -> list[np.ndarray]:
    return list(drawn_labels(LABELS, SIZE, SIZE, count))
