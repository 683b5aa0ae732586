"""From a run to its bundles, without its data."""

from pathlib import Path

import torch

from i2i_rt.bundle import Bundle, check_replaceable
from i2i_rt.errors import I2IError
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.processes import Processes
from i2i_rt.training.provenance import provenance_of
from i2i_rt.training.run_folder import RunFolder, create_bundle
from i2i_rt.training.trainer import Trainer


def write_products(run: Path, output: Path, *, averaged: bool) -> list[Bundle]:
    """Writes the bundles of a run's last checkpoint: one at `output`, others beside it.

    Raises:
        I2IError: where there is no run, or it has not come to a checkpoint.
        BundleError: where something that is no bundle is in the way.
    """
    folder, device = RunFolder(run), torch.device("cpu")
    options = TrainingOptions.from_json(folder.options())
    state = folder.read_state(device)
    trainer = Trainer(options, Processes(0, 1, device), domains=tuple(state["domains"]))
    trainer.load_state(state)
    products = trainer.system.products(trainer.networks(averaged=averaged))
    if not products:
        raise I2IError(f"{run} holds {', '.join(trainer.system.networks)} of {options.system}: nothing that translates")
    paths = {name: output.with_name(output.name + name.removeprefix("bundle")) for name in products}
    for path in paths.values():
        check_replaceable(path)
    provenance = provenance_of(trainer, state["data"])
    return [create_bundle(paths[name], product, options.system, provenance) for name, product in products.items()]
