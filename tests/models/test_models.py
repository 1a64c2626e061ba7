import math
from dataclasses import replace

import pytest
import torch

from pf_core.errors import InputError
from pf_core.models import PRESETS, SiT, SiTConfig, build, config_dict, count_parameters, preset
from pf_core.models.layers import position_embedding, time_features
from pf_core.patches import PatchGrid
from pf_core.timesteps import TIMESTEPS
from pf_core.types import PatchTime

SMALL = SiTConfig(in_channels=3, input_size=(8, 12), patch_size=4, depth=2, hidden_size=24, num_heads=2, num_classes=5)


@pytest.fixture
def model():
    return awake(SMALL)


def awake(config, seed=0):
    """A network whose weights are all random: at its real start every output is 0."""
    model, rng = build(config, seed), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.copy_(0.2 * torch.randn(p.shape, generator=rng))
    return model.requires_grad_(False)


def inputs(model, batch=3, seed=1):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, model.channels, model.grid.height, model.grid.width, generator=rng)
    y = torch.randint(model.config.num_classes + 1, (batch,), generator=rng)
    return x, torch.rand(batch, model.grid.n, generator=rng), y


def on_meta(config):
    with torch.device("meta"):
        return SiT(config)


RELEASED = {  # trainable, with pos_embed, tensors of the state dict
    "S/2": (32_860_436, 32_958_740, 132),
    "B/2": (130_306_580, 130_503_188, 132),
    "L/2": (457_828_372, 458_090_516, 252),
    "XL/2": (674_820_884, 675_115_796, 292),
}


@pytest.mark.parametrize("size", RELEASED)
def test_released_sizes_have_the_published_numbers_of_parameters_and_tensors(size):
    model = on_meta(PRESETS[size])
    assert (*count_parameters(model), len(model.state_dict())) == RELEASED[size]


@pytest.mark.parametrize("size", ["S/2", "XL/2"])
def test_the_names_of_the_weights_are_those_of_the_release(size):
    model = on_meta(PRESETS[size])
    linears = ["x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2"]
    linears += ["final_layer.linear", "final_layer.adaLN_modulation.1"]
    for i in range(model.config.depth):
        parts = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1")
        linears += [f"blocks.{i}.{part}" for part in parts]
    names = {f"{name}.{kind}" for name in linears for kind in ("weight", "bias")}
    assert set(model.state_dict()) == names | {"pos_embed", "y_embedder.embedding_table.weight"}


def test_the_class_table_has_one_row_more_for_null():
    shapes = {k: tuple(v.shape) for k, v in on_meta(PRESETS["B/2"]).state_dict().items()}
    assert shapes["y_embedder.embedding_table.weight"] == (1001, 768)
    assert shapes["pos_embed"] == (1, 256, 768)
    assert shapes["x_embedder.proj.weight"] == (768, 4, 2, 2)
    assert shapes["final_layer.linear.weight"] == (2 * 2 * 5, 768)
    unconditional = build(replace(SMALL, num_classes=0))
    assert unconditional.y_embedder.embedding_table.weight.shape[0] == 1


def test_at_the_start_v_and_logvar_are_0():
    model = build(SMALL)
    x, t, y = inputs(model)
    out = model(x, PatchTime.dense(t), y)
    assert out.v.shape == x.shape and out.logvar.shape == (3, 1, 8, 12)
    assert (out.v == 0).all() and (out.logvar == 0).all()


def test_initial_weights_are_xavier_small_normals_and_zeros():
    model = build(replace(SMALL, hidden_size=96, num_classes=200))
    for name, p in model.named_parameters():
        if "adaLN" in name or name.startswith("final_layer") or name.endswith("bias"):
            if not name.startswith("t_embedder"):
                assert (p == 0).all(), name
        elif name == "x_embedder.proj.weight" or (name.startswith("blocks") and name.endswith("weight")):
            fan_out, fan_in = p.flatten(1).shape
            bound = math.sqrt(6 / (fan_in + fan_out))
            assert p.abs().max() <= bound and p.std().item() == pytest.approx(bound / 3**0.5, rel=0.1), name
        elif name != "pos_embed":
            assert "embedder" in name and (p.numel() < 200 or p.std().item() == pytest.approx(0.02, rel=0.1)), name


