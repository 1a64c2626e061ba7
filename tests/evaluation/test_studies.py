"""Studies on networks whose answer is known: the exact denoiser of a few images, and one that is wrong on purpose."""

import sys
from dataclasses import replace

import pytest
import torch
from helpers import bundle

from pf_core.data.shapes import SHAPES, Shapes
from pf_core.errors import InputError
from pf_core.evaluation import judges, metrics
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.studies.equal_cost import CAPPED, _Capped
from pf_core.evaluation.work import Work
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import Encoded, Pixels
from pf_core.models.conditioning import ClassLabels
from pf_core.models.oracle import from_dataset
from pf_core.patches import PatchGrid
from pf_core.types import PatchTime, Prediction

CONFIG = {"timesteps": "ltg", "timestep_settings": {"loc": 0.5}}


def exact(count=40, model=None, **recipe):
    """The oracle of the first images, as a bundle that says so in its record."""
    model = model or from_dataset(Shapes(), count, PatchGrid(32, 32, 8))
    recipe |= {"dataset": "shapes", "data_settings": {"count": count}}
    return Bundle("exact", model, Pixels(), ClassLabels(10, list(SHAPES)), training={"recipe": recipe})


class Changed(torch.nn.Module):
    """A denoiser that says something else than `model`."""

    def __init__(self, model):
        super().__init__()
        self.model, self.grid, self.channels = model, model.grid, model.channels


class Slanted(Changed):
    """With a Jacobian too large on the right of the image and too small on the left."""

    def forward(self, x, t, y):
        seen = self.model(x, t, y)
        v = seen.v + torch.linspace(-3, 1, x.shape[-1]) * x
        return Prediction(v, seen.logvar, v, seen.logvar_cond)


class Bold(Changed):
    """With a velocity a tenth too large and half the variance."""

    def forward(self, x, t, y):
        seen = self.model(x, t, y)
        return Prediction(1.1 * seen.v, seen.logvar - 0.693147, seen.v_cond, seen.logvar_cond)


def test_exactness_is_in_the_networks_own_space():
    """Of pixels at half their size, and never of a network of prompts."""
    net = exact(count=2)
    half = replace(net, codec=Pixels(0.5))
    assert STUDIES["exactness"].fn(half, states=20)["velocity_error_share"]["value"] > 0.1  # it knows whole pixels
    right = replace(half, model=from_dataset(Encoded(Shapes(), half.codec), 2, PatchGrid(32, 32, 8)))
    assert STUDIES["exactness"].fn(right, states=20)["velocity_error_share"]["value"] < 1e-6


def test_the_oracle_agrees_with_itself():
    found = STUDIES["exactness"].fn(exact(), states=40)
    assert found["images"] == 40 and found["velocity_error_share"]["value"] < 1e-9
    assert found["logvar_correlation"]["value"] == pytest.approx(1)
    assert found["predicted_over_true"]["value"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "name, few",
    [
        ("difficulty", {"images": 10}),
        ("probe_gain", {"images": 10}),
        ("divergence", {"images": 10, "probes": 2}),
        ("exactness", {"states": 10}),
        ("timestep_laws", {"images": 2, "nfe": 4}),
    ],
)
def test_a_study_keeps_its_pieces_and_computes_none_of_them_again(name, few, tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "REPEATS", 5)
    monkeypatch.setattr(sys.modules[f"pf_core.evaluation.studies.{name}"], "_PART", 4, raising=False)
    net = exact() if name == "exactness" else bundle()
    found = [STUDIES[name].fn(net, **few), STUDIES[name].fn(net, **few, work=Work(tmp_path))]
    monkeypatch.setattr(type(net.model), "forward", None)
    found.append(STUDIES[name].fn(net, **few, work=Work(tmp_path)))
    for numbers in found:
        for at in numbers.get("t", {}).values():
            at.pop("passes", None)  # how long they took
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "name, few",
    [
        ("context_helps", {"images": 10, "spacing": 0.45}),
        ("uncertainty_tracks_error", {"images": 10, "repeats": 2}),
        ("context_reduces_uncertainty", {"images": 10}),
        ("probe_gain", {"images": 10}),
        ("difficulty", {"images": 10}),
        ("divergence", {"images": 10, "probes": 1}),
        ("timestep_laws", {"images": 2, "nfe": 4}),
        ("exactness", {"states": 10}),
    ],
)
def test_a_study_pauses_after_every_pass(name, few, monkeypatch):
    """In the app others then have their turn, and a stop waits for no more than that."""
    monkeypatch.setattr(metrics, "REPEATS", 2)
    net, seen = exact() if name == "exactness" else bundle(), []
    net.model.register_forward_hook(lambda *of: seen.append("pass"))
    STUDIES[name].fn(net, **few, work=Work(stop=lambda: seen.append("pause")))
    assert "pass" in seen and "pass pass" not in " ".join(seen) and seen[-1] == "pause"


