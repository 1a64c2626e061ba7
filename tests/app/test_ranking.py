"""Difficulty without a head, as controls: in the form of a run, in links, in comparisons and sweeps."""

import json
from types import SimpleNamespace
from urllib.parse import parse_qs

import gradio as gr
import pytest
from app_world import client, ended, networks, spec, state, unpack  # noqa: F401

from app.ranking import DIVERGENCE, HEAD
from app.runform import parts_of
from app.tabs.compare.sweep_panel import run_link
from app.tabs.compare.tab import Compare
from app.tabs.explore.tab import Explore
from pf_core.errors import InputError
from pf_core.sampling.sweep import Sweep
from pf_core.sampling.sweep_axes import parse

RANKED = {"difficulty": DIVERGENCE, "probes": 2}


@pytest.fixture
def explore(state):  # noqa: F811
    with gr.Blocks():
        return Explore(state)


@pytest.fixture
def values(explore):
    """What the form sends at first, for one small run."""
    sent = {name: control.value for name, control in explore.form.inputs.items()}
    return sent | {"network": "nano", "sampler": "look_ahead", "label": "class 0", "budget": 32, "images": 1}


def shown(update):
    return update["visible"]


def test_it_is_shown_only_where_the_sampler_ranks_patches_and_probes_only_where_they_are_drawn(explore):
    ranking = explore.form.ranking
    for sampler, difficulty, box, probes in [
        ("euler", HEAD, False, False),
        ("dual_loop", HEAD, True, False),
        ("look_ahead", DIVERGENCE, True, True),
    ]:
        found = ranking.shown("nano", sampler, difficulty, 4)
        assert (shown(found[ranking.box]), shown(found[ranking.probes])) == (box, probes)
    assert "1 + 2 x 4 = 9 NFE" in found[ranking.probes]["info"]
    assert "value" not in ranking.shown("nano", "look_ahead", DIVERGENCE, "many")[ranking.probes]


def test_a_form_says_nothing_of_it_unless_it_is_chosen(explore, values):
    form = explore.form
    assert form.spec(values).difficulty == "head" and not set(RANKED) & set(form.link(values))
    chosen = values | RANKED
    recipe = form.spec(chosen)
    assert (recipe.difficulty, recipe.probes) == (DIVERGENCE, 2) and form.link(chosen).items() >= RANKED.items()
    assert not set(RANKED) & set(form.link(chosen | {"sampler": "euler"}))  # which ranks nothing
    with pytest.raises(InputError, match="probes"):
        form.spec(chosen | {"probes": 1000})


def test_a_network_without_a_head_is_ranked_by_its_velocity(explore, values):
    form, ranking = explore.form, explore.form.ranking
    rest = {k: v for k, v in values.items() if k not in ("network", "label", "sampler")}
    to_plain = form.on_network("plain", "class 0", "look_ahead", "nano", **rest)
    assert to_plain[ranking.difficulty]["value"] == DIVERGENCE
    back = form.on_network("nano", "class 0", "look_ahead", "plain", **rest | {"difficulty": DIVERGENCE})
    assert back[ranking.difficulty]["value"] == HEAD
    plain = values | {"network": "plain"}
    with pytest.raises(InputError, match='difficulty "divergence"'):
        explore.state.start(form.spec(plain))
    assert explore.state.start(form.spec(plain | RANKED)).spec.steps > 1


def test_links_carry_it_and_absent_means_the_head(explore, values):
    run = ended(explore.state.start(explore.form.spec(values | RANKED)))
    asked = parts_of(state, run.spec)
    assert asked["difficulty"] == DIVERGENCE and asked["probes"] == "2"
    found, ranking = explore.from_link(SimpleNamespace(query_params=asked)), explore.form.ranking
    assert (found[ranking.difficulty]["value"], found[ranking.probes]["value"]) == (DIVERGENCE, 2)
    again = ended(explore.again(asked))
    assert again.spec == run.spec and again.trajectory.x1.equal(run.trajectory.x1)
    without = explore.from_link(SimpleNamespace(query_params={"network": "nano", "sampler": "look_ahead"}))
    assert without[ranking.difficulty]["value"] == HEAD
    refused = explore.from_link(SimpleNamespace(query_params={"network": "plain", "sampler": "look_ahead"}))
    assert 'or difficulty "divergence"' in refused[explore.status]
    bad = explore.from_link(SimpleNamespace(query_params=asked | {"difficulty": "x"}))
    assert "difficulty must be" in bad[explore.status]


def test_columns_and_sweeps_carry_it(state):  # noqa: F811
    with gr.Blocks():
        compare = Compare(state)
    sent = {name: control.value for name, control in compare.inputs.items()}
    sent |= {"A.network": "nano", "B.network": "plain", "A.sampler": "look_ahead", "B.sampler": "look_ahead"}
    sent |= {"B.difficulty": DIVERGENCE, "B.probes": 3, "label": "class 0", "images": 1, "nfe": 32}
    specs = compare.specs(sent)
    assert [s.difficulty for s in specs] == [HEAD, DIVERGENCE] and specs[1].probes == 3
    link = {k: str(v) for k, v in compare.link(["x", "y"], specs, sent).items()}
    assert len(json.loads(link["c1"])) == 3 and compare.parts_of(link)[1]["probes"] == 3
    column = compare.columns[1]
    assert compare.set_columns(compare.parts_of(link))[column.ranking.difficulty]["value"] == DIVERGENCE
    assert parse_qs(run_link(state, specs[1]))["difficulty"] == [DIVERGENCE]


def test_both_can_be_swept(state):  # noqa: F811
    cells = Sweep(spec(), {"difficulty": parse("difficulty", "head, divergence"), "probes": parse("probes", "1, 3")})
    recipes = [cell.spec for cell in cells.cells()]
    assert {(s.difficulty, s.probes) for s in recipes} == {(d, n) for d in ("head", DIVERGENCE) for n in (1, 3)}
    assert cells.cost(state.bundle).failing == 2  # the head draws no probes
    alone = [cell.spec for cell in Sweep(spec(), {"difficulty": ["head", "divergence"]}).cells()]
    assert [s.difficulty for s in alone] == ["head", "divergence"]
    with pytest.raises(InputError, match="difficulty is"):
        parse("difficulty", "x")


def test_the_viewer_gets_what_a_ranking_pass_cost_and_how_many_estimates_were_negative(state, client):  # noqa: F811
    run = ended(state.start(spec(nfe=60, **RANKED)))
    header, frames = unpack(client.get(f"/pf/runs/{run.id}/frames?start=0").content)
    heads = [head for head in header["frames"] if "negative" in head]
    assert heads and all(len(head["negative"]) == 2 for head in heads)
    nfe = [0, *(head["nfe"] for head in header["frames"][:-1])]
    assert {b - a for a, b in zip(nfe, nfe[1:], strict=False)} == {1, 5}  # 1 + 2 probes where it ranks
    assert header["total"] == len(frames) and header["evaluations"] == run.spec.nfe
    assert state.seconds_ranked("nano", 2) > 0 and state.seconds_ranked("nano", 4) is None
    plain = ended(state.start(spec()))
    header, _ = unpack(client.get(f"/pf/runs/{plain.id}/frames?start=0").content)
    assert not any("negative" in head for head in header["frames"]) and header["total"] == plain.spec.nfe + 1