def test_before_guidance_and_after_it_are_the_same_tensors(model):
    x, t, y = inputs(model)
    out = model(x, PatchTime.dense(t), y)
    assert out.v is out.v_cond and out.logvar is out.logvar_cond


def test_one_shared_time_needs_one_modulation_for_all_tokens(model):
    x, t, y = inputs(model)
    shared = model(x, PatchTime.shared(t[:, 0], model.grid.n), y)
    dense = model(x, PatchTime.dense(t[:, :1].expand_as(t)), y)
    torch.testing.assert_close(shared.v, dense.v, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shared.logvar, dense.logvar, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_modulating_by_level_equals_modulating_by_token(model, k):
    x, t, y = inputs(model)
    index = torch.randint(k, t.shape, generator=torch.Generator().manual_seed(k))
    t = t[:, :k].gather(1, index)
    by_level, by_token = (model(x, time, y) for time in (PatchTime.grouped(t, index, k), PatchTime.dense(t)))
    assert by_token.v.std() > 0.1 and by_token.logvar.std() > 0.1
    torch.testing.assert_close(by_level.v, by_token.v, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(by_level.logvar, by_token.logvar, atol=1e-5, rtol=1e-5)


def test_a_patch_time_gives_back_the_times_it_was_made_of():
    t, index = torch.tensor([[0.2, 0.7, 0.2], [0.4, 0.4, 0.4]]), torch.tensor([[0, 1, 0], [1, 1, 1]])
    grouped = PatchTime.grouped(t, index, 2)  # the second sample's first group is empty
    assert grouped.levels.shape == (2, 2) and torch.equal(grouped.per_patch, t)
    assert torch.equal(PatchTime.dense(t).per_patch, t)
    assert torch.equal(PatchTime.shared(t[:, 0], 3).per_patch, t[:, :1].expand(2, 3))
    assert torch.equal(grouped.map(lambda a: a.repeat(2, 1)).per_patch, t.repeat(2, 1))


@pytest.mark.parametrize(("name", "levels"), [("uniform", 1), ("logit_normal", 1), ("ltg", 6), ("independent", 6)])
def test_a_timestep_sampler_says_whether_patches_share_their_time(name, levels):
    t = TIMESTEPS[name].fn(4, 6, torch.Generator().manual_seed(0))
    assert t.levels.shape == (4, levels) and t.per_patch.shape == (4, 6)


def by_the_book(model, x, t, y):
    """The forward pass of the paper's appendix, from the state dict alone and one token at a time where it can be."""
    w, c = {k: v.double() for k, v in model.state_dict().items()}, model.config
    k, d, heads = c.patch_size, c.hidden_size, c.num_heads

    def linear(name, h):
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def silu(h):
        return h / (1 + (-h).exp())

    def norm(h):
        mean = h.mean(-1, keepdim=True)
        return (h - mean) / (((h - mean) ** 2).mean(-1, keepdim=True) + 1e-6).sqrt()

    def gelu(h):
        return h / 2 * (1 + ((2 / math.pi) ** 0.5 * (h + 0.044715 * h**3)).tanh())

    cuts = [(i, j) for i in range(0, x.shape[2], k) for j in range(0, x.shape[3], k)]
    kernel = w["x_embedder.proj.weight"].flatten(1)
    tokens = torch.stack([x[:, :, i : i + k, j : j + k].double().flatten(1) for i, j in cuts], 1)
    h = tokens @ kernel.T + w["x_embedder.proj.bias"] + w["pos_embed"]
    angles = c.t_scale * t.double()[..., None] * 10000 ** (-torch.arange(128, dtype=torch.float64) / 128)
    time = torch.cat([angles.cos(), angles.sin()], -1)
    time = linear("t_embedder.mlp.2", silu(linear("t_embedder.mlp.0", time)))
    cond = silu(time + w["y_embedder.embedding_table.weight"][y][:, None])
    for i in range(c.depth):
        name = f"blocks.{i}"
        parts = linear(f"{name}.adaLN_modulation.1", cond).split(d, -1)
        shift, scale, gate, shift2, scale2, gate2 = parts
        q, key, v = linear(f"{name}.attn.qkv", norm(h) * (1 + scale) + shift).split(d, -1)
        seen = torch.empty_like(q)
        for head in range(heads):
            at = slice(head * d // heads, (head + 1) * d // heads)
            weight = (q[..., at] @ key[..., at].mT / (d // heads) ** 0.5).softmax(-1)
            seen[..., at] = weight @ v[..., at]
        h = h + gate * linear(f"{name}.attn.proj", seen)
        inner = gelu(linear(f"{name}.mlp.fc1", norm(h) * (1 + scale2) + shift2))
        h = h + gate2 * linear(f"{name}.mlp.fc2", inner)
    shift, scale = linear("final_layer.adaLN_modulation.1", cond).split(d, -1)
    out = linear("final_layer.linear", norm(h) * (1 + scale) + shift).unflatten(-1, (k, k, -1))
    image = x.new_empty(len(x), out.shape[-1], *x.shape[2:], dtype=torch.float64)
    for n, (i, j) in enumerate(cuts):
        image[:, :, i : i + k, j : j + k] = out[:, n].movedim(-1, 1)
    return image[:, :-1], image[:, -1:]


@pytest.mark.parametrize(("t_scale", "near"), [(1.0, 5e-6), (1000.0, 5e-5)])  # the features of time are fp32
def test_the_network_is_the_one_that_the_method_describes(t_scale, near):
    model = awake(replace(SMALL, t_scale=t_scale)).double()
    for p in model.parameters():
        p.mul_(2)  # far from where GELU's two forms would agree
    model.x_embedder.proj.weight.mul_(1e-3)  # and tokens so small that LayerNorm's epsilon counts
    model.x_embedder.proj.bias.mul_(1e-3)
    model.pos_embed.mul_(1e-3)
    x, t, y = inputs(model)
    x, t = x.double(), (t * 64).round().double() / 64
    out = model(x, PatchTime.dense(t), y)
    for seen, told in zip((out.v, out.logvar), by_the_book(model, x, t, y), strict=True):
        assert told.std() > 1 and (seen - told).abs().max() < near * told.abs().max()


def test_without_attention_a_patch_depends_on_its_own_time_alone():
    model = awake(replace(SMALL, depth=0))
    x, t, y = inputs(model)
    later = t.clone()
    later[:, 2] = (t[:, 2] + 0.5) % 1
    before, after = (model.grid.split(model(x, PatchTime.dense(time), y).v) for time in (t, later))
    changed = (before != after).any(-1)
    assert changed[:, 2].all() and changed.sum() == 3


def test_with_attention_the_others_see_it_too(model):
    x, t, y = inputs(model)
    later = t.clone()
    later[:, 2] = (t[:, 2] + 0.5) % 1
    before, after = (model.grid.split(model(x, PatchTime.dense(time), y).v) for time in (t, later))
    assert (before != after).any(-1).all()


def test_the_class_matters_and_images_of_a_batch_do_not_mix(model):
    x, t, y = inputs(model)
    out = model(x, PatchTime.dense(t), y).v
    other = model(x, PatchTime.dense(t), (y + torch.tensor([1, 0, 0])) % 6).v
    assert (out[0] - other[0]).abs().max() > 1e-3
    torch.testing.assert_close(out[1:], other[1:], atol=1e-6, rtol=0)
    alone = model(x[1:2], PatchTime.dense(t[1:2]), y[1:2]).v
    torch.testing.assert_close(alone, out[1:2], atol=1e-5, rtol=1e-5)


def test_the_position_embedding_is_column_then_row_and_sin_then_cos():
    grid, width = PatchGrid(6, 10, 2), 16
    table = position_embedding(grid, width)
    assert table.shape == (1, 15, width)
    quarter = width // 4
    for row in range(grid.rows):
        for col in range(grid.cols):
            for k in range(quarter):
                freq = 10000 ** (-k / quarter)
                values = (math.sin(col * freq), math.cos(col * freq), math.sin(row * freq), math.cos(row * freq))
                for part, value in enumerate(values):
                    got = table[0, row * grid.cols + col, part * quarter + k].item()
                    assert got == pytest.approx(value, abs=1e-6)


def test_the_position_embedding_is_stored_and_frozen():
    model = build(SMALL)
    assert not model.pos_embed.requires_grad
    assert torch.equal(model.state_dict()["pos_embed"], position_embedding(model.grid, 24))


def test_time_features_are_cos_then_sin_of_t_itself():
    t = torch.tensor([[0.0, 0.3], [0.7, 1.0]])
    features = time_features(t)
    assert features.shape == (2, 2, 256) and features.dtype == torch.float32
    for k in (0, 1, 64, 127):
        angle = t.double() * 10000 ** (-k / 128)
        torch.testing.assert_close(features[..., k], angle.cos().float(), atol=1e-6, rtol=0)
        torch.testing.assert_close(features[..., 128 + k], angle.sin().float(), atol=1e-6, rtol=0)
    assert time_features(t.bfloat16()).dtype == torch.float32


def test_the_time_scale_multiplies_t_before_its_features():
    plain, scaled = (build(replace(SMALL, t_scale=s)).t_embedder for s in (1.0, 1000.0))
    t = torch.rand(3, 2)
    torch.testing.assert_close(scaled(t), plain(1000 * t))
    assert PRESETS["XL/2"].t_scale == 1


def test_a_token_is_laid_out_row_column_channel_and_its_last_channel_is_logvar():
    model, k, channels = build(SMALL), 4, 3
    with torch.no_grad():  # the final weight is 0: each token is the bias
        model.final_layer.linear.bias.copy_(torch.arange(k * k * (channels + 1.0)))
    x, t, y = inputs(model)
    out = model(x, PatchTime.dense(t), y)
    for row in range(8):
        for col in range(12):
            start = ((row % k) * k + col % k) * (channels + 1)
            assert out.v[:, :, row, col].tolist() == [[start, start + 1, start + 2]] * 3
            assert out.logvar[:, :, row, col].tolist() == [[start + 3]] * 3


def test_the_baseline_has_no_logvar_and_so_many_outputs_less():
    model = awake(replace(SMALL, predict_uncertainty=False))
    x, t, y = inputs(model)
    out = model(x, PatchTime.shared(t[:, 0], model.grid.n), y)
    assert out.logvar is None and out.logvar_cond is None and out.v.shape == x.shape
    assert model.final_layer.linear.weight.shape[0] == 4 * 4 * 3


@pytest.mark.parametrize("size", [(4, 12), (12, 4), (8, 8), 8])
def test_any_grid_works(size):
    model = awake(replace(SMALL, input_size=size))
    x, t, y = inputs(model)
    assert model(x, PatchTime.dense(t), y).v.shape == x.shape


def test_the_seed_alone_decides_the_initial_weights():
    first = build(SMALL, seed=3).state_dict()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, other = build(SMALL, seed=3).state_dict(), build(SMALL, seed=4).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["x_embedder.proj.weight"], other["x_embedder.proj.weight"])


def test_a_forward_pass_never_waits_for_the_device():
    with torch.device("meta"):  # holds no values: reading one would raise
        model = SiT(SMALL)
        t, index, y = torch.zeros(2, 6), torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, dtype=torch.long)
        out = model(torch.zeros(2, 3, 8, 12), PatchTime.grouped(t, index, 2), y)
    assert out.v.shape == (2, 3, 8, 12) and out.logvar.shape == (2, 1, 8, 12)


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_survives_json(name):
    assert SiTConfig(**config_dict(PRESETS[name])) == PRESETS[name]


def test_a_rectangular_config_survives_json_where_tuples_become_lists():
    assert SiTConfig(**{**config_dict(SMALL), "input_size": [8, 12]}) == SMALL


def test_presets_can_be_changed_and_unknown_ones_are_refused():
    assert preset("nano", depth=1) == replace(PRESETS["nano"], depth=1)
    with pytest.raises(InputError, match="no network size 'huge'"):
        preset("huge")
    with pytest.raises(InputError, match="multiple"):
        SiTConfig(hidden_size=50, num_heads=4)
    with pytest.raises(InputError, match="multiples of 3"):
        build(replace(SMALL, patch_size=3))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [("tiny", {}, ""), ("S/2", {}, ""), ("tiny", {"patch_size": 8}, "192 numbers and the network is 128 wide")],
)
def test_a_network_narrower_than_its_patches_says_so(name, changes, said):
    assert (said in preset(name, **changes).narrow) if said else not preset(name, **changes).narrow
