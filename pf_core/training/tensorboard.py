"""TensorBoard's event files (optional)."""

from collections.abc import Mapping
from pathlib import Path

from pf_core.errors import InputError
from pf_core.training.loop import SEGMENTS

TAGS = {  # our name -> TensorBoard's usual tag
    "total": "loss/train",
    "mse": "loss/mse",
    "nll": "loss/nll",
    "grad_norm": "train/grad_norm",
    "lr": "lr",
    "images_per_second": "images_per_second",
}


class Events:
    """A context around a training; does nothing unless `wanted`. Events that an earlier session logged after step
    `start` are void, as they are logged again. Raises InputError if the package is missing."""

    def __init__(self, folder: Path, wanted: bool, start: int):
        self._writer = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise InputError(
                    "The package tensorboard is missing: pip install -r requirements-extra.txt, or leave "
                    "--tensorboard out."
                ) from None
            self._writer = SummaryWriter(folder, purge_step=start + 1)

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *error) -> None:
        if self._writer:
            self._writer.close()

    def scalars(self, step: int, entry: Mapping[str, float]) -> None:
        self._write(step, {tag: entry[name] for name, tag in TAGS.items() if name in entry})

    def validation(self, step: int, losses: list[float]) -> None:
        tags = {f"val/t={t:.4f}": loss for t, loss in zip(SEGMENTS, losses, strict=True)}
        self._write(step, {"val/loss": sum(losses) / len(losses)} | tags)

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)
            self._writer.flush()  # a killed trainer must not lose them
