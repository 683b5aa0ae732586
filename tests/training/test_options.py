"""The papers' settings and learning rates."""

import pytest

from i2i_rt.systems.table import find
from i2i_rt.training.options import learning_rate_factor
from i2i_rt.training.recipes import options_of


@pytest.mark.parametrize(
    ("system", "epoch", "factor"),
    [
        pytest.param("cut", 200, 1.0, id="cut-last-before-the-decay"),
        pytest.param("cut", 201, 200 / 201, id="cut-first-of-the-decay"),
        pytest.param("cut", 400, 1 / 201, id="cut-last"),
        pytest.param("fastcut", 200, 1 / 51, id="fastcut-last"),
        # its code steps the schedule at the start of an epoch
        pytest.param("cyclegan", 99, 1.0, id="cyclegan-last-before-the-decay"),
        pytest.param("cyclegan", 100, 100 / 101, id="cyclegan-first-of-the-decay"),
        pytest.param("cyclegan", 200, 0.0, id="cyclegan-last"),
        pytest.param("pix2pix", 200, 0.0, id="pix2pix-last"),
        pytest.param("sincut", 16, 1 / 9, id="sincut-last"),
        pytest.param("munit", 1, 1.0, id="munit-first-hundred-thousand"),
        pytest.param("munit", 2, 1 / 2, id="munit-second-hundred-thousand"),
        pytest.param("unit", 10, 1 / 512, id="unit-last"),
    ],
)
def test_learning_rate_falls_as_in_the_papers_code(system: str, epoch: int, factor: float) -> None:
    _, recipe = find(system)

    given = learning_rate_factor(
        epoch - 1,
        epochs=recipe.epochs,
        decay_epochs=recipe.decay_epochs,
        lead=recipe.decay_lead,
        decay=recipe.decay,
    )

    assert given == pytest.approx(factor)


@pytest.mark.parametrize(
    ("system", "batch", "rate", "betas", "load_size", "crop_size"),
    [
        pytest.param("cut", 1, 2e-4, (0.5, 0.999), 286, 256, id="cut"),
        pytest.param("cyclegan", 1, 2e-4, (0.5, 0.999), 286, 256, id="cyclegan"),
        pytest.param("pix2pix", 1, 2e-4, (0.5, 0.999), 286, 256, id="pix2pix"),
        pytest.param("sincut", 16, 2e-3, (0.0, 0.99), 64, 64, id="sincut"),
    ],
)
def test_recipes_have_the_papers_values(
    system: str, batch: int, rate: float, betas: tuple[float, float], load_size: int, crop_size: int
) -> None:
    _, recipe = find(system)

    assert (recipe.batch, recipe.learning_rate, recipe.optimization_of("generator").betas) == (batch, rate, betas)
    assert (recipe.load_size, recipe.crop_size) == (load_size, crop_size)


@pytest.mark.parametrize(("system", "resize"), [("cyclegan", "square"), ("munit", "short"), ("unit-shared", "short")])
def test_pictures_are_scaled_as_in_the_papers_code_unless_told(system: str, resize: str) -> None:
    assert options_of(system, "photos").resize == resize
    assert options_of(system, "photos", resize="none").resize == "none"
