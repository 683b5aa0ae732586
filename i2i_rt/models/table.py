"""Every network by its kind: the config and the module that a bundle's entry rebuilds."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from i2i_rt.bundle import Bundle, Network
from i2i_rt.errors import BundleError, I2IError, closest
from i2i_rt.models import (
    bicyclegan,
    digits,
    egscit,
    fan,
    gpunit,
    gpunit_encoders,
    multiscale,
    munit,
    patch_sampler,
    patchgan,
    resnet,
    segmentation,
    sincut,
    spade,
    spade_encoder,
    stargan,
    step,
    swapping,
    swapping_discriminators,
    tunit,
    unet,
    unit,
    unit_discriminator,
)

NETWORKS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "resnet-generator": (resnet.ResnetGeneratorConfig, resnet.ResnetGenerator),
    "unet-generator": (unet.UNetGeneratorConfig, unet.UNetGenerator),
    "patch-discriminator": (patchgan.PatchDiscriminatorConfig, patchgan.PatchDiscriminator),
    "patch-sampler": (patch_sampler.PatchSamplerConfig, patch_sampler.PatchSampler),
    "sincut-generator": (sincut.SinCUTGeneratorConfig, sincut.SinCUTGenerator),
    "sincut-discriminator": (sincut.SinCUTDiscriminatorConfig, sincut.SinCUTDiscriminator),
    "spade-generator": (spade.SpadeGeneratorConfig, spade.SpadeGenerator),
    "spade-encoder": (spade_encoder.SpadeEncoderConfig, spade_encoder.SpadeEncoder),
    "multiscale-discriminator": (multiscale.MultiscaleDiscriminatorConfig, multiscale.MultiscaleDiscriminator),
    "gpunit-content-encoder": (gpunit_encoders.ContentEncoderConfig, gpunit_encoders.ContentEncoder),
    "gpunit-style-encoder": (gpunit_encoders.StyleEncoderConfig, gpunit_encoders.StyleEncoder),
    "gpunit-generator": (gpunit.GeneratorConfig, gpunit.Generator),
    "gpunit-sampler": (gpunit_encoders.StyleSamplerConfig, gpunit_encoders.StyleSampler),
    "swapping-encoder": (swapping.SwappingEncoderConfig, swapping.SwappingEncoder),
    "swapping-generator": (swapping.SwappingGeneratorConfig, swapping.SwappingGenerator),
    "swapping-discriminator": (
        swapping_discriminators.SwappingDiscriminatorConfig,
        swapping_discriminators.SwappingDiscriminator,
    ),
    "swapping-patch-discriminator": (
        swapping_discriminators.SwappingPatchDiscriminatorConfig,
        swapping_discriminators.SwappingPatchDiscriminator,
    ),
    "munit-content-encoder": (munit.ContentEncoderConfig, munit.ContentEncoder),
    "munit-style-encoder": (munit.StyleEncoderConfig, munit.StyleEncoder),
    "munit-decoder": (munit.DecoderConfig, munit.Decoder),
    "munit-discriminator": (munit.ScalesDiscriminatorConfig, munit.ScalesDiscriminator),
    "unit-shared-encoder": (unit.SharedEncoderConfig, unit.SharedEncoder),
    "unit-shared-decoder": (unit.SharedDecoderConfig, unit.SharedDecoder),
    "unit-shared-discriminator": (unit_discriminator.UnitDiscriminatorConfig, unit_discriminator.UnitDiscriminator),
    "bicyclegan-generator": (bicyclegan.BicycleGANGeneratorConfig, bicyclegan.BicycleGANGenerator),
    "bicyclegan-encoder": (bicyclegan.BicycleGANEncoderConfig, bicyclegan.BicycleGANEncoder),
    "bicyclegan-discriminator": (bicyclegan.BicycleGANDiscriminatorConfig, bicyclegan.BicycleGANDiscriminator),
    "stargan-generator": (stargan.StarGANGeneratorConfig, stargan.StarGANGenerator),
    "stargan-mapping-network": (stargan.MappingNetworkConfig, stargan.MappingNetwork),
    "stargan-style-encoder": (stargan.StarGANStyleEncoderConfig, stargan.StarGANStyleEncoder),
    "stargan-discriminator": (stargan.StarGANDiscriminatorConfig, stargan.StarGANDiscriminator),
    "face-alignment": (fan.FaceAlignmentConfig, fan.FaceAlignment),
    "tunit-generator": (tunit.TUNITGeneratorConfig, tunit.TUNITGenerator),
    "tunit-guiding-network": (tunit.GuidingNetworkConfig, tunit.GuidingNetwork),
    "drn": (segmentation.DilatedResnetConfig, segmentation.DilatedResnet),
    "fcn8s": (segmentation.FCN8sConfig, segmentation.FCN8s),
    "lenet": (digits.LeNetConfig, digits.LeNet),
    "dtn": (digits.DTNConfig, digits.DTN),
    "step-generator": (step.StepGeneratorConfig, step.StepGenerator),
    "step-encoder": (step.StepEncoderConfig, step.StepEncoder),
    "step-mapper": (step.StepMapperConfig, step.StepMapper),
    "step-discriminator": (step.StepDiscriminatorConfig, step.StepDiscriminator),
    "egscit-generator": (egscit.EgscitGeneratorConfig, egscit.EgscitGenerator),
    "egscit-style-encoder": (egscit.EgscitStyleEncoderConfig, egscit.EgscitStyleEncoder),
    "egscit-autoencoder": (egscit.EgscitAutoencoderConfig, egscit.EgscitAutoencoder),
    "egscit-discriminator": (egscit.EgscitDiscriminatorConfig, egscit.EgscitDiscriminator),
}


def describe(module: nn.Module) -> Network:
    """Gives the bundle's entry for a network."""
    for kind, (_, network) in NETWORKS.items():
        if type(module) is network:
            return Network(kind, asdict(module.config))  # type: ignore[call-overload]
    raise TypeError(f"{type(module).__name__} is not in NETWORKS")


