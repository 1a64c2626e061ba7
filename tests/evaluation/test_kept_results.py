"""What is kept in the repository: of the shipped networks, small, and the same numbers in the docs and in the tab."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.state import AppState
from app.tabs.evidence import tab
from pf_core.cli import main, results, study
from pf_core.cli.common import Parser, given_of
from pf_core.errors import InputError
from pf_core.evaluation import evidence
from pf_core.evaluation.studies import STUDIES
from pf_core.figures import evidence as drawn
from pf_core.models import checkpoint, shipped
from pf_core.presets import PFT

KEPT = list(evidence.all_kept())
MOST = 215  # letters: two lines of a card at 1440 pixels
ORDER = {
    "study": "order",
    "checkpoint": "nano",
    "hash": "0123",
    "images": 20,
    "rows": [
        {
            "sampler": "multistep",
            "settings": {},
            "budget": 8,
            "frechet": {"value": 9.87654321, "interval": [8.0, 10.0]},
            "minus_euler": {"value": -3.0, "interval": [-4.0, -2.0]},
        }
    ],
    "command": "python -m pf_core study order",
    "made": "2026-11-28",
    "seconds": 1.0,
}


def test_kept_results_are_of_the_shipped_networks_and_small():
    assert {result["study"] for result in KEPT if result.get("checkpoint") == PFT} >= {"timestep_laws", "context_helps"}
    networks = {result["checkpoint"] for result in KEPT if "checkpoint" in result}
    hashes = {name: checkpoint.load(name).hash for name in networks}
    for result in KEPT:
        assert result.get("hash") == hashes.get(result.get("checkpoint")), "else: make results"
    files = [path for path in evidence.RESULTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2 * 2**20


def test_verdicts_on_the_wall_are_one_line():
    lines = [STUDIES[result["study"]].fn.about.line(result) for result in KEPT]
    assert all(len(line) <= MOST for line in lines), max(lines, key=len)


def test_docs_tab_and_kept_numbers_are_the_same(tmp_path):
    page = results.PAGE.read_text(encoding="utf-8")
    assert results.written(page) == page, "else: python -m pf_core results"
    client = TestClient(Starlette(routes=tab.routes(AppState(tmp_path))))
    cards = {card["study"]: card for card in client.get(f"/pf/evidence?network={PFT}").json()["cards"]}
    for result in (result for result in KEPT if result.get("checkpoint") == PFT):
        card, verdict = cards[result["study"]], STUDIES[result["study"]].fn.about.verdict(result)
        assert card["known"] and (card["whole"] or card["verdict"]) == verdict and verdict in page


def measured(part):
    """Every (value, low, high) of a result, at any depth; as percentages and told the other way round, too."""
    if isinstance(part, dict) and isinstance(part.get("value"), int | float) and "interval" in part:
        value, low, high = part["value"], *part["interval"]
        for numbers in ((value, low, high), (-value, -high, -low)):
            yield from (numbers, tuple(100 * each for each in numbers))
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from measured(each)


def shares(result):
    """Along trainings: each sampler's difference from Euler as percentages of Euler's distance."""
    for point in (point for run in result.get("runs", ()) for point in run["points"]):
        euler, *others = point["samplers"]["rows"]
        for apart in (row["minus_base"] for row in others):
            yield tuple(100 * number / euler["frechet"]["value"] for number in (apart["value"], *apart["interval"]))


def test_the_tables_and_the_text_by_hand_round_what_is_kept_and_once():
    """A table's "12.3 (11.9 to 12.7)" is a kept number. In the text, where others stand too, none is next to one."""
    page = results.PAGE.read_text(encoding="utf-8")
    for begin, end in ((results.BEGIN, results.END), ("<!-- results -->", "<!-- /results -->")):  # not by hand
        before, _, rest = page.partition(begin)
        page = before + rest.partition(end)[2]
    files = [*evidence.RESULTS.rglob("*.json"), *(results.PAGE.parent / "results").glob("*.json")]
    kept = [json.loads(file.read_text()) for file in files]
    known = [each for result in kept for each in (*measured(result), *shares(result))]
    rounded = [{tuple(float(f"{v:.{k}f}") for v in each) for each in known} for k in range(4)]
    number = re.compile(r"([+-]?\d[\d,]*\.?\d*)%?,? \(?([+-]?\d+\.?\d*)%? to ([+-]?\d+\.?\d*)")
    checked = 0
    for part in page.split("\n\n"):
        table = part.startswith("|")
        for found in number.finditer(" ".join(part.replace("*", "").split())):
            words = [word.replace(",", "") for word in found.groups()]
            checked += table
            k, told = max(len(word.partition(".")[2]) for word in words), tuple(map(float, words))
            if told not in rounded[k]:
                assert not table, f"{found[0]} is in no kept result"
                twice = (n for n in known if all(abs(a - b) < 0.501 / 10**k for a, b in zip(n, told, strict=True)))
                assert not any(twice), f"{found[0]} is not as its kept number rounds"
    assert checked > 100


