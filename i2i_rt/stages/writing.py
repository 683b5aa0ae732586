"""From networks to a bundle on disk, wherever the networks come from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.models import table
from i2i_rt.spec import LabelInfo, StyleInfo
from i2i_rt.stages.table import stages_of


def write_networks(
    path: str | Path,
    system: str,
    networks: Mapping[str, nn.Module],
    provenance: Provenance,
    *,
    preprocessing: Mapping[str, Any] | None = None,
    style: StyleInfo | None = None,
    labels: LabelInfo | None = None,
) -> Bundle:
    """Writes a bundle of a system's networks, with the stages that follow from them.

    Raises:
        BundleError: where `path` is taken by something that is no bundle.
    """
    return Bundle.create(
        path,
        system=system,
        networks={name: table.describe(network) for name, network in networks.items()},
        stages={name: stage.spec for name, stage in stages_of(system, networks).items()},
        weights=table.weights_of(networks),
        provenance=provenance,
        preprocessing=preprocessing,
        style=style,
        labels=labels,
    )
