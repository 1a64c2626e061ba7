"""Own pictures as a data set: what they are, in which order they come, and that a run on them resumes exactly."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from own_pictures import picture, tree, two_classes
from safetensors.torch import load_file

from pf_core import files
from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.data.own import cache, paths
from pf_core.data.own.dataset import Folder
from pf_core.data.own.importer import keep, take
from pf_core.data.own.scan import arrange, of_folder
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError
from pf_core.models import checkpoint


@pytest.fixture
def mine(home, tmp_path):
    return tree(tmp_path / "mine" / "two", two_classes())


def colours(images):
    """(B, 3) in 0..255: the colour of each picture's left half, or its right where that is the brighter one."""
    sides = (images + 1) * 127.5
    return torch.maximum(sides[:, :, :, :8].mean((2, 3)), sides[:, :, :, -8:].mean((2, 3)))


def test_classes_come_from_sub_folders_and_pictures_from_their_centre(mine):
    data = DATASETS["folder"].fn(**DATASETS["folder"].settings({"path": str(mine), "size": "16", "flip": False}))
    assert data.names == ["blue", "red"] and data.channels == 3 and data.size == 16
    assert data.facts["pictures"] == 12 and data.facts["held_out"] == 1 and len(data) == 11
    batch = data.batch(range(11))
    assert batch.images.shape == (11, 3, 16, 16) and batch.images.dtype == torch.float32
    assert batch.images.is_contiguous() and batch.images.abs().max() <= 1
    seen = colours(batch.images)
    assert torch.equal(batch.labels, (seen[:, 0] > seen[:, 2]).long())
    left, right = (batch.images[:, :, :, s].mean((1, 2, 3)) for s in (slice(0, 7), slice(-7, None)))
    assert (left > right).all()  # the crop is centred: the dark half stays at the right, and half


def test_an_epoch_shows_every_training_picture_once_and_each_epoch_in_another_order(mine):
    data = Folder(path=str(mine))
    n = len(data)
    epochs = [
        [tuple(c.tolist()) for c in colours(data.batch(range(k * n, (k + 1) * n)).images).round()] for k in (0, 1)
    ]
    held = {tuple(c.tolist()) for c in colours(data.batch([HELD_OUT]).images).round()}
    assert len(set(epochs[0])) == n and set(epochs[0]) == set(epochs[1]) and epochs[0] != epochs[1]
    assert not held & set(epochs[0])


def test_item_i_depends_on_series_and_i_alone_and_about_half_are_mirrored(mine):
    data, again = Folder(path=str(mine)), Folder(path=str(mine))
    many = data.batch(range(2200)).images
    for i in (0, 7, 1234):
        assert torch.equal(again.batch([i]).images[0], many[i])
    assert not torch.equal(Folder(path=str(mine), series=1).batch(range(11)).images, many[:11])
    mirrored = (many[:, :, :, :16].mean((1, 2, 3)) < many[:, :, :, 16:].mean((1, 2, 3))).float().mean().item()
    assert mirrored == pytest.approx(0.5, abs=0.05)
    still = Folder(path=str(mine), flip=False).batch(range(2200)).images
    assert (still[:, :, :, :16].mean((1, 2, 3)) > still[:, :, :, 16:].mean((1, 2, 3))).all()
    held = Folder(path=str(mine), held_out=0.5).batch(range(HELD_OUT, HELD_OUT + 50)).images
    assert (held[:, :, :, :16].mean((1, 2, 3)) > held[:, :, :, 16:].mean((1, 2, 3))).all()


def test_one_picture_is_enough_and_a_class_of_one_is_never_held_out(home, tmp_path):
    one = tree(tmp_path / "mine" / "one", {"a.png": picture()})
    data = Folder(path=str(one))
    assert data.names == ["all"] and len(data) == 1 and data.held == 0
    assert torch.equal(data.batch([HELD_OUT, HELD_OUT + 5]).labels, torch.zeros(2).long())
    few = {"a/1.png": picture(), **{f"b/{i}.png": picture((0, i, 0)) for i in range(9)}}
    data = Folder(path=str(tree(tmp_path / "mine" / "few", few)), held_out=0.5)
    assert data.held == 5 and 0 in data.batch(range(len(data))).labels


