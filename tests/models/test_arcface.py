"""The face recognition network: its config from official keys, embeddings of length 1."""

import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.models.arcface import ArcFace, ArcFaceConfig, read_official

SMALL = ArcFaceConfig(width=4, blocks=(1, 2, 1, 1), reduction=2, embedding=6)


def official(network: ArcFace) -> dict[str, torch.Tensor]:
    words = {"head": "input_layer", "norm": "output_layer.0", "linear": "output_layer.3"}
    words |= {"embedding_norm": "output_layer.4", "blocks": "body", "layers": "res_layer", "shortcut": "shortcut_layer"}
    words |= {"squeeze": "fc1", "excite": "fc2"}
    return {
        ".".join(words.get(word, word) for word in key.split(".")): tensor
        for key, tensor in network.state_dict().items()
    }


@pytest.mark.parametrize("reduction", [0, 2])
def test_config_is_found_from_keys_and_shapes(reduction: int) -> None:
    config = ArcFaceConfig(width=4, blocks=(1, 2, 1, 1), reduction=reduction, embedding=6)
    network = ArcFace(config)
    found, weights = read_official(official(network))
    assert found == config
    ArcFace(found).load_state_dict(weights)


@pytest.mark.parametrize("size", [(256, 256), (300, 512)])
def test_embedding_has_length_1(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = ArcFace(SMALL).eval()
    with torch.no_grad():
        embedding = network(torch.rand(2, 3, *size) * 2 - 1)
    assert embedding.shape == (2, 6)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_face_alone_is_seen() -> None:
    torch.manual_seed(0)
    network = ArcFace(SMALL).eval()
    image = torch.rand(1, 3, 256, 256)
    other = image.clone()
    other[:, :, :35] = other[:, :, :, 220:] = 0
    with torch.no_grad():
        assert torch.equal(network(image), network(other))


def test_impossible_config_is_refused() -> None:
    with pytest.raises(I2IError, match="at least 1"):
        ArcFaceConfig(blocks=())
