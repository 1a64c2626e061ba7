"""Training runs on disk: a folder of config.json, metrics.jsonl, state.safetensors, samples/ and the weights."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pf_core import checkpoint, files
from pf_core.checkpoint import Bundle
from pf_core.codecs import CODECS, to_uint8
from pf_core.conditioning import ClassLabels
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.flow import Source
from pf_core.models import build, preset
from pf_core.sample import Run as SampleRun
from pf_core.sample import SampleSpec, versions
from pf_core.train import TrainConfig, TrainStep, train, validation_loss


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides a training run, as JSON. `difficulty` False trains the SiT baseline: no variance head."""

    dataset: str = "shapes"
    data_settings: dict[str, Any] = field(default_factory=dict)
    model: str = "tiny"
    model_settings: dict[str, Any] = field(default_factory=dict)
    difficulty: bool = True
    init: str | None = None
    config: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> "TrainRecipe":
        config = dict(d["config"])
        return cls(**{**d, "config": TrainConfig(**{**config, "source": Source(**config["source"])})})


@dataclass(frozen=True)
class Intervals:
    """Every how many steps to save the state, log the losses, validate, and draw samples; 0 is never."""

    save: int = 500
    log: int = 20
    validate: int = 1000
    samples: int = 1000


class RunFolder:
    """The files of one run. Lines of metrics.jsonl are appended and flushed; everything else is replaced whole."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        return self.path / f"{self.path.name}.safetensors"

    def start(self, recipe: TrainRecipe) -> None:
        if (self.path / "config.json").exists():
            raise InputError(
                f"{self.path} already holds a run: add --resume to go on with it, or choose another --out."
            )
        with files.replacing(self.path / "config.json") as temporary:
            temporary.write_text(json.dumps(recipe.to_dict(), indent=1))

    def recipe(self) -> TrainRecipe:
        try:
            return TrainRecipe.from_dict(json.loads((self.path / "config.json").read_text()))
        except FileNotFoundError:
            raise InputError(f"{self.path} holds no run to resume.") from None
        except (ValueError, KeyError, TypeError) as e:
            raise InputError(f"{self.path}/config.json is damaged ({e}).") from None

    def append(self, **entry: Any) -> None:
        with open(self.metrics, "a") as f:
            f.write(json.dumps(entry) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop metrics logged after `step`, and a half-written last line: the resumed run will log them again."""
        if self.metrics.exists():
            kept = [line for line in self.metrics.read_text().splitlines() if _logged_by(line, step)]
            with files.replacing(self.metrics) as temporary:
                temporary.write_text("".join(line + "\n" for line in kept))


def _logged_by(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, KeyError):
        return False


def execute(
    folder: RunFolder, resume: bool, recipe: TrainRecipe | None, intervals: Intervals, command: str
) -> Iterator[TrainStep]:
    """Train as the folder's recipe says, logging, sampling and saving on the way; ends with the EMA weights in bf16."""
    state, before = None, 0.0
    recipe = folder.recipe() if resume else recipe
    if resume and folder.state.exists():
        state, header = load_state(folder.state)
        before = header["seconds"]
    data = DATASETS[recipe.dataset].fn(**recipe.data_settings)
    model = network(recipe, data)  # refuses a wrong shape before anything is written
    if not resume:
        folder.start(recipe)
    folder.forget_after(state["step"] if state else 0)
    begin = time.perf_counter()

    def seconds() -> float:
        return before + time.perf_counter() - begin

    logged = [state["step"] if state else 0, time.perf_counter()]
    last = None
    for last in train(model, data, recipe.config, state):
        due = _due(last.step, recipe.config.steps)
        if due(intervals.log):
            now = time.perf_counter()
            rate = (last.step - logged[0]) * recipe.config.batch_size / (now - logged[1])
            logged = [last.step, now]
            folder.append(
                step=last.step, **_scalars(last), images_per_second=round(rate, 1), seconds=round(seconds(), 1)
            )
        if due(intervals.validate):
            folder.append(
                step=last.step, validation=validation_loss(last.trainer.ema, data, source=recipe.config.source)
            )
        if due(intervals.samples):
            draw_samples(folder, recipe, last)
        if due(intervals.save):
            save_state(folder.state, last.trainer.state_dict(), {"seconds": seconds()})
        yield last
    if last is not None or state is not None:
        ema = last.trainer.ema if last is not None else _loaded(model, state["ema"])
        checkpoint.save(
            folder.weights, ema, list(data.names), record(recipe, data, seconds(), command), recipe.config.source
        )


