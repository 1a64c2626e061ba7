"""Names that people give: made comparable, made into classes, put in order, and shown.

One picture is called in many ways: `imgs\\a.png` by Windows, `./imgs/a.png` by a script, "é" as one letter or as two by
macOS. `comparable` is the one form in which names of pictures, captions, metadata and classes meet.
"""

import hashlib
import re
import unicodedata

LONGEST = 255  # characters of a class's name: as long as a folder's
_JOINERS = "\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u2060"  # format characters that words and emoji are written with
_TAGS = range(0xE0020, 0xE0080)  # and those of flags


def comparable(name: str) -> str:
    """A relative name as composed letters (NFC), parted by "/", without "." and ".."; what leads out of its folder
    still begins with "..", what is absolute with "/"."""
    plain = name.isascii() and not any(odd in name for odd in ("\\", "//", "/."))
    if plain and not name.startswith(".") and not name.endswith("/"):
        return name  # as nearly all are
    parts: list[str] = []
    text = unicodedata.normalize("NFC", name).replace("\\", "/")
    for part in text.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/" * text.startswith("/") + "/".join(parts)


def leads_out(name: str) -> bool:
    """Does a comparable name lead out of the folder that it is relative to?"""
    return name == ".." or name.startswith(("../", "/")) or bool(re.match("[A-Za-z]:", name))


def class_name(text: str) -> str:
    """The class that a folder or a label stands for: composed letters, as written. Only what would harm a terminal or a
    file is written out (a line break as \\n), and what is longer than LONGEST ends in a mark of its own: names that
    differ stay different."""
    name = unicodedata.normalize("NFC", "".join(c if _sound(c) else _written_out(c) for c in text))
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 9]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def natural(name: str) -> tuple:
    """To sort by: numbers inside of names by their size, so that 2 comes before 11."""
    return [int(p) if p.isdigit() else p for p in re.split("([0-9]+)", name)], name


def printable(name: str, most: int = 120) -> str:
    """A name as it may stand in a sentence: one line, no control characters, not endless. Not a name to compare by."""
    clean = "".join(c if _sound(c) else "?" for c in name)
    return clean if len(clean) <= most else f"{clean[: most - 20]}...{clean[-17:]}"


def _sound(c: str) -> bool:
    kind = unicodedata.category(c)
    if kind == "Cf":  # marks that turn the writing direction would reorder a sentence
        return c in _JOINERS or ord(c) in _TAGS
    return kind not in ("Cc", "Cs", "Zl", "Zp")


def _written_out(c: str) -> str:
    return c.encode("unicode_escape").decode()