def build(network: Network) -> nn.Module:
    """Makes a network with fresh weights.

    Raises:
        I2IError: where the kind is unknown or a field of the config is wrong.
    """
    if network.kind not in NETWORKS:
        raise I2IError(f"no network is called {network.kind!r}; {closest(network.kind, NETWORKS)}")
    config, module = NETWORKS[network.kind]
    # JSON has no tuples
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in network.config.items()}
    try:
        return module(config(**fields))
    except TypeError as error:
        raise I2IError(f"the config of {network.kind} is wrong: {error}") from error


def load(bundle: Bundle) -> dict[str, nn.Module]:
    """Makes a bundle's networks with its weights, in float32 and ready for use, not for training.

    Raises:
        BundleError: where weights are missing, left over, or of the wrong shape.
    """
    weights = bundle.weights()
    networks = {}
    for name, network in bundle.networks.items():
        prefix = f"{name}."
        state = {
            key.removeprefix(prefix): torch.from_numpy(array)
            for key, array in weights.items()
            if key.startswith(prefix)
        }
        module = build(network)
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise BundleError(
                f"the weights in {bundle.path} do not fit the network {name!r}: {first_line(error)}"
            ) from error
        networks[name] = module.eval().requires_grad_(False)
    return networks


def weights_of(networks: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Gives the weights of several networks as a bundle keeps them: NumPy arrays, keys `<network>.<parameter>`."""

    def array(tensor: Tensor) -> Any:
        return tensor.detach().cpu().numpy()

    return {
        f"{name}.{key}": array(tensor)
        for name, module in networks.items()
        for key, tensor in module.state_dict().items()
    }


def first_line(error: Exception) -> str:
    """Gives the part of PyTorch's long message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else lines[0]