def test_patches_too_large_to_be_background_alone_are_left_out_of_the_numbers(monkeypatch):
    monkeypatch.setattr(metrics, "REPEATS", 2)
    found = STUDIES["difficulty"].fn(bundle(patch_size=16), images=10)
    assert set(found["t"]["0.2"]) == {"spearman", "predicted_over_true"}
    assert len(STUDIES["difficulty"].fn.about.chart(found | {"checkpoint": "nano"}).rows[0]) == 2


def test_a_wrong_network_is_found_out():
    found = STUDIES["exactness"].fn(exact(model=Bold(exact().model), config=CONFIG), states=40)
    assert found["velocity_error_share"]["value"] == pytest.approx(0.01, rel=1e-3)
    assert found["predicted_over_true"]["interval"][1] < 0.55  # half, and less for the error that it does not expect


@pytest.mark.parametrize("name, words", [("exactness", "finite data set"), ("probe_gain", "predicts no difficulty")])
def test_a_network_that_a_study_cannot_look_at_is_refused(name, words):
    with pytest.raises(InputError, match=words):
        STUDIES[name].fn(bundle(predict_uncertainty=False))


def test_true_context_helps_a_perfect_network_and_its_own_does_not():
    """E[u|x] is the best guess from x; a probe of its own adds nothing to x, the truth does."""
    found = STUDIES["probe_gain"].fn(exact(), images=60)["t"]
    assert set(found) == {"0.1", "0.2", "0.3", "0.5", "0.8"}
    early = found["0.1"]
    assert early["true 2"]["interval"][1] < 0 and early["true 3"]["value"] < early["true 1.4"]["value"]
    assert all(early[f"own {ratio}"]["interval"][1] > 0 for ratio in ("1.4", "2", "3"))


def test_equal_cost_compares_paired_runs(monkeypatch):
    # the package's attribute of this name is the function
    module = sys.modules["pf_core.evaluation.studies.equal_cost"]
    monkeypatch.setattr(metrics, "REPEATS", 20)
    monkeypatch.setattr(module, "RATIOS", (1.4, 3.0))
    monkeypatch.setattr(module, "SHARES", (0.6,))
    seen = judges.load()[0].judge(Shapes().batch(range(200)).images)
    monkeypatch.setattr(module, "references", lambda *of: seen.features.numpy())
    found = STUDIES["equal_cost"].fn(bundle(), images=20, steps="2")
    first, second, *ahead = found["rows"]
    assert (first["sampler"], first["nfe"], second["nfe"]) == ("euler", 2, 3)
    assert [row["settings"] for row in ahead] == [
        {"p": p, "ratio": r, "order": 1} for p, r in ((0.4, 1.4), (0.4, 3.0), (0.6, 1.4), (0.4, 1.4))
    ]
    assert ahead[-1]["t_at_most"] == CAPPED
    assert first["minus_euler_of_equal_steps"] == {"value": 0, "interval": [0, 0]}
    for row in ahead:
        assert row["nfe"] == 3 and row["minus_euler_of_equal_steps"]["value"] == pytest.approx(
            row["frechet"]["value"] - first["frechet"]["value"]
        )
    found = STUDIES["equal_cost"].fn(bundle(), images=20, steps="2,3")  # now a step of the others costs as little
    assert [row["cost"] for row in found["rows"]] == [3] * 6 + [5] * 10
    chart = STUDIES["equal_cost"].fn.about.chart(found | {"checkpoint": "nano"})
    assert [panel.title.split(", ")[1] for (panel,) in chart.rows] == ["3 NFE", "5 NFE"] and len(chart.names) == 2
    assert chart.rows[0][0].places[:3] == ["Euler, 2 steps", "Look-ahead, ratio 1.4", "Look-ahead, ratio 3"]
    assert {"Look-ahead, p 0.6", "Look-ahead, t \u2264 0.97", "Dual-loop, 1 step, 4 NFE"} <= {*chart.rows[1][0].places}
    found["rows"] = found["rows"][6:]
    rows = {(row["sampler"], row["steps"]): row for row in found["rows"]}
    assert [steps for name, steps in rows if name == "euler"] == [1, 3, 4, 5]
    for name in ("dual_loop", "random_order"):
        of, euler = rows[name, 1], {steps: rows["euler", steps]["frechet"]["value"] for steps in (1, 4)}
        for key, steps in (("steps", 1), ("cost", of["nfe"])):
            want = of["frechet"]["value"] - euler[steps]
            assert of[f"minus_euler_of_equal_{key}"]["value"] == pytest.approx(want)
    about, ahead = STUDIES["equal_cost"].fn.about, next(r for r in found["rows"] if r["settings"].get("ratio") == 1.4)
    for row, steps, said in ((ahead, -2, "Holds here in part"), (ahead, 3, "Does not appear here")):
        row["minus_euler_of_equal_cost"] = {"value": -3, "interval": [-4, -2]}
        row["minus_euler_of_equal_steps"] = {"value": steps, "interval": [steps - 1, steps + 1]}
        rows["dual_loop", 1]["minus_euler_of_equal_cost"] = {"value": 1, "interval": [0.5, 2]}
        assert about.verdict(found).startswith(said) and "dual-loop" in about.verdict(found)
        assert f"look-ahead {str(steps).replace('-', chr(0x2212))}.0 and \u22123.0" in about.line(found)


