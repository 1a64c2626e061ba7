"""Checkpoints: safetensors with everything needed to rebuild a network, and how it was trained, in the header."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from pf_core import bounded, files
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.flow import STANDARD_NORMAL, Source
from pf_core.models import SiT, SiTConfig, config_dict, recommended, trained
from pf_core.models.codecs import Pixels, build_codec
from pf_core.models.compiled import compiled
from pf_core.models.conditioning import ClassLabels, Conditioner, Prompts, conditioner_of, imagenet_names
from pf_core.models.layers import position_embedding
from pf_core.models.oracle import from_dataset
from pf_core.models.recommended import Recommended
from pf_core.models.rounded import in_bf16
from pf_core.patches import PatchGrid
from pf_core.types import Codec, Model

FOLDER = Path(os.environ.get("PATCH_FORCING_CHECKPOINTS") or Path(__file__).resolve().parents[2] / "checkpoints")
RUNS = Path(os.environ.get("PATCH_FORCING_RUNS") or Path(__file__).resolve().parents[2] / "runs")
RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # never hidden, never a way out of RUNS
_RUN = re.compile(rf"runs/({RUN_NAME})(?:@(\d{{1,9}}))?")
NETWORK = "network.safetensors"  # in a run's folder: its newest network
OLD_NETWORK = "latest.safetensors"  # an unfinished run's, in folders of the first versions; a finished one's is NAME
RESERVED = ("network", "latest", "state", "start")  # NAMEs whose NAME.safetensors is another file of the folder
HEADER = "patch_forcing"  # the header's one entry: JSON of format, model, classes, codec, source, training
FORMAT = 1
MOST_EXAMPLES = 8  # prompts of a checkpoint that a page offers: "prompts" in its record of training
TOWER = "text.tower."  # the weights of a network's text tower begin with this
IMAGENET = 1000  # classes without names, of a network with so many, are ImageNet's


@dataclass
class Bundle:
    """A network with all that belongs to it. `training` is the record of how its weights came to be."""

    name: str
    model: Model
    codec: Codec
    conditioner: Conditioner
    source: Source = STANDARD_NORMAL
    training: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    recommended: Recommended = Recommended()
    seen: tuple[int, ...] | None = None  # the file's `version` as it was loaded; None: whatever lies there

    @property
    def grid(self) -> PatchGrid:
        return self.model.grid

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a state."""
        return (self.model.channels, self.grid.height, self.grid.width)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of an image that is encoded."""
        return (self.grid.height * self.codec.factor, self.grid.width * self.codec.factor)

    @property
    def predicts_difficulty(self) -> bool:
        config = getattr(self.model, "config", None)
        return config is None or config.predict_uncertainty

    @property
    def trained_on(self) -> int | None:
        """Images that the weights have seen; None: unknown."""
        return trained.images_of(self.training)

    @property
    def device(self) -> torch.device:
        held = [*self.model.parameters(), *self.model.buffers()] if isinstance(self.model, torch.nn.Module) else []
        return held[0].device if held else torch.device("cpu")

    @cached_property
    def in_bf16(self) -> Model:
        """The network for passes in bf16, made once for all runs."""
        return in_bf16(self.model)

    @cached_property
    def compiled(self) -> Model:
        """The network compiled, once for all runs. Raises InputError where it cannot be."""
        return compiled(self.model)

    @cached_property
    def compiled_in_bf16(self) -> Model:
        """The same of the network for passes in bf16."""
        return compiled(self.in_bf16)

    def network(self, precision: str, compile: bool = False) -> Model:
        """What a run of this precision, "fp32" or "bf16", passes through. Raises InputError."""
        if precision == "bf16":
            return self.compiled_in_bf16 if compile else self.in_bf16
        return self.compiled if compile else self.model

    def but(self, **changes: Any) -> "Bundle":
        """The same network but for these fields; its hash is taken now, as the file may be another one later."""
        other = replace(self, **changes)
        vars(other)["hash"] = self.hash
        return other

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the file without what it recommends, so that recipes which name it
        hold whatever is recommended later; for a network without a file, of its name. Raises InputError where the file
        is another one by now, as a run's is after each save."""
        content = recommended.digest(self.path) if self.path else hashlib.sha256(self.name.encode()).hexdigest()
        if self.seen not in (None, self.path and version(self.path)):
            raise InputError(f"{self.path} has been written anew since {self.name} was loaded: load it again.")
        return content[:16]


