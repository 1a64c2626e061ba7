"""Training on captions: what is drawn, saved and resumed, and what is refused."""

import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models import build, checkpoint
from pf_core.models.conditioning import conditioner_for
from pf_core.models.text import TextConfig, new_tower
from pf_core.sampling.export import read_recipe
from pf_core.training import plans, text
from pf_core.training.config import Intervals, TrainRecipe, timestep_settings
from pf_core.training.loop import TrainConfig, draw, train
from pf_core.training.queue import Jobs
from pf_core.training.run_dir import RunFolder
from pf_core.training.runner import CLASS_TABLE, check, execute, network, prepare

SIGNS = DATASETS["signs"].settings({"size": 16, "aspect": 2, "variety": 0.0, "count": 16})
SMALL = {"text_width": 32, "text_layers": 1}
CONFIG = TrainConfig(steps=4, batch_size=4, warmup=2, ema=0.9, label_dropout=0.3)
QUICK = Intervals(save=2, log=1, validate=4, samples=4)


def recipe(**changes):
    return TrainRecipe(**{
        "dataset": "signs", "data_settings": SIGNS, "model": "nano", "config": CONFIG, "condition": "text",
        "text_settings": SMALL,
    } | changes)  # fmt: skip


def trained(path, recipe, stop=None, resume=False):
    folder = RunFolder(path)
    for at in execute(folder, resume, recipe, QUICK, "test"):
        if at.step == stop:
            break
    return folder


@pytest.mark.parametrize("changes", [{}, {"difficulty": False}], ids=["pft", "fm"])
def test_a_network_is_trained_on_the_captions_of_oblong_pictures(tmp_path, changes):
    config = CONFIG if not changes else TrainConfig(steps=4, batch_size=4, warmup=2, timesteps="uniform")
    folder = trained(tmp_path / "run", recipe(config=config, **changes))
    net = checkpoint.load(str(folder.network))
    assert net.shape == (3, 16, 32) and net.conditioner.takes == "prompt"
    assert net.conditioner.notes('a red plate that reads "QZ9"') == []
    assert net.training["recipe"]["condition"] == "text"
    assert len(list(folder.path.glob("samples/*.safetensors"))) == 1
    with Image.open(folder.sample(4)) as sheet, Image.open(folder.sample(4, "-strip.png")) as strip:
        assert sheet.size == (8 * 32, 2 * 16)
        assert strip.size == (64 + 9 * (4 * 32 + 4), 38 + 4 * (4 * (4 * 16 + 4) + 12))
    labels = read_recipe(next(folder.path.glob("samples/*.safetensors")))["labels"]
    assert len(labels) == 4 and all('"' in label for label in labels)


def test_a_fork_goes_on_with_the_same_network_and_tower_only(tmp_path):
    jobs, longer = Jobs(tmp_path), recipe(config=replace(CONFIG, steps=6))
    words = trained(tmp_path / "words", recipe(), stop=2)
    words.kept(2).parent.mkdir()
    words.kept(2).write_bytes(words.weights.read_bytes())
    for changes, says in (
        ({"text_settings": {}}, "differ: text tower"),
        ({"condition": "none", "text_settings": {}}, "differ: text tower"),
        ({"codec_settings": {"scale": 0.5}}, r"codec \(pixels times 0.5, not pixels times 1\)"),
        (
            {"model_settings": {"depth": 3}, "difficulty": False},
            r"depth \(3, not \d\), difficulty head \(False, not True\)",
        ),
    ):
        with pytest.raises(InputError, match=says):
            jobs.fork("words", "x", replace(longer, **changes), start=False)
    assert jobs.names() == ["words"]
    jobs.fork("words", "more", longer, start=False)
    jobs.fork("words", "kept", longer, step=2, start=False)  # brings its tower along
    trained(tmp_path / "more", None, resume=True)
    kept = trained(tmp_path / "kept", None, resume=True, stop=2)
    jobs.fork("kept", "again", kept.recipe(), start=False)
    jobs.delete("kept")
    again = trained(tmp_path / "again", None, resume=True)
    assert again.recipe().init == str(tmp_path / "again" / "start.safetensors")
    assert checkpoint.load(str(again.network)).training["images_before"] == 2 * CONFIG.batch_size  # those of `words`