def test_captions_are_kept_with_their_pictures(home, tmp_path):
    lines = [{"file_name": "1.png", "text": " a red\nthing "}, {"file_name": "sub/2.png", "caption": "two"}]
    content = {
        "metadata.jsonl": "\n".join(map(json.dumps, lines)) + "\nnot json\n",
        "1.png": picture((250, 0, 0)), "sub/2.png": picture((0, 250, 0)),
        "3.png": picture((0, 0, 250)), "3.txt": "\ufeffthree, beside it",
    }  # fmt: skip
    data = Folder(path=str(tree(tmp_path / "mine" / "c", content)), held_out=0.0)
    assert data.names == ["other", "sub"] and data.facts["captions"] == 3
    assert [str(s) for s in data.skipped] == ["metadata.jsonl line 3 is not a JSON object with a file_name."]
    batch = data.batch(range(3))
    said = {int(c.argmax()): text for c, text in zip(colours(batch.images), batch.captions, strict=True)}
    assert said == {0: "a red thing", 1: "two", 2: "three, beside it"}


def test_captions_that_cannot_be_read_are_left_out_only_if_asked(home, tmp_path):
    content = {
        "1.png": picture(),
        "1.txt": "a word",
        "2.png": picture((9, 9, 9)),
        "2.txt": "caf\u00e9".encode("latin-1"),
    }
    made = str(tree(tmp_path / "mine" / "c", content))
    argv = ["train", "--dataset", "folder", "--path", made, "--model", "nano", "--size", "8", "--patch-size", "4"]
    argv += ["--steps", "1", "--batch-size", "2", "--out"]
    assert main([*argv, str(tmp_path / "classes")]) == 0
    text = [*argv, str(tmp_path / "run"), "--condition", "text", "--text-width", "32", "--text-layers", "1"]
    assert main(text) == 2 and not (tmp_path / "run").exists()
    assert main([*text, "--skip-bad"]) == 0


def test_folders_say_what_is_held_out_and_a_share_asked_for_as_well_is_named(home, tmp_path):
    content = {f"{part}/{i}.png": picture((40 * i, 90, 0)) for part in ("train", "val") for i in range(3)}
    made = str(tree(tmp_path / "mine" / "n", content))
    assert (len(Folder(path=made)), Folder(path=made).held) == (3, 3)
    assert "held_out 0.3 is not used" in Folder(path=made, held_out=0.3).notes[-1]
    assert not any("not used" in note for note in Folder(path=made).notes)


def test_labels_of_metadata_win_over_folders(home, tmp_path):
    lines = [json.dumps({"file_name": f"{i}.png", "label": "even" if i % 2 == 0 else "odd"}) for i in range(4)]
    content = {f"x/{i}.png": picture((60 * i, 0, 0)) for i in range(4)} | {"x/metadata.jsonl": "\n".join(lines)}
    data = Folder(path=str(tree(tmp_path / "mine" / "m", content)))
    assert data.names == ["even", "odd"]


@pytest.mark.parametrize(
    "names, classes",
    [
        (["1.png", "2.png"], ["all"]),
        (["cat/1.png", "cat/2.png"], ["cat"]),
        (["zip/cat/1.png", "zip/dog/2.png"], ["cat", "dog"]),
        (["cat/1.png", "dog/deep/er/2.png", "3.png"], ["cat", "dog", "other"]),
        (["\u2460/1.png", "x\u00b2/2.png", "10/3.png"], ["10", "x\u00b2", "\u2460"]),
        (["train/1.png", "val/2.png"], ["all"]),
    ],
)
def test_which_folder_is_the_class(home, tmp_path, names, classes):
    content = {name: picture((40 * i, 90, 0)) for i, name in enumerate(names)}
    assert Folder(path=str(tree(tmp_path / "mine" / "n", content))).names == classes


# which folders, which files


def test_only_folders_under_a_root_may_be_named_and_links_lead_nowhere(home, tmp_path, mine):
    private = tree(tmp_path / "private", two_classes(2))
    os.symlink(private, tmp_path / "mine" / "link")
    for path in (private, tmp_path / "mine" / "link", tmp_path / "mine" / ".." / "private", "../private", "/etc"):
        with pytest.raises(InputError, match="lies outside of the folders"):
            Folder(path=str(path))
    for path, said in (
        ("", "Name a folder"),
        ("nothing-here", "There is no folder"),
        ("a\0b", "is not the name of a folder"),
    ):
        with pytest.raises(InputError, match=said):
            Folder(path=path)
    assert Folder(path="two").names == ["blue", "red"]  # from the root
    with paths.any_path():
        assert Folder(path=str(private)).names == ["blue", "red"]


