"""A network's file from anywhere -> a checkpoint of this project: what `convert` and the app's "add a network" do."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pf_core import files, memory
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import autoencoder, checkpoint
from pf_core.models.codecs import Latents
from pf_core.models.conditioning import imagenet_names
from pf_core.models.convert import Converted, convert
from pf_core.models.foreign import read
from pf_core.models.sit import SiT
from pf_core.registry import Knob, Parameter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HEADS = Parameter("heads", int, None, Knob(1, 4096, "attention heads, where weights and settings do not tell"))
KINDS = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
COPIES = 3  # times the file's size that reading and checking takes of memory, at most
FITTED = {"size": 128, "variety": 0.6}  # images that a preview is fitted on, where there are no better ones
FITTED_COUNT = 12


@dataclass(frozen=True)
class Imported:
    """What became of a file: its kind and sizes in a sentence, and what was dropped, renamed or assumed."""

    path: Path
    summary: str
    notes: list[str]


def take(
    source: str | Path,
    out: str | Path,
    *,
    kind: str | None = None,
    dtype: str | None = None,
    raw: bool = False,
    heads: int | str | None = None,
    encoder: str | Path | None = None,
    command: str = "",
    named: str | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Imported:
    """Write the network of `source` to `out`, a .safetensors file, whole or not at all.

    kind, dtype, raw, heads: as `python -m pf_core convert --help` says. encoder: the folder of the autoencoder on whose
    latents it works. named: what the file was called before it was uploaded. say(sentence): what is being done. Nothing
    in the file is run. Raises InputError.
    """
    source, out = Path(source), Path(out)
    if not source.is_file():
        raise InputError(f"There is no file {source}.")
    if out.exists() and out.samefile(source):
        raise InputError("--out is the file itself: name another one.")
    files.check_writable(out)
    if checkpoint.is_ours(source):
        raise InputError(f"{named or source.name} is a checkpoint of this project: nothing is left to convert.")
    if out.suffix != ".safetensors":
        raise InputError("--out must end in .safetensors.")
    if dtype not in (None, *DTYPES):
        raise InputError(f"--dtype must be one of {', '.join(DTYPES)}, not {dtype!r:.60}.")
    heads = None if heads is None else HEADS.check(heads)
    about = None if encoder is None else autoencoder.describe(encoder)
    size = source.stat().st_size
    memory.check(COPIES * size, f"Converting {source.name}", instead="close what else runs on this machine")
    named = named or source.name
    with memory.sentences(f"converting {named}", "close what else runs on this machine"):
        say(f"Reading {named} ({memory.in_words(size)}).")
        held, notes = read(source)
        say("Checking names and shapes.")
        done = convert(held, kind or kind_of(named), heads, ema=not raw)
        held.clear()
        kept = DTYPES[dtype] if dtype else own_type(done)
        if about:
            say(f"Loading the autoencoder in {about.folder} and fitting a preview of its latents.")
        codec = _codec(done, about)
        say(f"Writing {out.name}.")
        _save(done, out, kept, codec, {"file": named, "family": done.family, "notes": done.notes}, command)
    c = done.config
    summary = (
        f"{done.family}, depth {c.depth}, width {c.hidden_size}, {c.num_heads} heads, patches of {c.patch_size}, "
        f"{c.in_channels} channels, {c.num_classes} classes, {str(kept).removeprefix('torch.')}."
    )
    return Imported(out, summary, [*notes, *done.notes])


def adopt(source: Path, out: Path) -> Imported:
    """Copy a checkpoint of this project as it is, if it can be used. Raises InputError."""
    files.check_writable(out)
    if (reason := checkpoint.damage(source)) is not None:
        raise InputError(reason)
    with files.replacing(out) as temporary:
        shutil.copyfile(source, temporary)
    return Imported(out, "a checkpoint of this project, taken as it is.", [])


def is_checkpoint(source: Path) -> bool:
    """Whether a file is a checkpoint of this project, sound or not."""
    if source.suffix != ".safetensors":
        return False
    try:
        checkpoint.read_header(source)
    except InputError as e:
        return "not a checkpoint of this project" not in str(e)
    return True


def kind_of(name: str) -> str | None:
    """SiT's and DiT's releases can only be told apart by their files' names."""
    return next((kind for kind in ("sit", "dit") if name.lower().startswith(f"{kind}-")), None)


def own_type(done: Converted) -> torch.dtype:
    """The type of most weights of the file; half precision becomes fp32, which holds it exactly."""
    held = {w.dtype for name, w in done.weights.items() if name != "pos_embed"}
    return torch.bfloat16 if held == {torch.bfloat16} else torch.float32


def _codec(done: Converted, about: autoencoder.About | None) -> tuple[str, dict[str, Any] | None]:
    """(name, settings). Raises InputError for an autoencoder of another number of channels."""
    channels = done.config.in_channels
    if about is None:
        if channels == 3:
            return "pixels", None
        done.notes.append(
            "Assumed: it works on an autoencoder's latents. Without that autoencoder images are previews: name its "
            "folder with --autoencoder."
        )
        return "latents", {"channels": channels}
    if about.channels != channels:
        raise InputError(f"{about.folder} makes {about.channels} channels; the network has {channels}.")
    images = DATASETS["toybox"].fn(**FITTED).batch(range(FITTED_COUNT)).images
    return "latents", dict(vars(Latents.of(about, images)))


def _save(
    done: Converted, out: Path, dtype: torch.dtype, codec: tuple[str, Any], origin: dict[str, Any], command: str
) -> None:
    with torch.device("meta"):
        model = SiT(done.config)
    model.load_state_dict(done.weights, assign=True)
    more = {"positions": "kept"} | ({} if done.predicts == "velocity" else {"predicts": done.predicts})
    names = imagenet_names() if done.config.num_classes == checkpoint.IMAGENET else []
    record = {"command": command, "converted": origin}
    checkpoint.save(out, model, names, record, checkpoint.STANDARD_NORMAL, *codec, dtype, **more)