def test_adaptive_schedules_must_lie_below_random_order():
    """At every budget, as Fig. 6 has it; where looking ahead of random patches does better is told."""
    gain, lost = {"value": -7, "interval": [-9, -5]}, {"value": 7, "interval": [5, 9]}
    about = STUDIES["schedules"].fn.about

    def rows(nfe, minus_euler, ordered, luckier=0):
        row = {"budget": nfe, "minus_euler": minus_euler, "frechet": gain}
        order, chance = ({"value": v, "interval": [v - 2, v + 2]} for v in (ordered, luckier))
        dual, ahead = {"minus_random": order}, {"minus_random_order": order, "minus_random": chance}
        told = [row | {"label": "dual-loop"} | dual, row | {"label": "look-ahead"} | ahead]
        return [row | {"label": "Euler"}, *told, row | {"label": "random order"}]

    def said(*budgets):
        result = {"rows": [row for budget in budgets for row in rows(*budget)]}
        assert about.verdict(result).startswith(about.line(result).split(".")[0])
        return about.line(result)

    both = "dual-loop at 8 and look-ahead at 8 NFE"
    assert said((8, gain, -3)).startswith(f"Holds here: {both} below random order. At 8 NFE minus random order \u22123")
    assert said((8, gain, -3), (16, gain, 1)).startswith(f"Holds here in part: {both} below random order. At 8")
    lost_too = f"{both} below random order, {both.replace('8', '16')} above it."
    assert said((8, lost, -3), (16, gain, 3)).startswith(f"Holds here in part: {lost_too}")
    nothing = "Does not appear here: no adaptive sampler is told from random order, at 8, 16 NFE."
    assert said((8, gain, 1), (16, gain, 0)).startswith(nothing)
    assert said((8, gain, 3)).startswith(f"Does not appear here: {both} above random order.")
    luck = "; random look-ahead beats look-ahead at 8, 16, loses to look-ahead at 32 NFE."
    assert luck in said((8, gain, -3, 4), (16, gain, -3, 5), (32, gain, -3, -4), (64, gain, -3))
    result = {"rows": [*rows(8, lost, 0), *rows(16, gain, 0)]}
    told = "Random order, on the page worse than Euler, is worse than Euler at 8 NFE, better at 16 NFE."
    assert told in about.verdict(result)
    assert about.verdict(result | {"trained_on": [2, 1]}).endswith("trained alike, on 2 images against SiT's 1 images.")
    for row in result["rows"]:
        row.pop("minus_random_order", None)  # as older results have it
    assert "no adaptive sampler is told from random order, at 8, 16 NFE" in about.line(result)
    older = {"rows": [*rows(8, gain, -3)]}
    older["rows"][2].pop("minus_random_order")
    assert "dual-loop at 8 NFE below random order (look-ahead was not paired with it)" in about.line(older)
    for row in result["rows"]:
        row.pop("minus_random", None)  # as the first ones had it
    assert about.line(result).startswith("Cannot be told here: no random order was drawn.")
    few = {"rows": [result["rows"][0], result["rows"][0] | {"label": "multistep", "minus_euler": gain}]}  # no head
    assert "minus Euler's: multistep \u22127.0" in about.line(few) and "multistep \u22127.0" in about.verdict(few)


