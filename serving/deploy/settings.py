"""What can be chosen of a deployment."""

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from i2i_rt.errors import I2IError, closest
from i2i_rt.serving.limits import Limits

Target = Literal["triton-gpu", "triton-cpu", "kubernetes", "kserve", "compose"]
Device = Literal["gpu", "cpu"]
TARGETS: tuple[Target, ...] = get_args(Target)

REGISTRY = "nvcr.io/nvidia/tritonserver"
# what came before it can be stopped by one request, or run code that is not its own
IMAGE_FLOOR = (26, 7)


@dataclass(frozen=True)
class Settings:
    """A deployment, complete and checked.

    Attributes:
        name: of the service; a DNS label.
        target: what is written.
        device: that the networks run on; of targets that name none, "gpu".
        limits: the largest request.
        instances: copies of each network; of native models on one device, of python models processes. The server's
            queues, which end and time out, need two: with one, requests wait at the gateway.
        cpus: cores of a pod or container; on a CPU they are shared by the instances.
        replicas: the least and the greatest number of pods.
        release: of the server's image, year and month, such as "26.07".
        image: what the manifests run; the Dockerfile makes it.
        namespace: in Kubernetes.
    """

    name: str
    target: Target = "triton-gpu"
    device: Device = "gpu"
    limits: Limits = field(default_factory=Limits)
    instances: int = 2
    cpus: int = 4
    replicas: tuple[int, int] = (2, 8)
    release: str = "26.07"
    image: str = ""
    namespace: str = "default"

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise I2IError(f"no target is called {self.target!r}; {closest(self.target, TARGETS)}")
        if self.target in ("triton-gpu", "triton-cpu") and not self.target.endswith(self.device):
            raise I2IError(f"--target {self.target} is not for a {self.device}; leave --device out")
        for what, name in (("name", self.name), ("namespace", self.namespace)):
            if not re.fullmatch(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", name):
                raise I2IError(
                    f"the {what} is {name!r}; Kubernetes takes up to 50 small letters, digits and '-', a letter first"
                )
        least, greatest = self.replicas
        if not 1 <= least <= greatest:
            raise I2IError(f"--replicas is {least}..{greatest}; write two numbers in ascending order, from 1 on")
        if self.instances < 1 or self.cpus < 1:
            raise I2IError(f"there are {self.instances} instances on {self.cpus} cores; both must be 1 or more")
        if self.device == "cpu" and self.instances > self.cpus:
            raise I2IError(
                f"{self.instances} instances share {self.cpus} cores; give each at least one, or fewer instances"
            )
        release = release_of(self.release)
        if release is None:
            raise I2IError(f"--release is {self.release!r}; write year and month, such as 26.07")
        if release < IMAGE_FLOOR:
            floor = "{}.{:02}".format(*IMAGE_FLOOR)
            raise I2IError(f"--release {self.release} can be stopped or taken over by a request; use {floor} or later")
        if self.image and not re.fullmatch(r"[^\s@]*[^\s@:/]:[\w][\w.-]*", self.image):
            raise I2IError(f"--image is {self.image!r}; write it with its tag, such as registry/name:1")

    @property
    def base_image(self) -> str:
        """The server's image that ours is made from."""
        return f"{REGISTRY}:{self.release}-py3"

    @property
    def own_image(self) -> str:
        """The image that the manifests run."""
        return self.image or f"{self.name}:{self.release}"

    @property
    def threads(self) -> int:
        """The threads of an instance on a CPU: instances times threads is the number of cores."""
        return self.cpus // self.instances


def release_of(text: str) -> tuple[int, int] | None:
    """Reads year and month of a release such as "26.07", or of a tag such as "26.07-py3"; None where it is neither."""
    found = re.match(r"(\d\d)\.(\d\d)(?:-|$)", text)
    return (int(found[1]), int(found[2])) if found else None
