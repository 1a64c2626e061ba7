"""Checkpoints: safetensors with everything needed to rebuild a network, and how it was trained, in the header."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pf_core import files
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.flow import STANDARD_NORMAL, Source
from pf_core.models import SiT, SiTConfig, config_dict
from pf_core.models.codecs import CODECS, pixels
from pf_core.models.conditioning import ClassLabels
from pf_core.models.layers import position_embedding
from pf_core.models.oracle import from_dataset
from pf_core.patches import PatchGrid
from pf_core.types import Codec, Model

FOLDER = Path(os.environ.get("PATCH_FORCING_CHECKPOINTS") or Path(__file__).resolve().parents[2] / "checkpoints")
RUNS = Path(os.environ.get("PATCH_FORCING_RUNS") or Path(__file__).resolve().parents[2] / "runs")
RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # never hidden, never a way out of RUNS
_RUN = re.compile(rf"runs/({RUN_NAME})(?:@(\d{{1,9}}))?")
HEADER = "patch_forcing"  # the header's one entry: JSON of format, model, classes, codec, source, training
FORMAT = 1


@dataclass
class Bundle:
    """A network with all that belongs to it. `training` is the record of how its weights came to be."""

    name: str
    model: Model
    codec: Codec
    conditioner: ClassLabels
    source: Source = STANDARD_NORMAL
    training: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def grid(self) -> PatchGrid:
        return self.model.grid

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a state."""
        return (self.model.channels, self.grid.height, self.grid.width)

    @property
    def predicts_difficulty(self) -> bool:
        config = getattr(self.model, "config", None)
        return config is None or config.predict_uncertainty

    @property
    def device(self) -> torch.device:
        held = [*self.model.parameters(), *self.model.buffers()] if isinstance(self.model, torch.nn.Module) else []
        return held[0].device if held else torch.device("cpu")

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the file's SHA-256; for a network without a file, of its name."""
        content = self.path.read_bytes() if self.path else self.name.encode()
        return hashlib.sha256(content).hexdigest()[:16]


# No network at all: the exact denoiser of the first images of a data set, under a checkpoint's name.
ORACLES = {
    "shapes-exact": {"dataset": "shapes", "images": 1000, "patch_size": 4},
    "toybox-exact": {"dataset": "toybox", "images": 256, "patch_size": 4},
}


def files_here() -> list[str]:
    """The shipped networks with a file, by name."""
    return sorted(p.stem for p in FOLDER.glob("*.safetensors"))


def names() -> list[str]:
    """Everything that `load` knows by name: the shipped networks, then the oracles."""
    return files_here() + list(ORACLES)


def is_run(name: str) -> bool:
    """Whether a name has the form of a training run's network, "runs/NAME" or "runs/NAME@STEP": such names are safe to
    take from anybody, as they never lead out of RUNS."""
    return _RUN.fullmatch(name) is not None


def run_names() -> list[str]:
    """The training runs that have a network to open, as "runs/NAME", the newest first."""
    found = [p.parent for pattern in ("latest", "*") for p in RUNS.glob(f"*/{pattern}.safetensors") if _of_run(p)]
    return [f"runs/{p.name}" for p in dict.fromkeys(sorted(found, key=lambda p: p.stat().st_mtime, reverse=True))]


def _of_run(path: Path) -> bool:
    return path.stem in ("latest", path.parent.name) and is_run(f"runs/{path.parent.name}")


def run_file(name: str, step: int | None = None, root: Path | None = None) -> Path:
    """The file of a run's network as of its last save, or of one kept at a step. Raises InputError."""
    folder = (root or RUNS) / name
    if not re.fullmatch(RUN_NAME, name) or folder.is_symlink() or not folder.is_dir():
        raise InputError(f"There is no run {name!r}.")
    if step is not None:
        choices = [folder / "checkpoints" / f"{step:07d}.safetensors"]
    else:
        choices = [folder / f"{name}.safetensors", folder / "latest.safetensors"]  # finished, or not yet
    for path in choices:
        if path.is_file() and not path.is_symlink():
            return path
    what = "has kept no network yet" if step is None else f"has kept no network of step {step:,}"
    raise InputError(f"The run {name} {what}: save it now, or wait until it saves itself.")


def find(name: str) -> Path:
    """The file of a shipped name, a training run ("runs/NAME", "runs/NAME@STEP") or a path. Raises InputError if there
    is none."""
    if name in ORACLES:
        raise InputError(f"{name} is exact: it has no weights and no file. Choose one of: {', '.join(files_here())}.")
    if name in files_here():
        return FOLDER / f"{name}.safetensors"
    if (run := _RUN.fullmatch(name)) and not Path(name).is_file():
        return run_file(run[1], int(run[2]) if run[2] else None)
    path = Path(name)
    if path.is_file():
        return path
    raise InputError(
        f"There is no checkpoint {name!r}: give a path to a .safetensors file or one of: {', '.join(names())}."
    )


