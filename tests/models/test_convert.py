"""Released networks: their layouts converted, compared with a plain evaluation of them, and hostile files."""

import io
import os
import pickle
import sys
import tarfile
import types
import warnings
import zipfile
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.models import SiT, checkpoint, preset
from pf_core.models.conditioning import imagenet_names
from pf_core.models.convert import convert
from pf_core.models.foreign import read
from pf_core.models.layers import position_embedding
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import SampleSpec, sample
from pf_core.types import PatchTime

D, HEADS, DEPTH, C, P, SIDE, CLASSES = 64, 4, 2, 4, 2, 8, 10


def released(out, embed="conv", rng=0):
    """Random weights in the releases' layout; out: channels of the final layer."""
    g = torch.Generator().manual_seed(rng)

    def linear(name, rows, columns):
        return {
            f"{name}.weight": torch.randn(rows, columns, generator=g) / columns**0.5,
            f"{name}.bias": 0.1 * torch.randn(rows, generator=g),
        }

    w = {"pos_embed": torch.randn(1, (SIDE // P) ** 2, D, generator=g)}
    w |= linear("x_embedder.proj", D, C * P * P)
    if embed == "conv":
        w["x_embedder.proj.weight"] = w["x_embedder.proj.weight"].view(D, C, P, P)
    w |= linear("t_embedder.mlp.0", D, 256) | linear("t_embedder.mlp.2", D, D)
    w["y_embedder.embedding_table.weight"] = torch.randn(CLASSES + 1, D, generator=g)
    for i in range(DEPTH):
        b = f"blocks.{i}"
        w |= linear(f"{b}.attn.qkv", 3 * D, D) | linear(f"{b}.attn.proj", D, D)
        w |= linear(f"{b}.mlp.fc1", 4 * D, D) | linear(f"{b}.mlp.fc2", D, 4 * D)
        w |= linear(f"{b}.adaLN_modulation.1", 6 * D, D)
    return w | linear("final_layer.linear", P * P * out, D) | linear("final_layer.adaLN_modulation.1", 2 * D, D)


def plainly(w, x, t, y, out):
    """The releases' network as METHOD.md, section 2, defines it: x (B, C, S, S), t (B, N), y (B,) -> (B, out, S, S)."""

    def linear(name, h):
        return h @ w[f"{name}.weight"].flatten(1).T + w[f"{name}.bias"]

    def norm(h, shift, scale):
        h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
        return h * (1 + scale) + shift

    n = SIDE // P
    tokens = x.view(-1, C, n, P, n, P).permute(0, 2, 4, 1, 3, 5).reshape(len(x), n * n, C * P * P)
    h = linear("x_embedder.proj", tokens) + w["pos_embed"]
    angle = t[..., None] * torch.exp(-torch.arange(128) * (torch.tensor(10000.0).log() / 128))
    c = linear("t_embedder.mlp.2", F.silu(linear("t_embedder.mlp.0", torch.cat([angle.cos(), angle.sin()], -1))))
    c = F.silu(c + w["y_embedder.embedding_table.weight"][y][:, None])
    for i in range(DEPTH):
        b = f"blocks.{i}"
        m = linear(f"{b}.adaLN_modulation.1", c).chunk(6, -1)
        q, k, v = linear(f"{b}.attn.qkv", norm(h, m[0], m[1])).view(len(x), n * n, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        h = h + m[2] * linear(f"{b}.attn.proj", mixed.transpose(1, 2).flatten(2))
        h = h + m[5] * linear(f"{b}.mlp.fc2", F.gelu(linear(f"{b}.mlp.fc1", norm(h, m[3], m[4])), approximate="tanh"))
    shift, scale = linear("final_layer.adaLN_modulation.1", c).chunk(2, -1)
    o = linear("final_layer.linear", norm(h, shift, scale)).view(len(x), n, n, P, P, out)
    return o.permute(0, 5, 1, 3, 2, 4).reshape(len(x), out, SIDE, SIDE)


CONFIG = {
    "target": "some.where.Network",
    "params": {"in_channels": C, "input_size": SIDE, "depth": DEPTH, "hidden_size": D, "patch_size": P,
               "num_heads": HEADS, "num_classes": CLASSES, "compile": False, "predict_uncertainty": True},
}  # fmt: skip


def velocity(kind, w, x, t, y):
    """What a release's weights mean, in our time and sign: (v, logvar or None)."""
    if kind == "pft":
        o = plainly(w, x, t, y, C + 1)
        return o[:, :C], o[:, C:]
    if kind == "sit":
        return plainly(w, x, t, y, 2 * C)[:, :C], None
    return -plainly(w, x, 1 - t, y, 2 * C)[:, :C], None  # Self-Flow's time runs the other way


def saved(kind, tmp_path):
    """(weights, file of a release of this kind, arguments of the command)."""
    if kind == "pft":
        w, path = released(C + 1), tmp_path / "pft-b_step400k_ema.ckpt"
        torch.save({"state_dict": w, "config": CONFIG}, path)
        return w, path, []
    w = released(2 * C, "conv" if kind == "sit" else "linear")
    path = tmp_path / {"sit": "SiT-XL-2-256x256.pt", "self-flow": "selfflow_imagenet256.pt"}[kind]
    extra = {} if kind == "sit" else {"projector.0.weight": torch.zeros(3, 3), "feature_head.1.bias": torch.zeros(3)}
    torch.save(w | extra, path)
    return w, path, ["--heads", str(HEADS)]


@pytest.mark.parametrize("kind", ["pft", "sit", "self-flow"])
def test_a_converted_release_equals_its_definition_in_every_sampler(kind, tmp_path, capsys):
    w, path, more = saved(kind, tmp_path)
    out = tmp_path / "net.safetensors"
    assert main(["convert", str(path), "--out", str(out), *more]) == 0
    said = capsys.readouterr().out
    assert ("projector" in said) == (kind == "self-flow") and "float32" in said
    net = checkpoint.load(str(out))
    g = torch.Generator().manual_seed(1)
    x, t = torch.randn(3, C, SIDE, SIDE, generator=g), torch.rand(3, net.grid.n, generator=g)
    y = torch.tensor([0, 7, CLASSES])
    v, logvar = velocity(kind, w, x, t, y)
    with torch.inference_mode():
        seen = net.model(x, PatchTime.dense(t), y)
    assert torch.allclose(seen.v, v, atol=1e-5)
    assert seen.logvar is None if logvar is None else torch.allclose(seen.logvar, logvar, atol=1e-5)
    for sampler, entry in SAMPLERS.items():
        ranked = {"difficulty": "divergence", "probes": 1} if entry.fn.needs_difficulty and kind != "pft" else {}
        for scale in (1.0, 2.0):
            spec = SampleSpec("net", sampler, steps=3, labels=[3], seeds=[0, 1], cfg_scale=scale, **ranked)
            for step in sample(net, spec):
                if step.phase == "final":
                    break
                cond = velocity(kind, w, step.x, step.t, torch.tensor([3, 3]))[0]
                null = velocity(kind, w, step.x, step.t, torch.tensor([CLASSES] * 2))[0]
                assert torch.allclose(step.prediction.v, null + scale * (cond - null), atol=1e-5), (sampler, scale)


def test_a_raw_training_checkpoint_gives_its_averaged_weights_or_its_last(tmp_path, capsys):
    averaged, last = released(C + 1, rng=1), released(C + 1, rng=2)
    held = {
        "state_dict": {f"ema_model.{k}": v for k, v in averaged.items()} | {f"model.{k}": v for k, v in last.items()}
    }
    held["state_dict"]["first_stage.encoder.weight"] = torch.zeros(2)
    held |= {"hyper_parameters": {"model": CONFIG}, "epoch": 3, "optimizer_states": [{"lr": 1e-4}]}
    path, out = tmp_path / "last.ckpt", tmp_path / "net.safetensors"
    torch.save(held, path)
    for flags, wanted in (([], averaged), (["--raw"], last)):
        assert main(["convert", str(path), "--out", str(out), *flags]) == 0
        assert "first_stage" in capsys.readouterr().out
        got = checkpoint.load(str(out)).model.state_dict()
        assert all(torch.equal(got[k], v) for k, v in wanted.items())


def omega(monkeypatch):
    """Classes with OmegaConf's names and pickled form, as the library writes its settings."""
    made = {}
    for module, name in (("dictconfig", "DictConfig"), ("base", "ContainerMetadata"), ("nodes", "AnyNode")):
        full = f"omegaconf.{module}"
        monkeypatch.setitem(sys.modules, full, types.ModuleType(full))
        made[name] = type(name, (), {"__module__": full, "__getstate__": lambda self: dict(self.__dict__)})
        setattr(sys.modules[full], name, made[name])
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))

    def wrap(value):
        if isinstance(value, dict):
            found = made["DictConfig"]()
            meta = made["ContainerMetadata"]()
            meta.__dict__ |= {"ref_type": dict, "object_type": dict, "optional": True}
            found.__dict__ |= {"_metadata": meta, "_parent": None, "_content": {k: wrap(v) for k, v in value.items()}}
            return found
        node = made["AnyNode"]()
        node.__dict__ |= {"_val": value, "_parent": None}
        return node

    return wrap


def test_settings_of_omegaconf_are_read_without_it(tmp_path, monkeypatch):
    with monkeypatch.context() as there:
        torch.save({"state_dict": released(C + 1), "config": omega(there)(CONFIG)}, tmp_path / "pft.ckpt")
    held, notes = read(tmp_path / "pft.ckpt")
    done = convert(held)
    assert done.config.num_heads == HEADS and notes == [] and done.notes[-1].startswith("Kept: its own table")


def test_sits_and_dits_layouts_are_alike_and_one_must_say_which(tmp_path, capsys):
    torch.save(released(2 * C), tmp_path / "x.pt")
    argv = ["convert", str(tmp_path / "x.pt"), "--heads", str(HEADS), "--out", str(tmp_path / "net.safetensors")]
    assert main(argv) == 2 and "say which" in capsys.readouterr().err
    assert main([*argv, "--kind", "dit", "--dtype", "bf16"]) == 0 and "bfloat16" in capsys.readouterr().out
    with pytest.raises(InputError, match="can start a training"):
        checkpoint.load(str(tmp_path / "net.safetensors"))
    assert checkpoint.load(str(tmp_path / "net.safetensors"), to_train=True).model.config.depth == DEPTH


SIZES = {"B/2": (12, 768, 12), "XL/2": (28, 1152, 16)}  # depth, width, heads
RELEASES = {  # channels of the final layer, embedding of patches, what else its file holds
    "pft": (5, "conv", {}),
    "sit": (8, "conv", {}),
    "dit": (8, "conv", {}),
    "self-flow": (8, "linear", {"projector.0.weight": (2048, 1152), "feature_head.2.bias": (768,)}),
}


def layout(kind, depth, d, classes=1000, tokens=256, c=4, p=2):
    """Names and shapes of a release on 32 x 32 x 4 latents, as METHOD.md, section 2, lists them."""
    out, embed, more = RELEASES[kind]
    rows = {"x_embedder.proj": d, "t_embedder.mlp.0": d, "t_embedder.mlp.2": d}
    rows |= {"final_layer.linear": p * p * out, "final_layer.adaLN_modulation.1": 2 * d}
    columns = {"t_embedder.mlp.0": 256}
    for i in range(depth):
        rows |= {f"blocks.{i}.attn.qkv": 3 * d, f"blocks.{i}.attn.proj": d, f"blocks.{i}.mlp.fc1": 4 * d}
        rows |= {f"blocks.{i}.mlp.fc2": d, f"blocks.{i}.adaLN_modulation.1": 6 * d}
        columns[f"blocks.{i}.mlp.fc2"] = 4 * d
    shapes = {f"{name}.weight": (n, columns.get(name, d)) for name, n in rows.items()}
    shapes |= {f"{name}.bias": (n,) for name, n in rows.items()}
    shapes["x_embedder.proj.weight"] = (d, c, p, p) if embed == "conv" else (d, c * p * p)
    shapes |= {"pos_embed": (1, tokens, d), "y_embedder.embedding_table.weight": (classes + 1, d)}
    return shapes | more


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", RELEASES)
def test_the_releases_own_sizes_are_recognised_by_shape(kind, size):
    depth, width, heads = SIZES[size]
    w = {name: torch.empty(shape, device="meta") for name, shape in layout(kind, depth, width).items()}
    done = convert({"state_dict": w}, kind if kind in ("sit", "dit") else None)
    assert done.family == kind and done.predicts == ("noise" if kind == "dit" else "velocity")
    assert done.config == replace(preset(size), predict_uncertainty=kind == "pft") and done.config.num_heads == heads
    with torch.device("meta"):
        ours = {name: p.shape for name, p in SiT(done.config).state_dict().items()}
    assert {name: p.shape for name, p in done.weights.items()} == ours
    assert any("projector" in note for note in done.notes) == (kind == "self-flow")
    if kind == "pft":
        counts = {"B/2": (130_503_188, 132), "XL/2": (675_115_796, 292)}
        assert (sum(p.numel() for p in done.weights.values()), len(done.weights)) == counts[size]


@pytest.mark.slow  # files of 0.5 and 2.7 GB
@pytest.mark.parametrize("kind, size", [("pft", "B/2"), ("pft", "XL/2"), ("self-flow", "XL/2")])
def test_a_file_of_a_releases_own_size_is_converted_loaded_and_sampled(kind, size, tmp_path, capsys):
    depth, width, heads = SIZES[size]
    g = torch.Generator().manual_seed(0)
    w = {name: 0.02 * torch.randn(shape, generator=g) for name, shape in layout(kind, depth, width).items()}
    w["pos_embed"] = position_embedding(preset(size).grid, width)
    path, out = tmp_path / "release.ckpt", tmp_path / "net.safetensors"
    torch.save({"state_dict": w}, path)
    assert path.stat().st_size > 300e6
    assert main(["convert", str(path), "--out", str(out)]) == 0
    path.unlink()
    assert f"width {width}, {heads} heads" in capsys.readouterr().out
    net = checkpoint.load(str(out))
    if kind == "pft":
        assert all(torch.equal(p, w[name]) for name, p in net.model.state_dict().items())
    del w
    ranked = {} if kind == "pft" else {"difficulty": "divergence", "probes": 1}
    *_, end = sample(net, SampleSpec("net", "look_ahead", steps=2, labels=["Golden Retriever"], **ranked))
    assert end.phase == "final" and end.x.isfinite().all() and end.x.shape == (1, 4, 32, 32)


@pytest.mark.parametrize(
    "break_it, says",
    [
        (lambda w: w.pop("blocks.1.mlp.fc1.bias"), "lack blocks.1.mlp.fc1.bias"),
        (lambda w: w.pop("x_embedder.proj.weight"), "not in the layout"),
        (lambda w: w.update({"blocks.0.attn.qkv.weight": torch.zeros(3, 3)}), "has the shape"),
        (lambda w: w["final_layer.linear.bias"].fill_(torch.nan), "not finite"),
        (lambda w: w.clear(), "holds no weights"),
        (lambda w: w.update(pos_embed=torch.zeros(1, 15, D)), "not square"),
        (lambda w: w.update(pos_embed=torch.zeros(16)), "pos_embed has the shape"),
        (lambda w: w.update({"x_embedder.proj.weight": torch.zeros(0, C, P, P)}), "which no network"),
        (lambda w: w.update({"blocks.0.mlp.fc1.weight": torch.tensor(1.0)}), "which no network"),
        (lambda w: w.update({"t_embedder.mlp.0.weight": torch.zeros(D, 255)}), "takes 255 features"),
        (lambda w: w.update({"blocks.0.attn.qkv.bias": torch.zeros(3 * D, dtype=torch.int64)}), "holds torch.int64"),
        (lambda w: w.update({"blocks.0.attn.qkv.bias": torch.zeros(3 * D).to_sparse()}), "sparse"),
        (
            lambda w: w.update({"blocks.0.attn.qkv.bias": torch.full((3 * D,), 1e300, dtype=torch.float64)}),
            "not finite",
        ),
        (lambda w: w.update({"blocks.1.attn.qkv.bias": torch.zeros(1).expand(3 * D)}), "repeats fewer"),
    ],
)
def test_weights_that_do_not_fit_are_a_sentence(break_it, says):
    w = released(C + 1)
    break_it(w)
    with pytest.raises(InputError, match=says):
        convert({"state_dict": w, "config": CONFIG})


def test_rows_of_an_output_that_are_no_layouts_are_a_sentence():
    with pytest.raises(InputError, match="24 rows, not 16 or twice"):
        convert({"state_dict": released(6)}, "sit")


def test_two_names_of_the_same_numbers_are_written_one_by_one(tmp_path):
    w = released(C + 1)
    w["blocks.1.attn.qkv.bias"] = w["blocks.0.attn.qkv.bias"]
    torch.save({"state_dict": w, "config": CONFIG}, tmp_path / "x.ckpt")
    assert main(["convert", str(tmp_path / "x.ckpt"), "--out", str(tmp_path / "net.safetensors")]) == 0
    got = checkpoint.load(str(tmp_path / "net.safetensors")).model.state_dict()
    assert torch.equal(got["blocks.1.attn.qkv.bias"], w["blocks.0.attn.qkv.bias"])


def test_all_that_is_left_out_or_renamed_is_listed(tmp_path, capsys):
    averaged, last = ({f"module.{k}": v for k, v in released(C, rng=rng).items()} for rng in (1, 2))
    path, out = tmp_path / "0400000.pt", tmp_path / "net.safetensors"
    torch.save({"model": last, "ema": averaged, "opt": {"lr": 1e-4}, "args": {"a": 1}}, path)
    for flags, wanted, place, other in (([], averaged, "'ema'", "model"), (["--raw"], last, "'model'", "ema")):
        assert main(["convert", str(path), "--out", str(out), "--heads", str(HEADS), *flags]) == 0
        said = capsys.readouterr().out
        assert f"Taken: the weights under {place}" in said and "without module. or _orig_mod." in said
        assert f"Left out, beside the weights: {', '.join(sorted(['args', other, 'opt']))}." in said
        got = checkpoint.load(str(out)).model.state_dict()
        assert all(torch.equal(got[k.removeprefix("module.")], v) for k, v in wanted.items())


def test_heads_may_be_told_as_text():
    told = {"params": CONFIG["params"] | {"num_heads": str(HEADS)}}
    assert convert({"state_dict": released(C + 1), "config": told}).config.num_heads == HEADS


def test_no_row_of_a_hidden_layer_is_lost_to_rounding():
    shapes = layout("pft", 1, 704)
    shapes |= {
        f"blocks.0.mlp.fc1.{part}": (960, *shapes[f"blocks.0.mlp.fc1.{part}"][1:]) for part in ("weight", "bias")
    }
    shapes["blocks.0.mlp.fc2.weight"] = (704, 960)
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert convert({"state_dict": weights}).weights["blocks.0.mlp.fc1.weight"].shape == (960, 704)


def test_settings_that_disagree_with_the_weights_are_refused():
    wrong = {"params": CONFIG["params"] | {"depth": 12}}
    with pytest.raises(InputError, match="settings say depth 12"):
        convert({"state_dict": released(C + 1), "config": wrong})


def test_imagenets_classes_have_names_and_each_its_own():
    names = imagenet_names()
    assert len(names) == len(set(names)) == 1000 and names[207] == "Golden Retriever"


# hostile files


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, fn, *args):
        self.call = (fn, args)

    def __reduce__(self):
        return self.call


def getattr_chain():
    return Calls(getattr, Calls(__import__, "os"), "system")


HOSTILE = {
    "os.system": lambda mark: Calls(os.system, f"touch {mark}"),
    "eval": lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Calls(open, str(mark), "w"),
    "import": lambda mark: Calls(__import__, "antigravity_of_the_test"),
    "getattr": lambda mark: Calls(getattr_chain().call[0], *getattr_chain().call[1]),
    "popen": lambda mark: Calls(os.popen, f"touch {mark}"),
    "torch.load": lambda mark: Calls(torch.load, str(mark)),
    "nested": lambda mark: {"a": [Calls(os.system, f"touch {mark}")]},
    "makedirs": lambda mark: Calls(os.makedirs, str(mark)),
}


@pytest.mark.parametrize("wrap", ["weights", "settings", "old format", "bare pickle"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_foreign_pickle_never_runs_code(kind, wrap, tmp_path):
    mark, path = tmp_path / "it-ran", tmp_path / "x.ckpt"
    bad = HOSTILE[kind](mark)
    held = {"state_dict": released(C + 1), "config": CONFIG}
    if wrap == "settings":
        held["hyper_parameters"] = bad
    else:
        held["state_dict"]["bad"] = bad
    if wrap == "bare pickle":
        path.write_bytes(pickle.dumps(bad))
    else:
        torch.save(held, path, _use_new_zipfile_serialization=wrap != "old format")
    try:
        found = convert(read(path)[0])
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert found.config.depth == DEPTH and wrap != "bare pickle"
    assert not mark.exists()


class Program(torch.nn.Module):
    """Writes a file when its archive is read: a program's own way to be restored."""

    def __init__(self, mark: str):
        super().__init__()
        self.mark, self.x = mark, torch.zeros(2)

    @torch.jit.export
    def __getstate__(self):
        return (self.mark, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.mark, self.training = state
        self.x = torch.from_file(self.mark, True, 16, dtype=torch.float32)

    def forward(self):
        return self.x


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_program_of_torchscript_never_runs(tmp_path):
    mark, path = tmp_path / "it-ran", tmp_path / "x.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Program(str(mark))).save(str(path))
        torch.jit.load(str(path))
    assert mark.exists()  # it does where it is run
    mark.unlink()
    with pytest.raises(InputError, match="program .TorchScript., which is never run"):
        read(path)
    assert not mark.exists()


def many_times(value, depth=9):
    """One value in 10^depth places."""
    for _ in range(depth):
        value = dict.fromkeys("abcdefghij", value)
    return value


def test_what_would_fill_memory_or_time_is_a_sentence(tmp_path):
    path, w = tmp_path / "x.ckpt", released(C + 1)
    w["y_embedder.embedding_table.weight"] = torch.zeros(1).expand(900_000, D)
    torch.save({"state_dict": w, "config": CONFIG}, path)
    with pytest.raises(InputError, match="repeats fewer"):
        convert(read(path)[0])
    torch.save({"state_dict": released(C + 1), "config": many_times(1)}, path)
    with pytest.raises(InputError, match="more than 100,000 values"):
        convert(read(path)[0])
    torch.save({"state_dict": {k: v.to("meta") for k, v in released(C + 1).items()}}, path)
    with pytest.raises(InputError, match="shapes without numbers"):
        convert(read(path)[0])
    torch.save({"state_dict": {"x": torch.zeros(10**6)}}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "small.ckpt", "w", zipfile.ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(InputError, match="is compressed"):
        read(tmp_path / "small.ckpt")


def test_archives_that_would_be_unpacked_into_a_folder_are_refused(tmp_path):
    with tarfile.open(tmp_path / "x.pt", "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(InputError, match="tar archive"):
        read(tmp_path / "x.pt")


@pytest.mark.parametrize("config", [{"params": [1]}, {"params": {"num_heads": "x"}}, {"params": {"num_heads": -3}}, 7])
def test_settings_of_any_kind_are_used_or_a_sentence(config, tmp_path):
    torch.save({"state_dict": released(C + 1), "config": config}, tmp_path / "x.ckpt")
    try:
        assert convert(read(tmp_path / "x.ckpt")[0]).config.num_heads == 1
    except InputError as error:
        assert "\n" not in str(error)


def test_damaged_files_are_a_sentence(tmp_path):
    whole = io.BytesIO()
    torch.save({"state_dict": released(C + 1)}, whole)
    for name, data in {
        "cut": whole.getvalue()[:5000],
        "empty": b"",
        "text": b"hello" * 100,
        "number": pickle.dumps(3),
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError) as error:
            convert(read(tmp_path / name)[0])
        assert "\n" not in str(error.value)
    with zipfile.ZipFile(tmp_path / "zip", "w") as z:
        z.writestr("data.pkl", b"junk")
    with pytest.raises(InputError):
        read(tmp_path / "zip")