def test_links_and_pipes_inside_a_folder_are_named_and_not_followed(home, tmp_path, mine):
    tree(tmp_path / "private", {"secret.png": picture()})
    os.symlink(tmp_path / "private" / "secret.png", mine / "red" / "link.png")
    os.symlink(tmp_path / "private", mine / "all")
    os.mkfifo(mine / "red" / "pipe.png")
    data = Folder(path=str(mine))
    assert {str(s) for s in data.skipped} == {
        "red/link.png is a link out of the folder.",
        "red/pipe.png is not an ordinary file.",
    }
    assert data.names == ["blue", "red"] and data.facts["pictures"] == 12


def test_a_trainer_that_a_server_has_started_follows_no_more_links_than_its_pages(home, tmp_path, mine, monkeypatch):
    elsewhere = tree(tmp_path / "elsewhere", two_classes(2))
    for folder in (mine, elsewhere):
        os.symlink(tree(tmp_path / "private", {"secret.png": picture()}), folder / "all")
    with paths.any_path():
        assert Folder(path=str(mine), skip_bad=True).names == ["all", "blue", "red"]
        monkeypatch.setenv(paths.SERVED, "1")
        assert Folder(path=str(mine), skip_bad=True).names == ["blue", "red"]
        assert "all" in Folder(path=str(elsewhere)).names  # no page could name it: the command line began this run


def test_bad_files_are_counted_and_named_and_left_out_only_if_asked(mine):
    tree(mine, {"red/text.png": "hello", "blue/cut.png": picture()[:60], "red/notes.md": "x"})
    with pytest.raises(InputError, match="2 of the 14 pictures in .* cannot be read: blue/cut.png is .*--skip-bad"):
        Folder(path=str(mine))
    data = Folder(path=str(mine), skip_bad=True, held_out=0.0)
    assert data.facts["pictures"] == 12 and len(data.skipped) == 3
    batch = data.batch(range(12))
    seen = colours(batch.images)
    assert batch.labels.tolist() == (seen[:, 0] > seen[:, 2]).long().tolist() and batch.labels.sum() == 6


def test_a_folder_without_pictures_is_a_sentence(home, tmp_path):
    tree(tmp_path / "mine" / "no", {"a.txt": "x"})
    with pytest.raises(InputError, match="There is no picture that can be used in no. a.txt is not a picture."):
        Folder(path="no")


def test_pictures_are_decoded_once(mine, monkeypatch):
    first = Folder(path=str(mine)).batch(range(30)).images
    monkeypatch.setattr("pf_core.data.own.image_io.square", lambda *a, **k: pytest.fail("decoded again"))
    again = Folder(path=str(mine))
    assert torch.equal(again.batch(range(30)).images, first) and isinstance(again._packed.pixels, np.memmap)


def test_two_threads_that_look_at_new_pictures_at_once_decode_them_once(mine, monkeypatch):
    decoded, plain = [], cache._pixels

    def slowly(item, size):
        decoded.append(item)
        time.sleep(0.02)
        return plain(item, size)

    listing = arrange(*of_folder(mine))
    monkeypatch.setattr(cache, "_pixels", slowly)
    with ThreadPoolExecutor(4) as pool:
        packed = list(pool.map(lambda _: cache.pack(listing.items, listing.classes, 16), range(4)))
    assert len({each.digest for each in packed}) == 1 and len(decoded) == 12


def test_two_threads_that_write_one_file_do_not_write_into_one_another(tmp_path):
    path = tmp_path / "file"
    with files.replacing(path) as temporary:
        temporary.write_text("the first")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(files.write_json, path, {}).result()
        assert path.read_text() == "{}"
    assert path.read_text() == "the first" and list(tmp_path.iterdir()) == [path]


def test_the_digest_knows_a_changed_picture_and_not_a_touched_one(mine):
    before = Folder(path=str(mine)).facts["digest"]
    os.utime(mine / "red" / "1.png", (1, 1))
    assert Folder(path=str(mine)).facts["digest"] == before
    (mine / "red" / "1.png").write_bytes(picture((1, 2, 3)))
    assert Folder(path=str(mine)).facts["digest"] != before


