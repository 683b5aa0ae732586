"""Runs a bundle at a server that serves it: the backend `triton`."""

import importlib.util
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from i2i_rt.bundle import Bundle
from i2i_rt.errors import UnsupportedError
from i2i_rt.runtime.backends import REMOTE, Choice
from i2i_rt.runtime.session import Session
from i2i_rt.serving.client import Client, Retry, Stream
from i2i_rt.serving.served import ServedModel

STATISTICS = "translate_stabilized"
# A video waits for a server that is busy, or restarts, rather than fail.
DEADLINE_S = 120.0
MOST_ATTEMPTS = 1000
IN_FLIGHT = 4  # requests at once: while the server computes one, others are on their way


def problem(backend: str, precision: str | None) -> str | None:
    """Says why no server can be asked from here; None where one can."""
    return None if importlib.util.find_spec(REMOTE.package) else f"the package {REMOTE.package!r} is not installed"


def open_session(bundle: Bundle, choice: Choice, threads: int | None) -> Session:
    assert choice.server is not None
    return TritonSession(bundle, choice.server)


def served_precision(bundle: Bundle, server: str) -> str:
    """Gives the precision in which a server translates with a bundle's weights.

    Raises:
        UnsupportedError: where it serves others.
    """
    with Client(server) as client:
        return find_served(client, bundle).precision


def find_served(client: Client, bundle: Bundle) -> ServedModel:
    """Finds the model that translates with a bundle's weights.

    Raises:
        UnsupportedError: where the server has none.
    """
    wanted, models = bundle.weights_sha256(), client.models()
    for served in models:
        if served.kind == "stage" and served.spec.name == "translate" and served.weights_sha256 == wanted:
            if served.spec != bundle.stages["translate"]:
                raise UnsupportedError(
                    f"{client.address} serves the weights of {bundle.path} in another form, {served.name}; "
                    "serve this bundle itself"
                )
            return served
    others = dict.fromkeys(f"{served.bundle} ({served.weights_sha256[:12]})" for served in models)
    raise UnsupportedError(
        f"{client.address} does not serve the weights of {bundle.path} ({wanted[:12]}) but "
        f"{', '.join(others) or 'nothing of i2i_rt'}; run 'i2i-rt serve {bundle.path}'"
    )


class TritonSession(Session):
    """The stages that a server has of a bundle. Several threads may run it."""

    def __init__(self, bundle: Bundle, server: str) -> None:
        self._client = Client(server, deadline_s=DEADLINE_S, retry=Retry(overloaded=MOST_ATTEMPTS))
        try:
            found = find_served(self._client, bundle)
            models = [served for served in self._client.models() if served.bundle == found.bundle]
        except BaseException:
            self._client.close()
            raise
        self._client.bundle = found.bundle
        self.backend, self.precision, self.device = REMOTE.name, found.precision, str(self._client.address)
        self._served = {served.spec.name: served for served in models if served.kind == "stage"}
        self.stages = {name: served.spec for name, served in self._served.items()}
        self._makes_styles = any(served.kind == "style" for served in models)
        # the statistics are those of a stage, which the stream's model has although it is not served by itself
        self._keeps_videos = STATISTICS in bundle.stages and any(served.kind == "stream" for served in models)
        self._videos: list[Stream] = []
        self.workers = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="i2i-rt-request")

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._client.run_stage(self._served[stage], inputs)

    def style(self, image: np.ndarray | None, seed: int | None, domain: str | None) -> np.ndarray | None:
        if not self._makes_styles:
            return None
        return self._client.style(image=image, seed=seed, domain=domain).code

    def steady_video(self, momentum: float) -> Stream | None:
        if not self._keeps_videos:
            return None
        video = self._client.stream(momentum=momentum)
        self._videos.append(video)
        return video

    def close(self) -> None:
        for video in self._videos:
            video.close()
        assert self.workers is not None
        self.workers.shutdown(cancel_futures=True)
        self._client.close()