def save(
    path: str | Path,
    model: SiT,
    classes: list[str],
    training: dict[str, Any],
    source: Source = STANDARD_NORMAL,
    codec: str = "pixels",
) -> None:
    """Write weights in bf16 (position table too: it is rebuilt on loading) and the header, atomically."""
    header = {
        "format": FORMAT,
        "kind": "sit",
        "model": config_dict(model.config),
        "classes": classes,
        "codec": codec,
        "source": {"mean": source.mean, "std": source.std},
        "training": training,
    }
    weights = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    with files.replacing(path) as temporary:
        save_file(weights, temporary, metadata={HEADER: json.dumps(header)})


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header. Raises InputError for a missing, cut or foreign file."""
    return _open(Path(path))[0]


def load(name: str, device: str | torch.device = "cpu") -> Bundle:
    """A Bundle from a shipped name, an oracle's, or a path: in fp32, ready to sample. Raises InputError."""
    if name in ORACLES:
        return _oracle(name, device)
    path = find(name)
    header, weights = _open(path, with_weights=True)
    try:
        model = _network(header["model"], weights)
        source = _source(header["source"], model)
        codec = CODECS[header["codec"]].fn()
        conditioner = ClassLabels(model.config.num_classes, list(header["classes"]))
        training = dict(header["training"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as e:
        reason = f"{e} is missing" if isinstance(e, KeyError) else " ".join(str(e).split())[:300].rstrip(".")
        raise InputError(f"{path} does not fit together: its header and weights disagree ({reason}).") from e
    model.eval().requires_grad_(False)
    known_as = name if is_run(name) else path.stem
    return Bundle(known_as, model.to(device), codec, conditioner, source, training, path)


def _network(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> SiT:
    """In fp32. What is raised for weights that do not fit, before memory is taken for the network, is a sentence."""
    with torch.device("meta"):
        model = SiT(SiTConfig(**config))
    if not all(v.isfinite().all() for v in weights.values()):
        raise ValueError("not all weights are finite numbers")
    model.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    model.pos_embed.data = position_embedding(model.grid, model.config.hidden_size)  # exact, not the rounded copy
    return model


def _source(given: dict[str, Any], model: SiT) -> Source:
    """Raises RuntimeError if its mean has the shape of other states."""
    source, shape = Source(**given), (model.channels, model.grid.height, model.grid.width)
    torch.broadcast_to(torch.as_tensor(source.mean), shape)
    return source


def _oracle(name: str, device: str | torch.device) -> Bundle:
    of = ORACLES[name]
    settings = {"count": of["images"]}
    data = DATASETS[of["dataset"]].fn(**settings)
    model = from_dataset(data, of["images"], PatchGrid(data.size, data.size, of["patch_size"]))
    recipe = {"dataset": of["dataset"], "data_settings": settings}
    record = {"command": "none: exact, no network", "images": of["images"], "recipe": recipe}
    return Bundle(name, model.to(device), pixels(), ClassLabels(len(data.names), data.names), training=record)


def data_settings(bundle: Bundle) -> tuple[str, dict[str, Any]]:
    """(name, settings) of the data set that a network was trained on; the first one's where its record says nothing."""
    recipe = bundle.training.get("recipe", {})
    name = recipe.get("dataset", next(iter(DATASETS)))
    return name, DATASETS[name].settings(recipe.get("data_settings", {}))


def data_of(bundle: Bundle) -> Any:
    """That data set. Raises InputError where it is not here any more."""
    name, settings = data_settings(bundle)
    return DATASETS[name].fn(**settings)


def labelled(bundle: Bundle) -> int:
    """How many classes a network can be asked for: 0 also where it was trained with all labels dropped."""
    dropped = bundle.training.get("recipe", {}).get("config", {}).get("label_dropout", 0) >= 1
    return 0 if dropped else bundle.conditioner.num_classes


def _open(path: Path, with_weights: bool = False) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as f:
            header = json.loads((f.metadata() or {})[HEADER])
            weights = {k: f.get_tensor(k) for k in f.keys()} if with_weights else {}
    except KeyError:
        raise InputError(
            f"{path} is a safetensors file, but not a checkpoint of this project: its header has no {HEADER!r} entry."
        ) from None
    except (SafetensorError, json.JSONDecodeError, OSError) as e:
        raise InputError(
            f"{path} cannot be read as a checkpoint; it is cut short, damaged or of another format ({e})."
        ) from None
    if not isinstance(header, dict):
        raise InputError(f"{path} is damaged: its header's {HEADER!r} entry is no record of a checkpoint.")
    if header.get("format") != FORMAT:
        raise InputError(f"{path} has format {header.get('format')!r:.60}; this version reads format {FORMAT}.")
    return header, weights
