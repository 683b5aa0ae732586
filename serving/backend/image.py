"""Pictures as their files' bytes: JPEG, PNG and WebP; of label maps PNG."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from i2i_rt import label_maps
from i2i_rt.serving.backend.effort import check_effort
from i2i_rt.serving.backend.model import Model
from i2i_rt.serving.backend.refusal import Refusal
from i2i_rt.serving.backend.remote import Remote
from i2i_rt.serving.models import default_domain
from i2i_rt.video.intake import intake_of
from i2i_rt.video.sizes import resized
from i2i_rt.video.stills import Header, Still, decode_still, encode_still, read_header

FORMATS = ("JPEG", "PNG", "WEBP")


class ImageModel(Model):
    """Answers with a file of the same format, as `i2i-rt translate` would write it.

    Systems with styles translate into the mean style of the first domain.
    """

    def open(self) -> None:
        self._remote = Remote(self.served, self.bundle, self.execution.cache_size)
        self._intake = intake_of(self.bundle)
        translate = self.bundle.stages["translate"]
        self._source, self._fixed = translate.inputs[0].name, translate.fixed_size
        self._has_style = any(tensor.name == "style" for tensor in translate.inputs)

    def answer(self, inputs: Mapping[str, np.ndarray], request: Any) -> Mapping[str, np.ndarray]:
        content = inputs["image"].tobytes()
        header = self._header(content)
        still = self._still(content)
        size = self._fixed or still.image.shape[:2]
        image = self._intake.resized(still.image, size)
        after = self._remote.translate({self._source: image[None]}, self._style())[0]
        alpha = None if still.alpha is None else resized(still.alpha, size)
        name = "JPEG" if header.format == "MPO" else header.format  # of several views one is written
        file = encode_still(replace(still, image=after, alpha=alpha), name)
        return {"translated": np.frombuffer(file, np.uint8)}

    def _header(self, content: bytes) -> Header:
        """Reads what the file says of its size, and refuses what is too large before any of it is decoded."""
        check_effort(content, "image")
        header = read_header(content, "image", FORMATS if self.served.labels is None else FORMATS[1:2])
        self.served.limits.check_picture(header.height, header.width, "image")
        if header.is_animated:
            raise Refusal("INVALID_ARG", "image is animated; send its frames one by one, or as a stream")
        return header

    def _still(self, content: bytes) -> Still:
        if self.served.labels is None:
            return decode_still(content, "image")
        return Still(label_maps.decode_labels(content, self.served.labels, "image"), None, None, ())

    def _style(self) -> np.ndarray | None:
        if not self._has_style:
            return None
        domain = default_domain(self.bundle)
        if domain is None:
            return self._remote.style({})[1]
        return self._remote.style({"domain": np.zeros(1, np.int64)})[1]
