"""Values that no page and no file of ours holds, and how to put one into a value that is right."""

import copy
import json
import random
from typing import Any

SCALARS = (
    None, True, False, 0, -1, 1, 2, 7, 0.5, -0.5, 10**9, 2**31, 2**63, -(2**63), 10**400, 1e308, 5e-324,
    float("nan"), float("inf"), -float("inf"), "", " ", "none", "nan", "inf", "1e999", "9" * 5000, "-1", "0.5", "1,5",
    "\0", "\ud800", "\u202e", "../../etc/passwd", "/etc/passwd", "runs/../x", "<img src=x onerror=alert(1)>", "é" * 300,
    "x" * 100_000, "{}", "[" * 5000, "null", "a,b", ";;;", "0-9", "0-1:0", "1-0", "nano", "look_ahead", "class 1",
)  # fmt: skip


def deep(depth: int) -> Any:
    found: Any = 0
    for k in range(depth):
        found = [found] if k % 2 else {"a": found}
    return found


LISTS = (
    deep(60),
    deep(3),
    list(range(2000)),
    [[]],
    [[0, 0], [1]],
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    {"__type__": "update", "value": 3},
    {"values": [0.5] * 16},
    {"chosen": [0, 99]},
    {"grid": [4, 4], "chosen": [1.5]},
    {"points": [[1e30, 0], [0, None]]},
    {"runs": "abc"},
    {"run": {}, "what": []},
    {"plot": [], "x": 0, "y": 0},
)


def value(rng: random.Random) -> Any:
    """Something odd, as JSON or a link could say it."""
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(SCALARS)
    if kind < 0.75:
        return [value(rng) for _ in range(rng.choice((0, 1, 2, 3, 9)))]
    if kind < 0.85:
        keys = ("values", "chosen", "grid", "runs", "run", "what", "points", "path", "__type__", "value", "x", "y", "")
        return {rng.choice(keys): value(rng) for _ in range(rng.choice((0, 1, 2, 4)))}
    return copy.deepcopy(rng.choice(LISTS))  # what is made of it must not change it


def text(rng: random.Random) -> str:
    """Something odd where only text can stand, such as a link."""
    found = value(rng)
    if not isinstance(found, str):
        found = json.dumps(found)[:8000]
    return found[:8000].encode("utf-8", "replace").decode()


def changed(known: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one or two parts made odd, left out or put elsewhere."""
    found = copy.deepcopy(known)
    for _ in range(rng.choice((1, 1, 2))):
        found = _changed(found, rng)
    return found


def _changed(found: Any, rng: random.Random) -> Any:
    if isinstance(found, dict) and found and rng.random() < 0.85:
        key = rng.choice(list(found))
        what = rng.random()
        if what < 0.1:
            del found[key]
        elif what < 0.2:
            found[rng.choice(("odd", "", "checkpoint ", "é"))] = value(rng)
        else:
            found[key] = _changed(found[key], rng)
        return found
    if isinstance(found, list) and found and rng.random() < 0.85:
        k = rng.randrange(len(found))
        what = rng.random()
        if what < 0.15:
            del found[k]
        elif what < 0.25:
            found.append(value(rng))
        else:
            found[k] = _changed(found[k], rng)
        return found
    return value(rng)


PIECES = (b"\0", b"\xff" * 4, b"{}", b"[" * 3000, b"\xef\xbb\xbf", b",", b"\r\n", b"9" * 5000)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file's bytes, some of them changed, cut off, doubled or put in."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        at = rng.randrange(len(found) + 1)
        what = rng.random()
        if what < 0.5 and at < len(found):
            found[at] = rng.randrange(256)
        elif what < 0.65:
            del found[at : at + rng.choice((1, 4, 100, 10_000))]
        elif what < 0.8:
            found[at:at] = rng.choice(PIECES)
        elif what < 0.9:
            found = found[:at]
        else:
            found[at:at] = found[at : at + 64]
    return bytes(found)
