"""Own pictures for tests: small ones of flat colours, folders and zips of them."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def picture(colour=(200, 30, 30), size=(40, 30), kind="PNG", mode="RGB", **options):
    """A file's bytes: the left half of the colour, the right half darker, so that a mirrored one differs."""
    pixels = np.full((size[1], size[0], 3), colour, np.uint8)
    pixels[:, size[0] // 2 :] //= 3
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


def huge_png(side=20_000):
    """A valid PNG of side x side white pixels (1 bit each), a few kB of file."""
    packer, rows = zlib.compressobj(9), b"\x00" + b"\xff" * ((side + 7) // 8)
    data = b"".join(packer.compress(rows) for _ in range(side)) + packer.flush()

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tree(folder, content):
    """Write {relative name: bytes or text}."""
    for name, body in content.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)
    return Path(folder)


def zipped(path, content, **options):
    """A zip of {name: bytes or text}, or of (name or ZipInfo, bytes) pairs where names repeat or carry attributes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as z:
        for name, body in content.items() if isinstance(content, dict) else content:
            z.writestr(name, body)
    return Path(path)


def two_classes(n=6):
    """{name: bytes}: n red and n blue pictures, no two alike, in folders of these names."""
    reds = {f"red/{i}.png": picture((200 + i, 20, 20)) for i in range(n)}
    return reds | {f"blue/{i}.png": picture((20, 20, 200 + i)) for i in range(n)}
