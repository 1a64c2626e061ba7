"""One look at a picture: the arithmetic against its definitions, the oracle's exactness, and people's mistakes."""

import math

import pytest
import text_world
import torch
from helpers import bundle
from PIL import Image

from pf_core import flow
from pf_core.data import DATASETS
from pf_core.data.toybox import Toybox
from pf_core.errors import InputError
from pf_core.evaluation.inspect import (
    NOISE_SEED,
    compared,
    data_count,
    data_picture,
    evaluate_maps,
    inspect_picture,
    knows,
    leaning,
    picture,
)
from pf_core.models import checkpoint
from pf_core.models.conditioning import ClassLabels
from pf_core.types import PatchTime


@pytest.fixture(scope="module")
def oracle():
    return checkpoint.load("shapes-exact")


def test_everything_is_what_its_name_says():
    net = bundle()
    x1, t = data_picture(net, 3).x1, torch.linspace(0, 1, net.grid.n)
    found = inspect_picture(net, x1, t, label="star", seed=5)
    x0 = net.source.draw([5], net.shape)
    xt = flow.interpolate(x0, x1[None], t[None], net.grid)
    seen = net.model(xt, PatchTime.dense(t[None]), net.conditioner.encode(["star"]))
    assert torch.equal(found.x0, x0[0]) and torch.equal(found.xt, xt[0]) and torch.equal(found.t, t)
    assert torch.allclose(found.x1_hat, flow.predict_x1(xt, seen.v, t[None], net.grid)[0])
    wrong = (x1 - x0[0] - seen.v[0]).square()
    assert torch.allclose(found.error, net.grid.to_patches(wrong[None])[0].sqrt())
    assert torch.allclose(found.sigma, flow.difficulty(seen.logvar, net.grid)[0].sqrt())
    assert found.ratio == pytest.approx((found.sigma**2).mean().item() / wrong.mean().item(), rel=1e-5)
    other = inspect_picture(net, x1, t, label="ring", seed=5)
    assert torch.equal(other.xt, found.xt) and not torch.equal(other.x1_hat, found.x1_hat)


def test_at_the_ends_of_time():
    net = bundle()
    x1 = data_picture(net, 0).x1
    at = {t: inspect_picture(net, x1, torch.full((net.grid.n,), t)) for t in (0.0, 1.0)}
    assert torch.equal(at[0.0].xt, at[0.0].x0) and torch.allclose(at[1.0].xt, x1)
    assert torch.equal(at[1.0].x1_hat, at[1.0].xt)  # nothing is left to guess


def test_the_oracle_is_right_about_its_own_pictures_and_sure_of_strangers(oracle):
    t = torch.full((oracle.grid.n,), 0.2)
    shares = [inspect_picture(oracle, data_picture(oracle, i).x1, t, seed=i) for i in range(12)]
    truth = torch.stack([f.error.square() for f in shares]).mean().item()
    said = torch.stack([f.sigma.square() for f in shares]).mean().item()
    assert 0.5 < said / truth < 2  # calibrated on average: it is the posterior itself
    stranger = -data_picture(oracle, 0).x1.flip(-1)
    found = inspect_picture(oracle, stranger, torch.full((oracle.grid.n,), 0.6))
    assert knows(oracle, data_picture(oracle, 7).x1) and not knows(oracle, stranger)
    assert found.ratio < 0.1 and "too sure" in found.sentence()


def test_without_a_difficulty_head_there_is_only_the_error():
    net = bundle(predict_uncertainty=False)
    found = inspect_picture(net, data_picture(net, 0).x1, torch.full((net.grid.n,), 0.5))
    assert found.sigma is None and found.rank is None and "no difficulty" in found.sentence()
    assert found.error.shape == (net.grid.n,)


