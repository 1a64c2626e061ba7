"""Comparing runs, on trajectories made by hand (where every number is known) and by the nano network."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from helpers import bundle

from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.samplers import SAMPLERS
from pf_core.sampling.compare import CLOCKS, align, difference, film, measured, parting, patch_updates
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import Frame, Trajectory, record

GRID = PatchGrid(4, 4, 2)


def frame(phase, outer, nfe, x, t, seconds=0.0):
    b, nothing = x.shape[0], torch.zeros(x.shape[0], 4)
    t = torch.full((b, 4), float(t))
    empty = torch.full((b,), torch.nan)
    return Frame(phase, outer, nfe, seconds, x.half(), x.half() + 1, t, nothing, nothing, nothing.bool(), empty)


def straight(steps, speed=None, b=2, seconds=1.0):
    """A run along x = t * speed(patch), from zero."""
    speed = torch.ones(b, 4) if speed is None else speed
    x1 = GRID.to_pixels(speed).expand(-1, 3, -1, -1).contiguous()
    frames = [frame("outer", k, k + 1, x1 * k / steps, k / steps, seconds * (k + 1) / steps) for k in range(steps)]
    return Trajectory(GRID, {}, torch.zeros_like(x1), frames, x1, seconds + 0.1, steps)


def bent(steps, at, image=1, by=1.0):
    """As `straight`, but from outer step `at` on one image's first patch is off by `by`."""
    run = straight(steps)
    for k in range(at, steps):
        run.frames[k].x[image, :, :2, :2] += by
    run.x1[image, :, :2, :2] += by
    return run


def test_a_difference_is_b_minus_a_as_a_map_a_number_and_per_patch():
    found = difference(straight(4), bent(6, 3), image=1)
    assert found.signed.shape == (3, 4, 4) and torch.all(found.signed[:, :2, :2] == 1)
    assert found.per_patch.tolist() == [1, 0, 0, 0] and found.rms == pytest.approx(0.5)
    assert difference(straight(4), bent(6, 3), image=0).rms == 0


def test_any_two_frames_or_ends_can_be_compared():
    a, b = straight(4), straight(4)
    assert difference(a, b, 1, 3).rms == pytest.approx(0.5)
    assert difference(a, b, 3, 1).signed.mean().item() == pytest.approx(-0.5)
    assert difference(a, b, 4, None).rms == 0
    assert difference(a, b, 0, None, of="x1_hat").rms == 0  # 1 against 1


