"""CyCADA: its pixel adaptation, a CycleGAN generator, or one of the task networks that judge what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from i2i_rt.checkpoint import read_state
from i2i_rt.errors import I2IError
from i2i_rt.importers import single
from i2i_rt.importers.base import Imported, Options, load_weights
from i2i_rt.models import digits, segmentation
from i2i_rt.preprocessing import Preprocessing


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads a generator's `latest_net_G_A.pth` or a task network: DRN-26, FCN8s, LeNet, DTN.

    Options of a generator: those of CycleGAN, and `fineSize`, the side of its training images.
    """
    if len(files) != 1:
        raise I2IError(f"cycada imports one network at a time; give one file, not {len(files)}")
    found = read_task_network(read_state(files[0]), str(files[0]))
    if found is None:
        imported = single.read("cycada", files, options)
        side = options.integer("fineSize", 256)
        return replace(imported, preprocessing=Preprocessing("resize", side, side))
    name, network, notes = found
    if isinstance(network, digits.LeNet | digits.DTN):
        return Imported({name: network}, notes, Preprocessing("resize", network.side, network.side))
    return Imported({name: network}, notes, Preprocessing("none"))


def read_task_network(state: Mapping[str, Tensor], source: str) -> tuple[str, nn.Module, tuple[str, ...]] | None:
    """Makes a task network, with its name in a bundle and notes; None where the file holds none.

    A file of the adversarial adaptation of digits holds the network before it and after it: the latter is taken.
    """
    notes: tuple[str, ...] = ()
    if any(key.startswith("tgt_net.") for key in state):
        state = {key.removeprefix("tgt_net."): value for key, value in state.items() if key.startswith("tgt_net.")}
        notes = ("the file holds an adaptation's source and target networks; the target network was taken",)
    if (drn := segmentation.read_official_drn(state)) is not None:
        return "segmenter", load_weights(segmentation.DilatedResnet(drn[0]), drn[1], source), notes
    if (fcn := segmentation.read_official_fcn8s(state)) is not None:
        return "segmenter", load_weights(segmentation.FCN8s(fcn[0]), fcn[1], source), notes
    if (dtn := digits.read_official_dtn(state)) is not None:
        return "classifier", load_weights(digits.DTN(dtn[0]), dtn[1], source), notes
    if (lenet := digits.read_official_lenet(state)) is not None:
        return "classifier", load_weights(digits.LeNet(lenet[0]), lenet[1], source), notes
    return None
