"""What docs/DEPLOY.md and the Dockerfile say is there, and as they say."""

import json
import re
from pathlib import Path

import pytest

from app import limits
from app.__main__ import main
from app.server import access

ROOT = Path(__file__).parents[1]
DOCKERFILE, PAGE = (ROOT / "Dockerfile").read_text(), (ROOT / "docs" / "DEPLOY.md").read_text()


def test_the_dockerfile_copies_what_exists_and_nothing_that_is_left_out():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", DOCKERFILE, re.M):
        for name in line.split():
            assert (ROOT / name).exists() and name not in ignored
    assert not {"app", "pf_core", "assets", "checkpoints", "docs", "requirements.txt"} & set(ignored)
    assert "python:3.11" in DOCKERFILE and "EXPOSE 7860" in DOCKERFILE


def test_flags_of_the_app_are_flags_of_the_app(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    entry = json.loads(re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.M)[-1])
    assert entry[:3] == ["python", "-m", "app"]
    space = next(line for line in PAGE.splitlines() if "SPACE_HOST --" in line).partition("-m app")[2]
    runs = [line.rpartition("patch-forcing")[2] for line in PAGE.splitlines() if line.startswith("    docker run")]
    said = [flag for text in (" ".join(entry), space, *runs) for flag in re.findall(r"--[a-z-]+", text)]
    assert {"--host", "--auth", "--allow-host", "--allow-frame"} <= set(said) <= known and "--proxy" in known


def test_a_space_reads_its_front_matter():
    front = PAGE.partition("    ---\n")[2].partition("    ---")[0]
    settings = dict(line.strip().split(": ", 1) for line in front.strip().splitlines())
    assert settings["sdk"] == "docker" and settings["app_port"] == "7860"


def test_limits_are_those_of_the_app():
    rows = re.search(r"<!-- limits -->\n(.*?)<!-- /limits -->", PAGE, re.S)[1].splitlines()[2:]
    values = [int(row.split("|")[2]) for row in rows]
    assert values == [
        limits.MAX_IMAGES, limits.MAX_NFE, limits.MAX_SIDE, limits.LOADED_BYTES >> 30, limits.UPLOAD_BYTES >> 20,
        limits.ADDED_BYTES >> 30, access.MOST_SENT >> 20, access.MAX_FILES, access.MAX_BYTES >> 30,
    ]  # fmt: skip
