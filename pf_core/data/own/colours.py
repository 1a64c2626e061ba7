"""Colours as they are meant: profiles to sRGB, and grey values of more than 8 bits to 8, or the reason why not."""

import io

import numpy as np
from PIL import Image, ImageCms

from pf_core.errors import InputError

SIXTEEN = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes of grey whole numbers
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile, and the mode that its pixels are in
_SAME = 3  # of 255: profiles that change no colour by more are sRGB under another name
_MAX_SAMPLE = 281  # the TIFF tag that says which value is white


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture's colours as sRGB has them; as they are where the profile is none, damaged, of another kind of
    picture, or sRGB itself. Transparency stays."""
    if not profile:
        return picture
    alpha = picture.getchannel("A") if picture.mode in ("RGBA", "LA") else None
    plain = picture.convert(
        "RGB" if picture.mode in ("RGBA", "YCbCr") else "L" if picture.mode == "LA" else picture.mode
    )
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space.strip()) != plain.mode:
            return picture
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), plain.mode, "RGB")
        if _changes_nothing(transform, plain.mode):
            return picture
        converted = ImageCms.applyTransform(plain, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # a damaged profile: what viewers show then
        return picture
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "CMYK":
        return False
    steps = np.arange(0, 256, 51 if mode == "RGB" else 5, dtype=np.uint8)
    values = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(values), transform), int)
    return bool(np.abs(converted - (values if mode == "RGB" else values[..., None])).max() <= _SAME)


def lab_to_rgb(picture: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    return ImageCms.applyTransform(picture, transform)


def grey8(picture: Image.Image, name: str = "The picture") -> Image.Image:
    """A grey picture of whole or floating-point numbers with 8 bits, "L" or with transparency "LA". Raises InputError
    where nothing says which value is white."""
    values = np.asarray(picture)
    low, high = values.min(), values.max()
    if picture.mode == "F":
        grey = _from_floats(values, float(low), float(high), name)
    else:
        if low < 0 or high > 0xFFFF:
            raise InputError(_unsaid(name, low, high))
        grey = (values >> (_bits(picture, int(high)) - 8)).astype(np.uint8)
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        return Image.merge(
            "LA", [Image.fromarray(grey), Image.fromarray(np.where(values == clear, 0, 255).astype("u1"))]
        )
    return Image.fromarray(grey)


def _bits(picture: Image.Image, high: int) -> int:
    """Of how many bits a picture's whole numbers are: 16, but scanners and cameras put 12 of them there unscaled, and
    programs 8."""
    maximum = _white(picture)
    if maximum is not None and high <= maximum:
        return max(8, maximum.bit_length())
    return 8 if high < 2**8 else 12 if high < 2**12 else 16


def _white(picture: Image.Image) -> int | None:
    """The value that a file says is white; None where it says none."""
    maximum = getattr(picture, "tag_v2", {}).get(_MAX_SAMPLE)
    maximum = max(maximum, default=None) if isinstance(maximum, tuple) else maximum
    return maximum if isinstance(maximum, int) and 0 < maximum <= 0xFFFF else None


def _from_floats(values: np.ndarray, low: float, high: float, name: str) -> np.ndarray:
    """0 to 1, or 0 to 255; a little beyond is what sharpening leaves."""
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds values that are not finite numbers: black and white cannot be determined.")
    if low >= -0.1 and high <= 1.1:
        return (values * 255).round().clip(0, 255).astype(np.uint8)
    if low >= -25 and 16 < high <= 280:
        return values.round().clip(0, 255).astype(np.uint8)
    raise InputError(_unsaid(name, low, high))


def _unsaid(name: str, low: float, high: float) -> str:
    return (
        f"{name} holds numbers from {low:g} to {high:g}, without saying which is black and which is white: save it "
        "with 8 or 16 bits."
    )


def check_depth(picture: Image.Image, raw: str, name: str) -> None:
    """Colours of 16 bits, of which Pillow keeps the upper 8 (raw: its name for how they are stored). Raises InputError
    where these hold next to nothing: 12 bits, or 8, in 16; or where the file says that white is less than 16 bits have
    (12 or 14 bits): the lower bits are lost. 14 bits of which nothing tells are read as a dark picture of 16."""
    if ";16" in raw and picture.mode in ("RGB", "RGBA", "LA"):
        white = _white(picture)
        if white is not None and white.bit_length() < 16:
            raise InputError(
                f"{name} has colours of {white.bit_length()} bits in 16 (it says that white is {white}), which would "
                "come out dark. Save it with 8 bits, or scaled to 16."
            )
        bands = picture.split()[: 1 if picture.mode == "LA" else 3]
        if max(band.getextrema()[1] for band in bands) < 16:
            raise InputError(
                f"{name} has 16 bits a channel and uses the lowest 12 at most: it would come out black. Save it with 8 "
                "bits, or scaled to 16."
            )