def version(path: Path) -> tuple[int, ...]:
    """Changes whenever a file does."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


# No network at all: the exact denoiser of the first images of a data set, under a checkpoint's name.
ORACLES = {
    "shapes-exact": {"dataset": "shapes", "images": 1000, "patch_size": 4},
    "toybox-exact": {"dataset": "toybox", "images": 256, "patch_size": 4},
}


def files_here() -> list[str]:
    """The shipped networks with a file that can be read, by name."""
    return [path.stem for path in _shipped() if damage(path) is None]


def unreadable() -> dict[str, str]:
    """Names of shipped files that cannot be read, with the reason as a sentence: they are left out of every list."""
    return {path.stem: reason for path in _shipped() if (reason := damage(path)) is not None}


def _shipped() -> list[Path]:
    return sorted(p for p in FOLDER.glob("*.safetensors") if not p.name.startswith("."))  # those are being written


CHECKED_WHOLE = 64 * 2**20  # bytes of a file whose weights are looked at before it is listed


def damage(path: Path) -> str | None:
    """Why a file cannot be used, as far as its header and, unless it is large, its weights tell; None if it can."""
    try:
        stat = path.stat()
    except OSError as e:
        return f"{path} cannot be read ({e.strerror or e})."
    return _damage_of(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=256)
def _damage_of(path: Path, written: int, size: int) -> str | None:
    try:
        header, weights = _open(path, with_types=True)
        with _fitting(path):
            with torch.device("meta"):
                model = SiT(SiTConfig(**header["model"]), tower=False)  # open_clip takes seconds to import
            shapes = {k: shape for k, shape in weights.items() if not k.startswith(TOWER)}
            model.load_state_dict({k: torch.empty(shape, device="meta") for k, shape in shapes.items()}, assign=True)
            _parts(header, model)
            if size <= CHECKED_WHOLE:
                _check_finite(_open(path, with_weights=True)[1])
    except InputError as e:
        return str(e)
    return None


def names() -> list[str]:
    """Everything that `load` knows by name: the shipped networks, then the oracles."""
    return files_here() + list(ORACLES)


def is_run(name: str) -> bool:
    """Whether a name has the form of a training run's network, "runs/NAME" or "runs/NAME@STEP": such names are safe to
    take from anybody, as they never lead out of RUNS."""
    return _RUN.fullmatch(name) is not None


def run_names() -> list[str]:
    """The training runs that have a network to open, as "runs/NAME", the newest first."""
    folders = [p for p in RUNS.glob("*") if is_run(f"runs/{p.name}") and not p.is_symlink()]
    found = [path for folder in folders if (path := newest_network(folder))]
    return [f"runs/{p.parent.name}" for p in sorted(found, key=_mtime, reverse=True)]


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def newest_network(folder: Path) -> Path | None:
    """The file of a run's newest network, whatever version of this project wrote the folder; None if it has none."""
    names = [NETWORK, f"{folder.name}.safetensors", OLD_NETWORK]
    if folder.name.casefold() == "start":  # before the end its own name is that of the network it was forked from
        names = [NETWORK, OLD_NETWORK, names[1]]
    return next((folder / name for name in dict.fromkeys(names) if _is_network(folder / name)), None)


def _is_network(path: Path) -> bool:
    """A file's name says what it is, except for a run that is called as one of its own files: there its header does."""
    if not path.is_file() or path.is_symlink():
        return False
    if path.name == NETWORK or path.stem.casefold() not in RESERVED or path.stem != path.parent.name:
        return True
    try:
        training = read_header(path).get("training")
    except InputError:
        return False
    if path.stem.casefold() != "start":
        return True
    recipe = training.get("recipe") if isinstance(training, dict) else None
    config = files.read_json(path.parent / "config.json")  # a fork begins from start.safetensors, and says so
    return not config.get("init") or (isinstance(recipe, dict) and recipe.get("init") == config["init"])


def run_file(name: str, step: int | None = None, root: Path | None = None) -> Path:
    """The file of a run's network as of its last save, or of one kept at a step. Raises InputError."""
    folder = (root or RUNS) / name
    if not re.fullmatch(RUN_NAME, name) or folder.is_symlink() or not folder.is_dir():
        raise InputError(f"There is no run {name!r}.")
    path = newest_network(folder) if step is None else folder / "checkpoints" / f"{step:07d}.safetensors"
    if path and path.is_file() and not path.is_symlink():
        return path
    what = "has kept no network yet" if step is None else f"has kept no network of step {step:,}"
    raise InputError(f"The run {name} {what}: save it now, or wait until it saves itself.")


