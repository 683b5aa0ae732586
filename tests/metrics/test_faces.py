"""FRD: range, identity, the published cosine, and a file of weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.metrics.faces import face_distances, face_network
from i2i_rt.models.arcface import ArcFace


@pytest.fixture(scope="module")
def network() -> ArcFace:
    return face_network("random")


@pytest.fixture(scope="module")
def faces() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_face_is_at_no_distance_from_itself(network: ArcFace, faces: Tensor) -> None:
    assert face_distances(network, faces, faces).tolist() == [0, 0]


def test_distance_is_twice_what_the_cosine_lacks_to_one(network: ArcFace, faces: Tensor) -> None:
    a, b = network(faces)
    (found,) = face_distances(network, faces[:1], faces[1:])
    assert 0 < found <= 4
    assert found == pytest.approx(2 - 2 * float(torch.nn.functional.cosine_similarity(a, b, dim=0)), rel=1e-4)


def test_what_lies_outside_of_the_face_does_not_count(network: ArcFace) -> None:
    faces = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = faces.clone()
    other[:, :, :35], other[:, :, 223:], other[:, :, :, :32], other[:, :, :, 220:] = 0, 0, 0, 0
    assert face_distances(network, faces, other) == 0


def test_weights_are_read_from_the_official_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: ArcFace, faces: Tensor
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(I2IError, match=r"put model_ir_se50\.pth, ArcFace's IR-SE50, into .*checkpoints"):
        face_network("pretrained")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth holds another network"):
        face_network("pretrained", tmp_path / "other.pth")
    torch.save(official(network), tmp_path / "faces.pth")
    read = face_network("pretrained", tmp_path / "faces.pth")
    assert torch.equal(read(faces), network(faces))


def official(network: ArcFace) -> dict[str, Tensor]:
    """Gives the weights under the official names."""
    names = {
        "head.": "input_layer.",
        "norm.": "output_layer.0.",
        "linear.": "output_layer.3.",
        "embedding_norm.": "output_layer.4.",
        "blocks.": "body.",
    }
    state = {}
    for key, tensor in network.state_dict().items():
        start = next(name for name in names if key.startswith(name))
        name = names[start] + key.removeprefix(start)
        for ours, theirs in {
            ".layers.": ".res_layer.",
            ".shortcut.": ".shortcut_layer.",
            ".squeeze.": ".fc1.",
            ".excite.": ".fc2.",
        }.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    return state