def test_the_numbers_of_the_sentence():
    error = torch.tensor([0.1, 0.2, 0.4, 0.8])
    assert compared(error, error) == (pytest.approx(1), pytest.approx(1))
    assert compared(2 * error, error)[1] == pytest.approx(4)
    assert compared(error.flip(0), error)[0] == pytest.approx(-1)
    assert compared(torch.ones(4), error)[0] is None  # a flat map ranks nothing
    assert math.isfinite(compared(error, torch.zeros(4))[1])


def test_data_pictures_are_not_those_of_the_training(oracle):
    net = bundle()
    item = data_picture(net, 4)
    assert "never trained on" in item.about and item.label in net.conditioner.names
    assert "1,000" in data_picture(oracle, 4).about
    assert not torch.equal(item.x1, data_picture(oracle, 4).x1)
    assert data_count(oracle) == 1000 and data_count(net) > 10**6
    for source, index in ((oracle, 1000), (net, -1)):
        with pytest.raises(InputError, match="from 0 to"):
            data_picture(source, index)


@pytest.mark.parametrize(
    ("x1", "t"),
    [
        (torch.zeros(3, 8, 8), torch.zeros(64)),
        (torch.full((3, 32, 32), math.nan), torch.zeros(64)),
        (torch.zeros(3, 32, 32), torch.zeros(63)),
        (torch.zeros(3, 32, 32), torch.full((64,), 1.1)),
        (torch.zeros(3, 32, 32), torch.full((64,), math.nan)),
    ],
)
def test_what_does_not_fit_is_a_sentence(x1, t):
    with pytest.raises(InputError, match=r"The picture must hold|Give a time in"):
        inspect_picture(bundle(), x1, t)


def test_of_own_pictures_the_held_out_ones_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("PATCH_FORCING_DATA_ROOTS", str(tmp_path))
    rng = torch.Generator().manual_seed(1)
    for i in range(12):
        pixels = torch.randint(0, 256, (32, 32, 3), generator=rng, dtype=torch.uint8).numpy()
        path = tmp_path / f"class {i % 2}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    net = bundle()
    settings = {"path": str(tmp_path), "size": 32, "held_out": 0.5}
    net.training = {"recipe": {"dataset": "folder", "data_settings": settings}}
    trained = DATASETS["folder"].fn(**settings)
    count = data_count(net)
    seen = [data_picture(net, i).x1 for i in range(count)]
    used = trained.batch(range(len(trained))).images
    assert 0 < count < 12 and not any((used - x).abs().flatten(1).amax(1).min() < 1e-3 for x in seen)


@pytest.mark.parametrize("recipe", [{}, {"dataset": "shapes", "data_settings": {"count": 3}}, {"dataset": "toybox"}])
def test_the_lesson_shows_an_image_of_the_networks_own_data(recipe):
    net = bundle()
    net.training = {"recipe": recipe}
    seen = picture(net)
    size = 64 if recipe.get("dataset") == "toybox" else 32
    assert seen.x1.shape == seen.x0.shape == (1, 3, size, size)
    assert seen.about == ("heart" if size == 32 else Toybox.names[int(seen.sample.labels[0])])


def test_the_lesson_asks_a_network_of_prompts_for_its_pictures_caption():
    net = text_world.bundle(input_size=(32, 96))
    net.training = {"recipe": {"dataset": "signs", "data_settings": {"variety": 0.0}}}
    seen, t = picture(net), leaning(net.grid)
    found = evaluate_maps(net, seen, t)
    assert seen.about == seen.sample.captions[0] and found.x1_hat.shape == (len(t.levels), 3, 32, 96)
    alone, other = (
        inspect_picture(net, seen.x1[0], t.per_patch[4], label=label, seed=NOISE_SEED) for label in (seen.about, None)
    )
    assert torch.allclose(found.error[4], alone.error, atol=1e-4)
    assert not torch.allclose(found.error[4], other.error, atol=1e-3)


def test_the_lesson_asks_a_network_without_classes_for_none():
    net = bundle(num_classes=0)
    net.conditioner = ClassLabels(0)
    assert evaluate_maps(net, picture(net), leaning(net.grid)).error.isfinite().all()