def test_a_training_on_captions_resumes_with_the_same_bits(tmp_path):
    whole = trained(tmp_path / "whole", recipe())
    trained(tmp_path / "halves", recipe(), stop=2)
    halves = trained(tmp_path / "halves", None, resume=True)
    a, b = load_file(whole.network), load_file(halves.network)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_loss_on_a_few_signs_falls():
    data, model = prepare(recipe(config=TrainConfig(steps=30, batch_size=16, warmup=5)))
    losses = [at.losses.mse.item() for at in train(model, data, TrainConfig(steps=30, batch_size=16, warmup=5))]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_step_draws_captions_and_drops_some():
    data, model = prepare(recipe())
    conditioner = conditioner_for(model, data)
    batch = draw(data, CONFIG, conditioner, model.grid, 0)
    captions, empty = conditioner.encode(data.batch(range(4)).captions), conditioner.null(4)
    dropped = (batch.y == empty).all(1)
    assert torch.equal(batch.y, torch.where(dropped[:, None], empty, captions)) and not dropped.all()


def test_without_a_condition_pictures_are_learned_alone(tmp_path):
    folder = trained(tmp_path / "run", recipe(condition="none", text_settings={}))
    net = checkpoint.load(str(folder.network))
    assert net.conditioner.num_classes == 0 and net.conditioner.takes == "class"


def test_text_has_its_own_default_of_ltg_which_can_be_overridden(tmp_path):
    assert timestep_settings("ltg", {}, "text")["loc"] == 0.5 and timestep_settings("ltg", {})["loc"] == 0.7
    for loc in (0.5, 0.7):
        settings = timestep_settings("ltg", {"loc": loc}, "text")
        own = recipe(config=TrainConfig(steps=4, timestep_settings=settings))
        assert ("--loc" in plans.command(own, "runs/x")) == (loc != 0.5)


def test_the_command_of_a_recipe_trains_that_recipe(tmp_path, capsys):
    own = recipe(config=TrainConfig(steps=2, batch_size=4, timestep_settings=timestep_settings("ltg", {}, "text")))
    main(["train", *plans.command(own, str(tmp_path / "run"), Intervals(save=2, log=1, validate=0, samples=0))])
    assert RunFolder(tmp_path / "run").recipe() == own
    assert main(["train", "--resume", "--condition", "classes", "--out", str(tmp_path / "run")]) == 2
    assert "another --condition (text)" in capsys.readouterr().err


