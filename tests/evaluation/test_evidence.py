"""Studies as a person runs them: cost first, figures and numbers in a folder, stopped and gone on with, one report."""

import base64
import html
import io
import json
import math
import re
import sys
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
from helpers import bundle
from PIL import Image

from pf_core import presets
from pf_core.charts import Chart, Map, Panel, Series, cut_far, cuts, drawn_at, log_ticks, on_one_scale
from pf_core.cli import main, study
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, evidence, metrics, work
from pf_core.evaluation.studies import STUDIES, common
from pf_core.evaluation.studies.common import number
from pf_core.evaluation.work import Stopped, Work
from pf_core.figures import chart_file, chart_page
from pf_core.figures import evidence as drawn
from pf_core.figures.inks import COLOURS, ON_DARK, inks
from pf_core.models import checkpoint
from pf_core.registry import Registry

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
        and again["seconds"] > first["seconds"]
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
    assert capsys.readouterr().err.count(" 100%") == 2
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


def test_a_study_that_was_stopped_counts_its_first_hours(quick, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(evidence.time, "perf_counter", lambda: next(clock))
    first = evidence.measure("difficulty", bundle(), {"images": 10}, tmp_path)["seconds"]
    assert evidence.measure("difficulty", bundle(), {"images": 10}, tmp_path)["seconds"] > first
    assert evidence.measure("difficulty", bundle(), {"images": 10})["seconds"] < 2 * first


def test_where_one_panel_fills_a_row_spare_ones_are_left_out():
    chart = Chart("", [[Panel("a", "", ""), Panel("b", "", "", spare=True)], [Panel("c", "", "", spare=True)]])
    assert [[p.title for p in row] for row in chart.narrowed(2).rows] == [["a", "b"], ["c"]]
    assert [[p.title for p in row] for row in chart.narrowed(1).rows] == [["a"]]


def test_lines_that_stand_at_one_place_are_points_side_by_side():
    one, other = Series("a", [64], [1.0], [0.5], [1.5]), Series("b", [64], [2.0], [1.5], [2.5])
    (row,) = Chart("", [[Panel("", "NFE", "", [one, other], log_x=True)]]).rows
    assert [(s.kind, s.x) for s in row[0].series] == [("points", [1]), ("points", [2])]
    assert (row[0].x, row[0].log_x, row[0].aligned) == ("NFE 64", False, True)
    curve = Panel("", "NFE", "", [one, Series("b", [64, 128], [2.0, 1.0])], log_x=True)
    assert Chart("", [[curve]]).rows == [[curve]]


def test_bands_that_would_hide_one_another_become_bars_side_by_side():
    def banded(name, x):
        return Series(name, x, [1.0, 2.0], [0.0, 1.0], [2.0, 3.0])

    few, many = (Panel("", "NFE", "", [banded(k, [16, 32]) for k in "abcde"[:n]], log_x=True) for n in (2, 4))
    assert Chart("", [[few]]).rows == [[few]]
    (row,) = Chart("", [[few, many]]).rows
    assert all(s.aside for s in row[0].series), "panels of one row are read alike"
    assert sum(s.aside for s in row[1].series) == 0
    drawn = [drawn_at(row[1], s)[0] for s in row[1].series]
    assert drawn == sorted(set(drawn)) and 15 < drawn[0] < 16 < drawn[-1] < 17
    page = chart_page.draw(Chart("", [row]))
    assert page["layout"]["xaxis2"]["tickvals"] == [16, 32] and sum("error_y" in t for t in page["data"]) == 6
    chart_file.draw(Chart("", [row]))
    elsewhere = Panel("", "", "", [*few.series, banded("d", [1, 2])])
    assert Chart("", [[elsewhere]]).rows == [[elsewhere]], "curves over places of their own are not moved"
    near = Panel("", "", "", [banded(k, [0, 1]) for k in "abcdef"])
    near = replace(
        near, series=[replace(s, x=[0, 0.1, 1], y=[1, 1, 1], low=[0] * 3, high=[2] * 3) for s in near.series]
    )
    ((spread,),) = Chart("", [[near]]).rows
    assert drawn_at(spread, spread.series[-1])[0] < drawn_at(spread, spread.series[0])[1], (
        "no place's bars reach another"
    )


def _far(lying):
    names = ["near", "far", "below", "other"]
    y, low, high = [2.0, 100.0, -50.0, 7.0], [-1.0, 90.0, -60.0, 6.0], [3.0, 110.0, -40.0, 9.0]
    series = [Series("a", names, y, low, high, kind="bars"), Series("b", names[:1], [1.0], kind="bars")]
    axes = ("value", "") if lying else ("", "value")
    return Panel("", *axes, series, zero=True, lying=lying)


@pytest.mark.parametrize("lying", [True, False])
def test_bars_that_are_far_out_are_cut_with_their_numbers(lying):
    panel = cut_far(_far(lying), ["near"])
    assert -2 < panel.ends[0] < -1 and 9 < panel.ends[1] < 10, "as far as the bars that stay reach"
    assert cut_far(_far(lying), ["far"]).ends is None and cut_far(_far(lying), ["nothing"]).ends is None
    texts = ["100 (90 to 110) \u25b8", "\u25c2 \u221250 (\u221260 to \u221240)"]
    assert [cut.text for cut in cuts(panel)] == texts and [cut.place for cut in cuts(panel)] == [0.8, 1.8]
    (axes,) = chart_file.draw(Chart("", [[panel]])).subfigs[0].axes
    assert (axes.get_xlim() if lying else axes.get_ylim()) == pytest.approx(panel.ends)
    assert [text.get_text() for text in axes.texts] == texts
    layout = chart_page.draw(Chart("", [[panel]]))["layout"]
    assert layout["xaxis" if lying else "yaxis"]["range"] == list(panel.ends)
    notes = [note for note in layout["annotations"] if note["text"] in ("100 \u25b8", "\u25c2 \u221250")]
    assert [note["x" if lying else "y"] for note in notes] == [panel.ends[1], panel.ends[0]]


def test_panels_on_one_scale_have_one_range_and_plain_ticks():
    small, large = (
        Panel("", "NFE", "d", [Series("a", [8, 16], y)], log_x=True, log_y=True)
        for y in ([220.0, 260.0], [300.0, 400.0])
    )
    one, other = on_one_scale([small, large])
    assert one.ends == other.ends and one.ends[0] < 220 and one.ends[1] > 400
    chart = Chart("", [[one, other]])
    labels = [[text.get_text() for text in axes.get_yticklabels()] for axes in chart_file.draw(chart).subfigs[0].axes]
    axis = chart_page.draw(chart)["layout"]["yaxis2"]
    assert labels == [["250", "300", "350", "400"]] * 2 and axis["ticktext"] == labels[0]
    assert axis["range"] == pytest.approx([math.log10(end) for end in one.ends])
    assert log_ticks(1, 2e4) == [1, 10, 100, 1e3, 1e4] and log_ticks(90, 600) == [100, 150, 200, 300, 400, 500, 600]
    zero = replace(small, series=[Series("a", [8], [0.0])])
    assert on_one_scale([zero]) == [zero], "a logarithm has no zero"


def test_bars_have_a_patch_in_the_legend_and_lines_a_line():
    series = [Series("bars", ["x"], [1.0], kind="bars"), Series("other", ["x"], [2.0], kind="bars")]
    curve = Panel("", "", "", [Series("curve", [0, 1], [1.0, 2.0])])
    legend = chart_file.draw(Chart("", [[Panel("", "", "", series), curve]])).subfigs[-1].legends[0]
    assert [type(key).__name__ for key in legend.legend_handles] == ["Rectangle", "Rectangle", "Line2D"]


def _gap(layout):
    """Pixels between two rows of panels."""
    inside = layout["height"] - layout["margin"]["t"] - chart_page._AROUND
    return (layout["yaxis"]["domain"][0] - layout["yaxis2"]["domain"][1]) * inside


def test_long_names_of_bars_are_broken_and_numbers_have_a_true_minus():
    names = ["most certain", "most certain of each class"]
    bars = Panel("", "", "", [Series("a", names, [1.0, 2.0], kind="bars")])
    axis = chart_page.draw(Chart("", [[bars]]))["layout"]["xaxis"]
    assert axis["ticktext"] == ["most certain", "most certain of<br>each class"] and axis["tickangle"] == 0
    long = Panel("", "", "", [Series("a", ["incomprehensible", "other"], [1.0, 2.0], kind="bars")])
    assert "ticktext" not in chart_page.draw(Chart("", [[long, long, long, long]]))["layout"]["xaxis"]
    far = Panel("", "", "", [Series("a", ["a" * 30, "other"], [1.0, 2.0], kind="bars")])
    far, below = Chart("", [[far], [bars]]), Chart("", [[bars], [bars]])
    gaps = [_gap(chart_page.draw(chart)["layout"]) for chart in (below, far)]
    assert gaps[1] > gaps[0] + 30, "what hangs from slanted names has room above the next row"
    assert number({"value": -1, "interval": [-2, 0.5]}) == "\u22121.0 (\u22122.0 to 0.5)"


def test_bars_lie_under_many_names():
    names = [f"row {k}" for k in range(12)]
    series = Series("a", names, [1.0] * 12, [0.0] * 12, [2.0] * 12, kind="bars")
    chart = Chart("", [[Panel("", "difference", "", [series], zero=True, lying=True)]])
    (axes,) = chart_file.draw(chart).subfigs[0].axes
    assert [text.get_text() for text in axes.get_yticklabels()] == names and axes.yaxis_inverted()
    page = chart_page.draw(chart)
    (bar,) = page["data"]
    assert (bar["orientation"], bar["y"], "error_y" in bar) == ("h", names, False) and bar["error_x"]["array"] == [
        1.0
    ] * 12
    assert page["layout"]["yaxis"]["autorange"] == "reversed" and page["layout"]["shapes"][0]["x1"] == 0
    assert page["layout"]["yaxis"]["tickvals"] == names


def test_a_chart_is_drawn_for_files_and_for_the_page():
    measured = [{"value": v, "interval": [v - 1, v + 1]} for v in (3.0, 2.0)]
    panels = [
        Panel(
            "curves", "NFE", "distance", [Series.measured("Euler", [16, 32], measured)], log_x=True, marks={"here": 20}
        ),
        Panel("counts", "t", "t max", map=Map([[0, 1], [2, 3]], (0, 1), (0, 1), "images", log=True)),
        Panel("bars", "", "%", [Series.measured("Euler", ["a", "b"], measured, kind="bars")], zero=True),
        Panel("dots", "x", "y", [Series("density", [0, 1], [1, 2], kind="area")], diagonal="equal"),
    ]
    chart = Chart("Title", [panels[:1], panels[1:]], "Note.")
    figure = chart_file.draw(chart)
    assert len([a for row in figure.subfigs for a in row.axes if a.get_title()]) == 4 and chart.names == [
        "Euler",
        "density",
    ]
    assert [len(row) for row in chart.narrowed(2).rows] == [1, 2, 1] and chart.narrowed(4) == chart
    page = chart_page.draw(chart)
    assert page["layout"]["xaxis"]["ticktext"] == ["16", "32"] and "tickvals" not in page["layout"]["xaxis4"]
    (heat,) = (trace for trace in page["data"] if trace["type"] == "heatmap")
    assert (heat["x0"], heat["dx"], heat["y0"], heat["dy"]) == (0.25, 0.5, 0.25, 0.5)  # of cells' centres
    kinds = [trace["type"] for trace in page["data"]]
    assert kinds.count("heatmap") == 1 and kinds.count("bar") == 1 and {"xaxis", "xaxis4"} <= set(page["layout"])
    assert [t["name"] for t in page["data"] if t.get("showlegend") and t["type"] != "heatmap"] == [
        "Euler",
        "equal",
        "density",
    ]
    (equal,) = (trace for trace in page["data"] if trace.get("name") == "equal")
    legend = [text.get_text() for text in figure.subfigs[-1].legends[0].texts]
    assert legend == ["Euler", "density", "equal"] and equal["x"] == equal["y"] == [0, 1]
    json.dumps(page, allow_nan=False)


def test_hexagons_and_the_densities_at_a_maps_sides_are_drawn_for_files_and_for_the_page():
    rows = [[0.1, 0, 1], [2, 3], [0, 0, 1]]
    sided = Map(rows, (0, 1), (0, 2), "%", (0.1, 3), True, hexagonal=True, above=[1, 2], beside=[2, 1, 0])
    square = replace(sided, values=[[0, 1], [2, 3]], hexagonal=False)
    chart = Chart("", [[Panel("hexagons", "t", "t max", map=sided), Panel("squares", "t", "t max", map=square)]])
    shown, squares, bar = (row := chart_file.draw(chart).subfigs[0]).axes
    assert [len(axes.child_axes) for axes in (shown, squares)] == [2, 2] and len(row.axes) == 3, (
        "one colour bar for both"
    )
    assert shown.collections[0].get_array().tolist() == [0.1, 1, 2, 3, 1] and bar.get_ylabel() == "%"
    page = chart_page.draw(chart)
    (picture,) = page["layout"]["images"]
    svg = unquote(picture["source"].partition(",")[2])
    edge, *coloured = re.findall("<path[^>]*>", svg)
    assert "stroke='#888888'" in edge and edge.count("M") == 1, "a line around the cell that the dark page would hide"
    assert "".join(coloured).count("M") == 5 and len(coloured) == 4 and (picture["y"], picture["sizey"]) == (2, 2)
    (spots,) = (trace for trace in page["data"] if trace.get("mode") == "markers")
    assert (
        [t["type"] for t in page["data"]].count("heatmap") == 1
        and spots["customdata"] == [0.1, 1, 2, 3, 1]
        and spots["x"] == [0, 1, 0.25, 0.75, 1]
    )
    sides = [(t["xaxis"], t["yaxis"]) for t in page["data"] if t.get("fill") == "toself"]
    assert sides == [("x", "y3"), ("x4", "y"), ("x2", "y5"), ("x6", "y2")]
    inner, outer = page["layout"]["xaxis"]["domain"], page["layout"]["xaxis4"]["domain"]
    assert inner[1] < outer[0] < outer[1] == 0.4625 and not page["layout"]["yaxis3"]["visible"]
    json.dumps(page, allow_nan=False)


def test_a_bar_without_a_name_is_drawn_and_many_series_are_told_apart():
    bare = Panel("", "", "", [Series("network", [""], [1.0], kind="bars")])
    assert chart_page.draw(Chart("", [[bare]]))["data"]
    study = STUDIES["exactness"].fn.about
    chart = study.chart({"checkpoint": "nano", "states": 9, "velocity_error_share": {"value": 1, "interval": [0, 2]}})
    assert chart_page.draw(chart)["data"][0]["x"] == ["nano"]
    many = Chart("", [[Panel("", "", "", [Series(f"run {k}", [0, 1], [k, k]) for k in range(21)])]])
    lines = [trace["line"] for trace in chart_page.draw(many)["data"]]
    assert len({(line["color"], line["dash"]) for line in lines}) == 21
    assert len(set(inks(many.names).values())) == 21
    chart_file.draw(many)


def test_what_is_shown_often_has_one_colour_in_all_charts():
    few, more = (
        inks(["Euler", "dual-loop"]),
        inks(["a run", "SiT, Euler", "euler", "dual-loop", "dual-loop, second order"]),
    )
    assert few["dual-loop"] == more["dual-loop"] and few["Euler"] == more["euler"] != more["a run"]
    assert more["dual-loop, second order"] == more["dual-loop"]._replace(round=1), "another line of one colour"
    times = inks(["t = 0.2", "t = 0.6", "ideal order, t = 0.6"])
    assert times["t = 0.6"] == inks(["t = 0.6"])["t = 0.6"] == times["ideal order, t = 0.6"] != times["t = 0.2"]
    both = inks(["random order", "t = 0.2", "t = 0.3"])
    assert both["t = 0.2"] == times["t = 0.2"] and both["t = 0.3"] != both["random order"], "a time yields to a sampler"
    for result in evidence.all_kept():
        chart = drawn.chart_of(result)
        assert len({ink for name, ink in inks(chart.names).items() if "ideal" not in name}) == len(
            [name for name in chart.names if "ideal" not in name]
        ), result["study"]


def test_every_colour_is_seen_on_the_dark_ground():
    def light(colour):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.05 + sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    assert all(light(ON_DARK.get(colour, colour)) / light("#161b25") >= 3.9 for colour in COLOURS)
    assert len({ON_DARK.get(colour, colour) for colour in COLOURS}) == len(COLOURS)
    assert (
        chart_page.draw(Chart("", [[Panel("", "", "", [Series("a", [0], [1])])]]))["layout"]["meta"]["dark"] == ON_DARK
    )


def test_a_chart_shows_a_picture_in_files_and_in_the_page():
    made = io.BytesIO()
    Image.new("RGB", (40, 10), (200, 30, 30)).save(made, "WEBP", lossless=True)
    source = "data:image/webp;base64," + base64.b64encode(made.getvalue()).decode()
    chart = Chart("", [[Panel("two rows of images", "", "", picture=source)]])
    (axes,) = (a for row in chart_file.draw(chart).subfigs for a in row.axes)
    assert axes.images[0].get_array().shape == (10, 40, 3) and axes.get_title() == "two rows of images"
    layout = chart_page.draw(chart)["layout"]
    assert layout["images"][0]["source"] == source and not layout["xaxis"]["visible"]
