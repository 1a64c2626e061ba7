"""Charts, as both renderers draw them: files and the page."""

import base64
import io
import json
import math
import re
from dataclasses import replace
from urllib.parse import unquote

import pytest
from PIL import Image

from pf_core.charts import Chart, Map, Panel, Series, cut_far, cuts, drawn_at, log_ticks, on_one_scale
from pf_core.evaluation import evidence
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.studies.common import number
from pf_core.figures import chart_file, chart_page
from pf_core.figures import evidence as drawn
from pf_core.figures.inks import COLOURS, ON_DARK, inks


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
    assert log_ticks(410, 490) == list(range(410, 500, 10)) and log_ticks(105, 109) == [105, 106, 107, 108, 109]
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
