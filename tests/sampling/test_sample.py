import dataclasses

import pytest
import torch
from helpers import bundle

from pf_core.errors import InputError
from pf_core.samplers import SAMPLERS
from pf_core.samplers.common import easiest
from pf_core.sampling import edits
from pf_core.sampling.edits import Edit
from pf_core.sampling.run import Run, SampleSpec, resolve, sample
from pf_core.sampling.sweep import Sweep
from pf_core.training.config import TrainRecipe

SPEC = SampleSpec("nano", "look_ahead", nfe=12, labels=["star"], seeds=[3, 4, 5])


def end(net, spec, **kw):
    *_, final = sample(net, spec, **kw)
    return final.x


def test_resolving_makes_every_choice_explicit():
    spec = resolve(SPEC, bundle())
    assert spec.settings == {"p": 0.4, "ratio": 1.4, "order": 1} and spec.labels == ["star"] * 3
    assert (spec.steps, spec.nfe) == (6, 11)
    assert spec.checkpoint_hash and spec.versions["torch"] == torch.__version__


def test_a_resolved_recipe_resolves_to_itself_and_survives_json():
    spec = resolve(SPEC, bundle())
    assert resolve(spec, bundle()) == spec
    assert SampleSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_the_same_recipe_is_the_same_bits(name):
    spec = dataclasses.replace(SPEC, sampler=name, cfg_scale=2.0)
    assert torch.equal(end(bundle(), spec), end(bundle(), spec))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_an_image_is_its_seeds_alone(name):
    net, spec = bundle(), dataclasses.replace(SPEC, sampler=name)
    together, alone = end(net, spec), end(net, dataclasses.replace(spec, seeds=[4]))
    assert torch.allclose(together[1:2], alone, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=0.1)


def test_a_samplers_own_draws_are_not_the_noises_stream_again():
    net = bundle()
    step = next(sample(net, dataclasses.replace(SPEC, sampler="random_order")))
    scores = torch.stack([torch.rand(net.grid.n, generator=torch.Generator().manual_seed(s)) for s in SPEC.seeds])
    assert not torch.equal(step.easy, easiest(scores, 0.4, net.grid)[0])


def test_given_noise_is_used_as_it_is():
    x0 = torch.randn(3, 3, 32, 32)
    first = next(iter(Run(bundle(), SPEC, x0)))
    assert torch.equal(first.x, x0)


def test_a_time_grid_is_honoured():
    spec = dataclasses.replace(SPEC, nfe=None, ts=[0.0, 0.01, 0.5, 1.0])
    times = [s.t[0, 0].item() for s in sample(bundle(), spec) if s.phase in ("outer", "final")]
    assert times == pytest.approx([0, 0.01, 0.5, 1.0])
    assert resolve(spec, bundle()).nfe == 2 * 3 - 2


def test_forwards_count_a_guided_pair_twice():
    run = Run(bundle(), dataclasses.replace(SPEC, cfg_scale=2.0))
    assert len(list(run)) - 1 == 11 and run.forwards == 22


def test_bf16_is_close_to_fp32_and_repeats_itself():
    rough = dataclasses.replace(SPEC, precision="bf16", sampler="euler", nfe=4)
    a, b, exact = (end(bundle(), s) for s in (rough, rough, dataclasses.replace(rough, precision="fp32")))
    assert torch.equal(a, b) and a.dtype == torch.float32
    assert 0 < (a - exact).abs().max() < 0.3


