"""Says which system an official file looks like, for the sentence that refuses it under another name."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from i2i_rt.checkpoint import read_nested
from i2i_rt.errors import I2IError
from i2i_rt.tf_checkpoint import find_bundle, read_bundle

TORCH = (".pth", ".pt", ".ckpt", ".pkl", ".safetensors")

# a key that only this file of this system has, groups and names joined by "/"
SIGNS: tuple[tuple[str, str, str], ...] = (
    (r"^(E\.ToSpatialCode|E\.FromRGB|G\.SpatialCodeModulation|D\.stylegan2_D|Dpatch)\b", "swapping", "model"),
    (r"mapping_network/|style_encoder/unshared\.|generator/decode\.\d+\.norm1\.fc", "starganv2", "model"),
    (r"m0\.b1_1\.|conv_last0\.", "starganv2", "face alignment network"),
    (r"[CG](_EMA)?_state_dict/", "tunit", "model"),
    (r"(g_ema|g)/(style_encoder|model)\.", "gpunit", "generator"),
    (r"^(ae(_ema)?/)?contentE\.|^layer6\.1\.conv\.", "gpunit", "content encoder"),
    (r"[ab]/enc_style\.", "munit", "generator"),
    (r"[ab]/cnns\.", "munit", "discriminator"),
    (r"[ab]/enc\.model\.", "unit", "generator"),
    (r"^encode_A\.|^enc_shared\.", "unit", "generator"),
    (r"^head_0\.conv_0\.|^up_0\.norm_s\.", "spade", "generator"),
    (r"^discriminator_0\.model0", "spade", "discriminator"),
    (r"^layer1\.0\.weight_orig|^fc_mu\.", "spade", "encoder"),
    (r"^fcVar\.", "bicyclegan", "encoder"),
    (r"^model\.(down|submodule)\.", "bicyclegan", "generator"),
    (r"^model_[01]\.\d+\.weight", "bicyclegan", "discriminator"),
    (r"^UNIT/|^VAEGAN_recon_[AB]/", "egscit", "model"),
    (r"^g_model_(enc|dec)/|^appearance_net/|^d_model_1/", "step", "model"),
    (r"^(src_net\.|tgt_net\.)?conv_params\.|^layer8\.|^vgg_head\.|^score_pool3\.", "cycada", "task network"),
    (r"^encoder\.convs\.\d+\.", "sincut", "generator"),
    (r"^mlp_0\.0\.weight", "cut", "patch sampler"),
    (r"^model\.\d+\.filt|^model\.(19|20)\.conv_block", "cut", "generator"),
    (r"^model\.\d+\.conv_block\.", "cyclegan", "generator"),
    (r"^model\.model\.1\.model\.", "pix2pix", "generator"),
)


def recognise(files: Iterable[Path]) -> tuple[str, str] | None:
    """Gives the system and the network that the first recognised file looks like; None where none does."""
    for file in files:
        try:
            keys = list(_keys(file))
        except I2IError:
            continue
        for pattern, system, network in SIGNS:
            if any(re.search(pattern, key) for key in keys):
                return system, network
    return None


def _keys(file: Path) -> Iterable[str]:
    if file.suffix in TORCH:
        return _joined(read_nested(file))
    return read_bundle(find_bundle(file))


def _joined(content: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            # around a single network the wrapper says nothing
            yield from _joined(value, "" if len(content) == 1 else f"{prefix}{key}/")
        else:
            yield prefix + key
