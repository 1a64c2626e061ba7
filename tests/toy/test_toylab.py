"""The plane's laboratory: training on it, what is measured, its figures and its command."""

import json
import re
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from pf_core.cli import main, toy
from pf_core.cli.common import Parser
from pf_core.errors import InputError
from pf_core.figures import interactive, static
from pf_core.samplers import SAMPLERS
from pf_core.timesteps import TIMESTEPS
from pf_core.toy.benchmark import ablation, benchmark, removal, verdict
from pf_core.toy.experiment import ToyConfig, ToyState, ask, fields, trajectories, visited
from pf_core.toy.metrics import calibration, distances, measure

SHORT = {"steps": 12, "batch_size": 64}


def trained(**changes) -> ToyState:
    state = ToyState(ToyConfig(**{**SHORT, **changes}))
    for _ in state:
        pass
    return state


class ExactState(ToyState):
    """A state whose network is the truth."""

    def rewind(self):
        super().rewind()
        self.model = self.exact


def test_pause_step_and_rewind_with_the_same_start():
    whole, state = trained(), ToyState(ToyConfig(**SHORT))
    assert state.done == 0 and not state.finished
    state.step()
    first = list(state.history)
    for _ in state:
        pass
    assert state.history == whole.history and state.finished and state.step() is None
    for a, b in zip(state.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)
    state.rewind()
    assert state.done == 0
    state.step()
    assert state.history == first
    assert trained(seed=1).history != whole.history


@pytest.mark.parametrize("timesteps", TIMESTEPS)
def test_every_timestep_sampler_trains(timesteps):
    assert np.isfinite(trained(steps=2, timesteps=timesteps).history).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_on_the_plane(sampler):
    state = ExactState(ToyConfig(**SHORT))
    paths = trajectories(state.model, state.starts(60), sampler, 24)
    assert paths.x.shape == paths.t.shape == (len(paths.phase), 60, 2) and paths.phase[-1] == "final"
    assert paths.logvar.shape == (paths.nfe, 60, 2) and paths.nfe <= 24
    assert torch.equal(paths.x[0], state.starts(60)) and (paths.t[-1] == 1).all()
    assert paths.uncertainty.min() == 0 and paths.uncertainty.max() == 1
    distance, _ = distances(state, paths.x[-1])
    assert distance < 0.15
    if SAMPLERS[sampler].fn.needs_difficulty:
        assert (paths.t[:, :, 0] != paths.t[:, :, 1]).any(), "one coordinate runs ahead"


def test_the_exact_model_measures_perfect():
    found = measure(ExactState(ToyConfig()), count=500, steps=50)
    assert found["logvar_correlation"] == pytest.approx(1, abs=1e-6) and found["variance_relative_error"] < 1e-6
    assert found["energy_distance"] < 3 * found["energy_distance_floor"]


def test_fields_and_calibration():
    state = trained()
    seen = fields(state, (0.2, 0.7), (-3.0, -2.0), (3.0, 2.0), k=8)
    x = torch.tensor([[seen.xs[2], seen.ys[5]]]).float()
    v, logvar = ask(state.exact, x, torch.tensor([[0.2, 0.7]]))
    np.testing.assert_allclose(seen.exact_velocity[5, 2], v[0], atol=1e-4)
    np.testing.assert_allclose(seen.sigma(exact=True)[5, 2], logvar.exp().mean().sqrt(), atol=1e-4)
    assert np.isnan(fields(state, (0.2, 0.7), (-3, -2), (3, 2), k=4, exact=False).exact_variance).all()
    exact = ExactState(ToyConfig(**SHORT))
    curve = calibration(exact, visited(exact, 50, 10))
    assert np.allclose(seen.sigma("x") ** 2 + seen.sigma("y") ** 2, 2 * seen.sigma() ** 2)
    np.testing.assert_allclose(curve.predicted, curve.exact, rtol=1e-4)
    assert curve.error.max() == 0 and curve.t[0] == 0 and len(curve.t) == 10


def test_the_stop_gradient_switch_changes_the_training():
    kept, removed = trained(), trained(stop_gradient=False)
    assert kept.history[0] == removed.history[0] and kept.history[-1] != removed.history[-1]
    found = ablation(ToyConfig(**SHORT), count=50, steps=5)
    assert found["kept"]["losses"] != found["removed"]["losses"]
    numbers = {"velocity_relative_error": 0.1, "variance_relative_error": 0.25, "energy_distance": 0.02}
    said = removal(numbers, {k: 2 * v for k, v in numbers.items()})
    assert said == (
        "Without the stop-gradient the velocity's squared error is 20% of the exact variance instead of 10%, the "
        "variance's error is 50% of the exact variance instead of 25%, the energy distance 0.0400 instead of 0.0200."
    )


