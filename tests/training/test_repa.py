"""REPA: off unless asked for; tokens of a block are pulled to a frozen encoder's."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from jobs_world import QUICK, recipe
from torch import nn

from pf_core.cli import main
from pf_core.data.shapes import Shapes
from pf_core.errors import InputError
from pf_core.models import build, checkpoint, preset
from pf_core.models.codecs import Pixels
from pf_core.patches import PatchGrid
from pf_core.training import plans, repa
from pf_core.training.config import RepaConfig, TrainRecipe
from pf_core.training.estimate import measure
from pf_core.training.features import Features, key_of
from pf_core.training.loop import TrainConfig, Trainer, train
from pf_core.training.queue import Jobs
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import execute

CONFIG = TrainConfig(steps=6, batch_size=8, optimizer="adamw", lr=3e-3, warmup=1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(repa, "HIDDEN", 64)


def colours(pictures):
    """Stands for an encoder: the mean and corner of each patch, (B, 8, 8, 6)."""
    patches = pictures.unflatten(3, (8, -1)).unflatten(2, (8, -1))
    return torch.cat([patches.mean((3, 5)), patches[:, :, :, 0, :, 0]], 1).movedim(1, -1)


def trainer(**changes):
    return partial(repa.AlignedTrainer, repa=RepaConfig("x", repa_block=1, **changes), encoder=colours, codec=Pixels())


def steps(kind, state=None, config=CONFIG):
    return train(build(preset("nano")), Shapes(), config, state, kind=kind)


def test_tokens_are_pulled_to_the_encoders_and_the_networks_loss_is_still_its_own():
    seen = [at.trainer.alignment.item() for at in steps(trainer(repa_weight=2.0), config=replace(CONFIG, steps=30))]
    assert seen[-1] > seen[0] + 0.2
    plain, pulled = next(steps(Trainer)), next(steps(trainer()))
    assert pulled.losses.total.item() == pytest.approx(plain.losses.total.item())
    names = set(pulled.trainer.model.state_dict())
    assert names == set(plain.trainer.model.state_dict()) == set(pulled.trainer.ema.state_dict())  # no projector


def test_weight_zero_trains_the_same_network():
    *_, plain = steps(Trainer, config=replace(CONFIG, clip=0.0))
    *_, pulled = steps(trainer(repa_weight=0.0), config=replace(CONFIG, clip=0.0))
    for a, b in zip(plain.trainer.model.parameters(), pulled.trainer.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_resumed_training_has_its_projector_again():
    whole = list(at.losses.total.item() for at in steps(trainer()))
    for at in steps(trainer()):
        if at.step == 3:
            state = at.trainer.state_dict()
            break
    assert [at.losses.total.item() for at in steps(trainer(), state)] == pytest.approx(whole[3:], abs=1e-6)


def test_an_encoder_of_other_patches_is_averaged_onto_the_networks():
    tokens = torch.arange(16.0).view(1, 4, 4, 1)
    assert repa.on_grid(tokens, PatchGrid(8, 8, 4))[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]


FINITE = {"encoder": "colours", "data": "sixteen"}


def losses(encoder, cached):
    kind = partial(repa.AlignedTrainer, repa=RepaConfig("x", repa_block=1), encoder=encoder, codec=Pixels())
    steps = train(build(preset("nano")), Shapes(count=16), CONFIG, kind=partial(kind, cached=cached))
    return [
        (at.losses.total.item(), at.trainer.alignment.item(), len(at.trainer.features) if cached else 0) for at in steps
    ]


def test_cached_tokens_give_the_same_losses_and_each_picture_is_looked_at_once(home):
    looks = []

    def encoder(pictures):
        looks.append(len(pictures))
        return colours(pictures)

    plain, first, second = losses(colours, None), losses(encoder, FINITE), losses(encoder, FINITE)
    assert torch.allclose(torch.tensor(first)[:, :2], torch.tensor(plain)[:, :2], atol=5e-4)
    assert [row[:2] for row in second] == [row[:2] for row in first]  # read or made: the same bits
    assert [row[2] for row in first] == [8, 16, 16, 16, 16, 16] and second[0][2] == 16
    assert looks == [1, 8, 8, 1]  # each training asks once for the width
    assert losses(encoder, FINITE | {"encoder": "other"})[0][2] == 8


def test_damaged_and_removed_rows_are_computed_again(home):
    tokens, made = torch.rand(3, 4, 5), []
    pictures = torch.rand(3, 3, 8, 8)

    def make(of):
        made.append(len(of))
        return torch.stack([tokens[[p.equal(each) for p in pictures].index(True)] for each in of])

    kept = Features(FINITE, (4, 5))
    first = kept.of(pictures, make)
    assert torch.equal(first, tokens.half().float()) and kept.of(pictures[[2, 0]], make).equal(first[[2, 0]])
    content = kept.path.read_bytes()
    kept.path.write_bytes(content[:30] + b"\xff" + content[31:-7])  # a bit of the first row, the end of the last
    again = Features(FINITE, (4, 5))
    assert again.of(pictures, make).equal(first) and made == [3, 2]
    assert again.of(pictures, make).equal(first) and made == [3, 2]
    again.path.unlink()
    assert Features(FINITE, (4, 5)).of(pictures, make).equal(first) and made == [3, 2, 3]


def test_tokens_that_another_training_adds_are_read(home):
    pictures, here, there = torch.rand(2, 3, 8, 8), Features(FINITE, (1, 1)), Features(FINITE, (1, 1))
    here.of(pictures[:1], lambda p: torch.ones(1, 1, 1))
    assert there.of(pictures[:1], None).item() == 1
    there.of(pictures[1:], lambda p: torch.full((1, 1, 1), 2.0))
    assert here.of(pictures, None).flatten().tolist() == [1, 2]


def test_a_file_that_was_begun_anew_gives_nobody_elses_tokens(home):
    pictures, here, there = torch.rand(4, 3, 8, 8), Features(FINITE, (1, 1)), Features(FINITE, (1, 1))

    def make(of):
        return torch.tensor([float([p.equal(each) for p in pictures].index(True)) for each in of])[:, None, None]

    here.of(pictures[:2], make)
    here.path.unlink()
    there.of(pictures[[3, 2, 1]], make)
    assert here.of(pictures, make).flatten().tolist() == [0, 1, 2, 3] == here.of(pictures, None).flatten().tolist()


def test_a_data_set_without_end_is_not_cached(tmp_path):
    with pytest.raises(InputError, match="has no end"):
        key_of(tmp_path / "clip.pt", {}, Shapes())


def test_what_does_not_go_together_is_refused():
    with pytest.raises(InputError, match="2 blocks"):
        repa.AlignedTrainer(build(preset("nano")), CONFIG, RepaConfig("x"), colours, Pixels())
    with pytest.raises(InputError, match="--compile"):
        next(steps(trainer(), config=replace(CONFIG, compile=True)))


def test_recipes_without_it_are_as_they_were_and_those_with_it_come_back():
    assert "repa" not in recipe().to_dict()
    asked = replace(recipe(), repa=RepaConfig("clip.safetensors", repa_block=2))
    assert TrainRecipe.from_dict(asked.to_dict()) == asked
    words = plans.command(asked, "runs/x")
    assert words[words.index("--repa") + 1] == "clip.safetensors" and words[words.index("--repa-block") + 1] == "2"


def test_a_run_with_a_clip_from_a_file(tmp_path, capsys, monkeypatch):
    sizes = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    (tmp_path / "tiny.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": sizes}))
    with repa.without_missing_operators():
        from open_clip.transformer import VisionTransformer
    made = VisionTransformer(32, 8, 32, 1, 2, 4.0, output_dim=8)
    nn.init.normal_(made.proj)
    torch.save({f"visual.{k}": v for k, v in made.state_dict().items()}, tmp_path / "clip.pt")
    tokens = repa.clip_encoder(tmp_path / "clip.pt", str(tmp_path / "tiny.json"))(torch.rand(2, 3, 32, 32))
    assert tokens.shape == (2, 4, 4, 32) and not tokens.requires_grad
    asked = replace(recipe(2), repa=RepaConfig(str(tmp_path / "clip.pt"), str(tmp_path / "tiny.json"), repa_block=2))
    run = RunFolder(tmp_path / "run")
    list(execute(run, False, asked, QUICK, "test"))
    assert run.status().state == "finished" and run.recipe().repa == asked.repa
    assert checkpoint.load(str(run.weights)).model.config == preset("nano")
    (tmp_path / "other.json").write_text(json.dumps({"embed_dim": 8, "vision_cfg": sizes | {"width": 64}}))
    argv = ["train", "--model", "nano", "--repa", tmp_path / "clip.pt", "--repa-model", tmp_path / "other.json"]
    assert main([*map(str, argv), "--repa-block", "1", "--out", str(tmp_path / "no")]) == 2
    assert "does not hold the weights of a CLIP" in capsys.readouterr().err and not (tmp_path / "no").exists()
    argv[-1] = tmp_path / "tiny.json"
    assert main([*map(str, argv), "--out", str(tmp_path / "no")]) == 2  # block 8 of 2
    assert "repa_block 8 is none" in capsys.readouterr().err and not (tmp_path / "no").exists()
    jobs = Jobs(tmp_path)
    for changes, says in (({"repa_block": 3}, "is none"), ({"repa": "nowhere.pt"}, "no file nowhere.pt")):
        with pytest.raises(InputError, match=says):
            jobs.check(replace(asked, repa=replace(asked.repa, **changes)))
    longer = replace(asked, config=replace(asked.config, steps=9))
    with pytest.raises(InputError, match="REPA's encoder"):
        jobs.fork("run", "more", replace(longer, repa=RepaConfig()), start=False)
    seen = []
    with monkeypatch.context() as there:
        there.setattr(repa.AlignedTrainer, "train_step", lambda self, batch: seen.append(1) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            measure(asked, QUICK)
    assert seen  # an estimate is that of a training with REPA
