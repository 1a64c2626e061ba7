"""A network on scaled pixels: trained, saved, loaded, shown; from the command to the picture."""

import dataclasses

import pytest
import torch
from helpers import lively

from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.codecs import CODECS, Encoded, Pixels, build_codec
from pf_core.sampling.run import Run, SampleSpec
from pf_core.training import plans
from pf_core.training.config import TrainRecipe
from pf_core.training.loop import held_out
from pf_core.training.run_dir import RunFolder

SCALED = {"scale": 0.25}


def test_pixels_come_back_from_what_a_network_works_in():
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    codec = build_codec("pixels", SCALED)
    assert codec.encode(images).equal(images * 0.25) and codec.decode(codec.encode(images)).equal(images)
    assert Pixels().encode(images) is images and Pixels().decode(images) is images  # the bits of older networks stay


@pytest.mark.parametrize("settings, says", [({"scale": 0}, "scale must lie"), ({"zoom": 2}, "no setting 'zoom'")])
def test_settings_that_make_no_sense_are_a_sentence(settings, says):
    with pytest.raises(InputError, match=says):
        build_codec("pixels", settings)


@pytest.mark.parametrize("name", ["shapes", "toybox"])
def test_a_data_set_of_states_is_the_data_set_in_all_else(name):
    plain = DATASETS[name].fn(size=32)
    data = Encoded(plain, build_codec("pixels", SCALED))
    assert data.batch([3]).images.equal(plain.batch([3]).images * 0.25)
    assert data.batch([3]).labels.equal(plain.batch([3]).labels) and len(data) == len(plain) and data.size == plain.size
    seen = next(look for _, look in held_out(lively(num_classes=12), data, 2))
    assert (seen.u - next(look for _, look in held_out(lively(num_classes=12), plain, 2)).u).abs().max() > 0.1


def test_a_training_on_scaled_pixels_from_the_command_to_the_picture(tmp_path, capsys):
    out = tmp_path / "small"
    argv = ["--model", "nano", "--steps", "2", "--batch-size", "4", "--samples-every", "2", "--compass-every", "2"]
    assert main(["train", *argv, "--pixel-scale", "0.25", "--scale", "0.7", "--out", str(out)]) == 0
    bundle = checkpoint.load(str(out / "network.safetensors"))
    assert bundle.codec == Pixels(0.25)
    recipe = RunFolder(out).recipe()
    assert recipe.codec_settings == SCALED and "--pixel-scale 0.25" in " ".join(plans.command(recipe, "x"))
    assert recipe.config.timestep_settings["scale"] == 0.7  # the law's own, which is another thing
    *_, final = Run(bundle, SampleSpec("x", "euler", nfe=2, labels=[0], seeds=[0]))
    assert bundle.codec.decode(final.x).equal(final.x / 0.25)
    assert main(["train", "--resume", "--pixel-scale", "0.5", "--out", str(out)]) == 2
    assert "another --pixel-scale" in capsys.readouterr().err
    assert main(["train", *argv, "--init", str(out / "network.safetensors"), "--out", str(tmp_path / "on")]) == 2
    assert "works on pixels times 0.25" in capsys.readouterr().err


def test_headers_and_recipes_of_the_first_versions_mean_pixels_as_they_are(tmp_path):
    old = {k: v for k, v in TrainRecipe().to_dict().items() if not k.startswith("codec")}
    assert TrainRecipe.from_dict(old) == TrainRecipe()
    assert checkpoint.load("shapes-pft").codec == Pixels() and checkpoint.codec_of("shapes-pft") == Pixels()
    assert checkpoint.codec_of("nobody's") == Pixels()
    assert [f.name for f in dataclasses.fields(Pixels)] == list(CODECS["pixels"].knobs)


def test_a_recording_of_a_runs_network_is_shown_in_its_colours(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path)
    (tmp_path / "dim").mkdir()
    net = lively()
    checkpoint.save(tmp_path / "dim" / "network.safetensors", net, [], {}, codec_settings=SCALED)
    assert checkpoint.codec_of("runs/dim") == Pixels(0.25) and checkpoint.codec_of("runs/gone") == Pixels()