@pytest.mark.parametrize(("steps", "other"), [(8, 8), (8, 4), (4, 8), (8, 5)])
def test_runs_part_at_the_first_equal_time_where_they_differ_by_more(steps, other):
    found = parting(straight(steps), bent(other, other // 2 + 1), 0.3)
    assert found[0] is None
    here = (other // 2 + 1) / other
    earlier = [k / n for n in (steps, other) for k in range(n) if here - 1 / other < k / n <= here]
    # between b's steps its state is half-way there, so a time of a's may be the first
    far = [t for t in sorted(earlier) if (t - here + 1 / other) * other * 0.5 > 0.3]
    assert found[1].t == pytest.approx(far[0]) and found[1].rms > 0.3
    assert found[1].nfe == found[1].outer  # one forward a step
    assert found[1].outer == tuple(next(k for k in range(n + 1) if k / n >= far[0] - 1e-6) for n in (steps, other))


def test_a_run_never_parts_from_itself_nor_from_the_same_path_in_other_steps():
    a = straight(8)
    assert parting(a, a) == parting(a, straight(5)) == [None, None]
    runs = [record(Run(bundle(), SampleSpec("nano", n, steps=5, seeds=[1]))) for n in ("euler", "look_ahead")]
    assert parting(runs[0], runs[0]) == [None]
    apart = parting(*runs, threshold=0.01)[0]
    assert 0 < apart.t <= 1 and apart.outer[0] == apart.outer[1] and apart.nfe[0] < apart.nfe[1]


def test_runs_with_grids_per_patch_are_compared_at_equal_times():
    slow, fast = straight(8), straight(8)
    for k, f in enumerate(fast.frames):  # two patches run ahead on the same path
        ahead = min(1.0, 1.5 * k / 8)
        f.t[:, :2] = ahead
        f.x[:, :, :2] = ahead
    assert parting(slow, fast, 0.02) == [None, None]


def test_what_is_behind_a_pass_that_cost_more_than_one_is_what_came_before_it():
    """Where the velocity ranks, a pass costs its probes too."""
    spec = SampleSpec("nano", "look_ahead", nfe=30, seeds=[1])
    ranked = record(Run(bundle(), dataclasses.replace(spec, difficulty="divergence", probes=2)))
    (found,) = parting(ranked, record(Run(bundle(), dataclasses.replace(spec, sampler="euler"))), 1e-4)
    spent = [0, *(f.nfe for f in ranked.frames)]
    begins = [spent[k] for k, f in enumerate(ranked.frames) if f.phase == "outer"] + [spent[-1]]
    assert found.nfe[0] == begins[found.outer[0]] and max(b - a for a, b in pairwise(spent)) == 5


def test_an_edited_run_parts_where_it_was_edited():
    spec = SampleSpec("nano", "euler", steps=8, seeds=[1, 2])
    edit = {"kind": "clean", "outer": 5, "patches": [0, 1, 4, 5], "image": 1}
    a, b = (record(Run(bundle(), dataclasses.replace(spec, edits=e))) for e in ([], [edit]))
    found = parting(a, b, 0.02)
    assert found[0] is None and found[1].outer[0] >= 5


def test_a_step_begins_with_its_edits_done():
    edit = {"kind": "clean", "outer": 2, "patches": [0, 1]}  # which looks at its own prediction first
    run = record(Run(bundle(), SampleSpec("nano", "euler", steps=4, seeds=[1], edits=[edit])))
    clock = CLOCKS["by_outer"].fn(run)
    assert [run.frames[clock.index(k)].phase for k in range(4)] == ["outer"] * 4 and clock[-1] == 4
    first = Trajectory(run.grid, run.recipe, run.x0, [dataclasses.replace(run.frames[2], outer=0)])
    assert run.frames[2].phase == "probe" and align(first, first, "by_outer") == [(0, 0)]


def test_stopped_runs_are_compared_as_far_as_they_went():
    a, b = straight(8), bent(8, 6)
    b.frames, b.x1 = b.frames[:5], None
    assert parting(a, b) == [None, None]
    with pytest.raises(InputError, match="stopped before its end"):
        difference(a, b)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a, b: difference(a, b, image=2), "images 0 to 1"),
        (lambda a, b: difference(a, b, 9), "frames 0 to 3 and its end, 4"),
        (lambda a, b: difference(a, b, -1), "no frame -1"),
        (lambda a, b: difference(a, b, of="v"), "x or in x1_hat"),
        (lambda a, b: difference(a, straight(4, b=3)), "cannot be compared"),
        (lambda a, b: parting(a, straight(4, b=3)), "cannot be compared"),
        (lambda a, b: parting(a, b, 0.0), "threshold must be a positive"),
        (lambda a, b: align(a, b, "by_mood"), "no clock 'by_mood'"),
        (lambda a, b: align(a, Trajectory(GRID, {}, a.x0)), "without frames"),
    ],
)
def test_mistakes_are_sentences(call, says):
    with pytest.raises(InputError, match=says):
        call(straight(4), straight(4))


class TestAlign:
    def test_on_equal_nfe_forward_by_forward_and_the_shorter_one_waits_at_its_end(self):
        assert align(straight(2), straight(4)) == [(0, 0), (1, 1), (2, 2), (2, 3), (2, 4)]

    def test_on_equal_outer_steps_by_the_states_with_which_they_begin(self):
        two_a_step = straight(2)
        x = two_a_step.x0
        frames = [
            frame(phase, k, 2 * k + i + 1, x, k / 2) for k in range(2) for i, phase in enumerate(("outer", "probe"))
        ]
        two_a_step = dataclasses.replace(two_a_step, frames=frames)
        assert align(straight(2), two_a_step, "by_outer") == [(0, 0), (1, 2), (2, 4)]

    def test_on_equal_seconds(self):
        fast, slow = straight(2, seconds=1), straight(2, seconds=2)
        assert align(fast, slow, "by_seconds") == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]

    def test_a_stopped_run_has_no_end(self):
        stopped = straight(4)
        stopped.x1 = None
        assert align(stopped, straight(4))[-1] == (3, 4)

    @pytest.mark.parametrize("clock", list(CLOCKS))
    def test_indices_never_fall_and_reach_both_ends(self, clock):
        runs = [record(Run(bundle(), SampleSpec("nano", n, nfe=9))) for n in ("look_ahead", "dual_loop")]
        pairs = align(*runs, clock)
        assert pairs == sorted(pairs) and pairs[-1] == tuple(len(r) for r in runs)


