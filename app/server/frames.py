"""Runs for the browser: what a run is, as JSON, and its frames as raw buffers behind a JSON header.

A reply of frames is: uint32 (little endian) length of the header; the header, JSON padded with spaces to a multiple of
four; then the frames, `bytes` long each as its head says, a multiple of four. A frame is the maps as `layout` says
(float32: t, logvar, logvar_cond (B, N), threshold (B); uint8: easy (B, N) 0 hard, 1 easy, 2 nothing was ranked), then
x and x1_hat as WebP sheets of `shape` (B, H, W) pictures. Its head's `pictures` says of each [bytes, planes, largest
error of a level of 255]: see pictures.py. The run's noise and its result are without error.
"""

import json
import math
import re
import shlex
from typing import Any

import numpy as np
import torch

from app.server.pictures import budget, encode
from app.server.source import listing
from app.store import WAITING, StoredRun
from pf_core.models import checkpoint
from pf_core.models.codecs import to_uint8
from pf_core.models.conditioning import quoted
from pf_core.registry import as_text
from pf_core.samplers import entry_of
from pf_core.sampling.compare import patch_updates
from pf_core.sampling.edits import EDITS
from pf_core.sampling.export import WRITERS, carries_tensors
from pf_core.sampling.run import SampleSpec
from pf_core.sampling.trajectory import Frame, negatives

NOT_RANKED = 2


def pack_frame(run: StoredRun, frame: Frame) -> None:
    """Append one forward pass to what the browser gets."""
    ranked = bool(frame.easy.any() or frame.threshold.isfinite().any())
    easy = frame.easy.byte() if ranked else torch.full_like(frame.easy, NOT_RANKED, dtype=torch.uint8)
    pictures = [to_uint8(run.codec.preview(x.float())) for x in (frame.x, frame.x1_hat)]
    head = {"phase": frame.phase, "seconds": round(frame.seconds, 4), "ranked": ranked}
    if run.spec.difficulty != "head" and not frame.logvar.isnan().all():
        head["negative"] = negatives(frame).tolist()
    _append(run, frame, head, [frame.t, frame.logvar, frame.logvar_cond, frame.threshold], pictures, easy)


def pack_final(run: StoredRun, picture: torch.Tensor | None = None) -> None:
    """Append the state at t = 1: no forward pass saw it, so it has no difficulty. picture: (B, H, W, 3) uint8, the
    decoded result where that is more than its preview."""
    done, last = run.trajectory, run.trajectory.frames[-1]
    nothing = torch.full_like(last.t, torch.nan)
    picture = to_uint8(run.codec.preview(done.x1)) if picture is None else picture
    easy = torch.full_like(last.easy, NOT_RANKED, dtype=torch.uint8)
    head = {"phase": "final", "seconds": round(done.seconds, 4), "ranked": False}
    floats = [torch.ones_like(last.t), nothing, nothing, torch.full_like(last.threshold, torch.nan)]
    _append(run, last, head, floats, [picture, picture], easy)


def _append(run: StoredRun, frame: Frame, head: dict, floats: list, pictures: list, easy: torch.Tensor) -> None:
    run.size = tuple(pictures[0].shape[1:3])
    x, x1_hat = (picture.numpy() for picture in pictures)
    most = math.inf if head["phase"] == "final" else budget(*run.size) * len(x)
    guess = encode(x1_hat, most)
    state = encode(
        x, 2 * most - len(guess.data) if run.heads else math.inf
    )  # what a smooth guess leaves is the noise's
    coded = [state, guess]
    maps = b"".join([*(x.numpy().astype("<f4").tobytes() for x in floats), easy.numpy().astype(np.uint8).tobytes()])
    data = b"".join([maps, *(each.data for each in coded)])
    data += bytes(-len(data) % 4)
    run.packed.append(data)
    told = {"bytes": len(data), "pictures": [[len(each.data), each.planes, each.error] for each in coded]}
    run.heads.append(head | {"outer": frame.outer, "nfe": frame.nfe} | told)


def layout(run: StoredRun) -> list[list]:
    """[name, dtype, shape] of the maps in the order in which they begin a frame."""
    b, n = len(run.spec.seeds), run.trajectory.grid.n
    maps = [[name, "float32", [b, n]] for name in ("t", "logvar", "logvar_cond")]
    return [*maps, ["threshold", "float32", [b]], ["easy", "uint8", [b, n]]]


def shape(run: StoredRun) -> list[int]:
    """(B, H, W) of its pictures."""
    grid = run.trajectory.grid
    return [len(run.spec.seeds), *(run.size or (grid.height, grid.width))]


