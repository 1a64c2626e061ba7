"""Studies as a person runs them: cost first, figures and numbers in a folder, stopped and gone on with, one report."""

import html
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers import bundle
from PIL import Image

from pf_core import presets
from pf_core.cli import main, study
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, evidence, metrics, paired, work
from pf_core.evaluation.studies import STUDIES, common
from pf_core.evaluation.work import Stopped, Work
from pf_core.figures import evidence as drawn
from pf_core.models import checkpoint
from pf_core.registry import Registry
from pf_core.sampling.run import SampleSpec

FEW = {
    "timestep_laws": {"images": 3, "nfe": 6},
    "context_helps": {"images": 10, "spacing": 0.45},
    "uncertainty_tracks_error": {"images": 10, "repeats": 2},
    "context_reduces_uncertainty": {"images": 10},
    "difficulty": {"images": 10},
    "probe_gain": {"images": 10},
    "equal_cost": {"images": 20, "steps": "2"},
    "schedules": {"images": 20, "budgets": "4"},
    "table": {"images": 20, "nfe": 4, "beside": ""},
    "knobs": {"images": 20, "fresh": 21, "nfe": 4},
    "order": {"images": 20, "most": 8},
    "divergence": {"images": 10, "probes": 1},
    "certainty": {"images": 40, "nfe": 4},
}


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(metrics, "REPEATS", 5)
    monkeypatch.setattr(evaluate, "REFERENCES", 100)


def test_every_study_says_its_cost_its_figure_and_its_verdict(quick, tmp_path):
    """The cost is what was told as done, and a second time nothing is drawn again."""
    net, told = bundle(), []
    networks = {name: "nano" for name in STUDIES if STUDIES[name].fn.about.reads == "network"}
    results = list(evidence.everything(networks, lambda name: net, FEW, tmp_path, tell=lambda *at: told.append(at)))
    refused = [r["study"] for r in results if "refused" in r]
    # nano's data is endless, it has no plain twin, and takes no prompts
    assert refused == ["exactness", "parallel_euler", "text_rendering", "composition"]
    last = {total: done for done, total in told}  # each study's total is another
    assert all(done == total for total, done in last.items()) and len(last) == len(results) - len(refused)
    for result in results:
        if "refused" not in result:
            about = STUDIES[result["study"]].fn.about
            assert about.verdict(result).endswith(".") and about.line(result).endswith(".") and about.chart(result).rows
            assert result["command"].startswith(f"python -m pf_core study {result['study']} --checkpoint nano --images")
    drawn.report(results, tmp_path / "report.html", "Made by <a test>.")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<section>") == len(results) and "<a test>" not in page
    assert "<script" not in page and len(page) < 10 * 2**20
    loaded = re.findall(r"""(?:src|href|srcset|data)\s*=\s*["']?([^"'\s>]+)|url\(([^)]+)\)|@import\s+(\S+)""", page)
    assert loaded and all("".join(each).startswith("data:image/png;base64,") for each in loaded)
    assert not re.search(r"https?://", page)


def test_schedules_the_fast_way_are_so_in_every_row():
    study = sys.modules["pf_core.evaluation.studies.schedules"]  # the package's attribute is the function
    slow, fast = ([spec for *_, spec in study._rows(bundle(), None, 8, **study.how(fast))] for fast in (False, True))
    assert {(spec.precision, spec.compile) for spec in slow} == {("fp32", False)}
    assert {(spec.precision, spec.compile) for spec in fast} == {("bf16", True)} and len(fast) == len(slow) > 3


