"""Slides: what stands on them, how large, and that the files hold what they show."""

import json
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import bundle
from PIL import Image, ImageSequence

from pf_core.errors import InputError
from pf_core.figures import slide_files
from pf_core.figures.slide_files import GIF, MP4, PICTURE, STRIP, SUFFIXES, WEBP, estimate, save
from pf_core.figures.slides import PANELS, Deck, Shown, Slides, clock, moments
from pf_core.models.codecs import to_uint8
from pf_core.sampling.export import export, read_recipe, read_recipes
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.trajectory import record


def made(sampler, nfe, **more):
    return record(Run(bundle(), SampleSpec("nano", sampler, nfe=nfe, labels=["star"], seeds=[3, 4], **more)))


@pytest.fixture(scope="module")
def ahead():
    return made("look_ahead", 8)


@pytest.fixture(scope="module")
def euler():
    return made("euler", 6)


def deck(*runs, **choices):
    return Deck([Shown(run, bundle().codec, f"run {k}") for k, run in enumerate(runs)], Slides(**choices))


def test_runs_stand_on_one_clock_and_end_on_their_results(ahead, euler):
    runs = [moments(ahead), moments(euler)]
    ticks = clock(runs, "nfe")
    assert ticks[0] == [0, 0] and ticks[-1] == [len(ahead), len(euler)]
    for a, b in ticks[:6]:
        assert runs[0][a].nfe == runs[1][b].nfe
    assert all(later[r] >= now[r] for now, later in zip(ticks, ticks[1:], strict=False) for r in (0, 1))


def test_outer_steps_and_probes_alone(ahead, euler):
    run = moments(ahead)
    outer = [run[i] for (i,) in clock([run], "nfe", "outer")]
    assert [f.outer for f in outer[:-1]] == sorted({f.outer for f in ahead.frames}) and outer[-1].phase == "final"
    probes = [run[i].phase for (i,) in clock([run], "nfe", "probes")]
    assert set(probes[:-1]) == {"probe"} and probes[-1] == "final"
    beside = clock([run, moments(euler)], "nfe", "probes")
    assert {run[a].phase for a, _ in beside} == {"probe", "final"} and len({b for _, b in beside}) > 2
    with pytest.raises(InputError, match="None of these runs has probe passes"):
        clock([moments(euler)], "nfe", "probes")


@pytest.mark.parametrize("dark", [False, True])
def test_pixels_are_enlarged_by_whole_factors_without_smoothing(ahead, dark):
    slides = deck(ahead, panels=["x1"], images=[1], dark=dark)
    shown = np.asarray(slides.frame(5))
    pixels = to_uint8(bundle().codec.decode(ahead.frames[5].x1_hat[[1]].float())).numpy()[0]
    zoom = slides.page.grid.cell[0] // pixels.shape[1]
    bit = next(b for b in bits(slides, 5) if b.kind == "picture")
    assert zoom >= 10 and bit.across == bit.down == zoom
    large = pixels.repeat(zoom, 0).repeat(zoom, 1)
    assert (shown[bit.y : bit.y + large.shape[0], bit.x : bit.x + large.shape[1]] == large).all()


def test_two_runs_of_64_px_stand_threefold_on_a_slide(ahead, euler):
    codec = SimpleNamespace(preview=lambda x: x.new_zeros(len(x), 3, 64, 64), check=lambda: None)
    two = [Shown(run, codec, f"run {k}") for k, run in enumerate((ahead, euler))]
    assert Deck(two, Slides(panels=["x1", "t", "sigma"])).page.grid.cell == (192, 192)


def test_frames_of_latents_are_previews_and_the_result_is_decoded_once(ahead, euler):
    decoded, pixels = [], bundle().codec

    def decode(x):
        return decoded.append(len(x)) or pixels.decode(x) * 0 + 1

    codec = SimpleNamespace(preview=pixels.preview, decode=decode, check=lambda: None)
    slides = Deck([Shown(run, codec, "") for run in (ahead, euler)], Slides(panels=["x", "x1"], images=[0, 1]))
    pictures = [np.asarray(slides.frame(k)) for k in range(len(slides))]
    assert decoded == [2, 2]  # of each run
    bit = next(b for b in bits(slides, len(slides) - 1) if b.kind == "picture")
    assert (bit.values == 255).all() and not (bits(slides, 3)[0].values == 255).all() and len(pictures) > 6


