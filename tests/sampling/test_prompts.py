"""Drawing from prompts: runs, recipes, sweeps, and where the words are looked at."""

import numpy as np
import pytest
import torch
from helpers import bundle as class_bundle
from helpers import write_checkpoint
from PIL import Image
from text_world import KNOWN, bundle, lively

from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.sampling.contact_sheet import read_sweep, save_sheet, sheet
from pf_core.sampling.export import animation, export, film_strip, read_recipe
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.sweep import Sweep
from pf_core.sampling.sweep_axes import parse, text_of
from pf_core.sampling.trajectory import record
from pf_core.sampling.word_maps import Word, maps_over, word_maps

SIGN = 'a red sign that reads "AX7"'


def drawn(prompts, seeds, sampler="euler", **more):
    spec = SampleSpec("words", sampler, labels=prompts, seeds=seeds, cfg_scale=3.0, steps=3, **more)
    return record(Run(bundle(), spec))


@pytest.fixture
def net(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    monkeypatch.setattr(checkpoint, "FOLDER", folder)
    checkpoint.save(folder / "words.safetensors", lively(), [], {})
    write_checkpoint(folder, "net")
    return tmp_path


def fails(capsys, *argv):
    """The one sentence of a failing command."""
    assert main(argv) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    return sentence


@pytest.mark.parametrize("sampler", ["euler", "look_ahead", "dual_loop"])
def test_an_image_hangs_on_its_seed_and_its_prompt_alone(sampler):
    both, one = drawn([SIGN, "a cake"], [3, 4], sampler).x1, drawn(["a cake"], [4], sampler).x1
    assert torch.allclose(both[1], one[0], atol=1e-5)
    assert not torch.allclose(drawn([SIGN], [4], sampler).x1, one, atol=1e-2)
    assert torch.equal(drawn([SIGN], [3], sampler).x1, drawn([SIGN], [3], sampler).x1)


def test_the_text_tower_runs_once_for_each_prompt_of_a_run():
    net, calls = bundle(), []
    net.model.text.tower.transformer.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    record(Run(net, SampleSpec("words", "euler", labels=[SIGN, SIGN, "a cake"], seeds=[0, 1, 2], cfg_scale=2, steps=5)))
    assert calls == [1, 1, 1]  # two prompts and the empty one


def test_bf16_and_a_partial_refresh_draw_from_prompts_too():
    exact = drawn([SIGN], [0], "dual_loop").x1
    rounded = drawn([SIGN], [0], "dual_loop", precision="bf16").x1
    assert (exact - rounded).abs().mean() < 0.1 * exact.abs().mean()
    assert drawn([SIGN], [0], "dual_loop", settings={"refresh": "once"}).x1.isfinite().all()


@pytest.mark.parametrize("suffix", [".png", ".json", ".safetensors", ".gif"])
def test_exports_carry_the_prompt(tmp_path, suffix):
    run = drawn([SIGN], [0])
    export(run, bundle().codec, tmp_path / f"run{suffix}")
    assert read_recipe(tmp_path / f"run{suffix}")["labels"] == [SIGN]


def test_a_films_fifth_panel_is_where_a_word_is_looked_for(tmp_path):
    run, net = drawn([SIGN, "a cake"], [0, 1]), bundle()
    word = Word("sign", maps_over(net, run))
    shares = word.over(0, [0, 1])
    frame = run.frames[0]
    found = word_maps(net, frame.x[0], frame.t[0], SIGN)
    assert np.allclose(shares[0], found.maps[found.words.index("sign")]) and np.isnan(shares[1]).all()
    assert Word("SIGN", maps_over(net, run)).over(0, [0])[0].tolist() == shares[0].tolist()
    assert np.isnan(Word("sign", maps_over(net, run), place=0).over(0, [0])).all()  # "a" stands there
    plain, more = animation(run, net.codec), animation(run, net.codec, word=word)
    assert len(plain) == len(more) and more[0].width > plain[0].width
    assert film_strip(run, net.codec, word=word).height > film_strip(run, net.codec).height
    for suffix in (".png", ".gif", ".webp"):
        export(run, net.codec, tmp_path / f"run{suffix}", word=word)
        assert read_recipe(tmp_path / f"run{suffix}")["labels"] == [SIGN, "a cake"]


def test_sample_shows_a_word_of_the_prompt_and_says_which_there_are(net, capsys):
    argv = ["sample", "--checkpoint", "words", "--prompt", SIGN, "--sampler", "euler", "--steps", "2"]
    for out, more in (("plain.png", []), ("more.png", ["--word", "Sign"])):
        assert main([*argv, "--out", str(net / out), *more]) == 0
    plain, more = (Image.open(net / out) for out in ("plain.png", "more.png"))
    assert more.height > plain.height and more.width == plain.width
    capsys.readouterr()
    assert "No prompt has the word 'boat': there are" in fails(capsys, *argv, "--word", "boat", "--out", "x.png")
    assert "adds a panel" in fails(capsys, *argv, "--word", "sign", "--out", "x.json")


def test_a_sheet_of_prompts_is_oblong_and_holds_its_sweep(tmp_path):
    sweep = Sweep(SampleSpec("words", "euler", steps=2), {"seed": [0, 1], "prompt": [SIGN, None]})
    net = bundle()
    done = list(sweep.run(lambda name: net))
    assert [d.error for d in done] == [None] * 4 and done[0].image.size == (32, 16)
    save_sheet(tmp_path / "sheet.png", sweep, done)
    assert read_sweep(tmp_path / "sheet.png").axes == sweep.axes
    drawn, rows = Image.open(tmp_path / "sheet.png"), len(sweep.axes["prompt"])
    assert drawn.height < rows * 5 * 16 + 80 and drawn.width > 2 * 5 * 32  # 5 times as large, none in a square


def test_a_long_prompt_stands_over_its_column_in_lines_of_their_own(tmp_path):
    long = "a white sign with black letters beside a hedge and a fence " * 4
    for prompts, lines in ((["a cake", "a"], 1), (["a cake", long], 4)):
        sweep = Sweep(SampleSpec("words", "euler", steps=2), {"prompt": prompts})
        assert sheet(sweep, []).height == (2 + lines) * 18 + 128 + 6


def test_a_sweep_says_what_of_its_prompts_the_networks_do_not_take_in():
    nets = {"words": bundle(), "net": class_bundle()}
    sweep = Sweep(SampleSpec("words", "euler", steps=2), {"checkpoint": list(nets), "prompt": [SIGN, "a zebra", "a"]})
    assert sweep.notes(nets.__getitem__) == ["This network does not know: zebra."]


def test_prompts_of_a_sweep_keep_their_commas():
    takes = bundle().conditioner
    values = parse("prompt", 'a cake, red; "a; b"\nit reads "A,B"; "AX7" on a sign', takes)
    assert values == ["a cake, red", "a; b", 'it reads "A,B"', '"AX7" on a sign']
    assert parse("prompt", text_of(values, name="prompt"), takes) == values
    assert text_of(values, name="prompt").endswith('; it reads "A,B"; "AX7" on a sign')
    odd = ['"A"', '"A; B', '""" x', '"A" "B', 'a "', '"A" is "B"', '"a ""b"" c', "a"]
    assert parse("prompt", text_of(odd, name="prompt"), takes) == odd
    with pytest.raises(InputError, match="draws classes"):
        parse("prompt", "a cake", class_bundle().conditioner)
    with pytest.raises(InputError, match="give a prompt"):
        parse("label", "star", takes)


@pytest.mark.parametrize("labels", [[3], ["x" * 301], ["a cake"] * 2])
def test_a_wrong_prompt_is_one_sentence(labels):
    with pytest.raises(InputError):
        Run(bundle(), SampleSpec("words", "euler", labels=labels, seeds=[0, 1, 2]))


def test_a_prompt_is_drawn_from_the_command_line_and_its_recipe_repeats_it(net, capsys):
    out = net / "run.safetensors"
    main(["sample", "--checkpoint", "words", "--prompt", "a zebra " + SIGN, "--prompt", "a cake", "--seeds", "0-1",
          "--cfg-scale", "3", "--nfe", "8", "--out", str(out)])  # fmt: skip
    assert "does not know: zebra." in capsys.readouterr().out
    assert read_recipe(out)["labels"] == ["a zebra " + SIGN, "a cake"]
    main(["sample", "--recipe", str(out), "--out", str(net / "again.safetensors")])
    assert (net / "again.safetensors").read_bytes()[-3000:] == out.read_bytes()[-3000:]


def test_prompts_are_swept_from_the_command_line(net):
    main(["sweep", "--checkpoint", "words", "--axis", f"prompt={SIGN}; a cake", "--nfe", "2", "--sampler", "euler",
          "--out", str(net / "sheet.png")])  # fmt: skip
    assert read_sweep(net / "sheet.png").axes == {"prompt": [SIGN, "a cake"]}


def test_a_label_for_prompts_and_a_prompt_for_classes_are_sentences(net, capsys):
    sample = ("sample", "--out", str(net / "x.png"), "--checkpoint")
    assert "give a prompt, not a label" in fails(capsys, *sample, "words", "--label", "3")
    assert "give a label, not a prompt" in fails(capsys, *sample, "net", "--prompt", "a cake")
    assert "300 characters" in fails(capsys, *sample, "words", "--prompt", "x" * 301)
    many = ("generate", "--out", str(net / "many"), "--num", "2", "--checkpoint")
    assert "give a prompt, not a label" in fails(capsys, *many, "words", "--label", "3")
    assert "give a label, not a prompt" in fails(capsys, *many, "net", "--prompt", "a cake")
    assert not (net / "many").exists()


def test_many_images_are_drawn_of_prompts_in_turn(net, capsys):
    argv = ["generate", "--checkpoint", "words", "--prompt", SIGN, "--prompt", " a  cake", "--num", "3", "--nfe", "2"]
    assert main([*argv, "--sampler", "euler", "--out", str(net / "many")]) == 0
    asked = [read_recipe(path)["labels"] for path in sorted((net / "many").glob("*.png"))]
    assert asked == [[SIGN], ["a cake"], [SIGN]]
    assert capsys.readouterr().out.startswith(str(net / "many"))  # nothing of these prompts is lost


def test_of_many_images_too_what_is_lost_of_their_prompts_is_said_once_and_by_one_process(net, capsys, monkeypatch):
    argv = ["generate", "--checkpoint", "words", "--num", "3", "--block", "1", "--nfe", "2", "--sampler", "euler"]
    argv += ["--prompt", "a zebra", "--prompt", "a zebra cake", "--prompt", "a cake " * 9, "--out", str(net / "many")]
    lost = [
        "This network does not know: zebra.",
        "The prompt is too long for this network, which drops: a cake a cake.",
    ]
    for rank, said in ((1, []), (0, lost)):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        assert main(argv) == 0
        assert [line for line in capsys.readouterr().out.splitlines() if str(net) not in line] == said


# where words are looked at


def test_the_maps_of_a_prompts_words_share_the_attention_of_each_patch():
    run, net = drawn([SIGN, "a cake"], [0, 1]), bundle()
    frame = run.frames[1]
    found = word_maps(net, frame.x[0], frame.t[0], SIGN)
    assert found.words == ["a", "red", "sign", "that", "reads", '"', "a", "x", "7", '"']
    assert found.maps.shape == (10, 2, 4) and (found.maps > 0).all() and (found.maps.sum(0) < 1).all()
    other = word_maps(net, run.frames[2].x[0], run.frames[2].t[0], SIGN).maps
    assert not torch.allclose(found.maps, other)


def test_a_word_that_the_tokenizer_parts_has_one_map():
    frame = drawn([SIGN], [0]).frames[0]
    found = word_maps(bundle(), frame.x[0], frame.t[0], "a mushroomhouse cake")
    assert found.words == ["a", "mushroomhouse", "cake"] and found.maps.shape[0] == 3


def test_no_prompt_has_no_maps_and_a_network_of_classes_is_a_sentence():
    frame = drawn([KNOWN[1]], [0]).frames[0]
    assert word_maps(bundle(), frame.x[0], frame.t[0], None).maps.shape == (0, 2, 4)
    with pytest.raises(InputError, match="takes no prompts"):
        word_maps(class_bundle(), frame.x[0], frame.t[0], "a cake")
    with pytest.raises(InputError, match="works on"):
        word_maps(bundle(), torch.zeros(3, 8, 8), frame.t[0], "a cake")
