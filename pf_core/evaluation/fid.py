"""The field's own number: the Frechet distance of Inception features (FID) to a reference, an npz of `arr_0` or of `mu`
and `sigma`. Inception's weights come from a file that the user has; torch-fidelity, optional, builds the network."""

import importlib
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pf_core import files
from pf_core.errors import InputError
from pf_core.evaluation.metrics import moments_distance
from pf_core.models import foreign
from pf_core.models.openclip import without_missing_operators

FEATURES = 2048  # of Inception's last pooling
SUFFIXES = ".png", ".jpg", ".jpeg"
BATCH = 32  # images a pass
ENOUGH = 10_000  # fewer images than this give a distance that is plainly too high
PREPROCESSING = (
    "uint8 = truncate(clamp(127.5 x + 128)), resized to 299 x 299 bilinearly as TensorFlow 1 does, (x - 128) / 128"
)

Features = Callable[[Tensor], Tensor]  # (B, 3, H, W) uint8 -> (B, D)


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and covariance (D, D) of features; images: of how many, None where the file does not say."""

    mean: np.ndarray
    covariance: np.ndarray
    images: int | None


def inception(weights: str | Path, device: torch.device | str = "cpu") -> Features:
    """Inception's last pooling, (B, 3, H, W) uint8 -> (B, 2048) float32. Raises InputError without torch-fidelity, and
    for a file that does not hold the weights."""
    network = _fidelity().FeatureExtractorInceptionV3
    state = foreign.read(weights)[0]
    state = state.get("state_dict", state)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "inception.pth"  # the package unpickles whatever it is given: it gets tensors alone
        torch.save({name: value for name, value in state.items() if isinstance(value, Tensor)}, copy)
        try:
            made = network("inception-v3", [str(FEATURES)], feature_extractor_weights_path=str(copy))
        except RuntimeError as e:
            reason = " ".join(str(e).split())[:160]
            raise InputError(
                f"{weights} does not hold the weights of the FID's Inception, such as "
                f"weights-inception-2015-12-05-6726825d.pth ({reason})."
            ) from None
    made = made.to(device)
    return lambda images: made(images.to(device))[0].float().cpu()


def _fidelity() -> Any:
    """The package. Raises InputError where it is missing or does not load."""
    try:
        with without_missing_operators():
            return importlib.import_module("torch_fidelity")
    except (ImportError, RuntimeError) as e:
        raise InputError(
            f"Inception's features need the package torch-fidelity: pip install -r requirements-extra.txt "
            f"({' '.join(str(e).split())[:120]})."
        ) from None


def distance(generated: Moments, reference: Moments) -> float:
    """Raises InputError where the two are not of the same features."""
    if generated.mean.shape != reference.mean.shape:
        raise InputError(
            f"The reference has {len(reference.mean)} features an image, these images {len(generated.mean)}: "
            "both must be Inception's last pooling."
        )
    return moments_distance(
        (generated.mean, generated.covariance),
        (reference.mean, reference.covariance),
    )


def moments_of(batches: Iterable[np.ndarray], features: Features) -> Moments:
    """batches: (B, H, W, 3) uint8. Only sums are kept, so that any number of images fits. Raises InputError for fewer
    than two."""
    count, total, outer = 0, 0.0, 0.0
    for batch in batches:
        values = features(torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))).double().numpy()
        count, total, outer = count + len(values), total + values.sum(0), outer + values.T @ values
    if count < 2:
        raise InputError(f"A distance needs two images at least, not {count}.")
    mean = total / count
    return Moments(mean, (outer - count * np.outer(mean, mean)) / (count - 1), count)


def read_reference(path: str | Path, features: Features) -> Moments:
    """From `mu` and `sigma` where the file has them, else of the images of `arr_0`. Raises InputError."""
    try:
        with np.load(_file(path), allow_pickle=False) as f:
            if {"mu", "sigma"} <= set(f.files):
                mean, covariance = (np.asarray(f[name], np.float64) for name in ("mu", "sigma"))
                if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
                    raise ValueError(f"mu has the shape {mean.shape}, sigma {covariance.shape}")
                if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
                    raise ValueError("it holds values that are not finite")
                return Moments(mean, covariance, None)
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError) as e:
        raise InputError(f"{path} is no reference: it must be an npz with arr_0, or with mu and sigma ({e}).") from None
    return moments_of(images_in(path), features)


def images_in(path: str | Path) -> Iterator[np.ndarray]:
    """Batches (B, H, W, 3) uint8 of what `generate` or others wrote: a folder of pictures in the order of their names,
    or `arr_0` of an npz, read piece by piece. Raises InputError."""
    if not Path(path).is_dir():
        yield from _array(_file(path))
        return
    names = sorted(p for p in Path(path).iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not names and (Path(path) / "samples.npz").is_file():
        yield from _array(Path(path) / "samples.npz")
        return
    for start in range(0, len(names), BATCH):
        yield _stacked(names[start : start + BATCH])


def _stacked(names: list[Path]) -> np.ndarray:
    try:
        pictures = [np.asarray(Image.open(name).convert("RGB")) for name in names]
        return np.stack(pictures)
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise InputError(f"The pictures in {names[0].parent} must all be readable, and of one size ({e}).") from None


def _array(path: Path) -> Iterator[np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as f:
            major = np.lib.format.read_magic(f)[0]
            read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(f)
            if fortran or dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
                raise ValueError(f"arr_0 is {dtype} of shape {shape}, not uint8 (N, H, W, 3)")
            size = int(np.prod(shape[1:]))
            for start in range(0, shape[0], BATCH):
                count = min(BATCH, shape[0] - start)
                held = f.read(count * size)
                yield np.frombuffer(held, np.uint8).reshape(count, *shape[1:])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as e:
        raise InputError(f"{path} holds no images: it must be an npz with arr_0, uint8 (N, H, W, 3) ({e}).") from None


def _file(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    return Path(path)


def check(reference: str | Path, weights: str | Path) -> None:
    """Before images are drawn for it: raises InputError if one of the files, or the package, is missing."""
    _file(reference), _file(weights), _fidelity()


def measure(images: str | Path, reference: str | Path, weights: str | Path, device: Any = "cpu") -> dict[str, Any]:
    """FID of the images in a folder or npz, and all that the number hangs on. Raises InputError."""
    check(reference, weights)
    features = inception(weights, device)
    real = read_reference(reference, features)
    made = moments_of(images_in(images), features)
    return {
        "fid": distance(made, real),
        "images": made.images,
        "reference": {"file": str(reference), "sha256": files.sha256(reference), "images": real.images},
        "inception": {
            "file": str(weights),
            "sha256": files.sha256(weights),
            "by": f"torch-fidelity {_fidelity().__version__}",
        },
        "preprocessing": PREPROCESSING,
    }


def in_words(result: dict[str, Any]) -> str:
    """The number with what it hangs on."""
    reference = result["reference"]
    of = "mu and sigma" if reference["images"] is None else f"{reference['images']:,} images"
    words = (
        f"FID {result['fid']:.3f} of {result['images']:,} images to {reference['file']} ({of}); Inception's last "
        f"pooling by {result['inception']['by']}; {result['preprocessing']}."
    )
    if result["images"] < ENOUGH:
        words += f" So few images give too high a distance: published ones are of {ENOUGH:,} or 50,000."
    return words