def pack_reply(run: StoredRun, start: int, status: dict[str, Any], most: int | None = None) -> bytes:
    """Frames start, start + 1, ... that are there by now, or the first `most` of them, and the run's status with
    them."""
    frames = run.packed[start:] if most is None else run.packed[start : start + most]
    heads = run.heads[start : start + len(frames)]
    frames = frames[: len(heads)]
    header = {
        "start": start,
        "frames": heads,
        "layout": layout(run),
        "shape": shape(run),
        **status,
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([np.uint32(len(text)).astype("<u4").tobytes(), text, *frames])


def status(run: StoredRun, waits: str) -> dict[str, Any]:
    """What changes while a run goes on; `waits`: why it waits, if it does."""
    message = (run.state == WAITING and waits) or run.message
    done = run.trajectory
    return {
        "state": run.state,
        "message": message,
        "ready": len(run.heads),
        "total": (run.passes or run.spec.nfe) + 1,
        "evaluations": run.heads[-1]["nfe"] if run.heads else 0,
        "seconds": round(done.seconds, 4),
        "forwards": done.forwards,
        "token_forwards": done.token_forwards,
        "updates": round(sum(found := patch_updates(done)) / len(found)) if run.state == "done" else None,
        "exports": exports(run),
    }


def exports(run: StoredRun) -> list[str]:
    """The formats that a run can be downloaded in by now: once it has ended and there is something to see."""
    if run.state not in ("done", "stopped") or not run.heads:
        return []
    alone = not carries_tensors(run.trajectory)  # else the recipe by itself would not repeat it
    return [suffix[1:] for suffix in WRITERS if alone or suffix != ".json"]


def describe(run: StoredRun, waits: str) -> dict[str, Any]:
    """What a run is: everything the viewer needs beside the frames."""
    spec, grid, entry = run.spec, run.trajectory.grid, entry_of(run.spec.sampler)
    return {
        "id": run.id,
        "label": run.label,
        "origin": run.origin,
        **status(run, waits),
        "network": spec.checkpoint,
        "sampler": {"name": entry.name, "label": entry.label, "settings": spec.settings, "help": _help(entry)},
        "source": listing(entry),
        "grid": {"rows": grid.rows, "cols": grid.cols, "n": grid.n, "patch_size": grid.patch_size},
        "images": len(spec.seeds),
        "seeds": spec.seeds,
        "labels": spec.labels,
        "nfe": spec.nfe,
        "steps": spec.steps,
        "cfg_scale": spec.cfg_scale,
        "guided": run.guided,
        "edits": [{**edit, "words": edit_words(edit)} for edit in spec.edits],
        "recipe": spec.to_dict(),
        "command": command(run),
        "recipe_file": recipe_file(run),
        "files": {suffix[1:]: file_name(spec, suffix) for suffix in WRITERS},
    }


def edit_words(edit: dict[str, Any]) -> str:
    """An intervention in a few words, steps and images counted from 1."""
    label = EDITS[edit["kind"]].title.lower()
    count, image, source = len(edit["patches"]), edit.get("image"), edit.get("source")
    whose = f"{count} patch{'es' * (count > 1)} of {'all images' if image is None else f'image {image + 1}'}"
    amount = f" {edit['amount']:g}" if edit.get("amount") is not None else ""
    if isinstance(source, dict):
        painted = f" from {source['dataset']} {source['index']}" if "dataset" in source else " from an uploaded picture"
    else:
        painted = f" from the run's own {source}" if source else ""
    return f"{label}{amount}{painted}: {whose}, at outer step {edit.get('outer', 0) + 1}"


def _help(entry) -> str:
    """The docstring's body: what the sampler does, in one or two sentences."""
    lines = (entry.fn.__doc__ or "").strip().splitlines()[1:]
    return " ".join(line.strip() for line in lines if line.strip())


def recipe_file(run: StoredRun) -> str | None:
    """The export from which the command line repeats the run, where flags cannot say it; None where they can."""
    spec = run.spec
    if not (spec.edits or spec.ts is not None or carries_tensors(run.trajectory)):
        return None
    return file_name(spec, ".safetensors" if carries_tensors(run.trajectory) else ".json")


def _labels(labels: list[str | None]) -> str:
    """As --label reads them, whatever is in a name: what is empty is the null class."""
    words = ["" if label is None else quoted(str(label)) for label in labels]
    return words[0] if len(set(words)) == 1 else ",".join(words)


def _asked(run: StoredRun) -> list[str]:
    """The flags for what was asked for."""
    labels = run.spec.labels
    if set(labels) == {None}:
        return []
    if run.takes != "prompt":
        return [f"--label={_labels(labels)}"]
    return [f"--prompt={label or ''}" for label in (labels if len(set(labels)) > 1 else labels[:1])]


def command(run: StoredRun) -> str:
    """The command line that repeats the run."""
    spec, file = run.spec, recipe_file(run)
    if file:
        words = ["python", "-m", "pf_core", "sample", "--recipe", file, "--out", "again.safetensors"]
        return shlex.join(words)
    words = ["python", "-m", "pf_core", "sample", "--checkpoint", spec.checkpoint, "--sampler", spec.sampler]
    words += ["--nfe", spec.nfe]
    words += _asked(run)
    words += ["--cfg-scale", as_text(spec.cfg_scale)] if run.guided else []
    words += (
        ["--guidance-interval", ",".join(map(as_text, spec.guidance_interval))]
        if run.guided and tuple(spec.guidance_interval) != (0, 1)
        else []
    )
    words += ["--seeds", _ranges(spec.seeds)]
    words += ["--precision", spec.precision] if spec.precision != "fp32" else []
    words += ["--difficulty", spec.difficulty, "--probes", spec.probes] if spec.difficulty != "head" else []
    for name, value in spec.settings.items():
        words += [entry_flag(spec.sampler, name), value]
    return shlex.join(str(w) for w in [*words, "--out", "run.safetensors"])


def file_name(spec: SampleSpec, suffix: str) -> str:
    """What a run's export is called: safe in a header and on any disk."""
    stem = f"{checkpoint.last_name(spec.checkpoint)}-{spec.sampler}-seed{spec.seeds[0]}"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:100] + suffix


def entry_flag(sampler: str, knob: str) -> str:
    return entry_of(sampler).knobs[knob].flag


def _ranges(seeds: list[int]) -> str:
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))
