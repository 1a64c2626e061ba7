import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from pf_core.data import DATASETS
from pf_core.data.splits import HELD_OUT, VALIDATION
from pf_core.errors import InputError
from pf_core.flow import Source
from pf_core.models import build, preset
from pf_core.models.conditioning import ClassLabels
from pf_core.training.config import TrainRecipe
from pf_core.training.loop import SEGMENTS, TrainConfig, Trainer, draw, generator, train
from pf_core.training.runner import check, prepare
from pf_core.training.validation import validate
from pf_core.types import Prediction

NANO = preset("nano")
DATA = DATASETS["shapes"].fn()
LABELS = ClassLabels(10, list(DATA.names))
SHORT = TrainConfig(steps=6, batch_size=8, warmup=2, ema=0.9)


def run(cfg, state=None, seed=0):
    """The trainer after a whole run."""
    *_, last = train(build(NANO, seed), DATA, cfg, state)
    return last.trainer


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def drawn(step, cfg=SHORT):
    return draw(DATA, cfg, LABELS, NANO.grid, step)


def tensors(batch):
    return [batch.x0, batch.x1, batch.t.per_patch, batch.y]


def same_batch(a, b):
    return all(torch.equal(*pair) for pair in zip(tensors(a), tensors(b), strict=True))


def randomised(seed=0):
    """Not a fresh network: of that most gradients are 0."""
    model, rng = build(NANO), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=rng) * p.requires_grad)
    return model


def means_of(model, images):
    return validate(model, DATA, Source(), images)["validation"]


# the run


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_loss_falls(optimizer):
    model, cfg = build(NANO), TrainConfig(steps=40, batch_size=16, warmup=5, ema=0.8, optimizer=optimizer)
    before = means_of(model, 16)
    *_, last = train(model, DATA, cfg)
    assert sum(means_of(model, 16)) < 0.97 * sum(before)
    assert sum(means_of(last.trainer.ema, 16)) < 0.97 * sum(before)
    assert last.losses.nll.item() < 1.6 and last.grad_norm.isfinite()


def test_every_step_is_reported_after_it_was_taken():
    cfg, model = replace(SHORT, steps=3), build(NANO)
    start = copy.deepcopy(model.state_dict())
    steps = []
    for step in train(model, DATA, cfg):
        steps.append(step.step)
        assert step.trainer.step == step.step and not same(model.state_dict(), start)
        assert step.losses.total.item() == pytest.approx((step.losses.mse + cfg.lam * step.losses.nll).item())
    assert steps == [1, 2, 3]
    assert torch.equal(model.pos_embed, start["pos_embed"])


def test_a_run_is_deterministic_whatever_the_global_generator_holds():
    torch.manual_seed(1)
    first = run(SHORT)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = run(SHORT)
    assert torch.equal(before, torch.get_rng_state())
    assert same(first.model.state_dict(), again.model.state_dict())
    assert same(first.ema.state_dict(), again.ema.state_dict())
    assert not same(first.model.state_dict(), run(replace(SHORT, seed=1)).model.state_dict())


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_resumed_run_ends_with_the_same_bits(optimizer):
    cfg = replace(SHORT, optimizer=optimizer)
    for step in train(build(NANO), DATA, cfg):
        if step.step == 3:
            state = copy.deepcopy(step.trainer.state_dict())
    resumed = run(cfg, state, seed=99)  # the network it starts from is overwritten
    assert resumed.step == step.trainer.step == 6
    assert same(resumed.model.state_dict(), step.trainer.model.state_dict())
    assert same(resumed.ema.state_dict(), step.trainer.ema.state_dict())


def test_a_state_goes_on_with_the_weight_decay_that_is_asked_for():
    model = build(preset("nano"))
    state = Trainer(model, TrainConfig(weight_decay=0.1)).state_dict()
    trainer = Trainer(model, TrainConfig(weight_decay=0.3))
    trainer.load_state_dict(state)
    assert {g["weight_decay"] for o in trainer.optimizers for g in o.param_groups} == {0.3}


def test_a_finished_run_has_no_more_steps():
    state = run(SHORT).state_dict()
    assert list(train(build(NANO), DATA, SHORT, state)) == []


def test_muon_takes_the_matrices_inside_the_blocks_and_adamw_the_rest():
    trainer = Trainer(build(NANO), SHORT)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    rest, inner = ([names[id(p)] for g in o.param_groups for p in g["params"]] for o in trainer.optimizers)
    assert len(inner) == NANO.depth * 5 and all(n.startswith("blocks.") and n.endswith("weight") for n in inner)
    assert trainer.optimizers[1].param_groups[0]["adjust_lr_fn"] == "match_rms_adamw"  # else AdamW's rates do not carry
    trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert set(rest) | set(inner) == trained and not set(rest) & set(inner)
    assert len(Trainer(build(NANO), replace(SHORT, optimizer="adamw")).optimizers) == 1