def test_a_study_in_a_folder_writes_its_files_and_goes_on_where_it_stopped(quick, tmp_path, capsys, monkeypatch):
    checkpoint_file = tmp_path / "nano.safetensors"
    checkpoint.save(checkpoint_file, bundle().model, bundle().conditioner.names, {"recipe": {"dataset": "shapes"}})
    argv = ["study", "schedules", "--checkpoint", str(checkpoint_file), "--images", "20", "--budgets", "4"]
    assert main([*argv, "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr()
    assert "forward passes of an image, about" in said.err and "100%" in said.err
    made = sorted(p.name for p in (tmp_path / "made").iterdir())
    assert made == ["parts", "schedules.json", "schedules.pdf", "schedules.png", "schedules.svg"]
    first = json.loads((tmp_path / "made" / "schedules.json").read_text())
    assert {row["label"] for row in first["rows"]} >= {"Euler", "dual-loop", "look-ahead", "random order", "multistep"}
    assert {row["label"] for row in first["rows"] if "minus_random" in row} == {"dual-loop", "look-ahead"}
    assert main([*argv[:-1], "4,8", "--out", str(tmp_path / "made")]) == 0
    assert "seconds" not in json.loads((tmp_path / "made" / "schedules.json").read_text()), "its half was there"
    monkeypatch.setattr(evaluate.Run, "__iter__", None)  # nothing is drawn again
    assert main([*argv, "--out", str(tmp_path / "made"), "--figure", str(tmp_path / "alone.png")]) == 0
    again = json.loads((tmp_path / "made" / "schedules.json").read_text())
    assert (
        again["rows"] == first["rows"]
        and again["seconds"] >= first["seconds"]
        and Image.open(tmp_path / "alone.png").size[0] > 1000
    )


def test_the_cost_of_fast_arithmetic_is_that_of_fp32_and_says_so():
    told = [evidence.cost("schedules", bundle(), {"fast": fast}, lambda _: 0.01) for fast in (True, False)]
    assert told[0].replace(", less in bf16 and compiled", "") == told[1] != told[0]


def test_what_study_all_cannot_do_is_said(tmp_path, capsys):
    for wrong, said in (
        ([], "name a folder"),
        (["--out", "x.json"], "name a folder"),
        (["--out", str(tmp_path), "--figure", "x.png"], "leave --runs and --figure out"),
        (["--out", str(tmp_path), "--laws", "ltg"], "No study of one network has --laws"),
        (["--out", str(tmp_path), "--images", "30"], "certainty: images must lie between 40 and"),
    ):
        assert main(["study", "all", *wrong]) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_study_all_leaves_out_what_cannot_be_measured_on_a_network(quick, tmp_path, capsys, monkeypatch):
    few = Registry("study", [STUDIES[name].fn for name in ("exactness", "difficulty")])
    monkeypatch.setattr(study, "STUDIES", few)
    path = tmp_path / "plain.safetensors"
    plain = bundle(predict_uncertainty=False)
    checkpoint.save(path, plain.model, plain.conditioner.names, {"recipe": {"dataset": "shapes"}})
    assert main(["study", "all", "--quick", "--checkpoint", str(path), "--out", str(tmp_path / "made")]) == 0
    said = capsys.readouterr().err
    assert "difficulty on plain: left out: plain predicts no difficulty" in said
    assert "Not measured on plain" in (tmp_path / "made" / "report.html").read_text()


def test_what_fails_does_not_take_the_other_studies_and_the_report_along(quick, tmp_path, capsys, monkeypatch):
    about = {"forwards": lambda bundle, **_: 1, "chart": lambda result: result["no"], "verdict": lambda result: "No."}

    @common.study(**about)
    def broken(bundle, *, work):
        """It breaks."""
        raise RuntimeError("a shape is wrong")

    @common.study(**about)
    def undrawn(bundle, *, work):
        """Its figure breaks."""
        return {}

    @common.study(**about)
    def stopped(bundle, *, work):
        """It is stopped."""
        raise KeyboardInterrupt

    for module in (study, evidence, drawn):
        monkeypatch.setattr(module, "STUDIES", Registry("study", [broken, undrawn, STUDIES["difficulty"].fn, stopped]))
    net, path = bundle(), tmp_path / "own.safetensors"
    checkpoint.save(path, net.model, net.conditioner.names, {"recipe": {"dataset": "shapes"}})
    argv = ["study", "all", "--quick", "--checkpoint", str(path), "--out", str(tmp_path / "made")]
    assert main(argv) == 130
    page = (tmp_path / "made" / "report.html").read_text()
    assert "it failed inside the program (RuntimeError: a shape is wrong)." in page and "Spearman" in page
    assert "Measured, but not drawn" in page and page.count("<section>") == 3
    with monkeypatch.context() as patched:
        patched.setattr(study, "STUDIES", Registry("study", [broken]))
        assert main(argv) == 1
    assert "broken: it failed inside" in capsys.readouterr().err


def test_study_all_tells_each_ones_progress_and_asks_those_that_have_a_setting(quick, tmp_path, capsys, monkeypatch):
    few = [STUDIES[name].fn for name in ("difficulty", "context_reduces_uncertainty")]
    monkeypatch.setattr(study, "STUDIES", Registry("study", few))
    net, path = bundle(), tmp_path / "own.safetensors"
    checkpoint.save(path, net.model, net.conditioner.names, {"recipe": {"dataset": "shapes"}})
    out = tmp_path / "made"
    assert main(["study", "all", "--checkpoint", str(path), "--images", "12", "--ratio", "3", "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert said.count(" 100%") == 2 and re.search(r"^In all about \d", said, re.MULTILINE)
    made = {entry.__name__: json.loads((out / f"{entry.__name__}.json").read_text()) for entry in few}
    assert [result["settings"]["images"] for result in made.values()] == [12, 12]
    assert "--ratio" not in made["difficulty"]["command"] and "--ratio 3" in made[few[1].__name__]["command"]
    assert f"study all --checkpoint {path} --images 12 --ratio 3." in html.unescape((out / "report.html").read_text())


def test_work_keeps_its_pieces_and_stops_between_them(tmp_path):
    made, asked = [], []
    work = Work(tmp_path, 30, lambda done, total: asked.append(done), lambda: len(asked) == 2)

    def piece(k):
        return work.piece({"piece": k}, lambda: made.append(k) or {"value": k}, forwards=10)

    assert piece(1) == {"value": 1}
    with pytest.raises(Stopped):
        piece(2)
    again = Work(tmp_path)
    assert again.piece({"piece": 2}, lambda: made.append(2) or {}) == {"value": 2} and made == [1, 2]
    many = again.arrays({"many": 1}, lambda: {"x": np.arange(400_000, dtype=np.float32)})["x"]
    kept = again.arrays({"many": 1}, dict)["x"]
    assert kept.dtype == many.dtype and (kept == many).all()


def test_a_piece_of_other_code_or_of_other_resamples_is_made_again(tmp_path, monkeypatch):
    made = []

    def made_now():
        Work(tmp_path).piece({"piece": 1}, lambda: made.append(1) or {"value": 1})
        return len(made)

    assert [made_now(), made_now()] == [1, 1]
    monkeypatch.setattr(metrics, "REPEATS", 5)
    assert [made_now(), made_now()] == [2, 2]
    monkeypatch.setattr(work, "code_of", lambda *parts: "of another version")
    assert [made_now(), made_now()] == [3, 3]


def test_a_network_that_a_study_cannot_look_at_is_refused_before_anything_is_drawn():
    plain = bundle(predict_uncertainty=False)
    elsewhere = replace(bundle(), training={"recipe": {"dataset": "toybox"}})  # its judge reads larger pictures
    for name in ("table", "knobs", "equal_cost"):
        assert "predicts no difficulty" in evidence.refusal(name, plain), name
    for name in ("table", "knobs", "schedules", "order"):
        assert "No judge" in evidence.refusal(name, elsewhere) and not evidence.refusal(name, bundle()), name
        with pytest.raises(InputError, match="No judge"):
            evidence.forwards(name, elsewhere, {})
    assert not evidence.refusal("schedules", plain)


def test_a_schedule_stands_beside_the_twin_where_there_is_one():
    of, few = checkpoint.load(presets.PFT), {"images": 20, "budgets": "16"}
    own = evidence.forwards("schedules", of, few)
    assert own == evidence.forwards("schedules", of, few | {"baseline": presets.SIT})
    plain = checkpoint.load(presets.SIT)  # has none, and is none
    assert evidence.forwards("schedules", plain, few) + 20 * 16 == evidence.forwards(
        "schedules", plain, few | {"baseline": presets.SIT}
    )


def test_a_first_look_at_everything_stays_one():
    """`study all --quick` takes nine minutes on two cores with so many passes."""
    about = {name: entry.fn.about for name, entry in STUDIES.items() if entry.fn.about.reads == "network"}
    nets = {name: checkpoint.load(of.network or presets.PFT) for name, of in about.items()}
    looked_at = [name for name in about if not evidence.refusal(name, nets[name])]
    assert about.keys() - looked_at == {"exactness"}
    assert sum(evidence.forwards(name, nets[name], about[name].quick) for name in looked_at) < 90_000


def test_probes_that_no_sampler_takes_need_not_fit_one():
    assert evidence.forwards("divergence", bundle(), {"probes": 31, "images": 10}) == 10 * 5 * 64
    with pytest.raises(InputError):
        evidence.forwards("divergence", bundle(), {"probes": 31, "images": 10, "drawn": 20})


def test_the_seconds_of_a_study_are_known_where_it_has_made_all_itself(quick, tmp_path):
    """order looks at some rows twice; another look at part of its pictures is no measure of what they take."""
    few = {"images": 20, "most": 8}
    found = evidence.measure("order", bundle(), few, tmp_path)
    assert found["seconds"] > 0 and found["judge"].startswith("shapes") and len(found["judge_hash"]) == 16
    assert "seconds" in evidence.measure("order", bundle(), few, tmp_path), "its own, again"
    assert "seconds" not in evidence.measure("schedules", bundle(), {"images": 20, "budgets": "8"}, tmp_path)


def test_rows_are_drawn_in_turns(monkeypatch):
    drawn = []

    def seen(of, parts, *_):
        for part in parts:
            drawn.append((part.sampler, len(part.seeds)))
            n = len(part.seeds)
            judged = {
                "heads": ["shape"],
                "shape": np.zeros((n, 2)),
                "features": np.zeros((n, 2)),
                "labels": np.zeros(n),
            }
            yield judged | {"seconds": 1.0, "forwards": 4, "shard": "", "read": False}

    monkeypatch.setattr(paired, "draw", seen)
    rows = [(bundle(), SampleSpec("nano", name, nfe=4)) for name in ("euler", "multistep")]
    told = paired.images_of_rows(rows, 70, "evaluation", None, Work())
    assert drawn == [("euler", 50), ("multistep", 50), ("euler", 20), ("multistep", 20)]
    assert [len(each["features"]) for each in told] == [70, 70] and told[0]["seconds"].tolist() == [1 / 50, 1 / 20]


def test_a_study_that_was_stopped_counts_its_first_hours(quick, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(evidence.time, "perf_counter", lambda: next(clock))
    first = evidence.measure("difficulty", bundle(), {"images": 10}, tmp_path)["seconds"]
    assert evidence.measure("difficulty", bundle(), {"images": 10}, tmp_path)["seconds"] > first
    assert evidence.measure("difficulty", bundle(), {"images": 10})["seconds"] < 2 * first
