"""Estimate: busy at once, then progress, and it can be cancelled."""

import gradio as gr
import pytest

from app.handlers import PlainText, Refusal, StatusLine
from app.tabs.train.estimating import Estimating
from pf_core.errors import InputError


class Measured:
    """A measurement that is there after so many looks, or fails."""

    def __init__(self, looks=2, error=None):
        self.looks, self.error, self.seconds, self.stopped = looks, error, 0.0, 0

    def found(self, wait):
        self.looks, self.seconds = self.looks - 1, self.seconds + wait
        if self.error and self.looks < 0:
            raise InputError(self.error)
        return "the cost" if self.looks < 0 else None

    def stop(self):
        self.stopped += 1


@pytest.fixture
def estimating():
    with gr.Blocks():
        return Estimating(PlainText("x"), gr.Button("Cancel"), StatusLine())


def test_it_says_that_it_is_busy_before_anything_is_started(estimating):
    begun, measured = [], Measured()
    answers = estimating.run("a page", lambda: begun.append(1) or measured, str)
    first = next(answers)
    assert "Measuring" in first[estimating.said] and first[estimating.cancel]["visible"] and not begun
    *between, last = answers
    assert "1 s" in between[-1][estimating.said] and last[estimating.said] == "the cost"
    assert not last[estimating.cancel]["visible"] and measured.stopped == 1


def test_it_is_cancelled_by_its_page_alone(estimating):
    measured = Measured(looks=1000)
    answers = estimating.run("a page", lambda: measured, str)
    next(answers), next(answers)
    estimating.stop("another page")
    assert "Measuring" in next(answers)[estimating.said]
    estimating.stop("a page")
    assert [answer[estimating.said] for answer in answers] == ["Cancelled."] and measured.stopped == 1


def test_what_goes_wrong_is_an_error_and_the_next_can_begin(estimating):
    *_, last = estimating.run("a page", lambda: Measured(0, "no"), str)
    assert isinstance(last[estimating.status], Refusal) and last[estimating.status] == "no"
    *_, last = estimating.run("a page", Measured, str)
    assert last[estimating.said] == "the cost"


def test_a_second_page_waits_its_turn_and_may_give_up(estimating, monkeypatch):
    monkeypatch.setattr("app.tabs.train.estimating.PAUSE", 0.01)
    first = estimating.run("a page", lambda: Measured(looks=1000), str)
    next(first), next(first)
    second = estimating.run("another", Measured, str)
    next(second)
    assert "Waiting" in next(second)[estimating.said]
    estimating.stop("another")
    assert next(second)[estimating.said] == "Cancelled."
    first.close()
    *_, last = estimating.run("another", Measured, str)
    assert last[estimating.said] == "the cost"
