"""Autoencoders, latents computed once, networks on them, and what is shown of their states."""

import io
import json
import shutil
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jobs_world import QUICK, Jobs
from latents_world import CHANNELS, FACTOR, SCALE, SHIFT, SIDE, make_autoencoder, world  # noqa: F401
from PIL import Image
from safetensors.torch import load_file

from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.data.own import paths
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError
from pf_core.models import autoencoder, checkpoint
from pf_core.models.codecs import Latents, same_space, to_uint8
from pf_core.training.codec import settled
from pf_core.training.plans import command
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute


@pytest.fixture(autouse=True)
def forgotten():
    yield
    autoencoder.use(None)
    autoencoder.decode_on(None)


def opened(folder, **knobs):
    with paths.any_path():
        return DATASETS["latents"].fn(path=str(folder / "set.safetensors"), **knobs)


def test_what_encode_wrote_are_the_autoencoders_latents(world):  # noqa: F811
    vae, data = make_autoencoder(world / "again"), opened(world)
    assert (len(data), data.held, data.channels, data.size) == (24, 8, CHANNELS, SIDE // FACTOR)
    images = DATASETS["shapes"].fn()
    got = data.batch(range(24))
    order = [int(row) for row in np.random.default_rng([0, 0]).permutation(24)]
    mirrored = np.random.default_rng([0, 0])
    mirrored.permutation(24)
    flips = mirrored.random(24) < 0.5
    for k in (0, 7, 23):
        image = images.batch([order[k]])
        x = vae.encode(image.images.flip(-1) if flips[k] else image.images).latent_dist.mode()
        assert torch.allclose(got.images[k], ((x - SHIFT) * SCALE)[0], atol=2e-3) and got.labels[k] == image.labels[0]
    held = data.batch([HELD_OUT, HELD_OUT + 7, HELD_OUT + 8])
    x = vae.encode(images.batch([HELD_OUT]).images).latent_dist.mode()
    assert torch.allclose(held.images[0], ((x - SHIFT) * SCALE)[0], atol=2e-3)
    assert torch.equal(held.images[0], held.images[2]) and not torch.equal(held.images[0], held.images[1])


def test_a_network_is_trained_on_them_sampled_and_decoded(world, tmp_path):  # noqa: F811
    net, out = str(world / "runs" / "net" / "network.safetensors"), tmp_path / "run.safetensors"
    argv = ["sample", "--checkpoint", net, "--sampler", "look_ahead", "--nfe", "5", "--seeds", "0-1", "--label", "star"]
    assert main([*argv, "--out", str(out)]) == 0
    kept = load_file(out)
    vae = make_autoencoder(tmp_path / "again")
    images = to_uint8(vae.decode(kept["x1"] / SCALE + SHIFT).sample)
    assert kept["images"].shape == (2, SIDE, SIDE, 3) and torch.equal(kept["images"], images)
    assert main([*argv, "--sheet", "--out", str(tmp_path / "sheet.png")]) == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (sheet[:64:2, :64:2] == images[0].numpy()).all()  # drawn twice as large
    assert sheet.shape[1] == 128  # as wide as its two images
    assert main([*argv, "--out", str(tmp_path / "strip.png")]) == 0
    assert main(["sample", "--recipe", str(out), "--out", str(tmp_path / "again.safetensors")]) == 0
    assert torch.equal(load_file(tmp_path / "again.safetensors")["x1"], kept["x1"])


def test_the_preview_is_the_nearest_linear_map_to_colours_and_needs_no_autoencoder(monkeypatch, rng):
    monkeypatch.setattr(autoencoder, "load", None)
    images = DATASETS["shapes"].fn().batch(range(16)).images
    small = torch.nn.functional.avg_pool2d(images, FACTOR)
    x = torch.einsum("bkhw,ck->bchw", small, torch.randn(CHANNELS, 3, generator=rng)) + 0.7
    codec = Latents(CHANNELS, factor=FACTOR).fitted(x, images)
    shown = codec.preview(x)
    assert shown.shape == images.shape and torch.allclose(shown[..., ::FACTOR, 3::FACTOR], small, atol=2e-2)
    with pytest.raises(InputError, match="must be 18 numbers"):
        Latents(CHANNELS, colours="1,2,3")


def test_results_are_decoded_where_the_process_draws_and_a_cpus_autoencoder_stays_beside(world, monkeypatch):  # noqa: F811
    about, seen = autoencoder.describe(world / "vae"), []
    x = torch.zeros(2, CHANNELS, 4, 4)

    def load(about, device):
        image = SimpleNamespace(sample=torch.zeros(1, 3, 16, 16))
        return SimpleNamespace(decode=lambda x: seen.append((torch.device(device), x.device)) or image)

    with monkeypatch.context() as there:
        there.setattr(autoencoder, "load", load)
        autoencoder.decode_on(torch.device("meta"))
        assert autoencoder.decode(about, x).device == x.device
    assert seen == [(torch.device("meta"), torch.device("meta"))] * 2
    autoencoder.decode_on(None)
    first = autoencoder.load(about, "cpu")
    autoencoder.load(about, "meta")
    assert autoencoder.load(about, "cpu") is first
    assert main(["sample", "--checkpoint", "x", "--device", "cpu", "--out", "x.png"]) == 2  # no such network
    assert autoencoder._decoder == torch.device("cpu")


def test_a_moved_autoencoder_is_asked_for_and_another_one_refused(world, tmp_path, capsys):  # noqa: F811
    shutil.copytree(world, tmp_path / "w")
    net = tmp_path / "w" / "runs" / "net" / "network.safetensors"
    header = checkpoint.read_header(net)
    moved = Latents(**header["codec_settings"] | {"autoencoder": str(tmp_path / "gone")})
    with pytest.raises(InputError, match="is not at .*gone: give its folder with --autoencoder"):
        moved.decode(torch.zeros(1, CHANNELS, 8, 8))
    make_autoencoder(tmp_path / "other", seed=1)
    autoencoder.use(tmp_path / "other")
    with pytest.raises(InputError, match="is not at"):
        moved.found().check()
    with pytest.raises(InputError, match="another autoencoder"):
        Latents(**header["codec_settings"] | {"autoencoder": str(tmp_path / "other")}).check()
    autoencoder.use(world / "vae")
    assert moved.found().decode(torch.zeros(1, CHANNELS, 8, 8)).shape == (1, 3, SIDE, SIDE)
    assert Latents(channels=CHANNELS).found().scale == SCALE  # a release names none: the given one's scale counts
    assert same_space(moved, moved.found()) and not same_space(moved, Latents(channels=CHANNELS))


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda f: (f / "config.json").unlink(), "it has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "config.json").write_text('{"_class_name": "VQModel"}'), "holds 'VQModel'"),
        (lambda f: (f / autoencoder.WEIGHTS).rename(f / "diffusion_pytorch_model.bin"), "only safetensors are read"),
        (lambda f: (f / autoencoder.WEIGHTS).write_bytes(b"12345678"), "cannot be loaded"),
    ],
)
def test_a_folder_that_holds_no_autoencoder_is_a_sentence(spoil, says, world, tmp_path):  # noqa: F811
    shutil.copytree(world / "vae", tmp_path / "vae")
    spoil(tmp_path / "vae")
    with pytest.raises(InputError, match=says) as error:
        autoencoder.load(autoencoder.describe(tmp_path / "vae"))
    assert "\n" not in str(error.value)