def find(name: str) -> Path:
    """The file of a shipped name, a training run ("runs/NAME", "runs/NAME@STEP"), a path, or the newest network in the
    folder of a run that lies anywhere. Raises InputError if there is none."""
    if name in ORACLES:
        raise InputError(f"{name} is exact: it has no weights and no file. Choose one of: {', '.join(files_here())}.")
    if name in [path.stem for path in _shipped()]:
        return FOLDER / f"{name}.safetensors"
    if (run := _RUN.fullmatch(name)) and not Path(name).is_file():
        return run_file(run[1], int(run[2]) if run[2] else None)
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir() and (network := newest_network(path)):
        return network
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
    codec_settings: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.bfloat16,
    **more: Any,
) -> None:
    """Write weights and header, atomically. The table of positions is rebuilt on loading, unless `more`, further
    entries of the header, says positions="kept"; predicts="noise" marks weights that can only be trained on."""
    header = {
        "format": FORMAT,
        "kind": "sit",
        "model": config_dict(model.config),
        "classes": classes,
        "codec": codec,
        "codec_settings": codec_settings or {},
        "source": {"mean": source.mean, "std": source.std},
        "training": training,
    } | more
    weights = {k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}
    with files.replacing(path) as temporary:
        save_file(weights, temporary, metadata={HEADER: json.dumps(header)})


def config_of(path: str | Path) -> SiTConfig:
    """That of a file's network. Raises InputError, also where another version wrote it."""
    header = read_header(path)
    with _fitting(Path(path)):
        return SiTConfig(**header["model"])


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header. Raises InputError for a missing, cut or foreign file."""
    return _open(Path(path))[0]


def loaded_bytes(path: Path) -> int:
    """Bytes of a file's weights once they are loaded, in fp32. Raises InputError."""
    return sum(4 * math.prod(shape) for shape in _open(path, with_types=True)[1].values())


def codec_of(name: str) -> Codec:
    """The codec of a shipped network or a training run's, read from its header; pixels as they are for any other."""
    try:
        return codec_in(read_header(find(name))) if name in files_here() or is_run(name) else Pixels()
    except InputError:  # the run is gone
        return Pixels()


def last_name(name: str) -> str:
    """A network's name without folders and without its file's ending: "v1.2" of "runs/v1.2"."""
    return Path(name).name.removesuffix(".safetensors")


def takes(name: str) -> str:
    """What such a network draws, "class" or "prompt", read from its header; "class" for any other."""
    try:
        header = read_header(find(name)) if name in files_here() or is_run(name) else {}
    except InputError:  # the run is gone
        return ClassLabels.takes
    return Prompts.takes if dict(header.get("model", {})).get("text") else ClassLabels.takes


def codec_in(header: dict[str, Any]) -> Codec:
    """That of a checkpoint's header, with its autoencoder as this machine has it. Raises InputError."""
    return build_codec(header["codec"], header.get("codec_settings", {})).found()


