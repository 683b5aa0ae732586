"""What a stage is tried on: photographs, label maps made from them, styles and codes of the network's own."""

from collections.abc import Sequence

import cv2
import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.label_maps import edges_of
from i2i_rt.layout import Plan
from i2i_rt.runtime.session import Session, padded
from i2i_rt.spec import LABEL_STAGES, StageSpec, TensorSpec

Inputs = dict[str, np.ndarray]


class Trial:
    """Makes inputs for every stage of a bundle.

    Args:
        bundle: whose stages are tried.
        reference: the network itself; codes that a stage takes are made with it.
        photographs: RGB `[H, W, 3]`, uint8, of any size.
        seed: of what is drawn; target domains begin with another one too.
    """

    def __init__(self, bundle: Bundle, reference: Session, photographs: Sequence[np.ndarray], *, seed: int = 0) -> None:
        self._bundle, self._reference, self._photographs = bundle, reference, photographs
        self._seed = seed

    def inputs(self, stage: str, size: tuple[int, int], batch: int) -> Inputs:
        """Gives a stage's inputs for frames of a height and width; fixed axes keep their own lengths."""
        spec = self._bundle.stages[stage]
        if stage in LABEL_STAGES:
            return self._planned(stage, size, batch)
        random = np.random.Generator(np.random.PCG64(self._seed))
        lengths = {"N": batch, "H": size[0], "W": size[1]}
        codes = self._codes(spec, size, batch)
        for name, code in codes.items():
            tensor = next(tensor for tensor in spec.inputs if tensor.name == name)
            lengths |= {axis.name: length for axis, length in zip(tensor.axes, code.shape, strict=True)}
        return {
            tensor.name: codes[tensor.name] if tensor.name in codes else self._made(tensor, lengths, random)
            for tensor in spec.inputs
        }

    def _planned(self, stage: str, size: tuple[int, int], batch: int) -> Inputs:
        """Gives what `layout` and `render` take for the label maps that `translate` would take."""
        translate, layout = self._bundle.stages["translate"], self._bundle.stages["layout"]
        given = padded(translate, self.inputs("translate", size, batch))
        labels, edges = given["labels"], given.get("edges")
        plan = Plan(layout)
        plan.update(labels, edges)
        inputs = plan.layout_inputs()
        if stage == "render":
            inputs = {**given, **plan.render_inputs(labels, edges), **self._reference.run("layout", inputs)}
        return {tensor.name: inputs[tensor.name] for tensor in self._bundle.stages[stage].inputs}

    def _codes(self, spec: StageSpec, size: tuple[int, int], batch: int) -> Inputs:
        """Gives those inputs that other stages of the network make from photographs: styles, structure codes."""
        stages, wanted = self._bundle.stages, {tensor.name for tensor in spec.inputs}
        codes: Inputs = {}
        for maker in ("encode", "style_from_image", "style_from_noise"):
            made = {tensor.name for tensor in stages[maker].outputs} & wanted if maker in stages else set()
            if spec.name != maker and made - codes.keys():
                outputs = self._reference.run(maker, self.inputs(maker, size, batch))
                codes |= {name: outputs[name] for name in sorted(made - codes.keys())}
        return codes

    def _made(self, tensor: TensorSpec, lengths: dict[str, int], random: np.random.Generator) -> np.ndarray:
        shape = [axis.size or lengths[axis.name] for axis in tensor.axes]
        if tensor.name in ("frames", "reference"):
            return self._frames(shape)
        if tensor.name == "labels":
            return self._labels(shape)
        if tensor.name == "edges":
            return np.stack([edges_of(labels) for labels in self._labels(shape)])
        if tensor.name == "domain":
            domains = self._bundle.style.domains if self._bundle.style is not None else ()
            return (np.arange(shape[0], dtype=np.int64) + self._seed) % max(len(domains), 1)
        if tensor.name in ("statistics", "momentum"):
            # a stage with memory is told to keep none, so that it must give the plain translation
            return np.zeros(shape, tensor.dtype)
        if tensor.name.endswith("mask"):
            return random.random(shape).astype(tensor.dtype)
        return random.standard_normal(shape).astype(tensor.dtype)

    def _frames(self, shape: list[int]) -> np.ndarray:
        count, height, width, _ = shape
        return np.stack([
            cv2.resize(
                self._photographs[index % len(self._photographs)], (width, height), interpolation=cv2.INTER_AREA
            )
            for index in range(count)
        ])  # fmt: skip

    def _labels(self, shape: list[int]) -> np.ndarray:
        """Gives label maps with a photograph's shapes: its grey levels, blurred, stand for the classes."""
        classes = len(self._bundle.labels.names) if self._bundle.labels is not None else 2
        grey = self._frames([*shape, 3]).mean(axis=3)
        side = max(min(shape[1:]) // 8, 1) | 1
        smooth = np.stack([cv2.GaussianBlur(picture, (side, side), 0) for picture in grey])
        return (smooth * classes / 256).astype(np.uint8)
