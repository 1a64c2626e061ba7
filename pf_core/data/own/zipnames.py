"""What the files in a zip are called: a zip says so for UTF-8 alone, and many programs do not even say that."""

import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass

_UTF8_FLAG, _UNICODE_PATH = 0x800, 0x7075  # a flag bit, and the extra field in which Info-ZIP puts the name as UTF-8


@dataclass(frozen=True)
class _Guess:
    """An encoding that older programs write; `fits` says how likely a letter of it is, 0 to 1."""

    codec: str
    called: str
    fits: Callable[[str], float]


def names_in(members: list[zipfile.ZipInfo]) -> tuple[list[str], str]:
    """Each member's name, and a sentence ('' if there is nothing to say) on names in an encoding that was guessed.

    Names without the flag are taken for UTF-8 if all of them are; else for the likeliest of the old encodings.
    """
    raw = {i: name for i, m in enumerate(members) if (name := _unsaid(m)) is not None}
    if not raw:
        return [_said(m) for m in members], ""
    codec, sentence = _encoding(list(raw.values()))
    names = [raw[i].decode(codec, "replace") if i in raw else _said(m) for i, m in enumerate(members)]
    return names, sentence


def _unsaid(member: zipfile.ZipInfo) -> bytes | None:
    """The bytes of a name whose encoding is not told, None for one that is plain or told."""
    name = member.orig_filename
    if member.flag_bits & _UTF8_FLAG or name.isascii() or _unicode_path(member):
        return None
    return name.encode("cp437").partition(b"\0")[0]  # zipfile takes it for this, byte by byte


def _said(member: zipfile.ZipInfo) -> str:
    return _unicode_path(member) or member.filename


def _unicode_path(member: zipfile.ZipInfo) -> str | None:
    """The name in the extra field, if it is there and belongs to the name that it stands beside."""
    rest = member.extra
    while len(rest) >= 4:
        kind, size = struct.unpack("<HH", rest[:4])
        body, rest = rest[4 : 4 + size], rest[4 + size :]
        if kind == _UNICODE_PATH and len(body) > 5 and body[0] == 1:
            codec = "utf-8" if member.flag_bits & _UTF8_FLAG else "cp437"
            same = zlib.crc32(member.orig_filename.encode(codec, "replace")) == struct.unpack("<I", body[1:5])[0]
            try:
                return body[5:].decode("utf-8") if same else None
            except UnicodeDecodeError:
                return None
    return None


def _encoding(names: list[bytes]) -> tuple[str, str]:
    if all(_decodes(name, "utf-8") for name in names):
        return "utf-8", ""
    likely = [(score, g) for g in _GUESSES if (score := _score(names, g)) > 0.5]
    if not likely:
        return "cp437", (
            f"The zip does not say how {len(names)} of its names are written, and they could not be read: their "
            "letters are wrong. Zip the files again with names in UTF-8."
        )
    _, best = max(likely, key=lambda scored: scored[0])
    example = next(n for n in names if not n.isascii()).decode(best.codec)
    return best.codec, (
        f"The zip does not say how its names are written: they were read as {best.called} (such as "
        f"{_short(example)}). If that is wrong, zip the files again with names in UTF-8."
    )


def _short(name: str) -> str:
    clean = "".join("?" if unicodedata.category(c)[0] == "C" else c for c in name)
    return clean if len(clean) <= 60 else f"...{clean[-57:]}"


def _decodes(name: bytes, codec: str) -> bool:
    try:
        name.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _score(names: list[bytes], guess: _Guess) -> float:
    """How well the names' letters beyond ASCII fit, 0 (not at all) to 1."""
    if not all(_decodes(name, guess.codec) for name in names):
        return 0.0
    parts = [p for name in names for p in re.split(r"[/\\]", name.decode(guess.codec)) if not p.isascii()]
    letters = [c for p in parts for c in p if not c.isascii()]
    if guess.fits is _latin:  # words of Latin letters have few accents, and never a capital after a small letter
        words = re.findall(r"[^\W\d_]+", " ".join(p.rpartition(".")[0] or p for p in parts))
        accents, all_ = sum(not c.isascii() for w in words for c in w), sum(map(len, words))
        if accents * 2 > all_ + 1 or any(re.search("[a-zà-ÿ][A-ZÀ-Þ]", w) for w in words if not w.isascii()):
            return 0.1 * sum(map(_latin, letters)) / len(letters)
    return sum(map(guess.fits, letters)) / len(letters)


def _latin(c: str) -> float:
    return float(unicodedata.name(c, "").startswith("LATIN"))


def _cyrillic(c: str) -> float:
    return (1.0 if "а" <= c <= "я" or c == "ё" else 0.9) * unicodedata.name(c, "").startswith("CYRILLIC")


def _common(codec: str, first: range, most: range) -> Callable[[str], float]:
    """Of East Asian letters: their standards put the common ones into rows of their own, by the first byte."""

    def fits(c: str) -> float:
        try:
            row = c.encode(codec)[0]
        except UnicodeEncodeError:
            return 0.2 * c.isalpha()
        return 1.0 if row in first or row in most else 0.3 * c.isalpha()

    return fits


_GUESSES = [  # of two that fit alike, the first
    _Guess("cp437", "the encoding of old zips (cp437)", _latin),
    _Guess("cp1252", "Western Windows (cp1252)", _latin),
    _Guess("cp932", "Japanese (Shift-JIS)", _common("euc_jp", range(0xA4, 0xA6), range(0xB0, 0xD0))),
    _Guess("gbk", "Chinese (GBK)", _common("gb2312", range(0), range(0xB0, 0xD8))),
    _Guess("big5", "Chinese (Big5)", _common("big5", range(0), range(0xA4, 0xC7))),
    _Guess("cp949", "Korean (cp949)", _common("euc_kr", range(0), range(0xB0, 0xC9))),
    _Guess("cp866", "Russian (cp866)", _cyrillic),
    _Guess("cp1251", "Russian (cp1251)", _cyrillic),
]