@pytest.mark.parametrize(
    ("name", "settings", "moves"),
    [
        ("euler", {}, 5 * 16),
        ("heun", {}, 5 * 16),
        ("look_ahead", {}, 5 * 16),
        ("dual_loop", {"n_inner": 1}, 5 * 16),
        ("dual_loop", {"n_inner": 4, "p": 0.4}, 5 * (16 + 3 * 10)),  # 6 of 16 are easy
        ("random_order", {"n_inner": 3, "p": 0.4}, 5 * (16 + 2 * 10)),
    ],
)
def test_patch_updates_are_the_moves_committed(name, settings, moves):
    run = record(Run(bundle(), SampleSpec("nano", name, settings, steps=5, seeds=[0, 1])))
    assert patch_updates(run) == [moves, moves]


def test_a_recording_of_an_end_alone_tells_of_no_moves():
    run = straight(4)
    run.frames.clear()
    assert run.x1 is not None and patch_updates(run) == [0, 0]


def test_patches_that_stand_still_are_no_updates():
    edit = {"kind": "clean", "patches": [0, 1, 2], "image": 0, "source": {"dataset": "shapes", "index": 1}}
    run = record(Run(bundle(), SampleSpec("nano", "euler", steps=5, seeds=[0, 1], edits=[edit])))
    assert patch_updates(run) == [5 * 13, 5 * 16]


def test_every_sampler_moves_every_patch_at_least_once_a_step():
    for name in SAMPLERS:
        (moves,) = patch_updates(record(Run(bundle(), SampleSpec("nano", name, steps=3))))
        assert moves >= 3 * 16


def test_a_film_of_differences_is_the_difference_at_each_of_its_moments():
    a, b = straight(8), bent(8, 5)
    moments = [(0, 0), (3, 6), (8, 8)]
    for of in ("x", "x1_hat"):
        found = film(a, b, moments, 1, of)
        for k, (i, j) in enumerate(moments):
            one = difference(a, b, i, j, 1, of)
            assert found.rms[k] == pytest.approx(one.rms)
            assert found.signed[k].equal(one.signed.mean(0)) and found.per_patch[k].equal(one.per_patch)
    with pytest.raises(InputError, match="no frames"):
        film(a, b, [])
    with pytest.raises(InputError, match="no frame 9"):
        film(a, b, [(0, 9)])


def test_what_was_measured_is_a_sentence():
    said = measured(straight(8), bent(8, 5), ("A", "B"), 0.3)
    assert said.startswith("B ends 0.354 RMS from A over 2 images, most in row 1, column 1 of image 2 (1.000); ")
    assert said.endswith(
        "their states are first more than 0.3 apart at t 0.62 in image 2, after outer step 5 of A and 5 of B."
    )
    assert measured(straight(8), bent(8, 5), ("A", "B"), 2.0).endswith("at no t are their states more than 2 apart.")
    late = straight(4)
    late.x1[1] += 1
    assert measured(straight(4), late, ("A", "B"), 0.3).endswith(
        "only at the end are their states more than 0.3 apart in image 2."
    )
    one = measured(straight(4, b=1), straight(8, b=1), ("A", "C"))
    assert one == "C ends in the same image as A; at no t are their states more than 0.05 apart."
    stopped = dataclasses.replace(straight(4), x1=None)
    with pytest.raises(InputError, match="stopped"):
        measured(straight(4), stopped, ("A", "B"))
