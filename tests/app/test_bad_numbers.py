"""Whatever a person writes into a number's field: every form answers with a sentence, never with an error of the
server."""

import asyncio
import math
from copy import copy
from itertools import cycle

import gradio as gr
import pytest
from app_world import networks  # noqa: F401
from gradio.state_holder import SessionState
from test_handlers import built, ours  # noqa: F401

from app.handlers import Refusal, StatusLine
from app.tabs.toy.lab import open_lab
from app.tabs.train.estimating import Estimating
from pf_core.errors import InputError
from pf_core.toy.experiment import ToyConfig
from pf_core.training.queue import Jobs

BAD = [None, "", -7, 1e300, "many", 2.5, math.inf]


def refuse(*_, **__):
    raise InputError("nothing is started here")


@pytest.fixture
def idle(built, monkeypatch):  # noqa: F811
    """The page, of which nothing starts anything that takes time."""
    monkeypatch.setattr(built.state, "start", refuse)
    monkeypatch.setattr("app.tabs.compare.sweep_jobs.Sweeps.start", refuse)
    monkeypatch.setattr("app.tabs.compare.sweep_jobs.pace", lambda bundle: 0.001)
    monkeypatch.setattr(Jobs, "create", refuse)
    monkeypatch.setattr(Estimating, "run", refuse)
    return built


def numbers(event):
    """Where numbers stand among its inputs; of many a few."""
    found = [i for i, c in enumerate(event.inputs) if isinstance(c, gr.Number | gr.Slider)]
    return found[:: len(found) // 2 or 1][:2]


def sent(event, lab):
    """What a page sends with an event at first."""
    at = [
        lab if name == "lab_id" else getattr(c, "value", None)
        for name, c in zip(event.input_keyword_names, event.inputs, strict=True)
    ]
    return [value() if callable(value) else value for value in at]


def anew(page):
    """A page as it is at first, from one that nothing has changed: Gradio takes much longer to make one."""
    made = copy(page)
    made.blocks_config, made.config_values = copy(page.blocks_config), copy(page.config_values)
    made.state_data, made._state_ttl = {}, {}
    return made


def test_a_bad_number_in_any_form_is_answered_in_a_sentence(idle):
    demo, bad, refused, failed = idle.demo, cycle(BAD), set(), set()
    first = SessionState(demo)
    lab = open_lab(idle.state.labs, ToyConfig(steps=2, batch_size=8)).id
    for event in ours(demo):
        for i in numbers(event):
            values = sent(event, lab)
            values[i] = next(bad)
            try:
                sent_with = {"state": anew(first), "event_data": gr.EventData(None, {})}
                answer = asyncio.run(demo.process_api(event, values, **sent_with))
            except Exception as e:  # in a browser this would be an HTTP 500
                failed.add((event.name, event.input_keyword_names[i], str(values[i]), f"{type(e).__name__}: {e}"))
                continue
            if "pf-error" in str(answer["data"]):
                refused.add(event.name)
    assert not failed, failed
    assert {"on_run", "on_go", "on_estimate", "on_start", "on_recipe", "on_look"} <= refused, refused


def test_the_same_error_shows_again_after_it_was_mended():
    line, error = StatusLine(), Refusal("The seed must be a number & no <b>text</b>.")
    first, second = line.postprocess(error), line.postprocess(error)
    assert first != second and "&lt;b&gt;" in first and 'role="alert"' in first
    assert "pf-error" not in line.postprocess("A note.")


def test_a_pages_own_copy_of_a_field_does_not_answer_in_place_of_the_handler(built):  # noqa: F811
    """Gradio makes a component anew for a page that changed it."""
    assert gr.Number(0, minimum=0, maximum=9).preprocess(-4) == -4 and gr.Slider(0, 1).preprocess("many") == "many"
