"""MP4: the film plays, its sides are even, and the recipe lies in its metadata."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from helpers import bundle

from pf_core.errors import InputError
from pf_core.patches import PatchGrid
from pf_core.sampling.export import animation, export, read_recipe
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import Frame, Trajectory, record

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def run():
    return record(Run(bundle(), SampleSpec("nano", "look_ahead", nfe=8, labels=["star"], seeds=[3])))


def test_a_film_shows_every_forward_pass_and_rests_on_the_last(run, tmp_path):
    export(run, bundle().codec, tmp_path / "run.mp4")
    with av.open(tmp_path / "run.mp4") as film:
        assert film.streams.video[0].codec_context.pix_fmt == "yuv420p"
        pictures = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
        seconds = film.duration / av.time_base
    assert len(pictures) == len(run) - 1 + 19 and seconds == pytest.approx(0.08 * len(pictures), abs=0.01)
    for shown, meant in zip(pictures, animation(run, bundle().codec), strict=False):
        assert np.abs(shown.astype(int) - np.asarray(meant)).mean() < 4  # colours survive


def test_a_film_of_oblong_pictures_is_the_animation_and_keeps_their_form(tmp_path):
    net = bundle(input_size=(32, 48))
    run = record(Run(net, SampleSpec("nano", "look_ahead", nfe=4, labels=["star", "ring"], seeds=[3, 4])))
    export(run, net.codec, tmp_path / "run.mp4")
    meant = animation(run, net.codec)
    with av.open(tmp_path / "run.mp4") as film:
        shown = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    width, height = meant[0].size
    assert shown[0].shape == (height + height % 2, width + width % 2, 3) and width > 4 * 4 * 48
    for picture, one in zip(shown, meant, strict=False):
        assert np.abs(picture[:height, :width].astype(int) - np.asarray(one)).mean() < 4
    assert read_recipe(tmp_path / "run.mp4")["labels"] == ["star", "ring"]


def test_the_same_run_makes_the_same_file(run, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        export(run, bundle().codec, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sides_become_even(tmp_path):
    grid, x = PatchGrid(65, 65, 5), torch.zeros(1, 3, 65, 65)
    t, nan = torch.zeros(1, 169), torch.full((1,), torch.nan)
    odd = Trajectory(grid, {"checkpoint": "x"}, x, [Frame("outer", 0, 1, 0.0, x, x, t, t, t, t.bool(), nan)], x)
    export(odd, bundle().codec, tmp_path / "odd.mp4")
    with av.open(tmp_path / "odd.mp4") as film:
        assert (film.streams.video[0].height, film.streams.video[0].width) == (102, 272)  # odd tall, even wide


def test_a_long_recipe_fits(run, tmp_path):
    edits = [{"kind": "clean", "outer": k % 4, "patches": list(range(16))} for k in range(64)]
    long = dataclasses.replace(run, recipe={**run.recipe, "seeds": list(range(5000)), "edits": edits})
    export(long, bundle().codec, tmp_path / "long.mp4")
    found = read_recipe(tmp_path / "long.mp4")
    assert found["edits"] == edits and found["seeds"] == list(range(5000))


@pytest.mark.parametrize("content", [b"", b"not a film"])
def test_what_is_no_film_is_a_sentence(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(InputError, match="holds no recipe"):
        read_recipe(tmp_path / "x.mp4")


def test_a_film_without_a_recipe_is_a_sentence(tmp_path):
    with av.open(tmp_path / "x.mp4", "w") as film:
        stream = film.add_stream("mpeg4", rate=25)
        stream.height = stream.width = 16
        stream.pix_fmt = "yuv420p"
        film.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        film.mux(stream.encode())
    with pytest.raises(InputError, match="holds no recipe"):
        read_recipe(tmp_path / "x.mp4")


def test_without_pyav_it_is_a_sentence(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match="needs the package av"):
        export(run, bundle().codec, tmp_path / "run.mp4")
    assert not list(tmp_path.iterdir())


def test_mpeg4_where_there_is_no_h264(run, tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    export(run, bundle().codec, tmp_path / "run.mp4")
    with av.open(tmp_path / "run.mp4") as film:
        assert film.streams.video[0].codec_context.name == "mpeg4"
    assert read_recipe(tmp_path / "run.mp4")["sampler"] == run.recipe["sampler"]
