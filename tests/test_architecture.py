"""The house rules of the code, checked on its syntax trees."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = """
    __init__ errors bounded files pictures point_sets patches registry types flow timesteps draws models codecs
    conditioning
    data oracle toy guidance samplers trajectory compare export checkpoint intervene probe experiments sample judges
    metrics evaluate train look lesson toylab toymeasure toystudy runs jobs plans figures studies presets axes sweep
    sheet cli __main__
""".split()  # each imports only from those before it
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
MAY_UNPICKLE = {"pf_core/models/convert.py"}
MOST_LINES = 400


def sources(*folders, suffixes=(".py",)):
    """(path from the root, text) of our files."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def room(path):
    return path.split("/")[1].removesuffix(".py")


def imports(path, text):
    """Dotted names of every module that a file imports, inside functions too; `from a import b` counts as a.b."""
    package = path.split("/")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(start + ([node.module] if node.module else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def rooms_imported(path, text):
    for name in imports(path, text):
        top, *rest = name.split(".")
        if top == "pf_core":
            known = rest and ((ROOT / "pf_core" / rest[0]).is_dir() or (ROOT / "pf_core" / f"{rest[0]}.py").exists())
            yield rest[0] if known else "__init__"


def test_imports_are_read_whatever_their_form():
    text = "import a.b, c\ndef f():\n    from . import d\n    from ..e import g as h\n    from i.j import k"
    assert list(imports("pf_core/cli/x.py", text)) == ["a.b", "c", "pf_core.cli.d", "pf_core.e.g", "i.j.k"]


def test_every_room_has_its_place():
    unknown = {room(path) for path, _ in sources("pf_core")} - set(ROOMS)
    assert not unknown, f"give these a place in ROOMS: {unknown}"


def test_rooms_import_only_from_rooms_before_them():
    wrong = []
    for path, text in sources("pf_core"):
        here = room(path)
        wrong += [
            f"{path} imports {other}"
            for other in rooms_imported(path, text)
            if other != here and here in ROOMS and other in ROOMS and ROOMS.index(other) > ROOMS.index(here)
        ]
    assert not wrong


def test_the_core_never_imports_the_app():
    wrong = [path for path, text in sources("pf_core") if any(n.split(".")[0] == "app" for n in imports(path, text))]
    assert not wrong


def test_only_the_standard_library_and_errors_are_in_the_registry():
    text = (ROOT / "pf_core" / "registry.py").read_text(encoding="utf-8")
    assert {name for name in imports("pf_core/registry.py", text) if "torch" in name or "numpy" in name} == set()
    assert set(rooms_imported("pf_core/registry.py", text)) <= {"errors"}


def test_the_app_names_no_sampler():
    samplers = pytest.importorskip("pf_core.samplers", exc_type=ImportError)
    word = re.compile(rf"\b({'|'.join(samplers.SAMPLERS)})\b")
    wrong = [path for path, text in sources("app", suffixes=(".js", ".css", ".html")) if word.search(text)]
    for path, text in sources("app"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and word.search(node.value):
                wrong.append(f"{path}:{node.lineno} {node.value[:60]!r}")
    assert not wrong


def unpickles(path, text):
    if any(part in PICKLES for name in imports(path, text) for part in name.split(".")[:1]):
        yield f"{path} imports a pickle"
    if any(name == "torch.load" for name in imports(path, text)):
        yield f"{path} imports torch.load"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
            yield f"{path}:{node.lineno} torch.load"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield f"{path}:{node.value.lineno} allow_pickle"


def test_pickles_are_recognised():
    for text in ("import pickle", "from torch import load", "torch.load(p)", "np.load(p, allow_pickle=True)"):
        assert list(unpickles("x.py", text)), text
    for text in ("import torch", "np.load(p, allow_pickle=False)", "safetensors.torch.load_file(p)"):
        assert not list(unpickles("x.py", text)), text


def test_pickles_are_loaded_in_one_place_only():
    assert not [
        w for path, text in sources("pf_core", "app") if path not in MAY_UNPICKLE for w in unpickles(path, text)
    ]


def test_files_are_short():
    ours = sources("pf_core", "app", "tests", suffixes=(".py", ".js", ".css"))
    long = {path: text.count("\n") for path, text in ours if text.count("\n") > MOST_LINES}
    assert not long