def test_the_average_is_the_exponential_one_of_the_weights_after_each_step():
    model = build(NANO)
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in train(model, DATA, SHORT):
        ema = step.trainer.ema
        for name, p in model.named_parameters():
            expected[name] = SHORT.ema * expected[name] + (1 - SHORT.ema) * p.detach()
    for name, p in ema.named_parameters():
        torch.testing.assert_close(p, expected[name], atol=1e-6, rtol=1e-5)
    assert not any(p.requires_grad for p in ema.parameters())


def test_both_precisions_train_in_one_process_and_leave_the_network_in_float32():
    losses = []
    for precision in ("fp32", "bf16", "fp32"):
        trainer = Trainer(randomised(), replace(SHORT, precision=precision))
        losses.append(trainer.train_step(drawn(0)).losses.mse.item())
        batch = drawn(1)
        out = trainer.model(batch.x1, batch.t, batch.y)
        assert out.v.dtype == torch.float32 and all(p.dtype == torch.float32 for p in trainer.model.parameters())
    assert losses[0] == losses[2] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.01)


def test_the_baseline_without_difficulty_trains_too():
    model = build(preset("nano", predict_uncertainty=False))
    *_, last = train(model, DATA, replace(SHORT, steps=2, timesteps="uniform"))
    assert last.losses.nll is None and last.losses.total.item() == last.losses.mse.item()


# learning rate


def test_the_rate_warms_up_stays_and_falls_to_0():
    cfg = TrainConfig(steps=100, warmup=10, decay=0.4)
    assert [cfg.rate(k) for k in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert all(cfg.rate(k) == 1 for k in range(10, 61))
    assert [cfg.rate(k) for k in (80, 99, 100)] == pytest.approx([0.5, 1 / 40, 0])
    drops = [cfg.rate(k) - cfg.rate(k + 1) for k in range(60, 100)]
    assert drops == pytest.approx([1 / 40] * 40)


def test_without_warm_up_and_decay_the_rate_is_constant():
    cfg = TrainConfig(steps=20, warmup=0, decay=0.0)
    assert [cfg.rate(k) for k in range(20)] == [1.0] * 20


def test_the_optimizers_follow_the_rate():
    for step in train(build(NANO), DATA, SHORT):
        used = [g["lr"] for o in step.trainer.optimizers for g in o.param_groups]
        assert step.rate == SHORT.rate(step.step - 1)
        assert used == pytest.approx([SHORT.lr * step.rate, SHORT.muon_lr * step.rate])


# gradients


def gradients(cfg, model):
    """Those of the first step, as the optimizers see them."""
    trainer, seen = Trainer(model, cfg), {}

    def look(*_):
        seen.update({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})

    trainer.optimizers[0].register_step_pre_hook(look)
    return seen, trainer.train_step(drawn(0, cfg))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_batch_in_parts_gives_the_gradients_and_losses_of_the_whole(parts):
    cfg = replace(SHORT, clip=0.0)
    whole, step = gradients(cfg, randomised())
    split, split_step = gradients(replace(cfg, accumulate=parts), randomised())
    largest = max(g.abs().max() for g in whole.values())
    assert whole.keys() == split.keys() and largest > 0
    for name, g in whole.items():
        torch.testing.assert_close(split[name], g, atol=1e-5 * largest.item(), rtol=1e-4)
    torch.testing.assert_close(torch.stack(split_step.losses), torch.stack(step.losses))
    torch.testing.assert_close(split_step.grad_norm, step.grad_norm)


def test_the_gradient_norm_is_reported_before_it_is_clipped():
    def norm(grads):
        return torch.stack([g.norm() for g in grads.values()]).norm()

    free, step = gradients(replace(SHORT, clip=0.0), randomised())
    clipped, clipped_step = gradients(replace(SHORT, clip=0.05), randomised())
    assert norm(free) > 0.1
    torch.testing.assert_close(step.grad_norm, norm(free))
    torch.testing.assert_close(clipped_step.grad_norm, norm(free))
    torch.testing.assert_close(norm(clipped), torch.tensor(0.05), atol=1e-5, rtol=1e-3)


# what is drawn


def test_a_steps_draw_does_not_depend_on_what_was_drawn_before():
    torch.manual_seed(0)
    first = drawn(5)
    drawn(0), drawn(4)
    torch.manual_seed(7)
    assert same_batch(first, drawn(5))
    assert not any(torch.equal(a, b) for a, b in zip(tensors(first)[:3], tensors(drawn(4))[:3], strict=True))


def test_each_step_takes_the_next_images_of_the_data_set():
    images = torch.cat([drawn(k).x1 for k in range(3)])
    assert torch.equal(images, DATA.batch(range(24)).images)


def test_the_seed_changes_noise_and_times_but_not_the_images():
    first, other = drawn(2), drawn(2, replace(SHORT, seed=1))
    assert torch.equal(first.x1, other.x1)
    assert not torch.equal(first.x0, other.x0) and not torch.equal(first.t.levels, other.t.levels)


def test_times_come_from_the_named_sampler_with_its_settings():
    shared = drawn(0, replace(SHORT, timesteps="uniform")).t
    assert shared.levels.shape == (8, 1) and shared.per_patch.shape == (8, NANO.grid.n)
    late = drawn(0, replace(SHORT, timesteps="logit_normal", timestep_settings={"loc": 3, "scale": 0.05})).t
    assert late.levels.min() > 0.9
    with pytest.raises(InputError, match="Did you mean 'ltg'"):
        drawn(0, replace(SHORT, timesteps="lgt"))


def test_noise_comes_from_the_source_of_the_config():
    plain, moved = drawn(0), drawn(0, replace(SHORT, source=Source(mean=2.0, std=0.5)))
    torch.testing.assert_close(moved.x0, 2 + 0.5 * plain.x0)


def test_a_shared_time_stays_one_time_on_its_way_to_a_device():
    trainer = Trainer(build(NANO), replace(SHORT, accumulate=2))
    trainer.accelerator.state.device, cpu = torch.device("meta"), trainer.accelerator.device
    try:
        parts = trainer._parts(drawn(0, replace(SHORT, timesteps="uniform")))
        assert [part.t.levels.shape for part in parts] == [(4, 1), (4, 1)]
        assert all(part.x1.device.type == "meta" and part.x1.shape == (4, 3, 32, 32) for part in parts)
    finally:
        trainer.accelerator.state.device = cpu


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_labels_are_dropped_at_the_rate_asked_for_and_independently(share):
    y = torch.arange(20_000) % 10
    dropped = LABELS.drop(y, share, generator(0))
    gone = dropped == 10
    assert gone.float().mean().item() == pytest.approx(share, abs=0.01)
    assert torch.equal(dropped[~gone], y[~gone])
    assert (gone[1:] & gone[:-1]).float().mean().item() == pytest.approx(share**2, abs=0.01)


def test_draws_use_the_label_dropout_of_the_config():
    kept, gone = (drawn(0, replace(SHORT, label_dropout=share)).y for share in (0.0, 1.0))
    assert torch.equal(kept, DATA.batch(range(8)).labels) and (gone == 10).all()


def test_generators_of_different_numbers_differ():
    first = [torch.rand(1, generator=generator(*key)).item() for key in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 0))]
    assert first[0] == first[4] and len(set(first)) == 4


