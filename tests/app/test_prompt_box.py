"""The app with a network of prompts beside networks of classes: one control for what to draw."""

import gradio as gr
import pytest
from app_world import CLASSES, ended, networks, state  # noqa: F401
from text_world import lively

from app import controls
from app.runform import RunForm
from app.server.frames import command
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.sampling.run import SampleSpec

SIGN, NONE = 'a red sign that reads "AX7"', "(no prompt)"


@pytest.fixture(autouse=True)
def words(networks):  # noqa: F811
    checkpoint.save(networks / "words.safetensors", lively(), [], {"prompts": [SIGN, "x" * 301, "a cake"]})


@pytest.fixture
def form(state):  # noqa: F811
    with gr.Blocks():
        form = RunForm(state, "test", nfe=8, images=2)
        form.advanced()
    return form


def values(form, **changes):
    asked = {"network": "words", "sampler": "euler"} | changes
    return form.values(asked)


def test_the_control_offers_a_networks_own_captions_and_takes_any_prompt(state):  # noqa: F811
    looks = controls.condition(state, "words")
    assert looks == {"label": "Prompt", "choices": [SIGN, "a cake", NONE], "value": SIGN, "allow_custom_value": True}
    looks = controls.condition(state, "nano")
    assert looks["label"] == "Class" and looks["choices"][:10] == CLASSES and not looks["allow_custom_value"]
    assert controls.condition(state, "words", "a red cake, with a sign")["value"] == "a red cake, with a sign"


def test_a_class_is_no_prompt_to_go_on_with_and_a_prompt_no_class(form):
    before = {k: v for k, v in values(form).items() if k in form.knobs.inputs}
    before |= {"cfg": 1, "probes": 4, "difficulty": "head", "sampler": "euler"}
    for was, network, label, value in (
        ("nano", "words", CLASSES[1], SIGN),
        ("nano", "words", "a cake", "a cake"),
        ("words", "nano", SIGN, CLASSES[0]),
        ("words", "words", "mushroom", "mushroom"),  # a person wrote it
        ("gone", "words", "mushroom", "mushroom"),
    ):
        assert form.on_network(network, label, before=was, **before)[form.label]["value"] == value


def test_an_example_that_nobody_touched_is_not_another_networks_prompt(state, monkeypatch):  # noqa: F811
    offers = {"signs": ["a sign", NONE], "scenes": ["a boat", NONE]}
    monkeypatch.setattr(controls, "classes", lambda _, network: offers[network])
    said = {before: controls.kept(state, "scenes", before, "signs") for before in ("a sign", NONE, "a written one")}
    assert said == {"a sign": None, NONE: NONE, "a written one": "a written one"}


def test_a_written_prompt_is_drawn_and_its_recipe_sets_the_control(form, state):  # noqa: F811
    spec = form.spec(values(form, label="  a cake,  red "))
    assert spec.labels == ["a cake, red"]
    run = ended(state.start(spec))
    assert run.message == "" and "'--prompt=a cake, red'" in command(run)
    assert form.updates(run.spec)[form.label]["value"] == "a cake, red"
    assert form.spec(values(form, label=NONE)).labels == [None]
    with pytest.raises(InputError, match="at most 300"):
        form.spec(values(form, label="x" * 301))


def test_a_link_with_a_prompt_too_long_is_refused(form):
    with pytest.raises(InputError, match="at most 300"):
        form.from_link({"network": "words", "label": "x" * 301})


def test_several_prompts_are_a_flag_each(state):  # noqa: F811
    run = ended(state.start(SampleSpec("words", "euler", steps=2, labels=["a cake", None], seeds=[0, 1])))
    assert "'--prompt=a cake' --prompt= " in command(run)
