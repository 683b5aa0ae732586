from i2i_rt.bundle import Bundle
from i2i_rt.export.profiles import parse, shapes_of
from i2i_rt.serving.deploy.shapes import holds, narrowed
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.models import served_stage


def test_what_an_engine_does_not_take_is_refused_by_the_limits(bundle: Bundle) -> None:
    served = served_stage("tiny", bundle, "translate", "fp32", Limits())
    shapes = shapes_of(served.spec, parse("64x64..128x128..256x512", "1..2"))
    found = narrowed(served, shapes)
    assert (found.limits.side, found.limits.batch) == (512, 2)
    assert [axis.low for axis in found.spec.inputs[0].axes] == [1, 64, 64, 1]
    assert [axis.low for axis in found.spec.outputs[0].axes] == [1, 64, 64, 1]


def test_an_engine_of_one_size_makes_a_model_of_one_size(bundle: Bundle) -> None:
    served = served_stage("tiny", bundle, "translate", "fp32", Limits())
    found = narrowed(served, shapes_of(served.spec, parse("64x128", "1..4")))
    assert found.spec.fixed_size == (64, 128)
    assert [axis.size for axis in found.spec.outputs[0].axes] == [None, 64, 128, 3]


def test_shapes_must_fit_one_profile_as_a_whole(bundle: Bundle) -> None:
    shapes = shapes_of(bundle.stages["translate"], parse("64x64,256x256", "1"))
    assert holds(shapes, {"frames": (1, 64, 64, 3)}) and holds(shapes, {"frames": (1, 256, 256, 3)})
    assert not holds(shapes, {"frames": (1, 64, 256, 3)}) and not holds(shapes, {"frames": (2, 64, 64, 3)})
