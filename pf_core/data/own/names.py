"""Names that people give: made comparable, made into classes, put in order, and shown.

One picture is called in many ways: `imgs\\a.png` by Windows, `./imgs/a.png` by a script, "é" as one letter or as two by
macOS. `comparable` is the one form in which names of pictures, captions, metadata and classes meet.
"""

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Sequence

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


def told_apart(names: Sequence[str], origins: Sequence[Hashable], fold: bool = False) -> list[str]:
    """Comparable names of files, no two alike. origins: what a picture and its text share, folder and name as written:
    where two files have one name, or a text would be that of two origins' pictures, the files of each origin but the
    first get its number. fold: names that differ in capitals alone are alike."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(_folded(_parted(name)[0], fold), []).append(place)
    told = list(names)
    for group in groups.values():
        if len({origins[i] for i in group}) == 1 or not _meet(group, names, origins, fold):
            continue
        numbers: dict[Hashable, str] = {origins[group[0]]: ""}
        for i in group:
            (stem, suffix), n = _parted(names[i]), len(numbers)
            while origins[i] not in numbers:
                n += 1
                if _folded(f"{stem} ({n})", fold) not in groups and f" ({n})" not in numbers.values():
                    numbers[origins[i]] = f" ({n})"
            told[i] = f"{stem}{numbers[origins[i]]}{suffix}"
    return told


def _parted(name: str) -> tuple[str, str]:
    """(name without its ending, ending with its dot)."""
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if stem and "/" not in ending else (name, "")


def _folded(name: str, fold: bool) -> str:
    return name.lower() if fold else name


def _meet(group: list[int], names: Sequence[str], origins: Sequence[Hashable], fold: bool) -> bool:
    if len({_folded(names[i], fold) for i in group}) < len(group):
        return True
    texts = {origins[i] for i in group if names[i].lower().endswith(".txt")}
    pictured = {origins[i] for i in group if not names[i].lower().endswith(".txt")}
    return len(pictured) > 1 and bool(texts & pictured)


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
    parts = re.split("([0-9]+)", name)
    return [int(p) if p.isascii() and p.isdigit() else p for p in parts], name  # "²" is a digit, but no number


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
