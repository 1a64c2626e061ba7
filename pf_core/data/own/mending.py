"""Files whose pixels are whole but which Pillow refuses: mended as bytes, since its own setting (LOAD_TRUNCATED_IMAGES)
would hold for the whole process and lets half pictures pass, too.

PNG: large texts and profiles, and bad checksums of chunks that hold no pixels. JPEG: a missing end marker.
"""

import hashlib
import struct
import zlib
from typing import NamedTuple

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_END = b"\xff\xd9"
_SEEN = (b"tRNS", b"eXIf")  # what is no pixel and yet seen: transparency, which side is up
MAX_PROFILE = 16 * 2**20


class Mended(NamedTuple):
    """versions: contents that must all decode to the same pixels, or else something is missing. profile: a colour
    profile that had to be taken out, b'' for none."""

    versions: list[bytes]
    profile: bytes = b""


def mended(content: bytes) -> Mended | None:
    """None for what cannot be mended here."""
    if content.startswith(PNG):
        return _png(content)
    if content.startswith(JPEG) and not content.rstrip(b"\0").endswith(_END):
        return _jpeg(content)
    return None


def _png(content: bytes) -> Mended:
    """Pixels and what is seen of the rest, with new checksums for the latter; a damaged pixel chunk stays damaged."""
    parts, profile, at = [PNG], b"", len(PNG)
    while at + 12 <= len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        kind, end = content[at + 4 : at + 8], at + 12 + size
        if kind[:1].isupper() or end > len(content):  # pixels and what they need, or the cut-off end
            parts.append(content[at:end])
        elif kind in _SEEN:
            body = content[at + 4 : at + 8 + size]
            parts.append(content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        elif kind == b"iCCP":
            profile = _unpacked(content[at + 8 : at + 8 + size])
        at = end
    return Mended([b"".join([*parts, content[at:]])], profile)


def _unpacked(body: bytes) -> bytes:
    """The profile in an iCCP chunk, b'' if it is damaged or too large."""
    _, _, packed = body.partition(b"\0")
    try:
        profile = zlib.decompressobj().decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if len(profile) < MAX_PROFILE else b""


def _jpeg(content: bytes) -> Mended:
    """Ended in two ways: with noise and the end marker after it. Where every pixel is there the noise is passed over;
    where pixels are missing it is taken for them, and the two differ."""
    whole = content.rstrip(b"\xff")
    noise = [b"".join(hashlib.sha256(bytes([k, i])).digest() for i in range(4)) for k in range(2)]
    return Mended([whole + n.replace(b"\xff", b"") + _END for n in noise])
