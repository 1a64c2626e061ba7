"""Rules that choose patches, data to paint with, and the ready-made experiments."""

import dataclasses

import pytest
import torch
from helpers import bundle

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.models.codecs import Latents, Pixels
from pf_core.patches import PatchGrid
from pf_core.sampling.context_probe import beginning, context_probe
from pf_core.sampling.run import Run, SampleSpec
from pf_core.sampling.selections import EXPERIMENTS, SELECTIONS, Scene, of_class, own_data, result, shown
from pf_core.sampling.trajectory import record

GRID = PatchGrid(32, 32, 4)
SPEC = SampleSpec("nano", "look_ahead", steps=8, labels=["star"], seeds=[3, 4])


@pytest.fixture(scope="module")
def run():
    return record(Run(bundle(), SPEC))


def choose(name, picture=None, frame=None, image=0, grid=GRID):
    return SELECTIONS[name].fn(Scene(frame, image, grid, picture))


def test_the_object_is_found_without_a_network():
    sample = DATASETS["shapes"].fn().batch(range(40))
    overlaps = []
    for image, regions in zip(sample.images, sample.regions, strict=True):
        found, true = choose("thing", image), GRID.to_patches((regions > 0)[None, None].float())[0] > 0.1
        overlaps.append(((found & true).sum() / (found | true).sum()).item())
        rim, background = choose("outline", image), choose("background", image)
        assert (
            torch.equal(background, ~found)
            and not (rim & (GRID.to_patches((regions == 3)[None, None].float())[0] == 1)).any()
        )
        assert 4 <= rim.sum() < 40
    assert sum(overlaps) / len(overlaps) > 0.8


def test_a_smooth_picture_holds_no_object():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 16), indexing="ij")
    plane = torch.stack([0.3 * x, 0.5 * y - 0.2, 0.1 * (x + y)])
    assert not choose("thing", plane, grid=PatchGrid(24, 16, 4)).any()
    plane[:, 8:14, 4:10] = 1.0
    assert choose("thing", plane, grid=PatchGrid(24, 16, 4)).any()


def test_hard_and_easy_are_what_the_pass_called_them(run):
    frame = next(f for f in run.frames if f.threshold.isfinite().all())
    assert torch.equal(choose("easy", frame=frame, image=1, grid=run.grid), frame.easy[1])
    assert torch.equal(choose("hard", frame=frame, image=1, grid=run.grid), ~frame.easy[1])
    hardest = choose("hardest", frame=frame, image=1, grid=run.grid)
    assert hardest.sum() == run.grid.n // 4 and frame.logvar[1][hardest].min() >= frame.logvar[1][~hardest].max()


def test_what_is_clean_already_or_of_unknown_difficulty_is_not_hard(run):
    frame = next(f for f in run.frames if f.threshold.isfinite().all())
    hardest = choose("hardest", frame=frame, image=1, grid=run.grid)
    t, logvar = torch.where(hardest, 1.0, frame.t), frame.logvar.clone()
    logvar[1, 0] = torch.nan
    changed = dataclasses.replace(frame, t=t, logvar=logvar)
    for name in ("hard", "hardest"):
        assert not (choose(name, frame=changed, image=1, grid=run.grid) & hardest).any()
    others = choose("hardest", frame=changed, image=1, grid=run.grid)
    assert others.sum() == run.grid.n // 4 and not others[0]
    all_clean = dataclasses.replace(frame, t=torch.ones_like(t))
    assert not choose("hardest", frame=all_clean, image=1, grid=run.grid).any()


def test_objects_are_found_in_images_whatever_the_networks_space_is():
    image = DATASETS["shapes"].fn().batch([3]).images[0]
    found = choose("thing", image)
    small = dataclasses.replace(bundle(), codec=Pixels(0.1))
    assert torch.equal(choose("thing", shown(small.codec.encode(image), small)), found)
    assert not torch.equal(choose("thing", small.codec.encode(image)), found)
    latent = dataclasses.replace(bundle(), codec=Latents(channels=3, factor=4))
    halved = shown(2 * image, latent)  # no autoencoder: the preview is half of the state, four times as large
    assert halved.shape == (3, 128, 128) and choose("thing", halved).shape == found.shape


def test_data_to_paint_with():
    net = bundle()
    assert own_data(net) == {"dataset": "shapes", "settings": DATASETS["shapes"].settings({})}
    net.training["recipe"] = {"dataset": "shapes", "data_settings": {"variety": 0.5}}
    source = own_data(net)
    assert source["settings"]["variety"] == 0.5
    first = of_class(net, source, "star")
    second = of_class(net, source, "star", first + 1)
    labels = DATASETS["shapes"].fn().batch(range(first, second + 1)).labels
    assert labels[0] == labels[-1] == 4 and not (labels[1:-1] == 4).any() and first >= 2**30
    assert of_class(net, source, None, 7) == 7
    with pytest.raises(InputError, match="there is none with number"):
        of_class(net, source, None, -1)
    net.training["recipe"]["data_settings"] = {"size": 64}
    assert own_data(net)["settings"]["size"] == 32  # of another size: the next data set that fits


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_an_edit_that_runs(name, run):
    try:
        edit = EXPERIMENTS[name].plan(run, 1, bundle())
    except InputError as e:
        assert "no patches of that kind" in str(e) and name == "object-first"  # random weights draw no object
        return
    changed = Run(bundle(), SampleSpec(**{**SPEC.to_dict(), "edits": [edit]}))
    assert changed.spec.edits[0]["image"] == 1 and torch.isfinite(list(changed)[-1].x).all()
    found = context_probe(
        bundle(), run.frames[beginning(run, edit["outer"])], 1, edit["patches"], edit.get("source", "x1_hat")
    )
    assert found.others.sum() == run.grid.n - len(edit["patches"])


def test_without_difficulty_nothing_is_hard():
    plain = bundle(predict_uncertainty=False)
    run = record(Run(plain, SampleSpec("nano", steps=2)))
    for name in ("hard", "easy", "hardest"):
        with pytest.raises(InputError, match="predicts no difficulty"):
            choose(name, frame=run.frames[0], grid=run.grid)
    assert torch.equal(result(run, 0), run.x1[0])
    run.x1, run.frames = None, run.frames[:1]
    assert torch.equal(result(run, 0), run.frames[0].x1_hat[0].float())
    with pytest.raises(InputError, match="has made 1 outer steps"):
        beginning(run, 1)
    run.frames = []
    with pytest.raises(InputError, match="no frames"):
        EXPERIMENTS["object-first"].plan(run, 0, plain)
