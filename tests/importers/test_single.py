"""CycleGAN, CUT, FastCUT, SinCUT and pix2pix: official files become bundles that translate as the networks do."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from i2i_rt.errors import CheckpointError
from i2i_rt.importers.table import import_checkpoint
from i2i_rt.models import table
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.models.unet import UNetGenerator
from tests.models.test_official_keys import official_resnet, official_unet
from tests.small import single


def official_sincut(generator: nn.Module) -> dict[str, Tensor]:
    """Names our tensors as the official StyleGAN2-type code does: the parts of a layer are numbered below it."""
    state = {}
    for key, tensor in generator.state_dict().items():
        name = re.sub(r"^(encoder|decoder)\.", r"\1.convs.", key)
        if key.startswith("decoder.2."):  # the one that enlarges
            name = re.sub(r"(weight)$", r"conv.\1", name).replace("noise_strength", "noise.weight")
            name = name.replace("bias", "activate.bias")
            tensor = tensor[None] if key.endswith(".weight") else tensor
        else:
            blurred = int(".2.conv2" in key or "skip" in key)
            name = re.sub(r"weight$", f"{blurred}.weight", name)
            name = re.sub(r"bias$", f"{blurred + 1}.bias", name)
        state[name] = tensor.reshape(1, -1, 1, 1) if name.endswith("bias") else tensor
        if name.endswith(("conv2.1.weight", "skip.1.weight")):
            state[name.replace("1.weight", "0.kernel")] = torch.ones(4, 4)
    return state


@pytest.mark.parametrize("system", ["cyclegan", "cut", "fastcut", "sincut", "pix2pix"])
def test_official_file_becomes_a_bundle_that_translates_as_the_network_does(system: str, tmp_path: Path) -> None:
    generator = single.SMALL[system]().networks["generator"]
    if isinstance(generator, UNetGenerator):
        names = official_unet(generator.config)
        own = dict(zip(names, generator.state_dict().values(), strict=True))
    else:
        own = (official_sincut if system == "sincut" else official_resnet)(generator)
    torch.save(own, tmp_path / "latest_net_G.pth")

    bundle = import_checkpoint(system, tmp_path / "latest_net_G.pth", tmp_path / "bundle")

    assert bundle.system == system and "translate" in bundle.stages
    image = torch.rand(1, 3, 64, 96) * 2 - 1
    torch.testing.assert_close(table.load(bundle)["generator"](image), generator(image))


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 3), (3, 1), (11, 3)])
def test_other_pictures_than_frames_are_refused(inputs: int, outputs: int, tmp_path: Path) -> None:
    config = ResnetGeneratorConfig(in_channels=inputs, out_channels=outputs, width=4, blocks=2)
    torch.save(official_resnet(ResnetGenerator(config)), tmp_path / "latest_net_G.pth")
    with pytest.raises(CheckpointError, match=f"makes pictures of {outputs} channels from {inputs}"):
        import_checkpoint("cyclegan", tmp_path / "latest_net_G.pth", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.10.conv_block.1.weight"), r"it lacks 'model\.10\.conv_block\.1\.weight'"),
        (
            lambda s: s.update({"module.model.4.bias": s.pop("model.4.bias")[:-1]}),
            r"'module\.model\.4\.bias' has shape",
        ),
        (lambda s: s["model.4.weight"].fill_(torch.nan), r"NaN or infinite values in 'model\.4\.weight'"),
        (lambda s: s.update({"model.4.more": torch.ones(1)}), r"it has 'model\.4\.more' too many"),
    ],
)
def test_errors_speak_of_the_official_keys(
    change: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    state = official_resnet(ResnetGenerator(ResnetGeneratorConfig(width=4, blocks=2)))
    change(state)
    torch.save(state, tmp_path / "latest_net_G.pth")
    with torch.no_grad(), pytest.raises(CheckpointError, match=message):
        import_checkpoint("cyclegan", tmp_path / "latest_net_G.pth", tmp_path / "bundle")
