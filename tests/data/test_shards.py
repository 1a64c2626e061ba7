"""Tar files as WebDataset lays them out: samples by their number, in an order that needs no reading before."""

import io
import json
import os
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pf_core.data import DATASETS, sharding
from pf_core.data.shards import _Opened
from pf_core.data.splits import HELD_OUT
from pf_core.errors import InputError


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def picture(value, suffix="png"):
    out = io.BytesIO()
    Image.new("RGB", (20, 16), (value, value, value)).save(out, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
    return out.getvalue()


@pytest.fixture
def folder(home, tmp_path):
    """60 grey pictures in three shards of 10, 20 and 30; sample k is of the grey 4 k and the class k mod 3."""
    made, k = tmp_path / "mine", 0
    for shard, count in enumerate((10, 20, 30)):
        with tarfile.open(made / f"{shard:03d}.tar", "w") as tar:
            for _ in range(count):
                suffix = ("png", "jpg", "webp")[k % 3]
                add(tar, f"a/{k:05d}.{suffix}", picture(4 * k, suffix))
                if k % 2:
                    add(tar, f"a/{k:05d}.cls", str(k % 3).encode())
                    add(tar, f"a/{k:05d}.txt", f"grey {k}".encode())
                else:
                    add(tar, f"a/{k:05d}.json", json.dumps({"label": k % 3, "caption": f"grey {k}"}).encode())
                k += 1
    return made


def shards(folder, **knobs):
    return DATASETS["shards"].fn(path=str(folder), size=8, **knobs)


def test_samples_have_their_pixels_classes_and_captions(folder):
    data = shards(folder, held_out=0.0)
    assert len(data) == 60 and data.held == 0 and data.names == ["0", "1", "2"]
    sample = data.batch(range(60))
    assert sample.images.shape == (60, 3, 8, 8)
    which = [int(text.split()[1]) for text in sample.captions]
    assert sorted(which) == list(range(60)) and sample.labels.tolist() == [k % 3 for k in which]
    greys = (sample.images.mean((1, 2, 3)) + 1) * 127.5
    assert torch.allclose(greys, 4.0 * torch.tensor(which), atol=3)


def test_the_order_comes_from_series_and_epoch_alone_and_stays_within_a_shard(folder):
    data = shards(folder, held_out=0.1)
    assert data.held == 6 and len(data) == 54
    late = data.batch(range(3 * 54 + 20, 3 * 54 + 30))
    again = shards(folder, held_out=0.1).batch(range(3 * 54 + 20, 3 * 54 + 30))
    assert late.captions == again.captions and late.images.equal(again.images)
    epochs = [[int(t.split()[1]) for t in data.batch(range(54 * e, 54 * e + 54)).captions] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1]
    of = [0 if k < 10 else 1 if k < 30 else 2 for k in epochs[0]]
    assert sum(a != b for a, b in zip(of, of[1:], strict=False)) == 2  # one shard after the other
    held = [int(t.split()[1]) for t in data.batch(range(HELD_OUT, HELD_OUT + 6)).captions]
    assert len(set(held)) == 6 and not set(held) & set(epochs[0])
    assert shards(folder, held_out=0.1, series=1).batch(range(54)).captions != data.batch(range(54)).captions


def test_the_index_is_written_once_and_anew_when_a_shard_changes(folder):
    first = shards(folder).facts
    index = folder / "index.npz"
    before = index.stat().st_mtime_ns
    assert shards(folder).facts == first and index.stat().st_mtime_ns == before
    with tarfile.open(folder / "003.tar", "w") as tar:
        add(tar, "x.png", picture(9))
        add(tar, "x.cls", b"1")
    assert shards(folder).facts["pictures"] == 61 and shards(folder).facts["digest"] != first["digest"]


def test_a_shard_that_is_replaced_is_read_anew_and_never_by_its_old_index(folder):
    def replaced(grey):
        with tarfile.open(folder / ".new.tar", "w") as tar:
            for k in range(10):
                add(tar, f"x{k}.png", picture(grey))
                add(tar, f"x{k}.cls", b"1")
        (folder / ".new.tar").replace(folder / "000.tar")

    old, rows = shards(folder, held_out=0.0), range(60)
    before = old.batch(rows).images
    replaced(255)
    assert (shards(folder, held_out=0.0).batch(rows).images == 1).all((1, 2, 3)).sum() == 10
    assert torch.equal(old.batch(rows).images, before)  # the file that it has open
    _Opened.of.cache_clear()
    with pytest.raises(InputError, match="000.tar has been replaced since"):
        old.batch(rows)


def test_latents_come_as_states_of_their_codec(home, tmp_path):
    made = tmp_path / "mine"
    with tarfile.open(made / "a.tar", "w") as tar:
        for k in range(4):
            out = io.BytesIO()
            np.save(out, np.full((4, 2, 2), k, np.float16))
            add(tar, f"{k}.npy", out.getvalue())
    with pytest.raises(InputError, match="codec.json"):
        shards(made)
    (made / "codec.json").write_text(json.dumps({"name": "latents", "settings": {"channels": 4}}))
    data = shards(made, held_out=0.25)
    assert data.encoded_by == ("latents", {"channels": 4}) and data.names == [] and (data.channels, data.size) == (4, 2)
    assert sorted(data.batch(range(3)).images[:, 0, 0, 0].tolist()) == [0, 1, 2]
    assert data.batch([HELD_OUT]).images[0, 0, 0, 0] == 3


def test_what_is_no_shard_is_a_sentence(home, tmp_path):
    made = tmp_path / "mine"
    with pytest.raises(InputError, match="no .tar files"):
        shards(made)
    for path in ("pipe:echo hello", "http://127.0.0.1/a.tar"):
        with pytest.raises(InputError):
            shards(path)
    (made / "a.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(InputError, match="damaged"):
        shards(made)
    for name, content, words in (("x.cls", b"1", "neither a picture"), ("x.pkl", b"\x80", "holds no sample")):
        with tarfile.open(made / "a.tar", "w") as tar:
            add(tar, name, content)
        with pytest.raises(InputError, match=words):
            shards(made)
    with tarfile.open(made / "a.tar", "w") as tar:
        out = io.BytesIO()
        np.save(out, np.array([{}], object), allow_pickle=True)
        add(tar, "x.npy", out.getvalue())
    (made / "codec.json").write_text(json.dumps({"name": "latents", "settings": {}}))
    with pytest.raises(InputError, match="no array"):
        shards(made)


def one(made, name, **parts):
    """A tar file with one sample."""
    with tarfile.open(made / name, "w") as tar:
        for ending, content in parts.items():
            add(tar, f"{name[:-4]}.{ending}", content)


def state(*shape):
    out = io.BytesIO()
    np.save(out, np.zeros(shape, np.float16))
    return out.getvalue()


def test_files_that_are_no_longer_looked_at_are_closed(home, tmp_path):
    made = tmp_path / "mine"
    for k in range(80):
        one(made, f"{k:03d}.tar", png=picture(k))
    data, before = shards(made, held_out=0.0), len(os.listdir("/proc/self/fd"))
    for epoch in range(3):
        data.batch(range(80 * epoch, 80 * epoch + 80))
    assert len(os.listdir("/proc/self/fd")) <= before + 65


def test_half_a_tar_file_of_a_killed_writer_is_none(folder):
    before = shards(folder).facts
    (folder / ".000003.0123abcd.7.tmp.tar").write_bytes((folder / "000.tar").read_bytes())
    assert shards(folder).facts == before
    empty, plan = folder / "more", sharding.Plan(2, 0, 1, {"shape": [8, 8]}, [])
    empty.mkdir()
    left = empty / ".000000.0123abcd.7.tmp.tar"
    left.write_bytes(b"half")
    list(sharding.write(empty, plan, lambda at: [{".png": picture(1)} for _ in at]))
    assert not left.exists() and len(shards(empty)) == 2


def test_captions_are_read_when_they_are_asked_for(home, tmp_path):
    made = tmp_path / "mine"
    one(made, "a.tar", png=picture(1), txt="a café".encode("latin-1"))
    data = shards(made)
    sample = data.batch([0])
    for read in (lambda: sample.captions, data.vocabulary, lambda: data.captions_of([0])):
        with pytest.raises(InputError, match="UTF-8"):
            read()
    one(made, "a.tar", png=picture(1), txt="a café".encode())
    assert shards(made).vocabulary() == ["a café"] == shards(made).captions_of(range(1))
    one(made, "a.tar", png=picture(1))
    with pytest.raises(InputError, match="None of the samples"):
        shards(made).vocabulary()


def test_names_of_classes_count_only_where_samples_have_classes(home, tmp_path):
    made = tmp_path / "mine"
    one(made, "a.tar", png=picture(1))
    (made / "classes.json").write_text('["cat", "dog"]')
    assert shards(made).names == []
    one(made, "a.tar", png=picture(1), cls=b"1")
    cats = shards(made)
    assert cats.names == ["cat", "dog"]
    (made / "classes.json").write_text('["dog", "cat"]')
    assert (
        shards(made).facts["meaning"] != cats.facts["meaning"] and shards(made).facts["digest"] == cats.facts["digest"]
    )
    (made / "classes.json").unlink()
    assert "meaning" not in shards(made).facts
    one(made, "a.tar", png=picture(1), cls=b"300000")
    with pytest.raises(InputError, match="from 0 to 249,999"):
        shards(made)


def test_latents_of_two_shapes_are_told_apart(home, tmp_path):
    made = tmp_path / "mine"
    one(made, "a.tar", npy=state(4, 2, 2))
    one(made, "b.tar", npy=state(4, 2, 3))
    (made / "codec.json").write_text(json.dumps({"name": "latents", "settings": {}}))
    with pytest.raises(InputError, match="a latent of 4 x 2 x 3, the first one of 4 x 2 x 2"):
        shards(made).batch(range(2))


def test_more_files_than_the_plan_can_tell_are_refused_before_anything_is_written(tmp_path):
    plan = sharding.Plan(60_000, 0, 1, {"shape": [8, 8]}, [])
    with pytest.raises(InputError, match="larger --per-shard"):
        list(sharding.write(tmp_path / "out", plan, lambda at: []))
    assert not list(tmp_path.glob("out/*.json"))
    with pytest.raises(InputError, match="400,000 classes"):
        list(sharding.write(tmp_path / "out", replace(plan, size=60_000, names=["x"] * 400_000), lambda at: []))
