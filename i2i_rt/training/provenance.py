"""What a bundle says of the run that it came from."""

from pathlib import Path

from i2i_rt.bundle import Provenance
from i2i_rt.training.trainer import Trainer


def provenance_of(trainer: Trainer, data: str) -> Provenance:
    """Says where a run's weights come from."""
    options = trainer.options
    notes = [
        f"data: {Path(options.data).resolve().name}, {data}, {options.direction}",
        f"options: batch {options.batch}, crops {options.crop_size} of {options.load_size} ({options.resize}), "
        f"{options.epochs} + {options.decay_epochs} epochs, {options.precision}",
    ]
    if options.settings:
        notes.append("settings: " + ", ".join(f"{name}={value}" for name, value in options.settings.items()))
    if options.start is not None:
        notes.append(f"began with the weights of {Path(options.start).resolve().name}")
    return Provenance(
        source=f"trained by i2i-rt train {options.system}, {trainer.step} steps, seed {options.seed}",
        sha256="",
        notes=tuple(notes),
    )
