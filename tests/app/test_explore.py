"""The Explore tab without a browser: its handlers, and the server's own endpoints."""

import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from app_world import ROOT, answered, ended, networks, slow, state  # noqa: F401
from test_browser import served  # noqa: F401

from app import controls
from app.store import DONE
from pf_core.models import checkpoint
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec

# the tab's handlers and the server


def values(**changes) -> dict:
    """What the Explore tab's controls send, by name, in order; knobs at their defaults."""
    given = {
        "network": "nano",
        "label": "class 1",
        "sampler": "look_ahead",
        "seed": 0,
        "images": 2,
        "budget": 8,
        "unit": "NFE",
    }
    given |= {"cfg": 1, "from": 0, "to": 1} | changes
    return given | {f"{name}.{k}": knob.default for name, e in SAMPLERS.items() for k, knob in e.knobs.items()}


@pytest.fixture(scope="module")
def remote(served):
    from gradio_client import Client

    return Client(served.address, verbose=False)


def test_the_run_endpoint_answers_with_a_manifest(served, remote):
    shown, said = remote.predict(*values().values(), api_name="/run")
    run = ended(served.runs.get(shown["runs"][0]["id"]))
    assert said == "" and run.state == DONE and run.id in shown["query"]


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": 0},
        {"budget": 100000},
        {"images": 99},
        {"seed": -1},
        {"label": "cat"},
        {"sampler": "x"},
        {"network": "x"},
    ],
)
def test_whatever_a_client_sends_the_server_lives(served, remote, changes):
    before = len(served.runs)
    try:
        _, said = remote.predict(*values(**changes).values(), api_name="/run")
        assert said.endswith(".</p>")
    except Exception as e:
        assert "Traceback" not in str(e) and "\n" not in str(e).strip()
    assert len(served.runs) == before
    assert remote.predict(*values().values(), api_name="/run")[1] == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": None},
        {"seed": float("nan")},
        {"images": 2.5},
        {"cfg": "x"},
        {"from": 0.9, "to": 0.1},
        {"network": "plain"},
        {"label": ["a"]},
    ],
)
def test_the_handler_checks_for_itself(state, changes):
    import gradio as gr

    from app.tabs.explore.tab import Explore

    with gr.Blocks():
        tab = Explore(state)
    said = answered(tab.on_run, tab.status, before="", **values(**changes))[tab.status]
    assert said.endswith(".") and len(state.runs) == 0


def test_a_link_sets_the_controls_and_a_bad_one_is_a_sentence(state):
    import gradio as gr

    from app.tabs.explore.tab import Explore

    with gr.Blocks():
        tab = Explore(state)

    def load(**query):
        return tab.from_link(SimpleNamespace(query_params=query))

    found = load(network="nano", sampler="dual_loop", seed="7", n_inner="3", cfg="2")
    form = tab.form
    assert found[tab.status] == ""
    asked = [form.network, form.label, form.sampler, form.seed, form.cfg, form.knobs.inputs["dual_loop.n_inner"]]
    assert [found[c]["value"] for c in asked] == ["nano", "class 0", "dual_loop", 7, 2.0, 3]
    asked += tab.form.ranking.inputs.values()  # a link that says nothing of it means the head
    assert [c for c, u in found.items() if isinstance(u, dict) and "value" in u and c not in asked] == []
    other = load(tab="evidence", network="nano", seed="7")  # what another tab's link names is not for this one
    assert form.seed not in other and other[tab.viewer] == load()[tab.viewer]
    for query in (
        {"network": "x"},
        {"network": "nano", "seed": "x"},
        {"network": "nano", "p": "9"},
        {"network": "plain", "sampler": "look_ahead"},
    ):
        assert load(**query)[tab.status].startswith("This link could not be read")
    found = load(network="nano", run="gone", budget="8", sampler="dual_loop", n_inner="2", p="0.5")
    shown, run_id, mine, said = (found[c] for c in (tab.viewer, tab.run_id, tab.mine, tab.status))
    run = ended(state.runs.get(run_id))
    assert "not kept" in said and mine == run_id and run_id in shown["query"]
    assert (
        run.spec.nfe == 8
        and run.spec.settings == {"p": 0.5, "n_inner": 2, "order": 1, "refresh": "every"}
        and run.spec.labels == ["class 0"] * 4
    )
    kept = load(network="nano", run=run_id)
    assert (kept[tab.run_id], kept[tab.mine]) == (run_id, "")  # a link to a kept run: Run will not stop it


def test_a_run_goes_on_where_the_next_is_refused(state, slow, tmp_path):
    import gradio as gr

    from app.tabs.compare.tab import Compare
    from app.tabs.explore.tab import Explore

    with gr.Blocks():
        tab, compare = Explore(state), Compare(state)
    run_id = tab.on_run("", **values(cfg=2))[tab.run_id]
    said = answered(tab.on_run, tab.status, run_id, **values(cfg=2, **{"from": 0.9, "to": 0.1}))[tab.status]
    (wrong := tmp_path / "wrong.json").write_text("{}")
    assert "lies after" in said
    assert "not a recipe" in answered(tab.on_recipe, tab.status, run_id, str(wrong))[tab.status]
    sent = {name: control.value for name, control in compare.inputs.items()} | {"nfe": 10_000}
    assert "NFE" in answered(compare.on_run, compare.status, [run_id], **sent)[compare.status]
    assert state.runs.get(run_id).busy and not state.runs.get(run_id).stop.is_set()
    tab.on_run(run_id, **values())
    assert state.runs.get(run_id).stop.is_set()


def test_a_network_that_only_a_link_names_goes_through_the_list(state):
    import gradio as gr

    with gr.Blocks():
        assert controls.network_choice(state, "nano").preprocess("runs/v1.2@5") == "runs/v1.2@5"


def test_a_network_without_difficulty_offers_only_what_it_can_run(state):
    offered = {name for _, name in controls.samplers(state, "plain")}
    assert offered == {name for name, entry in SAMPLERS.items() if not entry.fn.needs_difficulty}


@pytest.mark.xdist_group("served")  # it starts the app
def test_a_busy_port_is_a_sentence():
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "app", "--port", str(port)], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and str(port) in done.stderr


def test_no_samplers_name_stands_in_the_app():
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "app").rglob("*.js")]:
        text = path.read_text()
        for name in SAMPLERS:
            assert f'"{name}"' not in text and f"'{name}'" not in text, path


@pytest.mark.skipif(
    not (ROOT / "checkpoints" / "shapes-pft.safetensors").is_file(), reason="the shipped network is not there yet"
)
def test_the_shipped_network_runs(monkeypatch, state):
    monkeypatch.setattr(checkpoint, "FOLDER", ROOT / "checkpoints")
    run = ended(state.start(SampleSpec("shapes-pft", sampler="look_ahead", nfe=8, labels=["star"])), 60)
    assert run.state == DONE