def test_without_diffusers_there_is_a_sentence_and_latents_are_still_sampled(world, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(autoencoder.importlib.util, "find_spec", lambda name: None)
    argv = ["sample", "--checkpoint", str(world / "runs" / "net" / "network.safetensors"), "--nfe", "3"]
    assert main([*argv, "--out", str(tmp_path / "x.png")]) == 2 and "pip install" in capsys.readouterr().err
    assert main([*argv, "--out", str(tmp_path / "x.safetensors")]) == 0
    assert "latents alone" in capsys.readouterr().out and "images" not in load_file(tmp_path / "x.safetensors")


def test_a_file_of_latents_is_written_whole_or_not_at_all_and_a_damaged_one_is_a_sentence(world, tmp_path, monkeypatch):  # noqa: F811
    argv = ["encode", "--autoencoder", str(world / "vae"), "--dataset", "shapes", "--images", "40", "--batch", "20"]
    calls = []

    def breaks(about, images):
        calls.append(len(images))
        if len(calls) > 3:
            raise InputError("The cable was pulled.")
        return torch.zeros(len(images), CHANNELS, 8, 8)

    with monkeypatch.context() as there:
        there.setattr(autoencoder, "encode", breaks)
        assert main([*argv, "--out", str(tmp_path / "half.safetensors")]) == 2
    assert len(calls) == 4 and not list(tmp_path.iterdir())
    assert main([*argv[:3], "--dataset", "latents", "--out", str(tmp_path / "x.safetensors")]) == 2
    whole = (world / "set.safetensors").read_bytes()
    for name, content in {"cut": whole[:-100], "empty": b"", "text": b"hello there, latents"}.items():
        (tmp_path / name).write_bytes(content)
        with paths.any_path(), pytest.raises(InputError, match="encode makes one") as error:
            DATASETS["latents"].fn(path=str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_the_app_reads_latents_only_from_where_data_may_be(world, home, tmp_path):  # noqa: F811
    with pytest.raises(InputError, match="lies outside"):
        DATASETS["latents"].fn(path=str(world / "set.safetensors"))
    shutil.copy(world / "set.safetensors", tmp_path / "mine" / "mine.safetensors")
    assert len(DATASETS["latents"].fn(path="mine.safetensors")) == 24


def test_a_training_on_latents_is_repeated_by_its_command_and_pins_its_file(world, tmp_path, capsys):  # noqa: F811
    shutil.copytree(world, tmp_path / "w")
    run = RunFolder(tmp_path / "w" / "runs" / "net")
    assert run.recipe().codec == "latents"
    assert not {"--pixel-scale", "--autoencoder"} & set(command(run.recipe(), "x"))
    again = ["train", "--dataset", "latents", "--path", str(world / "set.safetensors"), "--model", "nano"]
    again += ["--patch-size", "2", "--steps", "3", "--batch-size", "8", "--out"]
    assert main([*again, str(tmp_path / "b"), "--init", str(run.network)]) == 0
    assert main([*again, str(tmp_path / "c"), "--pixel-scale", "0.5"]) == 2
    assert "factor on pixels" in capsys.readouterr().err
    other = again[:1] + ["--dataset", "shapes"] + again[5:]
    assert main([*other, str(tmp_path / "d"), "--init", str(run.network)]) == 2
    assert json.loads((run.path / "data.json").read_text())["held_out"] == 8


def test_a_run_that_is_created_first_keeps_its_latents_codec_and_a_fork_to_images_leaves_it(world, home, monkeypatch):  # noqa: F811
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", str(world))
    known = RunFolder(world / "runs" / "net")
    of_page = replace(known.recipe(), codec="pixels", codec_settings={})
    assert settled(replace(known.recipe(), data_settings={}), DATASETS["shapes"].fn()).codec == "pixels"
    jobs = Jobs(home / "created")
    jobs.create("made", of_page, QUICK, start=False)
    assert jobs.folder("made").recipe().codec == "latents"
    old = RunFolder(home / "old")  # as versions before this one created it
    old.start(of_page, QUICK)
    for folder in (jobs.folder("made"), old):
        for _ in execute(folder, True, None, None, "x"):
            pass
        header, wanted = (checkpoint.read_header(each.network) for each in (folder, known))
        assert [header[k] for k in ("codec", "codec_settings")] == [wanted[k] for k in ("codec", "codec_settings")]
        assert header["training"]["recipe"]["codec"] == "latents"


def _shards(out, *flags):
    return main(["shards", "--out", str(out), *map(str, flags)])


def test_latents_are_written_as_shards_and_come_back(world, home, tmp_path, monkeypatch, capsys):  # noqa: F811
    out = tmp_path / "mine" / "tars"
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", f"{out.parent}:{world}")
    few = ["--dataset", "latents", "--path", world / "set.safetensors", "--per-shard", 10, "--dtype", "fp32"]
    assert _shards(out, *few) == 0
    source = DATASETS["latents"].fn(path=str(world / "set.safetensors"))
    made = DATASETS["shards"].fn(path=str(out))
    assert made.encoded_by == tuple(source.encoded_by) and (len(made), made.held) == (len(source), source.held)
    wanted, found = (data.batch(range(HELD_OUT, HELD_OUT + 8)).images.flatten(1) for data in (source, made))
    assert torch.equal(wanted[wanted[:, 0].argsort()], found[found[:, 0].argsort()])
    trained = made.batch(range(len(made))).images.flatten(1)  # none of them mirrored, though the file has both
    states = torch.from_numpy(np.array(source._file.states[: len(source)], np.float32)).flatten(1)
    assert source._file.mirrored is not None
    assert torch.equal(states[states[:, 0].argsort()], trained[trained[:, 0].argsort()])
    argv = ["encode", "--autoencoder", str(world / "vae"), "--dataset", "shards", "--path", str(out)]
    assert main([*argv, "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "latents already" in capsys.readouterr().err


def test_an_autoencoders_latents_are_written_as_shards(world, home, tmp_path, monkeypatch):  # noqa: F811
    out = tmp_path / "mine" / "tars"
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", f"{out.parent}:{world}")
    assert _shards(out, "--dataset", "shapes", "--images", 24, "--held", 8, "--autoencoder", world / "vae") == 0
    (tar,) = out.glob("*.tar")
    with tarfile.open(tar) as f:
        first = np.load(io.BytesIO(f.extractfile("000000-000000.npy").read()))
    encoded = DATASETS["latents"].fn(path=str(world / "set.safetensors"))
    assert first.dtype == np.float16 and np.abs(encoded._file.states[0] - first).max() < 1e-2
    assert json.loads((out / "codec.json").read_text())["settings"]["channels"] == first.shape[0]
