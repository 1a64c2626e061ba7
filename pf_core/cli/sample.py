"""sample: draw images with a network and a sampler, and save the whole run."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from tqdm import tqdm

from pf_core import bounded, files
from pf_core.cli.common import add_autoencoder, add_device, add_registry_knobs, given_of, interval, seeds
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import to_uint8
from pf_core.models.conditioning import EXAMPLE, Conditioner
from pf_core.samplers import SAMPLERS
from pf_core.sampling.export import check_suffix, export, read_recipe
from pf_core.sampling.memory import check_fits
from pf_core.sampling.recommended import with_recommended
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.sweep_axes import check_takes
from pf_core.sampling.trajectory import Trajectory, follow, passes_in_words
from pf_core.sampling.word_maps import Word, maps_over


def add_recipe_flags(parser: argparse.ArgumentParser, of_images: bool = True) -> None:
    """Flags that `from_flags` reads; those that name single images (--label, --seeds) may be left out."""
    parser.add_argument("--checkpoint", help="a shipped name or a .safetensors file: " + ", ".join(checkpoint.names()))
    add_autoencoder(parser)
    parser.add_argument("--sampler", help=", ".join(SAMPLERS))
    parser.add_argument("--nfe", help="budget of network evaluations an image; default 64")
    parser.add_argument("--steps", help="outer steps, instead of --nfe")
    if of_images:
        parser.add_argument(
            "--label",
            help="class name or index, or one an image, comma-separated (a name with a comma in double quotes); "
            "default: none",
        )
        parser.add_argument("--seeds", help="one an image: 0-15, or 1,4,9; default 0")
        add_prompt(parser, "once for all images, or once an image")
    parser.add_argument("--cfg-scale", help="classifier-free guidance; 1 is off")
    parser.add_argument("--guidance-interval", metavar="LO,HI", help="guide only patches with t in [LO, HI]")
    parser.add_argument("--precision", help="fp32 (default) or bf16")
    parser.add_argument(
        "--compile", action="store_true", default=None, help="compile the network: slow to start, then faster"
    )
    parser.add_argument(
        "--recommended", action="store_true", default=None,
        help="what is not given, as the network recommends: the sampler's knobs, guidance",
    )  # fmt: skip
    parser.add_argument(
        "--difficulty", help="what ranks patches: head (default), or divergence, for any flow network, at a cost"
    )
    parser.add_argument("--probes", help="draws of signs a ranking pass, with --difficulty divergence; default 4")
    add_registry_knobs(parser, SAMPLERS)


def add_prompt(parser: argparse.ArgumentParser, several: str) -> None:
    parser.add_argument(
        "--prompt", action="append", help=f"for networks of prompts: what to draw, such as '{EXAMPLE}'; {several}"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_flags(parser)
    parser.add_argument(
        "--noise", metavar="FILE", help="safetensors file with tensor x0 (B, C, H, W), instead of the seeds' noise"
    )
    parser.add_argument("--recipe", metavar="FILE", help="repeat the run of an export; no other setting may be given")
    add_device(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="run.safetensors, .png (film strip), .gif, .webp, .mp4 or .json (the recipe alone)",
    )
    parser.add_argument(
        "--word", metavar="TEXT", help="for networks of prompts: a fifth panel, where the network looks for this word"
    )
    parser.add_argument("--sheet", action="store_true", help="PNG: the results alone, ten a row, not the film strip")


# any other flag would change the run
BESIDE_A_RECIPE = {"command", "recipe", "device", "out", "sheet", "word", "autoencoder"}


def run(args: argparse.Namespace) -> None:
    files.check_writable(args.out)
    check_suffix(args.out, args.sheet)
    spec = _from_recipe(args) if args.recipe else from_flags(args)
    bundle = checkpoint.load(spec.checkpoint, working(args.device))
    spec = spec if args.recipe else with_labels(chosen(spec, args, bundle), args, bundle.conditioner)
    arrays = Path(args.out).suffix.lower() in (".safetensors", ".json")
    reason = _undecodable(bundle)
    if reason and not arrays:
        raise InputError(reason)
    if args.word is not None:
        _check_word(args, bundle, spec)
    x0 = _noise(spec, args.recipe)
    job = Run(bundle, spec, x0, _edit_images(args.recipe))
    check_fits(bundle, job.spec)
    say_losses(bundle.conditioner, job.spec.labels)
    trajectory = Trajectory(bundle.grid, job.spec.to_dict(), job.x0)
    for _ in tqdm(follow(job, trajectory), total=job.spec.nfe, unit="NFE", disable=None):
        pass
    if args.out.lower().endswith(".safetensors") and bundle.codec.full and not reason:
        with files.replacing(args.out) as temporary:
            trajectory.save(temporary, to_uint8(bundle.codec.decode(trajectory.x1)))
    else:
        export(trajectory, bundle.codec, args.out, args.sheet, _word(args.word, bundle, trajectory))
    if reason:
        print(f"{reason} The file holds latents alone.")
    images = len(job.spec.seeds)
    print(
        f"{args.out}: {images} image{'s' * (images > 1)} by {job.spec.sampler}, {job.spec.steps} steps, "
        f"{job.spec.nfe} NFE ({passes_in_words(job.forwards, job.token_forwards)}), {trajectory.seconds:.2f} s"
    )


def say_losses(conditioner: Conditioner, labels: Iterable[str | int | None]) -> None:
    """Print what of these prompts the network does not take in, each sentence once."""
    for note in dict.fromkeys(n for asked in labels for n in conditioner.notes(asked)):
        print(note, flush=True)


def _undecodable(bundle: Bundle) -> str | None:
    """Why images could not be made of the result, as a sentence; None if they can."""
    try:
        bundle.codec.check()
    except InputError as e:
        return str(e)
    return None


def _check_word(args: argparse.Namespace, bundle: Bundle, spec: SampleSpec) -> None:
    """Raises InputError for a word that no prompt has, or that this file would not show."""
    if args.sheet or Path(args.out).suffix.lower() in (".safetensors", ".json"):
        raise InputError("--word adds a panel to a film strip or film: leave it out, or choose .png, .webp or .mp4.")
    if bundle.conditioner.takes != "prompt":
        raise InputError(f"{bundle.name} takes no prompts, so no word can be looked for in its pictures.")
    words = {word.text for label in spec.labels for word in bundle.conditioner.words(label) if word.places}
    if args.word.lower() not in words:
        raise InputError(f"No prompt has the word {args.word!r:.60}: there are {', '.join(sorted(words)) or 'none'}.")


def _word(text: str | None, bundle: Bundle, trajectory: Trajectory) -> Word | None:
    return None if text is None else Word(text, maps_over(bundle, trajectory))


def from_flags(args: argparse.Namespace) -> SampleSpec:
    if args.nfe is not None and args.steps is not None:
        raise InputError("Give --nfe or --steps, not both.")
    if args.checkpoint is None:
        raise InputError(f"Name a network with --checkpoint: {', '.join(checkpoint.names()) or 'a .safetensors file'}.")
    return SampleSpec(
        checkpoint=args.checkpoint,
        sampler="look_ahead" if args.sampler is None else args.sampler,
        settings=given_of(args, SAMPLERS),
        nfe=args.nfe,
        steps=args.steps,
        cfg_scale=1.0 if args.cfg_scale is None else args.cfg_scale,
        guidance_interval=interval(args.guidance_interval),
        seeds=seeds("0" if (asked := getattr(args, "seeds", None)) is None else asked),
        precision="fp32" if args.precision is None else args.precision,
        compile=bool(args.compile),
        difficulty="head" if args.difficulty is None else args.difficulty,
        probes=args.probes,
        noise=None if (noise := getattr(args, "noise", None)) is None else {"file": noise, "sha256": _digest(noise)},
    )


def chosen(spec: SampleSpec, args: argparse.Namespace, bundle: Bundle) -> SampleSpec:
    """The recipe of the flags, with what the network recommends where --recommended asks for it."""
    return with_recommended(spec, bundle, guided=args.cfg_scale is not None) if args.recommended else spec


def with_labels(spec: SampleSpec, args: argparse.Namespace, conditioner: Conditioner) -> SampleSpec:
    """The recipe with the classes that --label names, split by the network's names, or the prompts of --prompt. Raises
    InputError for one of them where the network takes the other."""
    for name in ("label", "prompt"):
        if getattr(args, name) is not None:
            check_takes(name, conditioner)
    if args.prompt is not None:
        return replace(spec, labels=[conditioner.named(prompt) for prompt in args.prompt])
    return spec if args.label is None else replace(spec, labels=conditioner.split(args.label))


def _from_recipe(args: argparse.Namespace) -> SampleSpec:
    clash = [name for name, value in vars(args).items() if name not in BESIDE_A_RECIPE and value is not None]
    if clash:
        raise InputError(f"--recipe already decides --{clash[0].replace('_', '-')}: leave it out.")
    return SampleSpec.from_dict(read_recipe(args.recipe))


def _digest(path: str) -> str:
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    return files.sha256(path)


def _noise(spec: SampleSpec, recipe: str | None) -> torch.Tensor | None:
    """x0 from the recipe's noise file; a run exported as safetensors contains it."""
    if spec.noise is None:
        return None
    carried = _carries_tensors(recipe)
    path = recipe if carried else spec.noise.get("file")
    if not path:
        raise InputError(
            "This recipe starts from given noise, which is not in this file: repeat it from the run's .safetensors "
            "export, which contains the noise."
        )
    if not carried and _digest(path) != spec.noise.get("sha256"):
        raise InputError(f"{path} is not the noise this recipe was made with.")
    try:
        with bounded.tensors(path) as f:
            return f.get_tensor("x0")
    except (SafetensorError, ValueError, OSError):
        raise InputError(f"{path} holds no tensor x0: give a safetensors file with x0 (B, C, H, W).") from None


def _edit_images(recipe: str | None) -> torch.Tensor | None:
    """The pictures of a recipe's edits, if its file contains them."""
    if not _carries_tensors(recipe):
        return None
    with bounded.tensors(recipe) as f:  # it has been read as a recipe
        return f.get_tensor("edit_images") if "edit_images" in f.keys() else None


def _carries_tensors(recipe: str | None) -> bool:
    return recipe is not None and recipe.lower().endswith(".safetensors")