def test_a_kept_picture_keeps_the_levels_of_t(tmp_path):
    result = evidence.kept("schedules", "shapes-sit")
    drawn.small(result, tmp_path / "x.png")
    counted = Image.open(tmp_path / "x.png").convert("RGB").getcolors()
    shown = np.array([colour for pixels, colour in counted if pixels > 3000])  # half a pass of all patches
    for t in np.arange(12) / 12:
        level = 255 * np.array(matplotlib.colormaps["viridis"](t)[:3])
        assert abs(shown - level).max(1).min() < 8, "else two passes of Euler's schedule look like one"


def test_a_folder_of_results_is_kept_and_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shipped, "SHIPPED", ("nano",))
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "docs" / "results")
    monkeypatch.setattr(results, "PAGE", tmp_path / "docs" / "RESULTS.md")
    results.PAGE.parent.mkdir()
    results.PAGE.write_text(f"Before.\n{results.BEGIN}old{results.END}\nAfter.\n")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "order.json").write_text(json.dumps(ORDER))
    assert main(["results", str(tmp_path / "made")]) == 0
    page = results.PAGE.read_text()
    assert page.startswith("Before.") and page.endswith("After.\n") and "old" not in page
    assert "\u22123.0 (\u22124.0 to \u22122.0) at 8 NFE" in page and "`python -m pf_core study order`" in page
    text = (evidence.RESULTS / "nano" / "order.json").read_text()
    assert '"value": 9.8765,' in text and "[ -4, -2 ]" in text
    assert (evidence.RESULTS / "nano" / "order.png").stat().st_size < 50_000
    others = [evidence.RESULTS / "nano" / f"difficulty{suffix}" for suffix in (".json", ".png")]
    others[0].write_text(json.dumps(ORDER | {"study": "difficulty"}))
    (evidence.RESULTS / "nano" / "order.png").write_bytes(b"an older one")
    told = list(results.redraw())
    assert told[0].startswith(f"{others[1]} stays as it was: ") and not others[1].exists(), "no result of that study"
    assert told[1] == str(evidence.RESULTS / "nano" / "order.png")
    assert (evidence.RESULTS / "nano" / "order.png").read_bytes().startswith(b"\x89PNG")
    others[0].unlink()
    assert main(["results", str(tmp_path / "none")]) == 2
    assert "There are no results of studies" in capsys.readouterr().err
    with pytest.raises(InputError):
        evidence.keep({"study": "nothing"})


def test_a_training_runs_results_are_kept_beside_it_and_never_over_a_shipped_networks(tmp_path, monkeypatch):
    """Those of an added network beside that, and out of the published page."""
    with pytest.raises(InputError, match=f"another network than the {PFT} here"):
        evidence.keep(ORDER | {"checkpoint": f"/elsewhere/{PFT}.safetensors"})
    monkeypatch.setattr(checkpoint, "FOLDER", tmp_path / "checkpoints")
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path / "runs")
    added = "checkpoints/evidence/"
    places = {"runs/nano": "runs/nano/evidence", "runs/nano@50": "runs/nano/evidence/50", "nano.v2": f"{added}nano.v2"}
    places |= {"../../nano": f"{added}nano", "dir/nano.safetensors": f"{added}nano"}
    for network, place in places.items():
        assert evidence.keep(ORDER | {"checkpoint": network}) == tmp_path / place / "order.json"
    assert evidence.how("order", "nano").endswith(f"--checkpoint nano --out {tmp_path}/checkpoints/evidence/nano")
    assert evidence.folder_of("order", PFT) == evidence.RESULTS / PFT and evidence.how("order", PFT).endswith(
        "results D"
    )
    assert evidence.folder_of("order", "toybox-exact") == evidence.RESULTS / "toybox-exact"
    monkeypatch.setattr(checkpoint, "FOLDER", evidence.ROOT / "checkpoints")
    assert evidence.how("order", "nano").endswith("order --checkpoint nano --out checkpoints/evidence/nano")


def test_what_is_published_is_of_the_networks_that_are_shipped():
    assert {r["checkpoint"] for r in KEPT if "checkpoint" in r} <= set(shipped.SHIPPED)
    listed = subprocess.run(["git", "ls-files", "checkpoints"], cwd=evidence.ROOT, capture_output=True, text=True)
    tracked = {
        Path(line).stem for line in listed.stdout.splitlines() if re.fullmatch(r"checkpoints/[^/]+\.safetensors", line)
    }
    assert tracked == set(shipped.SHIPPED), "pf_core/models/shipped.py names them"


@pytest.mark.parametrize("result", KEPT, ids=lambda result: f"{result.get('checkpoint', '')} {result['study']}")
def test_the_command_of_a_kept_result_asks_for_its_settings(result):
    parser = Parser()
    study.add_arguments(parser)
    words = shlex.split(result["command"])
    assert words[:4] == ["python", "-m", "pf_core", "study"]
    args = parser.parse_args(words[4:])
    asked = STUDIES[args.name].settings(given_of(args, STUDIES))
    assert result["settings"].items() <= asked.items()