# training


def train(out, *more, path=None):
    flags = [
        "--model",
        "nano",
        "--batch-size",
        "5",
        "--validate-every",
        "3",
        "--samples-every",
        "3",
        "--save-every",
        "1",
    ]
    data = ["--dataset", "folder", "--path", str(path), "--size", "16"] if path else []
    return main(["train", *data, *(flags if path else []), "--out", str(out), *more])


@pytest.mark.parametrize("taken_in", [False, True])
def test_a_run_on_own_pictures_stops_and_goes_on_bit_for_bit(mine, tmp_path, monkeypatch, taken_in):
    path = keep(take([mine]).id, "two") if taken_in else mine
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, "--steps", "6", path=path) == 0
    with monkeypatch.context() as m:
        stop_after(m, 3)
        assert train(parts, "--steps", "6", path=path) == 130
    assert not (parts / "parts.safetensors").exists()
    assert train(parts, "--resume") == 0
    a, b = (load_file(f / f"{f.name}.safetensors") for f in (whole, parts))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    net = checkpoint.load(str(whole / "whole.safetensors"))
    assert net.conditioner.names == ["blue", "red"] and net.shape == (3, 16, 16)
    out = tmp_path / "s.safetensors"
    assert main(["sample", "--checkpoint", str(net.path), "--label", "red", "--nfe", "4", "--out", str(out)]) == 0
    assert load_file(out)["x1"].shape == (1, 3, 16, 16)


def test_a_run_whose_pictures_have_changed_does_not_go_on(mine, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    with monkeypatch.context() as m:
        stop_after(m, 3)
        assert train(out, "--steps", "4", path=mine) == 130
    said = json.loads((out / "data.json").read_text())
    assert said["pictures"] == 12 and said["classes"] == {"blue": 6, "red": 6}
    before = load_file(out / "state.safetensors")
    tree(mine, {"green/1.png": picture((0, 200, 0))})  # a new class: not even the network's shape would fit
    capsys.readouterr()
    assert train(out, "--resume") == 2
    assert "The pictures have changed since this run began (12 then, 13 now)" in capsys.readouterr().err
    after = load_file(out / "state.safetensors")
    assert all(torch.equal(before[k], after[k]) for k in before)
    (mine / "green" / "1.png").unlink()
    assert train(out, "--resume") == 0
    assert checkpoint.read_header(out / "run.safetensors")["training"]["data"]["digest"] == said["digest"]


def test_a_run_begun_under_other_reading_rules_goes_on_if_they_read_the_same_and_says_so_if_not(
    mine, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    with monkeypatch.context() as m:
        stop_after(m, 3)
        assert train(out, "--steps", "5", path=mine) == 130
    config = json.loads((out / "config.json").read_text())
    assert config.pop("rules") == Folder.rules >= 2
    (out / "config.json").write_text(json.dumps(config))  # as runs were written before there were versions
    with monkeypatch.context() as m:
        stop_after(m, 4)
        assert train(out, "--resume") == 130
    known = json.loads((out / "data.json").read_text())
    assert known.pop("rules") == Folder.rules  # from here on this version's: it has seen the same
    (out / "data.json").write_text(json.dumps(known | {"digest": "as the old rules read them"}))
    capsys.readouterr()
    assert train(out, "--resume") == 2
    said = capsys.readouterr().err
    assert "This version reads these pictures differently" in said and "changed" not in said


def stop_after(monkeypatch, steps):
    """Ctrl-C once so many steps are done and saved."""
    from pf_core.training.loop import Trainer

    step = Trainer.train_step

    def limited(self, batch):
        if self.step >= steps:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", limited)


def test_commands_that_know_only_shapes_say_so(mine, tmp_path, capsys):
    assert train(tmp_path / "r", "--steps", "2", path=mine) == 0
    net = str(tmp_path / "r" / "r.safetensors")
    capsys.readouterr()
    assert main(["evaluate", "--checkpoint", net, "--out", str(tmp_path / "x.json")]) == 2
    assert "No judge knows `folder`" in capsys.readouterr().err
    assert main(["study", "difficulty", "--checkpoint", net]) == 2
    assert "none, or only one, was held out" in capsys.readouterr().err
