"""Mean IoU, frequency-weighted IoU and pixel accuracy: by hand, and against scikit-learn's counts."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from i2i_rt.errors import I2IError
from i2i_rt.metrics.segmentation import agreement, confusion


def test_scores_are_what_the_formulas_give_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1], [1, 1, 2, 255]])
    prediction = np.array([[0, 0, 1, 1], [1, 0, 2, 2]])

    counts = confusion(truth, prediction, 4)
    found = agreement(counts)

    assert counts.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert found.iou[:3] == (2 / 4, 2 / 4, 1.0) and np.isnan(found.iou[3])
    assert found.mean_iou == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert found.frequency_weighted_iou == pytest.approx((3 * 1 / 2 + 3 * 1 / 2 + 1) / 7)
    assert found.pixel_accuracy == pytest.approx(5 / 7)


def test_scores_are_scikit_learns_of_all_pictures_together() -> None:
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 5, (2, 3, 20, 30))
    prediction = np.where(generator.random(truth.shape) < 0.4, truth, prediction)

    counts = sum(confusion(*pair, 5) for pair in zip(truth, prediction, strict=True))
    found = agreement(np.asarray(counts))

    flat = truth.ravel(), prediction.ravel()
    assert np.array_equal(counts, confusion_matrix(*flat))
    assert found.mean_iou == pytest.approx(jaccard_score(*flat, average="macro"))
    assert found.frequency_weighted_iou == pytest.approx(jaccard_score(*flat, average="weighted"))
    assert found.pixel_accuracy == pytest.approx((truth == prediction).mean())


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        pytest.param([[0, 1]], [[0], [1]], r"the truth has the shape \[1, 2\] and the prediction \[2, 1\]", id="shape"),
        pytest.param([[0, 3]], [[0, 1]], "the truth has the label 3; with 3 classes they are 0 to 2", id="truth"),
        pytest.param([[0, 1]], [[0, -1]], "the prediction has the label -1", id="prediction"),
    ],
)
def test_maps_that_do_not_fit_are_refused(truth: list[list[int]], prediction: list[list[int]], message: str) -> None:
    with pytest.raises(I2IError, match=message):
        confusion(np.array(truth), np.array(prediction), 3)


def test_nothing_known_has_no_score() -> None:
    with pytest.raises(I2IError, match="no pixel of the truth has a known label"):
        agreement(confusion(np.full((2, 2), 255), np.zeros((2, 2), int), 3))