def test_a_batch_that_cannot_be_split_evenly_is_refused():
    with pytest.raises(InputError, match="batch_size 8 cannot be split into 3 equal parts"):
        TrainConfig(batch_size=8, accumulate=3)


def test_no_training_comes_to_the_images_that_are_held_out():
    cfg, most = replace(SHORT, batch_size=64), HELD_OUT // 64
    assert len(drawn(most - 1, cfg).y) == 64
    recipe = TrainRecipe(model="nano", config=replace(cfg, steps=most + 1))
    for refused in (lambda: drawn(most, cfg), lambda: check(recipe), lambda: prepare(recipe)):
        with pytest.raises(InputError, match="ask for at most 33,554,432 steps"):
            refused()
    check(replace(recipe, config=replace(cfg, steps=most)))


# validation


class Recorder(nn.Module):
    """Predicts 0 and remembers what it was shown."""

    grid = NANO.grid

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(1)), []

    def forward(self, x, t, y):
        self.seen.append((x, t, y))
        return Prediction(0 * x, None, 0 * x, None)


def test_validation_has_eight_segments_with_the_same_images_and_noise():
    model = Recorder()
    means = means_of(model, 6)
    assert len(means) == len(model.seen) == 8
    assert SEGMENTS == [1 / 16, 3 / 16, 5 / 16, 7 / 16, 9 / 16, 11 / 16, 13 / 16, 15 / 16]
    held_out = DATA.batch(VALIDATION.first(6))
    x0 = Source().draw(list(range(6)), (3, 32, 32))
    for (x, t, y), segment in zip(model.seen, SEGMENTS, strict=True):
        assert (t.levels == segment).all() and t.levels.shape == (6, 1)
        assert torch.equal(y, held_out.labels)
        torch.testing.assert_close(x, segment * held_out.images + (1 - segment) * x0)
    target = (held_out.images - x0).pow(2).mean().item()
    assert means == pytest.approx([target] * 8)


def test_validation_is_the_same_each_time_and_draws_nothing():
    model = randomised()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = means_of(model, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert first == means_of(model, 4) and len(set(first)) == 8
