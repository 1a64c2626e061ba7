"""README and docs say what is true: their tables, commands, examples, links and pictures."""

import re
import shlex
from pathlib import Path

import pytest

from pf_core.cli import COMMANDS, results
from pf_core.cli.common import Parser
from pf_core.cli.list_ import markdown
from pf_core.cli.report import table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAPERS = {path: path.read_text() for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]}
ALL = "\n".join(PAPERS.values())
OURS = README + PAPERS[ROOT / "docs" / "RESULTS.md"]  # TOY.md's tables are the toy's tests'
TABLES = re.findall(r"<!-- ([a-z-]+) -->\n(.*?)\n<!-- /\1 -->", OURS, re.S)


def blocks():
    """Indented shell lines, with continued lines joined."""
    joined = ALL.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if re.match(r" {4}(python -m|make|\.venv)", line)]


def test_the_readme_is_short():
    assert len(README.split()) <= 1450


def test_there_are_tables_and_commands():
    assert TABLES and blocks()


@pytest.mark.parametrize("kind", [kind for kind, _ in TABLES])
def test_tables_are_those_of_the_registries(kind):
    made = {"results": lambda: table(ROOT / "docs" / "results.jsonl"), "evidence": results.text}
    assert dict(TABLES)[kind] == made.get(kind, lambda: markdown(kind))()


@pytest.mark.parametrize("line", [b for b in blocks() if b.startswith("python -m pf_core")])
def test_commands_parse(line):
    words = shlex.split(line, comments=True)[3:]
    parser = Parser()
    commands = parser.add_subparsers(dest="command", parser_class=Parser)
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name))
    parser.parse_args(words)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"`make ([a-z-]+)`", ALL) + re.findall(r"^ {4}make ([a-z-]+)", ALL, re.M)
    assert named and set(named) <= targets


def test_pictures_and_pages_that_are_linked_exist():
    for page, text in PAPERS.items():
        for path in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / path).exists(), f"{page.name}: {path}"


def test_modules_that_are_named_exist():
    for path in re.findall(r"`((?:pf_core|app)/[\w/]+(?:\.py|/))", ALL):
        assert (ROOT / path).exists(), path


def test_the_library_example_runs(capsys):
    example = re.search(r"```python\n(from pf_core.*?)```", README, re.S)[1]
    scope = {}
    exec(example, scope)
    assert scope["images"].shape == (2, 3, 64, 64)
    assert len(capsys.readouterr().out.splitlines()) == scope["step"].nfe + 1
