"""Crafted calls: a slice of `make fuzz`, and each kind of fault that it has found, by name."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest
from app_world import networks, spec, state  # noqa: F401
from fuzz.judge import fuzz
from fuzz.world import World
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app.components.painter.painter import chosen_of, values_of
from app.handlers import uploaded
from app.tabs.compare.between import _moments
from app.tabs.compare.sweep_panel import NOTHING
from app.tabs.compare.tab import Compare
from app.tabs.intervene.intervention import RUNS_OWN, Now
from app.tabs.toy.tab import SPEEDS, _speed
from app.tabs.train.tab import Train
from app.ui import build
from pf_core.errors import InputError
from pf_core.models import preset
from pf_core.patches import PatchGrid
from pf_core.sampling.run import Run
from pf_core.sampling.trajectory import Trajectory, record

DEEP = "[" * 5000
HUGE = 10**400  # no float can hold it


def test_some_hundred_crafted_calls_end_in_sentences(tmp_path):
    with World(tmp_path) as world:
        report = fuzz(world, range(250), seed=2)
    assert report.calls == 250 and not report.failures, str(report)
    assert sum(n for how, n in report.ends.items() if how == "event answered") > 20  # most are no mere refusals


@pytest.mark.parametrize("name", [[], {}, None, 3])
def test_a_network_that_is_no_text_is_not_there(state, name):  # noqa: F811
    with pytest.raises(InputError, match="There is no network"):
        state.bundle(name)
    with pytest.raises(InputError, match="There is no network size"):
        preset(name)


def test_a_speed_that_is_no_text_is_as_fast_as_it_goes():
    assert _speed([]) is _speed(None) is None and [_speed(k) for k in SPEEDS] == list(SPEEDS.values())


@pytest.mark.parametrize("path", [None, "", [], {}])
def test_an_upload_without_a_file_is_a_sentence(path):
    with pytest.raises(InputError, match="No file came"):
        uploaded(path)


def test_every_upload_of_the_page_without_a_file_is_a_sentence(state):  # noqa: F811
    demo, asked = build(state), set()
    for event in demo.fns.values():
        inputs = dict(zip(event.input_keyword_names or [], event.inputs, strict=False))
        if isinstance(inputs.get("path"), gr.UploadButton | gr.File | gr.Image):
            said = str(event.fn(**{name: c.value for name, c in inputs.items()} | {"path": None}))
            assert "No file came" in said, event.name
            asked.add(event.fn.__wrapped__.__qualname__)
    assert len(asked) == 5, asked  # Explore, Intervene twice, Toy, the sweep


def test_a_recording_whose_seconds_no_float_can_hold_is_a_sentence(state, tmp_path):  # noqa: F811
    path = tmp_path / "x.safetensors"
    record(Run(state.bundle("nano"), spec())).save(path)
    with safe_open(path, "pt") as f:
        header = f.metadata()
    seconds = json.loads(header["seconds"])
    seconds[1] = HUGE
    save_file(load_file(path), path, header | {"seconds": json.dumps(seconds)})
    with pytest.raises(InputError, match="not a recorded run, or is damaged"):
        Trajectory.load(path)


@pytest.mark.parametrize("text", [DEEP, "1", "1:2:3", "-1:0", "0:999999", "٣:1", "0:0," * 2000])
def test_moments_of_a_difference_that_make_no_sense_are_a_sentence(text):
    with pytest.raises(InputError, match="Frames are pairs"):
        _moments(text)


def test_a_link_whose_columns_or_sweep_are_nested_too_deeply_is_a_sentence(state):  # noqa: F811
    with gr.Blocks():
        compare = Compare(state)
    asked = SimpleNamespace(query_params={"tab": "compare", "c1": DEEP, "c2": DEEP}, session_hash="x")
    with pytest.raises(InputError, match="could not be read"):
        compare.from_link(asked)
    asked = SimpleNamespace(query_params={"sweep": "x", "axes": DEEP}, session_hash="x")
    assert "not kept any more" in compare.sweep.from_link(asked)[compare.sweep.status]


def test_painted_numbers_that_no_float_can_hold_are_a_sentence():
    grid = PatchGrid(8, 8, 4)
    with pytest.raises(InputError):
        values_of({"values": [HUGE, 0, 0, 0]}, grid)
    with pytest.raises(InputError):
        chosen_of({"chosen": [HUGE]}, grid)


def test_a_network_size_that_is_a_list_draws_nothing(state):  # noqa: F811
    with gr.Blocks():
        train = Train(state)
    assert train.draws_of([], "ltg") == gr.skip()
    state.training.close()


def test_an_axis_of_a_sweep_that_is_a_list_varies_nothing(state):  # noqa: F811
    with gr.Blocks():
        panel = Compare(state).sweep
    at = panel.axes[0]
    assert panel.on_axis(at, [], "nano")[at.text]["visible"] is False
    assert at.asked({f"{at.key}.axis": [], f"{at.key}.text": "1", f"{at.key}.names": None}) == (None, "1")
    for odd in ([{}], "\ud800", None):
        axes = {axis.key: odd for axis in panel.axes}
        assert panel.on_network(None, "nano", **axes)[at.axis]["value"] == NOTHING


@pytest.mark.parametrize("source", [[], {}, None, "my pictures", HUGE])
def test_a_source_of_clean_patches_that_is_none_is_the_runs_own(source):
    values = dict.fromkeys(Now._fields[:-1]) | {"source": source, "index": "look_ahead", "head_start.amount": 0.2}
    assert Now.of(values).source == RUNS_OWN and Now.of(values).index is None
