"""What the parity answers do where cases differ from those at hand: other layers, other domains, more in the file."""

import torch

from i2i_rt.models.egscit import EgscitDiscriminator, EgscitDiscriminatorConfig
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from tests.models.test_official_keys import official_resnet
from tests.parity import egscit, single


def test_feature_before_an_activation_is_activated_as_it_is_officially_in_place() -> None:
    generator = ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=1)).eval()
    case = {"checkpoint": {"file": "latest_net_G.pth"}, "config": {}}
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        found = single.answer_network(case, official_resnet(generator), {"image": image}, {"feature_7", "feature_8"})
        before, after = generator.features(image, [7, 8])
    torch.testing.assert_close(torch.from_numpy(found["feature_7"]), before)
    torch.testing.assert_close(torch.from_numpy(found["feature_8"]), after.relu())


def test_discriminator_is_found_among_other_variables() -> None:
    network = EgscitDiscriminator(EgscitDiscriminatorConfig(3, (4, 8))).eval()
    names = {"convs.": "conv_", "norms.": "ins_norm_", "scores": "dis_logit"}
    state = {"UNIT/encoder_B/conv_0/conv2d/kernel": torch.zeros(7, 7, 3, 4)}
    for key, tensor in network.state_dict().items():
        layer, _, parameter = key.rpartition(".")
        ours = next(name for name in names if layer.startswith(name))
        ends = {"weight": "gamma", "bias": "beta"} if "norm" in layer else {"weight": "weights", "bias": "biases"}
        value = tensor.permute(2, 3, 1, 0).contiguous() if tensor.ndim == 4 else tensor
        state[f"UNIT/discriminator_B/{layer.replace(ours, names[ours])}/{ends[parameter]}"] = value
    image = torch.rand(1, 3, 30, 32)
    with torch.no_grad():
        found = egscit.answer_discriminator({"case": "made-here"}, state, {"image": image}, {"logits"})
        torch.testing.assert_close(found["logits"], network(image))
