"""Reading files that may come from anybody: no more is built than a file of ours can ask for.

A file of a few megabytes can ask for gigabytes: a million `{}`, a megabyte of zeros in a kilobyte of zlib, a header of
a hundred megabytes. So sizes are looked at before anything is read, and the text of a JSON value is counted before it
is parsed. The limits lie above the largest thing that we write: a recipe of 64 edits that name 4096 patches each.
What is parsed becomes a dataclass only if it is what the dataclass declares: `build`.

And the one place where bytes that a person brings become text: `decoded`.
"""

import codecs
import json
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NotRequired, TypeVar, get_type_hints

from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError, with_config
from safetensors import safe_open
from typing_extensions import TypedDict

from pf_core.errors import InputError
from pf_core.registry import known, parameters

MOST_JSON = 6 * 2**20  # bytes of a JSON text
MOST_VALUES, MOST_NAMES, MOST_NESTED = 300_000, 50_000, 20_000  # commas, colons, brackets outside of its strings
MOST_HEADER = 12 * 2**20  # bytes of a safetensors header: it holds a recipe as text within text
_CHUNKS = 100_000  # parts of a picture or film that are looked at

_MARKS = {  # at the beginning of a text; those of UTF-32 first, as one begins like UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of(start: bytes) -> str:
    """How a text is encoded, by the mark (BOM) in its first four bytes; UTF-8 where there is none."""
    return next((codec for mark, codec in _MARKS.items() if start.startswith(mark)), "utf-8")


def decoded(content: bytes, name: str = "The text") -> str:
    """A text that a person brings: UTF-8 with or without a mark, UTF-16 or UTF-32 with one. Raises InputError."""
    try:
        text = content.decode(encoding_of(content[:4]))
    except UnicodeDecodeError:
        raise InputError(f"{name} is not in UTF-8, nor in UTF-16 with its mark: save it as UTF-8.") from None
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        raise InputError(f"{name} is not text, or is in UTF-16 without its mark: save it as UTF-8.")
    return text


# text


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, too long, too deep or of too many parts."""
    if len(text) > MOST_JSON:
        raise ValueError(f"it is longer than {MOST_JSON >> 20} MB")
    text = decoded(text) if isinstance(text, bytes) else text
    if _too_many_parts(text):
        raise ValueError("it has more parts than any file that this program writes")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _HALF.search(text) and not _encodes(value):
        raise ValueError("it holds half a character (a surrogate without its pair), which no text can hold")
    return value


def _too_many_parts(text: str) -> bool:
    """Whether a JSON text has more parts than ours can have. What stands inside of its strings, such as prompts, counts
    only in a first look; the second goes stretch by stretch, takes no memory and stops where it is sure."""
    if not _over(_parts(text)):
        return False
    seen, end = [0, 0, 0], 0
    while stretch := _STRETCH.match(text, end):
        end = stretch.end()
        seen = [a + b for a, b in zip(seen, _parts(_STRING.sub("", stretch[0])), strict=True)]
        if _over(seen):
            return True
    return _over([a + b for a, b in zip(seen, _parts(text[end:]), strict=True)])


def _parts(text: str) -> list[int]:
    return [text.count(","), text.count(":"), text.count("{") + text.count("[")]


def _over(parts: list[int]) -> bool:
    return any(a > most for a, most in zip(parts, (MOST_VALUES, MOST_NAMES, MOST_NESTED), strict=True))


_ONE = r'"(?:[^"\\]++|\\.)*+"?'  # a string; nothing is tried twice, as a text may be made to take long
_STRING, _STRETCH = re.compile(_ONE, re.DOTALL), re.compile(rf'(?:[^"]*+{_ONE}){{1,20000}}+', re.DOTALL)
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")  # how JSON may hold a surrogate


def _encodes(value: Any) -> bool:
    """Whether all text in a JSON value can be written as UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(path: str | Path) -> Any:
    """The value in a JSON file. Raises ValueError as `parse_json`, OSError if it cannot be read."""
    with open(path, "rb") as f:
        return parse_json(f.read(MOST_JSON + 1))


# dataclasses

Built = TypeVar("Built")


def build(kind: type[Built], value: Any, it: str = "it", its: str = "its", needs: tuple[str, ...] = ()) -> Built:
    """A dataclass from a JSON value: an object with its fields and nothing else, each strictly as it is annotated, a
    knob's as the knob takes it; those with a default may be absent, but for those in `needs`. Raises InputError: a
    field's own, or a sentence that begins with `it` (`it lacks its labels`, `it has 'lables', which ...`) or `its`
    (`its labels are 3`)."""
    try:
        return kind(**_entries(kind, needs).validate_python(value))
    except ValidationError as e:
        wrong = min(
            e.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden"
        )  # a misspelt name first
        raise _sentence(wrong, kind, value, it, its) from None


@cache
def _entries(kind: type, needs: tuple[str, ...]) -> TypeAdapter:
    """Checks the dict that a dataclass is made of."""
    hints, knobs, entries = get_type_hints(kind, include_extras=True), parameters(kind), {}
    for field in fields(kind):
        hint = hints[field.name]
        if field.name in knobs:
            hint = Annotated[Any, PlainValidator(knobs[field.name].check)]
        elif is_dataclass(hint):
            built = partial(build, hint, it=f"its {field.name}", its=f"its {field.name}'s")
            hint = Annotated[Any, PlainValidator(getattr(hint, "from_dict", built))]
        needed = field.name in needs or field.default is field.default_factory is MISSING
        entries[field.name] = hint if needed else NotRequired[hint]
    strictly = with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
    return TypeAdapter(strictly(TypedDict(kind.__name__, entries)))


def _sentence(wrong: Any, kind: type, value: Any, it: str, its: str) -> InputError:
    """What pydantic found wrong, in words."""
    why, context = wrong["type"], wrong.get("ctx", {})
    if isinstance(context.get("error"), InputError):
        return context["error"]
    if not wrong["loc"]:
        return InputError(f"{it} is {value!r:.200}.")
    name = wrong["loc"][0]
    if why == "missing" and len(wrong["loc"]) == 1:
        return InputError(f"{it} lacks its {name}.")
    if why == "extra_forbidden":
        names = known(name, (f.name for f in fields(kind)))
        return InputError(f"{it} has {name!r:.60}, which this version does not know.{names}")
    if why == "too_long" and context["field_type"] == "List":
        return InputError(f"{it} has {len(value[name]):,} {name}; {context['max_length']:,} are the most it can have.")
    return InputError(f"{its} {name} {'are' if name.endswith('s') else 'is'} {value[name]!r:.60}.")


# tensors


@contextmanager
def tensors(path: str | Path) -> Iterator[Any]:
    """`safe_open`, for files whose header is not larger than it needs to be. Raises ValueError if it is."""
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
    if size > MOST_HEADER:
        raise ValueError(f"its header is larger than {MOST_HEADER >> 20} MB, or it is not a safetensors file")
    with safe_open(path, framework="pt") as f:
        yield f


# texts inside pictures and films


def text_inside(path: str | Path, names: tuple[str, ...]) -> str:
    """The text that a PNG, GIF, WebP or MP4 file carries: the first of a PNG's entries of these names, or the others'
    comment or description. Nothing is decoded but the text. Raises ValueError or KeyError if there is none."""
    with open(path, "rb") as f:
        head = f.read(16)
        f.seek(0)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            texts = _png_texts(f, names)
            content = next((texts[name] for name in names if name in texts), None)
        elif head[:6] in (b"GIF87a", b"GIF89a"):
            content = _gif_comment(f)
        elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            content = _webp_description(f)
        elif head[4:8] == b"ftyp":
            content = _mp4_comment(f)
        else:
            raise ValueError("it is not a picture or film of a kind that carries text")
    if content is None:
        raise KeyError("it carries no text")
    return decoded(content)


def _exactly(f: BinaryIO, size: int) -> bytes:
    """Raises ValueError for more than a text of ours may have, or for less than there should be."""
    if size > MOST_JSON + 1024:
        raise ValueError("its text is too long")
    content = f.read(size)
    if len(content) < size:
        raise ValueError("it is cut short")
    return content


def _png_texts(f: BinaryIO, names: tuple[str, ...]) -> dict[str, bytes]:
    """PNG, 11.3.4: tEXt, zTXt and iTXt of these names."""
    texts: dict[str, bytes] = {}
    f.seek(8)
    for _ in range(_CHUNKS):
        head = f.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            break
        size, kind = struct.unpack(">I4s", head)
        end = f.tell() + size + 4
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            name, _, rest = f.read(min(size, 80)).partition(b"\0")
            if name.decode("latin-1") in names:
                f.seek(-len(rest), 1)
                texts[name.decode("latin-1")] = _png_text(kind, _exactly(f, size - len(name) - 1))
        f.seek(end)
    return texts


def _png_text(kind: bytes, content: bytes) -> bytes:
    """What follows the name, as UTF-8."""
    if kind == b"tEXt":
        return content.decode("latin-1").encode()
    if kind == b"zTXt":
        return _inflated(content[1:]).decode("latin-1").encode()
    compressed, _, text = content[0], *content[2:].partition(b"\0")[::2]
    text = text.partition(b"\0")[2]  # language, translated name
    return _inflated(text) if compressed else text


def _inflated(content: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(content, MOST_JSON + 1)
    except zlib.error as e:
        raise ValueError(str(e)) from None
    if len(unpacked) > MOST_JSON:
        raise ValueError("its text is too long")
    return unpacked


def _gif_comment(f: BinaryIO) -> bytes | None:
    """GIF89a, 24: the first comment."""
    f.seek(10)
    flags = _exactly(f, 3)[0]
    f.seek(3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0, 1)
    for _ in range(_CHUNKS):
        kind = f.read(1)
        if kind == b"!":
            comment = f.read(1) == b"\xfe"
            content = _gif_blocks(f, comment)
            if comment:
                return content
        elif kind == b",":
            flags = _exactly(f, 9)[8]
            f.seek((3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0) + 1, 1)
            _gif_blocks(f, False)
        else:
            break
    return None


def _gif_blocks(f: BinaryIO, wanted: bool) -> bytes:
    parts, size = [], 0
    while length := _exactly(f, 1)[0]:
        if wanted:
            parts.append(_exactly(f, length))
            size += length
            if size > MOST_JSON:
                raise ValueError("its text is too long")
        else:
            f.seek(length, 1)
    return b"".join(parts)


def _webp_description(f: BinaryIO) -> bytes | None:
    """The ImageDescription in the file's EXIF chunk."""
    from PIL import Image

    f.seek(12)
    for _ in range(_CHUNKS):
        head = f.read(8)
        if len(head) < 8:
            break
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            exif = Image.Exif()
            exif.load(_exactly(f, size))
            text = exif.get(0x010E)
            return text.encode() if isinstance(text, str) else text
        f.seek(size + size % 2, 1)
    return None


def _mp4_comment(f: BinaryIO) -> bytes | None:
    """ISO/IEC 14496-12 boxes: the data of moov / udta / meta / ilst / (c)cmt."""
    wanted = [b"moov", b"udta", b"meta", b"ilst", b"\xa9cmt", b"data"]
    f.seek(0, 2)
    end = f.tell()
    f.seek(0)
    for _ in range(_CHUNKS):
        head = f.read(8)
        if len(head) < 8 or f.tell() > end:
            break
        size, kind = struct.unpack(">I4s", head)
        start = f.tell() - 8
        if size == 1:
            size = int.from_bytes(_exactly(f, 8), "big")
        size = end - start if size == 0 else size
        if size < 8:
            raise ValueError("one of its boxes is invalid")
        if kind != wanted[0]:
            f.seek(start + size)
            continue
        wanted.pop(0)
        if kind == b"meta":
            f.seek(4, 1)  # version and flags
        if not wanted:
            return _exactly(f, start + size - f.tell())[8:]  # after its type and locale
        end = min(end, start + size)
    return None