def bits(slides, k):
    found = []
    for r, i in enumerate(slides.ticks[k]):
        slides.page._cells(r, i, found)
    return found


def test_a_gif_has_the_colours_of_the_picture(ahead, euler):
    slides = deck(ahead, euler)
    true = np.asarray(slides.frame(4)).astype(int)
    few = np.asarray(slides.frame(4, indexed=True).convert("RGB")).astype(int)
    assert true.shape == few.shape and np.abs(true - few).mean() < 3  # of 255; noise is the worst case


@pytest.mark.parametrize("kind", list(SUFFIXES))
def test_the_recipe_is_inside_and_read_back(ahead, tmp_path, kind):
    if kind == MP4:
        pytest.importorskip("av")
    path = tmp_path / f"slide{SUFFIXES[kind]}"
    save(deck(ahead, width=640), kind, path)
    assert read_recipe(path) == json.loads(json.dumps(ahead.recipe))


@pytest.mark.parametrize("kind", [PICTURE, GIF, WEBP])
def test_a_file_of_two_runs_holds_both_recipes(ahead, euler, tmp_path, kind):
    path = tmp_path / f"slide{SUFFIXES[kind]}"
    save(deck(ahead, euler, width=640), kind, path)
    assert [each["sampler"] for each in read_recipes(path)] == ["look_ahead", "euler"]
    assert read_recipe(path)["sampler"] == "look_ahead"