def test_order_compares_at_equal_budgets(monkeypatch):
    module = sys.modules["pf_core.evaluation.studies.order"]
    monkeypatch.setattr(module, "BUDGETS", (4, 16))
    monkeypatch.setattr(metrics, "REPEATS", 5)
    seen = judges.load()[0].judge(Shapes().batch(range(200)).images)
    monkeypatch.setattr(module, "references", lambda *of: seen.features.numpy())
    found = STUDIES["order"].fn(bundle(), images=20, most=8)
    rows = found["rows"]
    first, second = STUDIES["order"].fn.about.chart(found | {"checkpoint": "nano"}).rows[0]
    assert [s.name for s in first.series] == ["Euler", "dual-loop", "look-ahead", "random look-ahead"]
    assert {"Heun", "multistep"} < {s.name for s in second.series} and len(second.series) == 5
    assert first.ends == second.ends, "to be compared by eye"
    assert [(r["sampler"], r["settings"].get("order"), r["nfe"]) for r in rows] == [
        ("euler", None, 4), ("heun", None, 3), ("multistep", None, 4), ("dual_loop", 1, 4), ("dual_loop", 2, 4),
        ("look_ahead", 1, 3), ("look_ahead", 2, 3), ("random_look_ahead", 1, 3), ("random_look_ahead", 2, 3),
    ]  # fmt: skip
    for row in rows:
        assert row["minus_euler"]["value"] == pytest.approx(row["frechet"]["value"] - rows[0]["frechet"]["value"])
    assert rows[2]["minus_multistep"] == {"value": 0, "interval": [0, 0]}
    alone = [r["minus_same_steps"]["value"] for r in rows[3:]]
    assert "minus_same_steps" not in rows[2] and [v == 0 for v in alone] == [False] * 6
    assert rows[5]["minus_random"]["value"] == pytest.approx(rows[5]["frechet"]["value"] - rows[7]["frechet"]["value"])
    assert all(rows[k]["frechet"] != rows[k + 1]["frechet"] for k in (3, 5, 7))


def test_a_capped_network_hears_of_no_later_time():
    net = bundle()
    x, y = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2])
    late, cap = (PatchTime.shared(torch.full((2,), t), net.grid.n) for t in (1.0, CAPPED))
    capped = replace(net, model=_Capped(net.model)).model
    assert torch.equal(capped(x, late, y).v, net.model(x, cap, y).v)
    assert not torch.equal(net.model(x, late, y).v, net.model(x, cap, y).v)


def test_divergence_agrees_with_an_exact_head_and_says_what_it_costs():
    found = STUDIES["divergence"].fn(exact(), images=10, probes=16)
    early = found["t"]["0.1"]
    assert early["divergence_with_head"]["value"] > 0.3 and early["passes"] > 1
    assert early["head_with_error"]["value"] > early["divergence_with_error"]["value"]
    assert 0.2 < early["halves"]["value"] < 0.9


def test_few_probes_are_told_from_a_network_whose_jacobian_is_off():
    study = STUDIES["divergence"].fn
    slanted, plain = exact(model=Slanted(exact().model)), exact()
    wrong, right = (study.about.verdict(study(of, images=10, probes=4)) for of in (slanted, plain))
    assert "it is the network's own Jacobian that is off" in wrong and "own Jacobian" not in right


def test_divergence_of_a_network_without_a_head_draws_with_it():
    net = bundle(predict_uncertainty=False)
    found = STUDIES["divergence"].fn(net, images=10, probes=1, drawn=20, nfe=16)
    assert "divergence_with_head" not in found["t"]["0.2"]
    assert [row["sampler"] for row in found["rows"]] == ["euler", "look_ahead", "look_ahead", "dual_loop"]
    assert all(row["nfe"] <= 16 for row in found["rows"]) and "minus_base" in found["rows"][1]
    said = STUDIES["divergence"].fn.about.verdict(found)
    assert "at 16 network evaluations of which a ranking pass is 3" in said and "look-ahead (ratio 2) " in said
