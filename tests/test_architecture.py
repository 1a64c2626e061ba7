"""The house rules of the code, checked on its syntax trees."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = """
    __init__ errors registry bounded files memory devices charts patches types flow guidance timesteps data models
    samplers sampling sample training toy evaluation figures presets cli __main__
""".split()  # each imports only from those before it, and freely within itself, but not in a circle
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
MAY_UNPICKLE = {"pf_core/models/foreign.py"}
MOST_LINES = 500


def sources(*folders, suffixes=(".py",)):
    """(path from the root, text) of our files."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def package(path):
    return path.split("/")[1].removesuffix(".py")


def module(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


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


def packages_imported(path, text):
    for name in imports(path, text):
        top, *rest = name.split(".")
        if top == "pf_core":
            known = rest and ((ROOT / "pf_core" / rest[0]).is_dir() or (ROOT / "pf_core" / f"{rest[0]}.py").exists())
            yield rest[0] if known else "__init__"


def graph(*folders):
    """Module -> modules of the same folders that it imports."""
    files = {module(path): (path, text) for path, text in sources(*folders)}
    found = {}
    for name, (path, text) in files.items():
        known = (n if n in files else n.rpartition(".")[0] for n in imports(path, text))
        found[name] = sorted({n for n in known if n in files and n != name})
    return found


def circle(arrows):
    """One circle of a graph as a list of its nodes, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        path.append(node)
        found = next(filter(None, map(visit, arrows[node])), None)
        path.pop()
        done.add(node)
        return found

    return next(filter(None, map(visit, arrows)), None)


def test_imports_are_read_whatever_their_form():
    text = "import a.b, c\ndef f():\n    from . import d\n    from ..e import g as h\n    from i.j import k"
    assert list(imports("pf_core/cli/x.py", text)) == ["a.b", "c", "pf_core.cli.d", "pf_core.e.g", "i.j.k"]


def test_circles_are_found():
    assert circle({"a": ["b", "c"], "b": ["c"], "c": []}) is None
    assert circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]


def test_every_package_has_its_place():
    unknown = {package(path) for path, _ in sources("pf_core")} - set(PACKAGES)
    assert not unknown, f"give these a place in PACKAGES: {unknown}"


def test_packages_import_only_from_packages_before_them():
    wrong = []
    for path, text in sources("pf_core"):
        here = package(path)
        wrong += [
            f"{path} imports {other}"
            for other in packages_imported(path, text)
            if other != here and {here, other} <= set(PACKAGES) and PACKAGES.index(other) > PACKAGES.index(here)
        ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    assert circle(graph("pf_core", "app")) is None


def test_the_core_never_imports_the_app():
    wrong = [path for path, text in sources("pf_core") if any(n.split(".")[0] == "app" for n in imports(path, text))]
    assert not wrong


def test_only_the_standard_library_and_errors_are_in_the_registry():
    text = (ROOT / "pf_core" / "registry.py").read_text(encoding="utf-8")
    assert {name for name in imports("pf_core/registry.py", text) if "torch" in name or "numpy" in name} == set()
    assert set(packages_imported("pf_core/registry.py", text)) <= {"errors"}


def test_the_app_names_no_sampler():
    samplers = pytest.importorskip("pf_core.samplers", exc_type=ImportError)
    word = re.compile(rf"\b({'|'.join(samplers.SAMPLERS)})\b")
    wrong = [path for path, text in sources("app", suffixes=(".js", ".css", ".html")) if word.search(text)]
    for path, text in sources("app"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and word.search(node.value):
                wrong.append(f"{path}:{node.lineno} {node.value[:60]!r}")
    assert not wrong


def test_the_app_names_no_network():
    """Which one the page opens with is one line of pf_core/presets.py."""
    checkpoint = pytest.importorskip("pf_core.models.checkpoint", exc_type=ImportError)
    names = checkpoint.names()
    assert [
        path for path, text in sources("app", suffixes=(".py", ".js", ".html")) if any(n in text for n in names)
    ] == []


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
