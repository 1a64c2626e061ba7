"""Runs on another device than the CPU, which a machine without a GPU pretends to have."""

import dataclasses

import elsewhere as elsewhere_world
import pytest
import text_world
import torch
from elsewhere import ELSEWHERE, elsewhere, moved
from helpers import bundle

from pf_core.cli import main, shards
from pf_core.cli.common import own_device
from pf_core.devices import working
from pf_core.errors import InputError
from pf_core.evaluation.inspect import evaluate_maps, inspect_picture, leaning
from pf_core.evaluation.inspect import picture as data_picture
from pf_core.samplers import SAMPLERS
from pf_core.sampling import bulk
from pf_core.sampling.context_probe import context_probe
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.together import together
from pf_core.sampling.trajectory import record
from pf_core.sampling.word_maps import word_maps

# Forward-mode derivatives do not pass through pretended tensors: of these, only the samplers that do not rank.
JACOBIAN = {"difficulty": "divergence", "probes": 1}
EDITS = [
    {"kind": "head_start", "patches": [5, 6], "amount": 0.3},
    {"kind": "hold_back", "patches": [9]},
    {"kind": "clean", "patches": [1], "source": {"dataset": "shapes", "index": 7}},
]


def there(net):
    return dataclasses.replace(net, model=moved(net.model))


def test_tensors_on_two_devices_do_not_meet():
    with elsewhere():
        x = torch.ones(2, device=ELSEWHERE)
        assert x.device == ELSEWHERE and (x * 2).cpu().tolist() == [2, 2]
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.ones(2)
        with pytest.raises(TypeError, match="NumPy"):
            x.numpy()


def recipes():
    for name in SAMPLERS:
        yield name, {}
        yield name, {"cfg_scale": 3.0}
    yield "euler", JACOBIAN
    yield "look_ahead", {"edits": EDITS}
    yield "dual_loop", {"settings": {"refresh": "once"}}
    yield "dual_loop", {"settings": {"order": 2}}


@pytest.mark.parametrize(("name", "changes"), recipes(), ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_a_run_elsewhere_is_the_run_here(name, changes):
    asked = SampleSpec("nano", name, nfe=16, labels=["star", "ring"], seeds=[3, 4], **changes)
    with elsewhere():
        run = Run(there(bundle()), asked)
        assert run.bundle.device == ELSEWHERE
        far = record(run)
    near = record(Run(bundle(), asked))
    assert torch.equal(far.x1, near.x1) and far.forwards == near.forwards
    for a, b in zip(far.frames, near.frames, strict=True):
        assert torch.equal(a.t, b.t) and torch.equal(a.easy, b.easy)
        assert {part.device.type for part in vars(a).values() if isinstance(part, torch.Tensor)} == {"cpu"}


def test_no_sampler_needs_float64_of_a_gpu(monkeypatch):
    monkeypatch.setattr(elsewhere_world, "ELSEWHERE", elsewhere_world.APPLE)
    for name in SAMPLERS:
        asked = SampleSpec("nano", name, nfe=16, labels=["star", "ring"], seeds=[3, 4])
        near = bulk.Uncertainty(bundle().grid)
        with elsewhere():
            run, far = Run(there(bundle()), asked), bulk.Uncertainty(bundle().grid)
            drawn = [(far.add(step), step.x.cpu(), step.easy is not None and step.easy.cpu()) for step in run]
        for (_, x, easy), step in zip(drawn, Run(bundle(), asked), strict=True):
            near.add(step)
            assert torch.equal(x, step.x) and (step.easy is None or torch.equal(easy, step.easy))
        assert torch.equal(far.total, near.total)


def test_runs_are_drawn_together_elsewhere():
    specs = [SampleSpec("nano", "look_ahead", nfe=8, labels=["star"], seeds=[seed]) for seed in (1, 2)]
    with elsewhere():
        net = there(bundle())
        runs = [record(share) for share in together([Run(net, spec) for spec in specs])]
    torch.testing.assert_close(runs[1].x1, record(Run(bundle(), specs[1])).x1, rtol=1e-4, atol=1e-4)


def test_what_looks_at_a_network_looks_at_one_elsewhere():
    near, asked = bundle(), SampleSpec("nano", "look_ahead", nfe=8, labels=["star"], seeds=[3])
    run, shown = record(Run(near, asked)), data_picture(near)
    t = torch.linspace(0, 1, near.grid.n)
    with elsewhere():
        far = there(bundle())
        assert context_probe(far, run.frames[2], 0, [5, 6]).change_others == pytest.approx(
            context_probe(near, run.frames[2], 0, [5, 6]).change_others
        )
        assert torch.equal(inspect_picture(far, shown.x1[0], t).error, inspect_picture(near, shown.x1[0], t).error)
        maps = evaluate_maps(far, shown, leaning(far.grid))
    assert torch.equal(maps.error.cpu(), evaluate_maps(near, shown, leaning(near.grid)).error)


def test_prompts_are_read_elsewhere():
    near, prompt = text_world.bundle(), 'a red neon sign that reads "A"'
    asked = SampleSpec("words", "look_ahead", nfe=6, labels=[prompt], seeds=[3], cfg_scale=2.0)
    run = record(Run(near, asked))
    with elsewhere():
        far = there(text_world.bundle())
        assert torch.equal(record(Run(far, asked)).x1, run.x1)
        maps = word_maps(far, run.frames[1].x[0], run.frames[1].t[0], prompt)
    assert torch.equal(maps.maps, word_maps(near, run.frames[1].x[0], run.frames[1].t[0], prompt).maps)


def test_a_device_is_tried_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert working("auto") == working("cpu") == torch.device("cpu")
    for name in ("meta", "nonsense", "xla"):
        with pytest.raises(InputError, match=f"There is no device '{name}' on this machine"):
            working(name)


def test_of_several_processes_each_takes_a_gpu_of_its_own(monkeypatch):
    asked = ("auto", "cuda", "cuda:0", "cpu")
    assert [*map(own_device, asked)] == [*asked]
    monkeypatch.setenv("LOCAL_RANK", "3")
    for gpus, auto in ((0, "auto"), (2, "cuda:1"), (8, "cuda:3")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpus=gpus: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert [*map(own_device, asked)] == [auto, "cuda:3", "cuda:0", "cpu"]
    taken = []
    monkeypatch.setattr(shards, "working", lambda name: taken.append(name) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["shards", "--dataset", "shapes", "--autoencoder", "x", "--device", "cuda", "--out", "x"])
    assert taken == ["cuda:3"]
