"""Data sets written as tar files and read back: the same pictures, latents, classes and captions; stopped, gone on."""

import threading

import pytest
import torch
from PIL import Image

from pf_core.cli import main
from pf_core.data import DATASETS, sharding
from pf_core.data.splits import HELD_OUT
from pf_core.models.codecs import to_uint8


@pytest.fixture
def out(home, tmp_path):
    return tmp_path / "mine" / "tars"


def write(out, *flags):
    return main(["shards", "--out", str(out), *map(str, flags)])


def by_caption(sample):
    return {c: (to_uint8(i), int(k)) for c, i, k in zip(sample.captions, sample.images, sample.labels, strict=True)}


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_pictures_come_back_with_every_pixel_class_and_caption(out, kind, capsys):
    """Oblong ones: signs, 16 x 48."""
    few = ["--dataset", "signs", "--size", 16, "--images", 23, "--held", 5, "--per-shard", 10]
    assert write(out, *few, "--format", kind) == 0
    assert "23 samples to train on and 5 held out, in 3 tar files" in capsys.readouterr().out
    assert sorted(p.name for p in out.glob("*.tar")) == ["000000.tar", "000001.tar", "000002.tar"]
    made, source = DATASETS["shards"].fn(path=str(out), size=16, flip=False), DATASETS["signs"].fn(size=16)
    assert (len(made), made.held, made.names, made.size) == (23, 5, source.names, (16, 48))
    for first, count in ((0, 23), (HELD_OUT, 5)):
        wanted, found = (by_caption(data.batch(range(first, first + count))) for data in (source, made))
        assert len(found) == count and set(found) == set(wanted)
        for caption, (image, label) in wanted.items():
            assert torch.equal(found[caption][0], image) and found[caption][1] == label


def test_a_folders_held_out_pictures_stay_held_out(home, tmp_path, capsys):
    pictures = tmp_path / "mine" / "pictures"
    for k in range(20):
        (pictures / f"class{k % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (12 * k, 0, 0)).save(pictures / f"class{k % 2}" / f"{k}.png")
    out, mine = tmp_path / "mine" / "tars", ["--dataset", "folder", "--path", pictures, "--size", 16]
    assert write(out, *mine, "--per-shard", 7) == 0
    made = DATASETS["shards"].fn(path=str(out), size=16)
    source = DATASETS["folder"].fn(path=str(pictures), size=16, flip=False)
    assert (len(made), made.held, made.names) == (len(source), source.held, source.names) and made.held > 0
    held = [data.batch(range(HELD_OUT, HELD_OUT + data.held)).images[:, 0, 0, 0].tolist() for data in (made, source)]
    assert sorted(held[0]) == pytest.approx(sorted(held[1]))
    assert write(tmp_path / "no", *mine, "--images", 4) == 2
    assert "endless data sets" in capsys.readouterr().err
    assert write(tmp_path / "no", "--dataset", "shapes", "--count", 4, "--held", 2) == 2
    assert "holds none of them out" in capsys.readouterr().err


def test_what_was_stopped_is_gone_on_with_and_gives_the_same_files(out, tmp_path, monkeypatch):
    few = ["--dataset", "shapes", "--images", 40, "--held", 0, "--per-shard", 10]
    assert write(tmp_path / "whole", *few) == 0
    write_one, written = sharding._write, []

    def stopped(path, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        write_one(path, *rest)

    monkeypatch.setattr(sharding, "_write", stopped)
    assert write(out, *few) == 130 and len(list(out.glob("*.tar"))) == 2 and not (out / "index.npz").exists()
    monkeypatch.setattr(sharding, "_write", lambda path, *rest: written.append(path.name) or write_one(path, *rest))
    assert write(out, *few) == 0
    assert written == [f"{k:06d}.tar" for k in range(4)] and (out / "index.npz").exists()
    for path in out.glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


def test_another_data_set_is_not_written_into_the_same_folder(out, capsys):
    few = ["--dataset", "shapes", "--images", 4, "--held", 0]
    assert write(out, *few) == 0 and write(out, *few) == 0
    assert write(out, "--dataset", "shapes", "--images", 5, "--held", 0) == 2
    assert "holds shards of other samples" in capsys.readouterr().err
    (out / "shards.json").unlink()
    assert write(out, *few) == 2
    assert "holds tar files already" in capsys.readouterr().err


def test_several_processes_share_the_work(out):
    plan = sharding.Plan(30, 3, 5, {"shape": [32, 32]}, [])
    drawn = []

    def pack(indices):
        drawn.append(tuple(indices))
        return [{".npy": b"x" * (i % HELD_OUT)} for i in indices]

    def work(index):
        list(sharding.write(out, plan, pack, 100, index, 3))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(drawn) == sorted(tuple(plan.indices(k)) for k in range(plan.shards)) and (out / "index.npz").exists()
    every = [i for indices in drawn for i in indices]
    assert sorted(every) == [*range(30), *range(HELD_OUT, HELD_OUT + 3)]
    assert all(indices[0] < HELD_OUT for indices in drawn)  # each has a sample to train on