def network(recipe: TrainRecipe, data) -> torch.nn.Module:
    """The recipe's network with its initial (or `init`'s) weights."""
    shape = {"in_channels": data.channels, "input_size": data.size, "num_classes": len(data.names)}
    config = preset(recipe.model, **shape, predict_uncertainty=recipe.difficulty, **recipe.model_settings)
    model = build(config, recipe.config.seed)
    if recipe.init:
        start = checkpoint.load(recipe.init).model
        if start.config != config:
            raise InputError(f"{recipe.init} has another shape than the network asked for: {start.config}.")
        model.load_state_dict(start.state_dict())
    return model


def record(recipe: TrainRecipe, data, seconds: float, command: str) -> dict[str, Any]:
    """What a checkpoint's header says of its training."""
    return {
        "recipe": recipe.to_dict(),
        "command": command,
        "steps": recipe.config.steps,
        "images": recipe.config.steps * recipe.config.batch_size,
        "wall_seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "versions": versions(),
    }


def draw_samples(folder: RunFolder, recipe: TrainRecipe, at: TrainStep, nfe: int = 32) -> None:
    """A PNG of sixteen fixed-seed samples of the EMA weights, every class in turn."""
    model, names = at.trainer.ema, DATASETS[recipe.dataset].fn.names
    bundle = Bundle(
        folder.path.name, model, CODECS["pixels"].fn(), ClassLabels(len(names), list(names)), recipe.config.source
    )
    labels = [i % max(len(names), 1) for i in range(16)]
    *_, final = SampleRun(bundle, SampleSpec(bundle.name, "euler", nfe=nfe, labels=labels, seeds=list(range(16))))
    tiles = to_uint8(bundle.codec.decode(final.x)).cpu()
    sheet = tiles.unflatten(0, (2, 8)).permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    with files.replacing(folder.path / "samples" / f"{at.step:07d}.png") as temporary:
        Image.fromarray(sheet.numpy()).save(temporary)


def _due(step: int, steps: int) -> Callable[[int], bool]:
    return lambda every: every > 0 and (step % every == 0 or step == steps)


def _scalars(at: TrainStep) -> dict[str, float]:
    losses = {k: v.item() for k, v in at.losses._asdict().items() if v is not None}
    return {k: round(v, 6) for k, v in (losses | {"grad_norm": float(at.grad_norm), "rate": at.rate}).items()}


def _loaded(model: torch.nn.Module, weights: dict) -> torch.nn.Module:
    model.load_state_dict(weights)
    return model


def save_state(path: Path, state: dict[str, Any], header: dict[str, Any]) -> None:
    """A nested state dict as safetensors: tensors by number, the nesting as JSON in the header."""
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, tensors)
    with files.replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"state": json.dumps(skeleton), "header": json.dumps(header)})


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(state, header) as saved. Raises InputError for a damaged file."""
    try:
        with safe_open(path, framework="pt") as f:
            metadata = f.metadata()
            return _unpack(json.loads(metadata["state"]), f.get_tensor), json.loads(metadata["header"])
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as e:
        raise InputError(f"{path} is damaged and cannot be resumed from ({e}).") from None


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, dict):
        return {"items": [[k, _pack(v, tensors)] for k, v in value.items()]}  # keys may be whole numbers
    if isinstance(value, list | tuple):
        return [_pack(v, tensors) for v in value]
    return value


def _unpack(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(v, tensor) for v in value]
    if isinstance(value, dict):
        return tensor(value["tensor"]) if "tensor" in value else {k: _unpack(v, tensor) for k, v in value["items"]}
    return value
