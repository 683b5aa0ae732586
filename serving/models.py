"""Which models a bundle is served as, and what each of them takes and gives.

<name>-translate   one of the bundle's graphs; of a bundle that translates nothing, its main one
<name>-style       a style code: of a picture, drawn with a seed, or the mean
<name>-pipeline    frames of any size, with a style that is named, or made in the same request
<name>-stream      the frames of videos, each with what is kept from one frame to the next
<name>-image       a picture's file, as curl sends it
"""

from dataclasses import replace

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.served import Kind, ServedModel
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.style import StyleMaker

STYLE_ID = TensorSpec("style_id", "int64", (Axis("one", size=1),))
SEED = TensorSpec("seed", "int64", (Axis("one", size=1),))
DOMAIN = TensorSpec("domain", "int64", (Axis("one", size=1),))
REFERENCE = TensorSpec("reference", "uint8", (Axis("reference_H"), Axis("reference_W"), Axis("C", size=3)))
MOMENTUM = TensorSpec("momentum", "float32", (Axis("one", size=1),))


def served_models(name: str, bundle: Bundle, precision: str, limits: Limits) -> list[ServedModel]:
    """Describes the models that a bundle is served as under a name."""
    stage = bundle.stages[bundle.main_stage]
    first = served_stage(name, bundle, stage.name, precision, limits)
    models = [first]
    if stage.name != "translate":
        return models

    def model(kind: Kind, spec: StageSpec, optional: tuple[str, ...] = ()) -> ServedModel:
        return replace(first, name=f"{name}-{spec.name}", kind=kind, spec=spec, optional=optional)

    has_style = any(tensor.name == "style" for tensor in stage.inputs)
    style_inputs = _style_inputs(bundle) if has_style else ()
    if has_style:
        spec = StageSpec("style", (*style_inputs, STYLE_ID), (_style(stage), STYLE_ID))
        models.append(model("style", spec, _names(spec.inputs)))
    if stage.inputs[0].name == "style":  # the label map is baked in: there is nothing to translate
        return models
    frames = tuple(_any_size(tensor) for tensor in stage.inputs if tensor.name != "style")
    translated = _any_size(stage.outputs[0])
    if has_style:
        spec = StageSpec("pipeline", (*frames, *style_inputs, STYLE_ID), (translated, STYLE_ID))
        models.append(model("pipeline", spec, ("edges", *_names(style_inputs), "style_id")))
    single = (replace(_one(frames[0]), name="frame"), *map(_one, frames[1:]))
    start = (*style_inputs, _style(stage)) if has_style else ()
    spec = StageSpec("stream", (*single, *start, MOMENTUM), (_one(translated),))
    models.append(model("stream", spec, ("edges", *_names(start), "momentum")))
    if not has_style or has_default_style(bundle):
        file = TensorSpec("image", "uint8", (Axis("bytes"),))
        models.append(model("image", StageSpec("image", (file,), (replace(file, name="translated"),))))
    return models


def served_stage(name: str, bundle: Bundle, stage: str, precision: str, limits: Limits) -> ServedModel:
    """Describes the model that is one of a bundle's stages."""
    return ServedModel(
        f"{name}-{stage}",
        "stage",
        name,
        bundle.system,
        bundle.weights_sha256(),
        precision,
        bundle.stages[stage],
        limits,
        (),
        bundle.style,
        bundle.labels,
    )


def default_domain(bundle: Bundle) -> str | None:
    """Gives the target domain of pictures that come without one: the first; None where the bundle has only one."""
    return bundle.style.domains[0] if bundle.style is not None and bundle.style.domains else None


def has_default_style(bundle: Bundle) -> bool:
    """Says whether there is a style for pictures that come without one."""
    try:
        StyleMaker(bundle, None).check_request(default_domain(bundle))
    except I2IError:
        return False
    return True


def _style_inputs(bundle: Bundle) -> tuple[TensorSpec, ...]:
    reference = (REFERENCE,) if "style_from_image" in bundle.stages else ()
    domain = (DOMAIN,) if bundle.style is not None and bundle.style.domains else ()
    return (*reference, SEED, *domain)


def _style(stage: StageSpec) -> TensorSpec:
    """Describes one style code, `[S]`."""
    return _one(next(tensor for tensor in stage.inputs if tensor.name == "style"))


def _any_size(tensor: TensorSpec) -> TensorSpec:
    """Describes frames that are padded where the graph does not take their size."""
    return replace(tensor, axes=tuple(replace(axis, multiple=1, low=1) for axis in tensor.axes))


def _one(tensor: TensorSpec) -> TensorSpec:
    """Describes one of a batch."""
    return replace(tensor, axes=tensor.axes[1:])


def _names(tensors: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in tensors)
