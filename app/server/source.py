"""A sampler's own source as the pseudo-code beside the viewer, with the line of each kind of forward pass."""

import ast
import inspect
import textwrap
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from pf_core.registry import Entry

_turn = (
    threading.Lock()
)  # Python 3.11 fails where two threads parse at once ("AST constructor recursion depth mismatch")


def listing(entry: Entry) -> dict[str, Any]:
    """{"lines": [text], "marks": [{"phase", "ranked", "first", "line"}]}: `line` (from 0) yields that kind of Step,
    `first` is where its forward pass is made; `ranked` tells a pass that chose easy patches from one that did not."""
    parts = [entry.fn] if _yields(entry.fn) else [entry.fn, *_helpers(entry.fn)]
    lines: list[str] = []
    marks: list[dict] = []
    for fn in parts:
        lines += [""] if lines else []
        text, found = _one(fn)
        marks += [{**m, "first": m["first"] + len(lines), "line": m["line"] + len(lines)} for m in found]
        lines += text
    return {"lines": lines, "marks": marks}


def _yields(fn: Callable) -> bool:
    return "yield Step(" in inspect.getsource(fn)


def _helpers(fn: Callable) -> list[Callable]:
    """The functions that `fn` calls by name and that yield Steps."""
    called = (fn.__globals__.get(name) for name in fn.__code__.co_names)
    return [f for f in called if inspect.isfunction(f) and _yields(f)]


@cache
def _one(fn: Callable) -> tuple[list[str], list[dict]]:
    """A function without decorators, annotations and docstring, and its marks."""
    source = textwrap.dedent(inspect.getsource(fn))
    with _turn:
        tree = ast.parse(source).body[0]
    body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    top = body[0].lineno
    head = f"def {tree.name}({', '.join(inspect.signature(fn).parameters)}):"
    lines = [head, *source.splitlines()[top - 1 : body[-1].end_lineno]]
    calls = sorted(
        n.lineno - top + 1
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and getattr(n.func, "id", "").startswith("denoise")
    )
    return lines, [_mark(n, n.lineno - top + 1, calls) for n in ast.walk(tree) if _is_step(n)]


def _is_step(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Yield)
        and isinstance(node.value, ast.Call)
        and getattr(node.value.func, "id", "") == "Step"
    )


def _mark(node: ast.Yield, line: int, calls: list[int]) -> dict[str, Any]:
    phase, *_, easy = node.value.args[:6]
    final = phase.value == "final"
    first = line if final else max((c for c in calls if c <= line), default=line)
    ranked = not (isinstance(easy, ast.Constant) and easy.value is None)
    return {"phase": phase.value, "ranked": ranked, "first": first, "line": line}
