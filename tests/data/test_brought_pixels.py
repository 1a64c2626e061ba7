"""Pictures of every kind as people bring them: their colours come out right, or the reason is told; never black."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from own_pictures import picture, tree, zipped
from PIL import Image, ImageCms, ImageFile, PngImagePlugin, features

from pf_core.data.own import image_io, scan
from pf_core.data.own.image_io import square
from pf_core.data.own.importer import take
from pf_core.errors import InputError

GREEN, GREEN_SRGB = (60, 200, 60), (0, 205, 0)  # in Display P3, and what a screen in sRGB comes nearest with


def saved(values, kind="TIFF", **options):
    out = io.BytesIO()
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(out, kind, **options)
    return out.getvalue()


def ramp(dtype, white):
    """(32, 32), black at the left to white at the right."""
    return np.broadcast_to(np.linspace(0, white, 32), (32, 32)).astype(dtype)


def chunk(kind, body, checksum=None):
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(depth, colour, values, *chunks):
    """A PNG of big-endian values (H, W, ...) with these chunks before its pixels."""
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


# what the numbers mean


@pytest.mark.parametrize(
    "content",
    [
        saved(ramp(np.float32, 1)),
        saved(ramp(np.float32, 255)),
        saved(ramp(np.int32, 255)),
        saved(ramp(np.int32, 65535)),
        saved(ramp(np.uint16, 65535)),
        saved(ramp(np.uint16, 4095)),
        saved(ramp(np.uint16, 4095), "PNG"),
        saved(ramp(np.uint16, 255), "PNG"),
        saved(ramp(np.uint16, 1023), tiffinfo={281: 1023}),
        saved(ramp(np.uint8, 255), "PNG"),
    ],
)
def test_grey_pictures_of_any_depth_run_from_black_to_white(content):
    seen = square(content, 32)
    assert np.abs(seen[:, :, 0].astype(int) - ramp(float, 255)).max() <= 2.5 and (seen == seen[:, :, :1]).all()


def tiff_of_colours(bits, told=True):
    """8 x 8 colours of so many bits in 16, white; with the tag that says so."""
    values = np.full((8, 8, 3), 2**bits - 1, "<u2").tobytes()
    tags = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 0)]
    tags += [(277, 3, 1, 3), (278, 3, 1, 8), (279, 4, 1, len(values)), *[(281, 3, 1, 2**bits - 1)] * told]
    place = 8 + 2 + 12 * len(tags) + 4  # of what does not fit into a tag: the bits, then the pixels
    entries = b"".join(
        struct.pack("<HHII", tag, kind, count, {258: place, 273: place + 6}.get(tag, value))
        for tag, kind, count, value in tags
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + struct.pack("<HHH", 16, 16, 16) + values


def test_colours_of_16_bits_are_read_whatever_says_so():
    assert (square(tiff_of_colours(16), 8) == 255).all() and (square(tiff_of_colours(16, told=False), 8) == 255).all()
    assert (square(tiff_of_colours(14, told=False), 8) == 63).all()  # nothing tells it from a dark picture


@pytest.mark.parametrize(
    "content, said",
    [
        (saved(ramp(np.float32, 3000)), "holds numbers from 0 to 3000, without saying which is black"),
        (saved(ramp(np.float32, 1) * 2 - 1), "holds numbers from -1 to 1"),
        (saved(ramp(np.float32, 2.5)), "holds numbers from 0 to 2.5"),
        (saved(np.full((8, 8), np.nan, np.float32)), "not finite numbers"),
        (saved(ramp(np.int32, 2**30)), "without saying which is black"),
        (saved(ramp(np.int32, 255) - 9), "holds numbers from -9"),
        (png(16, 2, np.full((8, 8, 3), 4000, ">u2")), "would come out black"),
        (png(16, 4, np.full((8, 8, 2), 4000, ">u2")), "would come out black"),
        (tiff_of_colours(12), "colours of 12 bits in 16 .it says that white is 4095.*would come out dark"),
        (tiff_of_colours(14), "colours of 14 bits in 16 .it says that white is 16383.*would come out dark"),
        (b"II*\0" + bytes(60), "a TIFF of a kind that is unknown here|is damaged"),
    ],
)
def test_numbers_that_do_not_say_what_is_white_are_refused_with_that_reason(home, tmp_path, content, said):
    with pytest.raises(InputError, match=f"odd.tif .*({said})"):
        square(content, 16, name="odd.tif")


def test_transparent_grey_of_16_bits_lies_on_white():
    values = np.where(np.arange(32) < 16, 50000, 20000)[None].repeat(32, 0).astype(">u2")
    seen = square(png(16, 0, values, chunk(b"tRNS", struct.pack(">H", 20000))), 32)
    assert (seen[:, :14] == 50000 >> 8).all() and (seen[:, 18:] == 255).all()
    colours = np.stack([values, values, values], -1).astype(">u2")
    seen = square(png(16, 2, colours, chunk(b"tRNS", struct.pack(">HHH", 20000, 20000, 20000))), 32)
    assert (seen[:, :14] == 50000 >> 8).all() and (seen[:, 18:] == 255).all()


# profiles


P3 = zlib.decompress(  # a profile of Display P3, as telephones write it
    base64.b64decode(
        "eNpjYGC8k5OcW8zkwMCQm1dSFOTupBARGaXA/oSBEQjBIDG5uIABL/h2DaL2si4D6YAzJbU4GUh/AOKE5IKiEgYGxgAgm6e8pADE"
        "jgGyRYqAjgKyQe4QSYewW0DsJAh7BlhNSJAzkL0GyBZIh7D3gNhJEPYZEBtqFwgwBxgzUB2UpFaUgGhnZwMGUDiihw9CrPkeA4Pt"
        "/v///+9AiHkdZGDYaMLAwLULIaZhwcAgyMvAcGJ3cmlRGdQaRiag2wnxATFTPKs="
    )
)


@pytest.mark.parametrize(
    "kind, mode",
    [(kind, mode) for kind in ("PNG", "TIFF") for mode in ("RGB", "RGBA", "P")]
    + [(kind, "RGB") for kind in ("JPEG", "WEBP", "AVIF")],
)
def test_a_picture_with_a_wide_profile_comes_in_as_screens_show_it(kind, mode):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow cannot")
    flat = Image.new("RGB", (32, 32), GREEN)
    flat = flat.quantize(4) if mode == "P" else flat.convert(mode)
    options = {"quality": 100} if kind in ("JPEG", "AVIF", "WEBP") else {}
    seen = square(saved(flat, kind, icc_profile=P3, **options), 8)
    assert np.abs(seen.astype(int) - GREEN_SRGB).max() <= 5


def test_profiles_that_say_nothing_new_or_are_damaged_change_no_bit():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    plain = square(saved(noise, "PNG"), 32)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"damaged", srgb[:200], P3[:300]):
        assert (square(saved(noise, "PNG", icc_profile=profile), 32) == plain).all()
    grey = saved(noise[:, :, 0].copy(), "PNG", icc_profile=P3)  # a profile of colours in a grey picture
    assert (square(grey, 32) == noise[:, :, :1]).all()


def test_transparency_stays_where_a_profile_is_applied():
    flat = np.zeros((32, 32, 4), np.uint8)
    flat[:, :16] = (*GREEN, 255)
    seen = square(saved(flat, "PNG", icc_profile=P3), 32)
    assert np.abs(seen[:, :14].astype(int) - GREEN_SRGB).max() <= 2 and (seen[:, 18:] == 255).all()


def test_lab_colours_are_read():
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (16, 16), (200, 30, 30)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert np.abs(square(saved(lab), 8).astype(int) - (200, 30, 30)).max() <= 4


# whole pictures that Pillow refuses


def test_pictures_with_megabytes_of_text_are_read():
    info = PngImagePlugin.PngInfo()
    info.add_text("z", "x" * 3_000_000, zip=True)
    info.add_itxt("i", "ü" * 3_000_000, zip=True)
    content = saved(Image.new("RGB", (32, 32), GREEN), "PNG", pnginfo=info)
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(content)).load()
    assert (square(content, 8) == GREEN).all()


def test_a_profile_of_megabytes_is_applied():
    large = bytearray(P3) + bytes(2_000_000)
    large[:4] = struct.pack(">I", len(large))
    flat = np.full((32, 32, 3), GREEN, np.uint8)
    content = png(8, 2, flat, chunk(b"iCCP", b"P3\0\0" + zlib.compress(bytes(large))))
    assert np.abs(square(content, 8).astype(int) - GREEN_SRGB).max() <= 2
    bomb = png(8, 2, flat, chunk(b"iCCP", b"P3\0\0" + zlib.compress(bytes(60_000_000))))
    assert (square(bomb, 8) == GREEN).all()  # no profile at all


@pytest.mark.parametrize("kind", [b"tEXt", b"pHYs", b"gAMA", b"prVt", b"tRNS"])
def test_a_bad_checksum_of_what_is_no_pixel_does_no_harm(kind):
    flat = np.full((32, 32, 3), GREEN, np.uint8)
    body = struct.pack(">HHH", 1, 2, 3) if kind == b"tRNS" else b"\0" * 9
    assert (square(png(8, 2, flat, chunk(kind, body, checksum=7)), 8) == GREEN).all()
    good = png(8, 2, flat)
    at = good.find(b"IDAT")
    with pytest.raises(InputError, match="damaged|not a picture"):
        square(good[: at + 8] + bytes([good[at + 8] ^ 255]) + good[at + 9 :], 8)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2, "quality": 60}, {"restart_marker_blocks": 1}]
)
def test_a_jpeg_without_its_end_is_read_and_one_without_pixels_is_not(options):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = saved(noise, "JPEG", **options)
    assert content.endswith(b"\xff\xd9")
    for cut in (1, 2):  # half of the marker, or all of it
        assert (square(content[:-cut], 32) == square(content, 32)).all()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES  # it would hold for the whole process
    for cut in (4, 20, 300, len(content) // 2):
        with pytest.raises(InputError, match="damaged or cut off"):
            square(content[:-cut], 32)


# kinds


def test_avif_is_read_where_pillow_can(home, tmp_path):
    if "AVIF" not in image_io.FORMATS:
        pytest.skip("this Pillow cannot")
    content = saved(Image.new("RGB", (32, 32), GREEN), "AVIF", quality=100)
    report = take([zipped(tmp_path / "a.zip", {"a/1.avif": content, "b/1.png": picture()})])
    assert report.classes == {"a": 1, "b": 1}
    assert np.abs(square(content, 8).astype(int) - GREEN).max() <= 3


def test_heic_is_read_or_told_what_it_needs(home, tmp_path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(40)
    for name in ("photo.heic", "photo.jpg"):  # telephones send it under either name
        report = take([tree(tmp_path / name[-4:], {name: heic, "good.png": picture()})])
        (skipped,) = report.skipped
        assert skipped.name == name and ("pillow-heif" in skipped.reason) == ("HEIF" not in image_io.FORMATS)
    assert (".heic" in scan.PICTURES) == ("HEIF" in image_io.FORMATS)
