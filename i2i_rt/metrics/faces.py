"""Face recognition distance (FRD): how much of a person is lost (Liu et al. 2021, Smoothing, equation 12)."""

from pathlib import Path

import torch
from torch import Tensor

from i2i_rt.checkpoint import read_state, require_fit
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models.arcface import ArcFace, ArcFaceConfig, read_official
from i2i_rt.pretrained import Features, cached, random_weights

FILE = "model_ir_se50.pth"  # the name under which the weights of IR-SE50 are published


def face_network(features: Features, file: Path | None = None) -> ArcFace:
    """Gives the network that recognises faces, with the weights in a file.

    Args:
        features: `random` needs no file, and its figures compare with no others.
        file: by default `model_ir_se50.pth` in PyTorch's cache; no library downloads it.

    Raises:
        I2IError: where the file is missing, or holds another network.
    """
    if features == "random":
        network = ArcFace(ArcFaceConfig())
        network.load_state_dict(random_weights(network.state_dict()), assign=True)
        return network.eval().requires_grad_(False)
    path = file or cached(FILE)
    if not path.is_file():
        raise I2IError(
            f"the weights of the face network are not here: put {FILE}, ArcFace's IR-SE50, into {path.parent}, or name "
            "its place; or choose random features, whose figures compare with no others"
        )
    state = read_state(path)
    try:
        config, weights = read_official(state)
    except (LookupError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path} holds another network than ArcFace's IR-SE50") from error
    network = ArcFace(config)
    require_fit(network.state_dict(), weights, f"{path} does not fit ArcFace")
    network.load_state_dict(weights, strict=False)
    return network.eval().requires_grad_(False)


def face_distances(network: ArcFace, faces: Tensor, others: Tensor) -> Tensor:
    """Gives `[N]` squared distances of faces `[N, 3, H, W]` in [-1, 1], 0 to 4; FRD is their mean.

    The published code gives the cosine of the same two unit vectors, FRS = 1 - FRD / 2. Faces must be aligned as
    those of CelebA-HQ are; other sizes than 256x256 are brought to it first.
    """
    with torch.no_grad():
        distances: Tensor = (network(faces) - network(others)).square().sum(1)
    return distances