def test_old_recipes_say_nothing_of_captions():
    assert not {"condition", "text_settings"} & TrainRecipe().to_dict().keys()
    assert TrainRecipe.from_dict(recipe().to_dict()) == recipe()


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"dataset": "shapes", "data_settings": {}}, "no captions"),
        ({"condition": "words"}, "condition must be one of"),
        ({"text_settings": {"width": 3}}, "no setting 'width'"),
        ({"text_settings": {"text_width": 1}}, "text_width"),
        ({"text_settings": {"text_weights": "nowhere.pt"}}, "no file"),
        ({"text_settings": SMALL | {"text_trained": True}}, "--text-trained would not be looked at: it is about"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_one_sentence(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        check(recipe(**changes))


def test_a_given_tower_stays_as_it_is_unless_it_is_trained_along(tmp_path):
    config = TextConfig(width=64, layers=1, heads=1, context=32)
    weights = new_tower(config).state_dict()
    save_file(weights, tmp_path / "clip.safetensors")
    for trained_along in (False, True):
        given = {"text_weights": str(tmp_path / "clip.safetensors"), "text_trained": trained_along}
        data, model = prepare(recipe(text_settings=given))
        *_, last = train(model, data, CONFIG)
        same = torch.equal(last.trainer.model.text.tower.ln_final.weight.cpu(), weights["ln_final.weight"])
        assert same != trained_along and model.config.text.rows is None
    with pytest.raises(InputError, match="--text-layers would not be looked at: --text-weights have their own"):
        check(recipe(text_settings=given | {"text_layers": 3}))


def test_a_training_begins_with_the_words_of_another_network(tmp_path):
    start = trained(tmp_path / "calm", recipe())
    wild = recipe(data_settings=SIGNS | {"variety": 1.0}, init=str(start.network), text_settings={})
    data = DATASETS["signs"].fn(**wild.data_settings)
    begun, saved = network(wild, data).state_dict(), load_file(start.network)
    assert all(torch.equal(begun[k].bfloat16(), saved[k]) for k in saved if k != "pos_embed")
    with pytest.raises(InputError, match="brings its text tower along"):
        check(recipe(init=str(start.network)))


def captioned(folder, *captions):
    for k, words in enumerate(captions):
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (60 * k, 10, 10)).save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text(words)
    return {"dataset": "folder", "data_settings": {"path": str(folder), "size": 16}}


def test_words_that_another_network_does_not_know_are_told_and_most_of_them_refused(home, tmp_path, capsys):
    start = trained(tmp_path / "words", recipe(**captioned(tmp_path / "mine" / "a", "a cat and a dog", "a cow", "")))
    few = recipe(**captioned(tmp_path / "mine" / "b", "a cat", "a dog", "a fish"), init=str(start.network))
    few = replace(few, text_settings={})
    data = DATASETS["folder"].fn(**few.data_settings)
    assert "does not know 25.0% of the captions' words: fish" in text.notes(few, data)[0] and check(few)
    short = recipe(**captioned(tmp_path / "mine" / "a", "a cat and a dog", "a cow", ""))
    short = replace(short, text_settings=short.text_settings | {"text_context": 5})
    assert text.notes(short, DATASETS["folder"].fn(**short.data_settings)) == [
        "33.3% of the captions are cut after 3 tokens (--text-context)."
    ]
    most = replace(few, **captioned(tmp_path / "mine" / "c", "a fish", "some bird", "cat"))
    with pytest.raises(InputError, match="does not know 60% of the captions' words"):
        check(most)
    (cut,) = text.notes(recipe(text_settings=SMALL | {"text_context": 10}), DATASETS["signs"].fn(**SIGNS))
    assert float(cut.partition("%")[0]) > 50, "captions of a made set, not the phrases that hold its words"
    argv = plans.command(few, str(tmp_path / "run"))
    assert main(["train", *argv]) == 0 and "does not know 25.0%" in capsys.readouterr().out


def test_a_run_goes_on_though_what_it_began_with_is_gone(tmp_path):
    start = trained(tmp_path / "calm", recipe())
    again = recipe(init=str(start.network), text_settings={})
    whole = trained(tmp_path / "whole", again)
    trained(tmp_path / "halves", again, stop=2)
    shutil.rmtree(start.path)
    halves = trained(tmp_path / "halves", None, resume=True)
    a, b = load_file(whole.network), load_file(halves.network)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_network_of_classes_learns_words(tmp_path):
    classes = recipe(condition="classes", text_settings={})
    start = trained(tmp_path / "classes", classes)
    data, learner = prepare(recipe(init=str(start.network)))
    saved, begun = checkpoint.load(str(start.network), to_train=True).model, learner.state_dict()
    assert all(torch.equal(begun[k], v) for k, v in saved.state_dict().items() if k != CLASS_TABLE)
    assert learner.text.tower.token_embedding.weight.shape[1] == SMALL["text_width"] and CLASS_TABLE not in begun
    assert not any(block.cross_attn.proj.weight.any() for block in learner.blocks)
    ended = trained(tmp_path / "words", recipe(init=str(start.network)))
    assert checkpoint.load(str(ended.network)).model.config.text
    with pytest.raises(InputError, match="another network than the recipe's: leave --no-difficulty out"):
        check(recipe(init=str(start.network), difficulty=False))
    with pytest.raises(InputError, match="give the recipe --depth 2 --patch-size 8$|give the recipe --depth"):
        check(recipe(init=str(start.network), model_settings={"depth": 1}))


def test_own_pictures_teach_their_captions(home, tmp_path):
    folder = tmp_path / "mine" / "pets"
    folder.mkdir()
    for k, words in enumerate(["a cat", "a dog", "a black cat", ""]):
        Image.new("RGB", (20, 20), (60 * k, 10, 10)).save(folder / f"{k}.png")
        if words:
            (folder / f"{k}.txt").write_text(words)
    own = recipe(dataset="folder", data_settings={"path": str(folder), "size": 16})
    net = build(check(own))
    conditioner = conditioner_for(net, None)
    assert conditioner.notes("a black cat") == [] and conditioner.notes("a fish")
