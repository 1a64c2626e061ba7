"""Codecs: between images, (B, 3, H, W) in [-1, 1], and the space a network works in."""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from pf_core.errors import InputError
from pf_core.models import autoencoder
from pf_core.models.autoencoder import About
from pf_core.registry import Knob, Registry
from pf_core.types import Codec


@dataclass(frozen=True)
class Pixels:
    """Pixels (the network's space is the image, times a factor).

    Noise keeps its size, so that with a factor under 1 an image is decided later in t: smooth images of many pixels
    are otherwise decided near t = 0.1.
    """

    name = "pixels"
    channels = 3
    scale: Annotated[float, Knob(0.01, 10.0, "factor on pixels; the noise keeps its size")] = 1.0

    def __str__(self) -> str:
        return f"pixels times {self.scale:g}"

    def encode(self, images: Tensor) -> Tensor:
        return images if self.scale == 1 else images * self.scale

    def decode(self, x: Tensor) -> Tensor:
        """Unclamped: what shows it clamps it."""
        return x if self.scale == 1 else x / self.scale

    full = False  # decoding costs nothing: there is no preview beside it
    lack = ""
    factor = 1

    def preview(self, x: Tensor) -> Tensor:
        return self.decode(x)

    def found(self) -> "Pixels":
        return self

    def check(self) -> None:
        """Nothing can be missing."""


LACK = "This network works on an autoencoder's latents: name its folder with --autoencoder."


@dataclass(frozen=True)
class Latents:
    """Latents of an autoencoder (the network's space is a fraction of the image's size).

    A state is (latents - shift) * scale. `decode` goes through the autoencoder where one is named; `preview` is a
    linear map to colours, which costs next to nothing.
    """

    name = "latents"
    channels: Annotated[int, Knob(1, 256, "of the latents")] = 4
    scale: Annotated[float, Knob(1e-6, 1e6, "factor on the autoencoder's output")] = 0.18215
    shift: Annotated[float, Knob(-1e6, 1e6, "what is taken off the autoencoder's output before")] = 0.0
    factor: Annotated[int, Knob(1, 128, "how much smaller than the image a side of the latents is")] = 8
    autoencoder: Annotated[str, Knob(help="folder of diffusers' AutoencoderKL")] = ""
    autoencoder_hash: Annotated[str, Knob(help="of its configuration and weights")] = ""
    colours: Annotated[str, Knob(help="linear map to colours for previews, 3 rows of channels + 1 numbers")] = ""

    def __post_init__(self):
        if self.colours:
            _ = self._linear  # raises InputError

    def __str__(self) -> str:
        of = f" of the autoencoder {self.autoencoder}" if self.autoencoder else ""
        return f"latents{of} with {self.channels} channels, scale {self.scale:g} and shift {self.shift:g}"

    @classmethod
    def of(cls, about: About, images: Tensor | None = None) -> "Latents":
        """That of an autoencoder's folder; images (N, 3, H, W) in [-1, 1]: what the preview is fitted on."""
        made = cls(about.channels, about.scale, about.shift, about.factor, str(about.folder), about.hash)
        return made if images is None else made.fitted(made.encode(images), images)

    def fitted(self, states: Tensor, images: Tensor) -> "Latents":
        """With the preview that is nearest to these images (N, 3, H, W) on their states (N, C, h, w)."""
        return replace(self, colours=",".join(f"{v:g}" for v in autoencoder.fit_colours(states, images)))

    @property
    def full(self) -> bool:
        """Whether `decode` is more than `preview`."""
        return bool(self.autoencoder)

    @property
    def lack(self) -> str:
        return "" if self.full else LACK

    def found(self) -> "Latents":
        """With the folder in which its autoencoder is on this machine, if it is: the one that was named when it was
        made, else the one given to this process (`autoencoder.use`), which also serves where none was named."""
        folder = autoencoder.given()
        if folder is None or (self.autoencoder and Path(self.autoencoder).is_dir()):
            return self
        about = autoencoder.describe(folder)
        if about.channels != self.channels or self.autoencoder_hash not in ("", about.hash):
            return self
        if self.autoencoder_hash:
            return replace(self, autoencoder=str(folder))
        return replace(Latents.of(about), colours=self.colours)

    def about(self) -> About:
        """Its autoencoder. Raises InputError where it is not here, or is another one."""
        if not self.autoencoder:
            raise InputError(LACK)
        if not Path(self.autoencoder).is_dir():
            raise InputError(
                f"The autoencoder of these latents is not at {self.autoencoder}: give its folder with --autoencoder."
            )
        about = autoencoder.describe(self.autoencoder)
        if about.channels != self.channels or about.factor != self.factor:
            raise InputError(
                f"The autoencoder in {about.folder} makes {about.channels} channels at 1/{about.factor} of the size; "
                f"the network has {self.channels} at 1/{self.factor}."
            )
        if self.autoencoder_hash not in ("", about.hash):
            raise InputError(
                f"{about.folder} holds another autoencoder (hash {about.hash}) than the network was made for "
                f"({self.autoencoder_hash}): give that one's folder with --autoencoder."
            )
        return about

    def check(self) -> None:
        """Raises InputError where `decode` could not do its work: to be asked before a long run."""
        if self.full:
            autoencoder.check_diffusers()
            self.about()

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / factor, W / factor). Raises InputError without the autoencoder."""
        return (autoencoder.encode(self.about(), images) - self.shift) * self.scale

    def decode(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, h * factor, w * factor), unclamped: by the autoencoder, a preview where none is named.
        Raises InputError where the one that is named is not here."""
        return autoencoder.decode(self.about(), x.float() / self.scale + self.shift) if self.full else self.preview(x)

    def preview(self, x: Tensor) -> Tensor:
        """The same shape: each latent pixel as a square of one colour. Where no map was fitted, the first channels."""
        if self.colours:
            rgb = autoencoder.colours(x, self._linear)
        else:
            rgb = x[:, :3].float() / 2  # states of scale 1 spread over about [-1, 1]
            rgb = rgb if rgb.shape[1] == 3 else rgb[:, :1].expand(-1, 3, -1, -1)
        return rgb.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)

    @property
    def _linear(self) -> list[float]:
        try:
            linear = [float(v) for v in self.colours.split(",")]
        except ValueError:
            linear = []
        if len(linear) != 3 * (self.channels + 1) or not all(map(math.isfinite, linear)):
            raise InputError(f"The preview's colours must be {3 * (self.channels + 1)} numbers, with commas between.")
        return linear


