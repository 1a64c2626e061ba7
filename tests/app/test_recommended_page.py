"""What a network recommends, in the page: where the controls begin, when they move, and what links say."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest
from app_world import answered, networks, state  # noqa: F401

from app.tabs.compare.tab import Compare
from app.tabs.explore.tab import Explore
from pf_core import presets
from pf_core.models import recommended
from pf_core.models.recommended import Recommended
from pf_core.presets import PRESETS
from pf_core.samplers import SAMPLERS

WORDS = "recommended for this network"
PRESET = PRESETS["euler-look-ahead"]
SHOWN = {"seed": 4, "label": "class 4", "confidence": [0.3, 0.9]}
OPENING = {
    "samplers": ["euler", "look_ahead"], "settings": [{}, {"p": 0.6, "ratio": 2.0}], "nfe": 64, "cfg_scale": 1.0,
    "among": 200, "surer": [90, 110], "largest": SHOWN, "typical": SHOWN | {"seed": 17, "label": "class 7"},
}  # fmt: skip
WHAT = Recommended({"look_ahead": {"p": 0.6, "ratio": 2.0}}, 1.5, {PRESET.name: OPENING})
KNOBS = {f"{name}.{k}": knob.default for name, entry in SAMPLERS.items() for k, knob in entry.knobs.items()}


@pytest.fixture
def advised(networks):  # noqa: F811
    """`nano` recommends WHAT, `plain` nothing."""
    recommended.write(networks / "nano.safetensors", WHAT)
    yield
    recommended.write(networks / "nano.safetensors", None)


def built(kind, state):  # noqa: F811
    with gr.Blocks():
        return kind(state)


def value_of(control, answer):
    update = answer.get(control, {})
    return update["value"] if isinstance(update, dict) and "value" in update else control.value


def test_controls_begin_with_what_the_network_recommends_and_say_so(advised, state):  # noqa: F811
    form = built(Explore, state).form
    ratio, p = (form.knobs.inputs[f"look_ahead.{name}"] for name in ("ratio", "p"))
    assert (form.network.value, ratio.value, p.value, form.cfg.value) == ("nano", 2.0, 0.6, 1.5)
    assert f"{WORDS}: 2" in ratio.info and f"{WORDS}: 1.5" in form.cfg.info
    other = form.knobs.inputs["dual_loop.p"]
    assert other.value == 0.4 and WORDS not in other.info
    column = built(Compare, state).columns[1]
    assert column.knobs.inputs["B.look_ahead.ratio"].value == 2.0


def test_controls_of_a_network_that_recommends_nothing_are_as_ever(state):  # noqa: F811
    form = built(Explore, state).form
    assert {key: control.value for key, control in form.knobs.inputs.items()} == KNOBS and form.cfg.value == 1
    assert all(WORDS not in (control.info or "") for control in form.inputs.values() if hasattr(control, "info"))


def test_another_network_moves_the_knobs_that_nobody_touched(advised, state):  # noqa: F811
    form = built(Explore, state).form
    ratio, p = (form.knobs.inputs[f"look_ahead.{name}"] for name in ("ratio", "p"))
    ranking = {"difficulty": "head", "probes": 4}
    values = {**KNOBS, **ranking, "look_ahead.ratio": 2.0, "look_ahead.p": 0.25, "cfg": 1.5}  # p was moved by hand
    away = form.on_network("plain", "class 1", "euler", "nano", **values)
    assert away[ratio]["value"] == 1.4 and away[form.cfg]["value"] == 1 and away[form.before] == "plain"
    assert "value" not in away[p] and WORDS not in away[p]["info"]
    assert form.knobs.inputs["dual_loop.p"] not in away
    values |= {"look_ahead.ratio": 1.4, "cfg": 3}  # guidance was moved by hand
    back = form.on_network("nano", "class 1", "euler", "plain", **values)
    assert back[ratio]["value"] == 2.0 and WORDS in back[ratio]["info"]
    assert "value" not in back[p] and "value" not in back[form.cfg] and WORDS in back[form.cfg]["info"]


def test_a_column_moves_its_knobs_alone(advised, state):  # noqa: F811
    column = built(Compare, state).columns[1]
    values = {f"B.{key}": value for key, value in KNOBS.items()} | {"B.look_ahead.ratio": 2.0, "B.look_ahead.p": 0.1}
    found = column.on_network("plain", "nano", **values)
    ratio, p = (column.knobs.inputs[f"B.look_ahead.{name}"] for name in ("ratio", "p"))
    assert found[ratio]["value"] == 1.4 and "value" not in found[p] and found[column.before] == "plain"


def test_links_keep_what_they_state_and_a_run_keeps_the_defaults_it_had(advised, state):  # noqa: F811
    tab = built(Explore, state)
    form = tab.form
    ratio, p = (form.knobs.inputs[f"look_ahead.{name}"] for name in ("ratio", "p"))

    def load(**query):
        return tab.from_link(SimpleNamespace(query_params={"network": "nano", "sampler": "look_ahead"} | query))

    stated = load(ratio="3", cfg="1")
    assert [value_of(c, stated) for c in (ratio, p, form.cfg)] == [3.0, 0.6, 1.0]
    assert f"{WORDS}: 2" in stated[ratio]["info"]
    again = load(run="gone", budget="4", images="1")  # of the time before anything was recommended
    assert [value_of(c, again) for c in (ratio, p, form.cfg)] == [1.4, 0.4, 1]
    spec = state.runs.get(again[tab.run_id]).spec
    assert (spec.settings["ratio"], spec.cfg_scale) == (1.4, 1.0)
    other = tab.from_link(SimpleNamespace(query_params={"network": "plain"}))
    assert value_of(ratio, other) == 1.4 and value_of(form.cfg, other) == 1


@pytest.fixture
def comparison(monkeypatch):
    """The comparisons of this page, on its networks."""
    columns = tuple(column | {"checkpoint": "nano"} for column in PRESET.columns)
    here = presets.Preset(PRESET.name, PRESET.label, PRESET.caption, columns, opens=True)
    monkeypatch.setitem(PRESETS, PRESET.name, here)
    return here


def test_a_comparison_opens_on_its_seed_and_a_button_shows_a_typical_one(advised, comparison, state):  # noqa: F811
    tab = built(Compare, state)
    found = tab.on_preset(comparison)
    assert (found[tab.seed], found[tab.images], found[tab.cfg], found[tab.nfe]) == (4, 1, 1.0, 64)
    assert found[tab.label]["value"] == "class 4" and found[tab.typical]["visible"]
    caption, rule = found[tab.caption].split("\n")
    assert caption == comparison.caption and "of seeds 0 to 199" in rule and "seed 4 has the largest" in rule
    assert value_of(tab.columns[1].knobs.inputs["B.look_ahead.ratio"], found) == 2.0
    typical = tab.on_typical(found[tab.opened])
    assert typical[tab.seed] == 17 and typical[tab.label]["value"] == "class 7" and "median" in typical[tab.caption]
    assert set(found) | set(typical) <= {*tab.set_by_preset, tab.status}
    assert "Pick a comparison" in answered(tab.on_typical, tab.status, opened="")[tab.status]


def test_the_tab_begins_with_that_comparison_and_a_link_with_its_own(advised, comparison, state):  # noqa: F811
    tab = built(Compare, state)
    assert (tab.seed.value, tab.label.value, tab.images.value) == (4, "class 4", 1)
    assert "seed 4 has the largest" in tab.caption.value and tab.typical.visible
    assert tab.opened.value == comparison.name and [c.sampler.value for c in tab.columns[:2]] == OPENING["samplers"]
    columns = {f"c{k}": json.dumps(["nano", name, {}]) for k, name in ((1, "euler"), (2, "dual_loop"))}
    linked = tab.from_link(SimpleNamespace(query_params={"tab": "compare", "seed": "9", **columns}))
    assert linked[tab.seed] == 9 and "seed 4" not in linked[tab.caption] and not linked[tab.typical]["visible"]
    assert linked[tab.opened] == "" and set(linked) <= {*tab.set_by_preset, tab.status}


def test_a_comparison_whose_network_names_no_seed_is_as_ever(comparison, state):  # noqa: F811
    tab = built(Compare, state)
    found = tab.on_preset(comparison)
    assert found[tab.caption] == comparison.caption and not found[tab.typical]["visible"]
    assert not {tab.seed, tab.label, tab.images, tab.cfg} & set(found)
    assert value_of(tab.columns[1].knobs.inputs["B.look_ahead.ratio"], found) == 1.4