BAD = {
    "precision": ({"precision": "int4"}, "fp32 or bf16"),
    "nfe 0": ({"nfe": 0}, "nfe must lie between 1 and"),
    "nfe huge": ({"nfe": 100000}, "nfe must lie between"),
    "nfe text": ({"nfe": "many"}, "whole number"),
    "nfe too small": ({"nfe": 2, "sampler": "dual_loop"}, "too few"),
    "steps huge": ({"nfe": None, "steps": 900}, "NFE"),
    "label": ({"labels": ["cat"]}, "no class 'cat'"),
    "label index": ({"labels": [10]}, "no class '10'"),
    "labels count": ({"labels": ["star", "ring"]}, "one an image"),
    "sampler": ({"sampler": "eulr"}, "Did you mean 'euler'"),
    "setting": ({"settings": {"n_inner": 3}}, "no setting 'n_inner'"),
    "p": ({"settings": {"p": 2}}, "p must lie"),
    "nan": ({"cfg_scale": float("nan")}, "cfg_scale must"),
    "cfg text": ({"cfg_scale": "two"}, "must be a number"),
    "no seed": ({"seeds": []}, "1 to"),
    "seed": ({"seeds": [-1]}, "seed must lie"),
    "interval": ({"guidance_interval": (0.8, 0.2)}, "after its end"),
    "grid": ({"ts": [0, 0.5, 0.5, 1]}, "rise strictly from 0 to 1"),
    "grid's cost": ({"ts": [k / 600 for k in range(601)]}, "more than 1000 NFE"),
    "another file": ({"checkpoint_hash": "beef"}, "made with another"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recipes_are_one_sentence(case):
    changes, says = BAD[case]
    with pytest.raises(InputError, match=says) as error:
        resolve(dataclasses.replace(SPEC, **changes), bundle())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("x0", [torch.zeros(2, 3, 32, 32), torch.full((3, 3, 32, 32), torch.nan)], ids=["shape", "nan"])
def test_bad_noise_is_refused(x0):
    with pytest.raises(InputError, match="noise"):
        Run(bundle(), SPEC, x0)


def test_a_network_without_difficulty_refuses_samplers_that_rank_and_runs_the_others():
    plain = bundle(predict_uncertainty=False)
    for name, entry in SAMPLERS.items():
        spec = dataclasses.replace(SPEC, sampler=name)
        if entry.fn.needs_difficulty:
            with pytest.raises(InputError, match="predicts no difficulty"):
                Run(plain, spec)
        else:
            assert torch.isfinite(end(plain, spec)).all()


UNKNOWN = {
    "recipe": (lambda: SampleSpec.from_dict({"checkpoint": "a", "lables": []}), "not a recipe.*'lables'.*'labels'"),
    "nothing near": (
        lambda: SampleSpec.from_dict({"checkpoint": "a", "q": 1}),
        "'q', which .* Known: checkpoint, samp",
    ),
    "one it needs": (lambda: SampleSpec.from_dict({"chekpoint": "a"}), "not a recipe.*'chekpoint'.*'checkpoint'"),
    "edit": (lambda: Edit.from_dict({"kind": "clean", "patches": [0], "imaeg": 1}), "'imaeg'.*'image'"),
    "sweep": (lambda: Sweep.from_dict({"base": {"checkpoint": "a"}, "axis": {}}), "not a sweep.*'axis'.*'axes'"),
    "its base": (lambda: Sweep.from_dict({"base": {"checkpoint": "a", "sed": 1}, "axes": {}}), "'sed'.*'seeds'"),
    "training": (lambda: TrainRecipe.from_dict({"config": {}, "modle": "tiny"}), "'modle'.*'model'"),
    "its config": (lambda: TrainRecipe.from_dict({"config": {"step": 3}}), "'step'.*'steps'"),
    "its source": (lambda: TrainRecipe.from_dict({"config": {"source": {"men": 3}}}), "'men'.*'mean'"),
    "no config": (lambda: TrainRecipe.from_dict({"model": "tiny"}), "lacks its config"),
    "a config of nothing": (lambda: TrainRecipe.from_dict({"config": None}), "its config is None"),
    "no axes": (lambda: Sweep.from_dict({"base": {"checkpoint": "a"}}), "not a sweep: it lacks its axes"),
    "lacking": (lambda: SampleSpec.from_dict({"seeds": [1]}), "not a recipe: it lacks its checkpoint"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_misspelt_entry_is_named_with_the_one_that_was_meant(case):
    read, says = UNKNOWN[case]
    with pytest.raises(InputError, match=says) as error:
        read()
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_recipe_is_resolved_once(monkeypatch):
    calls, parse = [], edits.parse
    monkeypatch.setattr(edits, "parse", lambda given: calls.append(given) or parse(given))
    run = Run(bundle(), dataclasses.replace(SPEC, edits=[{"kind": "hold_back", "patches": [0]}]))
    assert list(run)[-1].nfe == run.spec.nfe and len(calls) == 1


@pytest.mark.parametrize("d", [{}, {"checkpoint": "a", "colour": 1}, [1]])
def test_what_is_no_recipe_is_refused(d):
    with pytest.raises(InputError, match="not a recipe"):
        SampleSpec.from_dict(d)


@pytest.mark.parametrize(
    "d",
    [
        {"seeds": 5},
        {"seeds": []},
        {"labels": "star"},
        {"settings": []},
        {"nfe": "x"},
        {"nfe": True},
        {"guidance_interval": 3},
        {"guidance_interval": [0, 0.5, 1]},
        {"guidance_interval": [0]},
        {"guidance_interval": ["0", "1"]},
        {"cfg_scale": float("nan")},
        {"ts": [0, "1"]},
        {"seeds": [1, "2"]},
        {"seeds": [True]},
        {"labels": [["star"]]},
        {"noise": "x"},
        {"sampler": None},
    ],
)
def test_a_damaged_recipe_is_a_sentence(d):
    with pytest.raises(InputError, match="damaged") as e:
        SampleSpec.from_dict({"checkpoint": "nano", "seeds": [0]} | d)
    assert "\n" not in str(e.value)


def test_a_run_can_be_iterated_again():
    run = Run(bundle(), dataclasses.replace(SPEC, cfg_scale=2.0, difficulty="divergence", probes=1, nfe=20))
    first, again = list(run), list(run)
    assert torch.equal(first[-1].x, again[-1].x) and [s.nfe for s in first] == [s.nfe for s in again]


def test_noise_that_a_recipe_names_must_be_given_and_may_be_of_any_precision():
    x0 = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    run = Run(bundle(), SPEC, x0)
    assert run.spec.noise == Run(bundle(), SPEC, x0.float()).spec.noise and run.x0.dtype == torch.float32
    with pytest.raises(InputError, match="given noise"):
        Run(bundle(), run.spec)
    with pytest.raises(InputError, match="needs"):
        Run(bundle(), SPEC, x0[:1])


@pytest.mark.parametrize("order", [("difficulty", "probes"), ("probes", "difficulty")])
def test_difficulty_and_probes_are_swept_together(order):
    choices = {"difficulty": ["head", "divergence"], "probes": [1, 3]}
    cells = Sweep(SPEC, {name: choices[name] for name in order}).cells()
    assert all((c.spec.difficulty, c.spec.probes) == (c.values["difficulty"], c.values["probes"]) for c in cells)
    assert Sweep(SPEC, {"probes": [1, 3]}).cells()[1].spec.difficulty == "divergence"
    cost = Sweep(SPEC, {name: choices[name] for name in order}).cost(lambda name: bundle())
    assert (cost.images, cost.failing) == (2, 2) and "probes belong to" in cost.reason


def test_a_sampler_on_trial_keeps_its_settings_in_a_sweep():
    base = dataclasses.replace(SPEC, sampler="ruled_look_ahead", settings={"every": 3})
    assert Sweep(base, {"seed": [1]}).cells()[0].spec.settings == {"every": 3}


def test_a_sweep_says_what_guided_runs_ranked_by_divergence_take():
    spec = dataclasses.replace(
        SPEC, sampler="dual_loop", nfe=None, steps=2, cfg_scale=4.0, difficulty="divergence", probes=2, seeds=[3]
    )
    list(run := Run(bundle(), spec))
    assert Sweep(spec, {"seed": [3]}).cost(lambda name: bundle()).forwards == run.forwards == 24