CODECS = Registry("codec", [Pixels, Latents])


def build_codec(name: str, settings: dict[str, Any]) -> Codec:
    """The codec of a header or a recipe. Raises InputError."""
    return CODECS[name].fn(**CODECS[name].settings(settings))


def same_space(one: Codec, other: Codec) -> bool:
    """Whether two networks' states mean the same images, as far as the codecs tell: where an autoencoder lies, and how
    a preview is made, does not matter."""
    if not (isinstance(one, Latents) and isinstance(other, Latents)):
        return one == other
    hashes = {one.autoencoder_hash, other.autoencoder_hash} - {""}
    numbers = [(c.channels, c.scale, c.shift, c.factor) for c in (one, other)]
    return numbers[0] == numbers[1] and len(hashes) < 2


def previewing(codec: Codec) -> Codec:
    """The same codec, whose `decode` is its preview: for pictures on the way that must cost nothing, and not fail."""
    return replace(codec, autoencoder="", autoencoder_hash="") if isinstance(codec, Latents) else codec


def states_of(codec: Codec, data: Any, images: Tensor) -> Tensor:
    """What a data set gives as a network's states: a set of latents holds states already."""
    return images if hasattr(data, "encoded_by") else codec.encode(images)


@dataclass(frozen=True)
class Encoded:
    """A data set whose images are a network's states: `batch(...).images` is (B, channels, H, W), encoded; all else is
    the data set's own."""

    data: Any
    codec: Codec

    def batch(self, indices: Sequence[int]) -> Any:
        sample = copy(self.data.batch(indices))
        object.__setattr__(sample, "images", self.codec.encode(sample.images))  # a data set's samples may be frozen
        return sample

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


def to_uint8(images: Tensor) -> Tensor:
    """(..., 3, H, W) in [-1, 1], clamped -> (..., H, W, 3) uint8 = truncate(clamp(127.5 x + 128)), the paper's rule."""
    return (images.float() * 127.5 + 128).clamp(0, 255).byte().movedim(-3, -1).contiguous()