def test_a_race_counts_what_it_spends_and_says_who_gains():
    state = ExactState(ToyConfig(**SHORT))
    found = benchmark(state, 8, count=300)
    assert set(found.results) == set(SAMPLERS) and max(nfe for nfe, _ in found.results.values()) == 8
    plain = found.results["euler"][1]
    assert found.results["multistep"][1] < found.results["heun"][1] < plain < found.results["dual_loop"][1], (
        "as the exact flow has it at 8 NFE"
    )
    assert "running ahead hurts" in verdict(found) and "The nearest is Multistep." in verdict(found)
    assert found.step_for_step["dual_loop"] > found.results["dual_loop"][1], "step for step its inner steps help"
    assert "Against as many plain steps, Random order" in verdict(found) and ", Dual-loop" in verdict(found)
    ahead = found.results | {"look_ahead": (7, plain / 2)}
    assert "running ahead helps, most by Look-ahead" in verdict(replace(found, results=ahead))
    few = benchmark(state, 1, count=50)
    assert set(few.late) == {"random_order", "dual_loop"} and "running ahead changes nothing" in verdict(few)


def test_times_are_drawn_as_in_training():
    t = ToyState(ToyConfig(timesteps="uniform")).times(50)
    assert t.shape == (50, 2) and torch.equal(t[:, 0], t[:, 1])
    assert not torch.equal(*ToyState(ToyConfig()).times(50).T)


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": "nowhere"},
        {"data": "moons", "data_settings": {"noise": 9}},
        {"data": "points"},
        {"data": "points", "array": [[1, 2]]},
        {"data": "points", "array": [[1, 2], [float("nan"), 0]]},
        {"source": "elsewhere"},
        {"timesteps": "never"},
    ],
)
def test_bad_configs_are_sentences(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        ToyState(ToyConfig(**wrong))


def test_drawn_points_are_learnt_from():
    state = trained(data="points", array=[[0.0, 1.0], [1.0, 0.0]], source="normal")
    assert state.exact(state.starts(1).view(1, 1, 1, 2), _time(0.5)).v.isfinite().all()
    assert json.loads(json.dumps(state.config.to_dict()))["array"] == [[0.0, 1.0], [1.0, 0.0]]
    array = [[0.123456789, 1.0], [1.0, 0.0]]  # the recipe is of the training that ran
    assert ToyConfig(data="points", array=array).to_dict()["array"] == array


def _time(t):
    from pf_core.types import PatchTime

    return PatchTime.shared(torch.tensor([t]), 2)


def test_figures(tmp_path):
    state = trained()
    noise, truth = state.starts(50).numpy(), state.truth(50).numpy()
    paths, chosen = (trajectories(state.model, s, "look_ahead", 8) for s in (state.starts(50), state.forks()))
    on = chosen.on_path
    way, shade = chosen.x[on].numpy(), chosen.uncertainty[on].numpy()
    figure = static.figure5(noise, truth, paths.x[paths.on_path].numpy(), way, shade)
    assert [a.get_title() for a in figure.axes[:3]] == [
        "Data",
        "Generated (Euler)",
        "Sampling trajectories with uncertainty",
    ]
    for suffix in (".png", ".pdf", ".svg"):
        static.save(figure, tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").stat().st_size > 10_000
    low, high = static.limits(noise, truth)
    seen = fields(state, (0.5, 0.5), low, high, k=6)
    probes = chosen.x[[i for i, p in enumerate(chosen.phase) if p == "probe"]].numpy()
    ghost = np.arange(2), {"nll": np.arange(2)}
    for made in (
        interactive.data(noise, truth),
        interactive.generated(paths.x.numpy(), "Euler", low, high),
        interactive.uncertainty(noise, truth, way, shade, chosen.t[on].numpy(), low, high, probes),
        interactive.heat("sigma", seen.xs, seen.ys, seen.sigma(), (0, 1), "sigma"),
        interactive.arrows("v", seen.xs, seen.ys, seen.velocity, seen.exact_velocity),
        interactive.curves("loss", np.arange(3), {"mse": np.arange(3)}, "step", "loss", ghost, skip=0.1),
        interactive.bars("race", ["a", "b"], np.array([0.1, 0.2]), 0.05, "distance", "floor"),
        interactive.times("times", np.random.default_rng(0).random((40, 2))),
    ):
        assert go.Figure(made).layout.uirevision == "kept" and len(json.dumps(made)) < 60_000


def test_command(tmp_path, capsys, monkeypatch):
    drawn, data = [], toy.figure5_data
    monkeypatch.setattr(toy, "figure5_data", lambda *given: drawn.append(given) or data(*given))
    small = ["--steps", "3", "--batch-size", "16", "--nfe", "8"]
    for suffix in ("png", "svg"):
        starts = ["--starts=-2,0.5;1,2"] * (suffix == "svg")
        assert main(["toy", *small, *starts, "--out", str(tmp_path / f"figure5.{suffix}")]) == 0
    assert [given[4] if given[4] is None else given[4].tolist() for given in drawn] == [None, [[-2, 0.5], [1, 2]]]
    points = tmp_path / "points.csv"
    points.write_text("x,y\n" + "".join(f"{i % 7},{i % 3}\n" for i in range(30)))
    assert main(["toy", *small, "--points", str(points), "--out", str(tmp_path / "x.json")]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    names = ["logvar_correlation", "variance_relative_error", "energy_distance", "energy_distance_floor"]
    names += ["velocity_relative_error", "train_seconds", "train_cpu_seconds", "equal_nfe", "recipe"]
    assert set(names) == set(found) and found["recipe"]["data"] == "points"
    assert [r["nfe_budget"] for r in found["equal_nfe"]] == [8, 16, 32]
    assert all(set(r["samplers"]) == set(SAMPLERS) for r in found["equal_nfe"])
    capsys.readouterr()


def test_a_timestep_samplers_std_is_not_the_points():
    parser = Parser()
    toy.add_arguments(parser)
    read = toy.config(parser.parse_args("--timesteps ltg --std 0.3".split()))
    assert read.timestep_settings["std"] == 0.3 and read.data == "two_modes"
    read = toy.config(parser.parse_args("--data eight_gaussians --data-std 0.2 --timesteps ltg --std 0.3".split()))
    assert read.timestep_settings["std"] == 0.3 and read.data_settings == {"std": 0.2}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--out x.gif", "must end in"),
        ("--data moon", "Did you mean 'moons'"),
        ("--steps 0", "steps must lie between"),
        ("--nfe 0", "nfe must lie"),
        ("--nfe 99999", "nfe must lie"),
        ("--nfe x", "whole number"),
        ("--starts=1", "pairs"),
        ("--points nowhere.csv", "Cannot read"),
        ("--points bad.csv", "Line 2"),
        ("--points many.csv", "1,000,000 points"),
        ("--data moons --std 0.3", "no setting 'std'"),
        ("--sampler dual_loop --nfe 1", "too few"),
        ("--out folder", "must end in"),
        ("--out missing.csv/x.json", "Cannot write"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("1,2\nnan,3\n")
    (tmp_path / "missing.csv").write_text("")
    if "many" in flags:
        (tmp_path / "many.csv").write_text("1,2\n" * 1_000_000)
    before = {p.name for p in tmp_path.iterdir()}
    assert main(["toy", "--steps", "2", *flags.split()]) == 2 or "--steps 0" in flags
    said = capsys.readouterr().err
    assert words in said and said.strip().count("\n") == 0
    assert {p.name for p in tmp_path.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_shipped_defaults_learn_what_is_true(seed):
    """Issue 5's numbers: 2,000 steps of batch 1024."""
    state = trained(steps=2000, batch_size=1024, seed=seed)
    found = measure(state)
    assert found["logvar_correlation"] >= 0.98 and found["variance_relative_error"] <= 0.08
    assert found["energy_distance"] <= 2 * found["energy_distance_floor"]


def colour_at(trace: dict, value: float) -> tuple[int, int, int]:
    """Red, green, blue of a heatmap at a value: its list of colours read as plotly.js reads it, straight between."""
    at = (value - trace["zmin"]) / (trace["zmax"] - trace["zmin"])
    assert not trace.get("reversescale") and isinstance(
        trace["colorscale"], list
    )  # a name means one thing here, one there
    stops, colours = zip(*trace["colorscale"], strict=True)
    channels = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in colours])
    return tuple(round(float(np.interp(at, stops, channel))) for channel in channels.T)


def test_predicted_too_large_is_red_and_the_bar_says_so():
    xs = np.linspace(-1, 1, 4)
    made = interactive.heat("difference", xs, xs, np.ones((4, 4)), (-0.5, 0.5), "sigma", ("too small", "too large"))
    [trace] = made["data"]
    red, _, blue = colour_at(trace, 0.4)
    assert red > blue + 100
    red, _, blue = colour_at(trace, -0.4)
    assert blue > red + 100
    assert max(colour_at(trace, 0.0)) - min(colour_at(trace, 0.0)) < 5  # no hue where both are right
    ticks = trace["colorbar"]["ticktext"]
    assert ticks[0].endswith("too small") and ticks[-1].endswith("too large") and ticks[-1].startswith("+0.5")
    go.Figure(made)


def test_both_velocity_fields_are_drawn_on_one_scale_within_the_frame():
    xs = np.linspace(-1, 1, 4)
    small = np.full((4, 4, 2), 1e-3)  # an untrained network's, beside the exact one
    made = interactive.arrows("v", xs, xs, small, small * 1000)["layout"]
    paths = (re.split("[ML,]+", shape["path"].strip("ML")) for shape in made["shapes"])
    numbers = [float(v) for path in paths for v in path]
    assert max(map(abs, numbers)) <= 1 + 1.4 * (xs[1] - xs[0])


def test_no_legend_lies_over_a_plot_or_its_title():
    points = np.random.default_rng(0).normal(size=(5, 2))
    curves = interactive.curves("losses", np.arange(3), {"mse": np.arange(3)}, "step", "loss")
    for layout in (made["layout"] for made in (interactive.data(points, points), curves)):
        assert (layout["legend"]["y"], layout["legend"]["yanchor"]) == (1, "bottom") and layout["margin"]["t"] >= 50