def test_recipes_that_are_none_are_a_sentence(tmp_path):
    for wrong in ({"recipes": []}, {"recipes": [3]}, {"recipes": "x"}, []):
        (tmp_path / "x.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="holds no recipe"):
            read_recipes(tmp_path / "x.json")


@pytest.mark.parametrize("kind", [GIF, WEBP])
def test_an_animation_keeps_its_times(ahead, tmp_path, kind):
    path = tmp_path / f"slide{SUFFIXES[kind]}"
    save(deck(ahead, width=640, seconds=0.3, hold=1.5), kind, path)
    with Image.open(path) as animation:
        times = [(frame.load(), frame.info["duration"])[1] for frame in ImageSequence.Iterator(animation)]
        assert animation.size[0] == 640
    assert sum(times) == 300 * len(ahead) + 1500 and times[-1] == 1500


def test_a_film_of_an_oblong_run_alone_and_beside_a_square_one_is_the_slides(ahead, tmp_path):
    av = pytest.importorskip("av")
    net = bundle(input_size=(32, 48))
    oblong = record(Run(net, SampleSpec("nano", "euler", nfe=4, labels=["star"], seeds=[3])))
    for runs in ((oblong,), (ahead, oblong)):
        slides = deck(*runs, width=640, seconds=0.2)
        save(slides, MP4, tmp_path / "slide.mp4")
        with av.open(tmp_path / "slide.mp4") as film:
            first = next(film.decode(video=0)).to_ndarray(format="rgb24")
        meant = np.asarray(slides.frame(0))
        height = len(meant)
        assert first.shape == (height + height % 2, 640, 3)
        assert np.abs(first[:height].mean(2) - meant.mean(2)).mean() < 4  # colours are as coarse as yuv420p has them


def test_a_film_keeps_its_times(ahead, tmp_path):
    av = pytest.importorskip("av")
    save(deck(ahead, width=640, seconds=0.2, hold=1), MP4, tmp_path / "slide.mp4")
    with av.open(tmp_path / "slide.mp4") as film:
        assert film.duration / av.time_base == pytest.approx(0.2 * len(ahead) + 1, abs=0.05)


@pytest.mark.parametrize("kind", [GIF, WEBP])
def test_the_estimate_is_at_least_the_file(ahead, euler, tmp_path, kind):
    slides = deck(ahead, euler, width=640)
    about = estimate(slides, kind)
    path = tmp_path / f"slide{SUFFIXES[kind]}"
    save(slides, kind, path)
    size = path.stat().st_size
    assert 0.85 * size < about.bytes < 4 * size and about.frames == len(slides) and not about.too_much
    assert about.width == 640 and about.height == slides.frame(0).height


def test_what_is_too_large_is_refused_with_a_way_out(ahead, tmp_path, monkeypatch):
    monkeypatch.setattr(slide_files, "MOST_BYTES", 20_000)
    slides = deck(ahead)
    assert "would be about" in estimate(slides, GIF).too_much
    with pytest.raises(InputError, match="Choose MP4, fewer frames or a smaller width"):
        save(slides, GIF, tmp_path / "slide.gif")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(slide_files, "MOST_BYTES", 25 * 10**6)
    monkeypatch.setattr(slide_files, "MOST_SECONDS", 0.0)
    assert "take about" in estimate(slides, GIF).too_much


def test_every_arrangement_stays_on_its_page(ahead, euler):
    for width, runs, images, place in product((640, 1600), (1, 2, 4), ([0], [0, 1]), ("fit", "below")):
        slides = deck(
            *[ahead, euler, ahead, euler][:runs], width=width, images=images, place=place, panels=list(PANELS)
        )
        page = slides.page
        assert slides.frame(3).size == (width, page.height)
        seen = np.zeros((page.height, width), int)
        for bit in bits(slides, 3):
            part = seen[
                bit.y : bit.y + bit.down * bit.values.shape[0], bit.x : bit.x + bit.across * bit.values.shape[1]
            ]
            assert part.shape == (bit.down * bit.values.shape[0], bit.across * bit.values.shape[1])  # within the page
            part += 1
        assert seen.max() == 1  # none upon another
        assert slides.one_line(page.room) or page.foot > slides.line * 2


def test_words_are_the_pages(ahead):
    slides = deck(ahead)
    assert ", ".join(slides.words(0, 2)).startswith("outer step ") and "NFE 3 of 7" in slides.words(0, 2)[1]
    assert slides.words(0, len(ahead))[0].startswith("result after")
    assert slides.about(0) == "nano · star · seed 3"
    odd = replace(ahead, recipe=ahead.recipe | {"checkpoint": "runs/v1.2", "labels": [None]})
    assert Deck([Shown(odd, bundle().codec, "")], Slides()).about(0) == "v1.2 · no class · seed 3"
    assert Deck([Shown(ahead, bundle().codec, "")], Slides(images=[0, 1])).about(0) == "nano · star · seeds 3, 4"
    assert slides.known(0, len(ahead), "sigma") == len(ahead) - 1  # the result shows the last map


def test_a_name_of_several_lines_is_shown_in_one(ahead):
    odd = replace(ahead, recipe=ahead.recipe | {"labels": ["a\nclass " + "x" * 400]})
    slides = Deck([Shown(odd, bundle().codec, "two\nlines")], Slides(frames="outer"))
    assert slides.frame(0).width == slides.strip().width == 1280


def test_a_strip_is_by_outer_step_and_the_command_lines_png_stays(ahead, tmp_path):
    outer = deck(ahead, frames="outer", width=1600)
    assert len(outer) == ahead.frames[-1].outer + 2
    assert outer.strip().size[0] == 1600
    save(outer, STRIP, tmp_path / "strip.png")
    export(ahead, bundle().codec, tmp_path / "run.png")
    with Image.open(tmp_path / "run.png") as picture:
        assert picture.size == (64 + 7 * 68, 38 + 2 * 284)  # seven passes, two images, four rows of 64 pixels


def test_guided_runs_name_their_sigma(euler):
    guided = made("euler", 4, cfg_scale=2.0)
    assert deck(guided, panels=["sigma", "cond"]).panels == ["sigma", "cond"]
    assert deck(guided).titles["sigma"] == "σ extrapolated"
    with pytest.raises(InputError, match="Only guided runs"):
        deck(euler, panels=["cond"])


def test_a_run_that_was_stopped_ends_on_its_last_pass(ahead):
    stopped = replace(ahead, x1=None, frames=ahead.frames[:5])
    assert len(deck(stopped)) == 5 and deck(stopped).now([99]).size[0] == 1280


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"panels": []}, "at least one panel"),
        ({"panels": ["y"]}, "at least one panel"),
        ({"images": []}, "at least one image"),
        ({"images": [7]}, "There is no image 8"),
        ({"images": list(range(2)), "panels": list(PANELS), "width": 130}, "do not fit a width of 130"),
    ],
)
def test_choices_that_cannot_be_are_a_sentence(ahead, euler, choices, said):
    with pytest.raises(InputError, match=said):
        deck(ahead, euler, ahead, place="beside", **choices).frame(0)