def load(name: str, device: str | torch.device = "cpu", to_train: bool = False) -> Bundle:
    """A Bundle from a shipped name, an oracle's, or a path: in fp32, ready to sample, or `to_train` on. Raises
    InputError."""
    if name in ORACLES:
        return _oracle(name, device)
    name = name.rstrip("/") if is_run(name.rstrip("/")) else name  # as a shell completes it
    path = find(name)
    seen = version(path)  # before anything is read: the file may be replaced meanwhile
    header, weights = _open(path, with_weights=True)
    if header.get("predicts", "velocity") != "velocity" and not to_train:
        raise InputError(
            f"{path} predicts {header['predicts']} on another schedule: it can start a training (--init), not sample."
        )
    with _fitting(path):
        model = _network(header["model"], weights, header.get("positions") == "kept")
        source, codec, conditioner, training = _parts(header, model)
    model.eval().requires_grad_(False)
    known_as = path.stem if path.name != NETWORK else path.absolute().parent.name
    name = name if is_run(name) else known_as
    return Bundle(name, model.to(device), codec, conditioner, source, training, path, recommended.read(path), seen)


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """What is raised where a header and its weights disagree, as a sentence."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as e:
        reason = f"{e} is missing" if isinstance(e, KeyError) else " ".join(str(e).split())[:300].rstrip(".")
        raise InputError(f"{path} does not fit together: its header and weights disagree ({reason}).") from e


def _parts(header: dict[str, Any], model: SiT) -> tuple[Source, Codec, Conditioner, dict[str, Any]]:
    """All of a Bundle but its network. What it raises is for `_fitting`."""
    classes = list(header["classes"])
    if not classes and model.config.num_classes == IMAGENET:
        classes = imagenet_names()
    training = trained.read(header["training"])
    taught = partial(trained.taught, training.get("recipe", {}), model.config.text)
    conditioner = conditioner_of(model.config, classes, training.get("prompts", ())[:MOST_EXAMPLES], taught)
    return _source(header["source"], model), codec_in(header), conditioner, training


def _network(config: dict[str, Any], weights: dict[str, torch.Tensor], kept: bool = False) -> SiT:
    """In fp32; kept: with the file's own table of positions. What is raised for weights that do not fit, before memory
    is taken for the network, is a sentence."""
    with torch.device("meta"):
        model = SiT(SiTConfig(**config))
    _check_finite(weights)
    model.load_state_dict({k: v.float() for k, v in weights.items()}, assign=True)
    if not kept:  # exact, not the rounded copy
        model.pos_embed.data = position_embedding(model.grid, model.config.hidden_size)
    return model


def _check_finite(weights: dict[str, torch.Tensor]) -> None:
    if not all(v.isfinite().all() for v in weights.values()):
        raise ValueError("not all weights are finite numbers")


def _source(given: dict[str, Any], model: SiT) -> Source:
    """Raises RuntimeError if its mean has the shape of other states."""
    source, shape = Source(**given), (model.channels, model.grid.height, model.grid.width)
    torch.broadcast_to(torch.as_tensor(source.mean), shape)
    return source


def _oracle(name: str, device: str | torch.device) -> Bundle:
    of = ORACLES[name]
    settings = {"count": of["images"]}
    data = DATASETS[of["dataset"]].fn(**settings)
    model = from_dataset(data, of["images"], PatchGrid.of(data.size, of["patch_size"]))
    recipe = {"dataset": of["dataset"], "data_settings": settings}
    record = {"command": "none: exact, no network", "images": of["images"], "recipe": recipe}
    return Bundle(name, model.to(device), Pixels(), ClassLabels(len(data.names), data.names), training=record)


def images_behind(name: str) -> int | None:
    """Images that a network with this name has seen, in all its trainings; None: unknown, or it is gone."""
    try:
        return trained.images_of(read_header(find(name))["training"])
    except InputError:
        return None


def data_settings(bundle: Bundle) -> tuple[str, dict[str, Any]]:
    """(name, settings) of the data set that a network was trained on; the first one's where its record says nothing.
    Raises InputError for a network of others on latents: no data set here is like its own."""
    recipe = bundle.training.get("recipe", {})
    if not recipe and bundle.codec.factor > 1:
        raise InputError(f"{bundle.name} was not trained here, so there are no images of its data: bring one of yours.")
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


def is_ours(path: Path) -> bool:
    """Whether a file is a checkpoint of this project, whole or damaged."""
    try:
        with bounded.tensors(path) as f:
            return HEADER in (f.metadata() or {})
    except (SafetensorError, ValueError, OSError, InputError):
        return False


def _open(path: Path, with_weights: bool = False, with_types: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, weights by name; with_types: their shapes alone)."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        with bounded.tensors(path) as f:
            if HEADER not in (f.metadata() or {}):
                raise KeyError(HEADER)
            header = bounded.parse_json(f.metadata()[HEADER])
            if with_weights or with_types:
                _check_types(path, {f.get_slice(k).get_dtype() for k in f.keys()})
            weights = {k: f.get_tensor(k) for k in f.keys()} if with_weights else {}
            if with_types:
                weights = {k: f.get_slice(k).get_shape() for k in f.keys()}
    except InputError:
        raise
    except KeyError:
        raise InputError(
            f"{path} is a safetensors file, but not a checkpoint of this project: its header has no {HEADER!r} entry."
        ) from None
    except (SafetensorError, ValueError, OSError) as e:
        raise InputError(
            f"{path} cannot be read as a checkpoint; it is cut short, damaged or of another format ({e})."
        ) from None
    if not isinstance(header, dict):
        raise InputError(f"{path} is damaged: its header's {HEADER!r} entry is not the record of a checkpoint.")
    if header.get("format") != FORMAT:
        raise InputError(f"{path} has format {header.get('format')!r:.60}; this version reads format {FORMAT}.")
    return header, weights


_TYPES = ("F64", "F32", "F16", "BF16")  # as a safetensors header names them


def _check_types(path: Path, types: set[str]) -> None:
    """Raises InputError for weights of a kind that a network is not computed with, such as 8-bit ones."""
    for name in sorted(types - set(_TYPES)):
        words = f"float8 ({name})" if name.startswith("F8") else name
        raise InputError(f"{path} holds weights of type {words}: save them as bfloat16, float16 or float32.")
