"""Ray-traced toys: same bits always, scenes that tell their toy, regions, boxes, captions, rendering ahead."""

import math

import pytest
import torch
import torch.nn.functional as F

from pf_core.cli import main
from pf_core.data import DATASETS
from pf_core.data.toybox import CLASSES, REGIONS, Toybox, cache
from pf_core.data.toybox.primitives import NEVER, enter, normal
from pf_core.data.toybox.render import trace
from pf_core.data.toybox.scene import CELL_SCENE, GROUNDS, RELATIONS, SCENES
from pf_core.data.toybox.toys import BOX, COLOURS, ELLIPSOID, FIXED, FRUSTUM, TORUS, WEDGE
from pf_core.errors import InputError
from pf_core.evaluation.studies.difficulty import difficulty
from pf_core.models import checkpoint
from pf_core.patches import PatchGrid
from pf_core.sampling.selections import SELECTIONS, Scene

SKY, GROUND, SHADOW, OBJECT, OUTLINE = range(5)
MANY = list(range(1500))


@pytest.fixture(scope="module")
def sample():
    return Toybox().batch(range(48))


def same(a, b, but=()):
    return all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items() if name not in but)


# images


def test_it_is_registered_with_twelve_classes():
    entry = DATASETS["toybox"]
    data = entry.fn(**entry.settings({"size": "32", "toys": 2}))
    made = data.batch([0, 1])
    assert len(data.names) == 12 and (data.size, data.toys, data.channels) == (32, 2, 3)
    assert made.images.shape == (2, 3, 32, 32) and made.regions.shape == (2, 32, 32) and made.boxes.shape == (2, 2, 4)


@pytest.mark.parametrize("wrong", [{"size": 8}, {"toys": 4}, {"dependence": 1.5}, {"variety": -1}, {"glitter": 1}])
def test_knobs_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        DATASETS["toybox"].settings(wrong)


@pytest.mark.parametrize("settings", [{}, {"variety": 1.0, "dependence": 0.0, "toys": 3, "size": 40}])
def test_an_image_has_the_same_bits_alone_and_in_any_batch(settings):
    data, batch = Toybox(**settings), Toybox(**settings).batch(range(40))
    for i in (0, 17, 39):
        alone = data.batch([i])
        assert torch.equal(alone.images[0], batch.images[i]) and torch.equal(alone.regions[0], batch.regions[i])
    part = data.batch([39, 2**31 + 5, 11])
    assert torch.equal(part.images[0], batch.images[39]) and torch.equal(part.images[2], batch.images[11])
    assert not torch.equal(data.batch([5]).images, Toybox(**settings, series=8).batch([5]).images)


def test_a_finite_set_begins_again():
    assert torch.equal(Toybox(count=3).batch([4]).images, Toybox().batch([1]).images) and len(Toybox(count=3)) == 3


def test_images_are_whole_grey_levels_and_full_of_colour(sample):
    levels = (sample.images + 1) * 127.5
    assert sample.images.dtype == torch.float32 and sample.images.is_contiguous()
    assert (levels - levels.round()).abs().max() < 1e-4 and levels.min() >= 0 and levels.max() <= 255.001
    assert (sample.images.flatten(1).std(1) > 0.15).all()


def test_a_float64_rendering_agrees_to_one_grey_level():
    """What another device's rounding may change."""
    scenes = Toybox().scenes(list(range(24)))
    ours, exact = (trace(scenes, 64, dtype=t).levels.int() for t in (torch.float32, torch.float64))
    assert ((ours - exact).abs().amax(1) > 1).float().mean() < 1e-5  # a ray that meets an edge may fall on either side


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_devices_agree_to_one_grey_level():
    scenes = Toybox().scenes(list(range(64)))
    gap = (trace(scenes, 64).levels.int() - trace(scenes, 64, "cuda").levels.cpu().int()).abs().amax(1)
    assert (gap > 1).float().mean() < 1e-5


def test_size_changes_the_picture_and_not_the_scene():
    small, large = Toybox(size=32).batch(range(16)), Toybox(size=128).batch(range(16))
    assert same(small.attributes, large.attributes)
    off = (F.avg_pool2d(large.images, 4) - small.images).abs().mean((1, 2, 3))
    assert off.max() < 0.08
    assert (large.boxes / 4 - small.boxes).abs().max() <= 2


def test_labels_change_the_class_and_nothing_else():
    data, asked = Toybox(), (torch.arange(12) * 5) % 12
    own, other = data.batch(range(12)), data.batch(range(12), labels=asked)
    assert torch.equal(other.labels, asked) and same(own.attributes, other.attributes, but=["toy", "toys"])
    assert torch.equal(own.images, data.batch(range(12), labels=own.labels).images)
    far = (own.regions == SKY) & (other.regions == SKY)
    assert torch.equal(own.images.movedim(1, -1)[far], other.images.movedim(1, -1)[far])


# what the scene tells


def information(a, b):
    """Mutual information in nats, of two index tensors."""
    joint = torch.zeros(int(a.max()) + 1, int(b.max()) + 1, dtype=torch.float64)
    joint.index_put_((a, b), torch.ones(len(a), dtype=torch.float64), accumulate=True)
    joint /= joint.sum()
    apart = joint.sum(1, keepdim=True) * joint.sum(0)
    return joint.mul((joint / apart).log().nan_to_num(0, 0, 0)).nansum().item()


def test_classes_and_colours_are_all_about_as_frequent():
    for dependence in (0.0, 0.9):
        labels = Toybox(dependence=dependence).scenes(MANY).toys[:, 0].bincount(minlength=12)
        assert (labels > 125 - 5 * 125**0.5).all() and (labels < 125 + 5 * 125**0.5).all()
    colours = Toybox(dependence=0.0).scenes(MANY).colours[:, 0].bincount(minlength=8)
    assert len(colours) == len(COLOURS) and (colours > 120).all()


def test_with_dependence_ground_and_sky_tell_the_toy_its_colour_and_the_light():
    free, bound, usual = (Toybox(dependence=d).scenes(MANY) for d in (0.0, 1.0, 0.9))
    ground_and_sky = [s.ground * 4 + s.sky for s in (free, bound, usual)]
    told = [information(g, s.toys[:, 0]) for g, s in zip(ground_and_sky, (free, bound, usual), strict=True)]
    assert told[0] < 0.2 and told[1] > 0.95 * math.log(12) and 0.5 * told[1] < told[2] < told[1]
    assert information(free.ground, free.colours[:, 0]) < 0.05 < 0.4 < information(bound.ground, bound.colours[:, 0])
    evening = [(s.azimuth > 0.5)[s.sky == 2].float().mean() for s in (free, bound)]
    assert evening[1] == 1 and evening[0] < 0.6


def test_every_scene_has_its_toys_and_its_ground():
    s = Toybox(dependence=1.0).scenes(MANY)
    assert torch.equal(CELL_SCENE[s.toys[:, 0]], s.scene)
    assert {CLASSES[t] for t in s.toys[s.scene == SCENES.index("water"), 0].tolist()} == {"boat", "duck"}
    assert (s.ground[s.scene == SCENES.index("snow")] == GROUNDS.index("snow")).all()


def test_further_toys_come_from_the_same_scene_and_stand_where_they_are_said_to():
    s = Toybox(dependence=1.0, toys=3).scenes(MANY[:400])
    assert (CELL_SCENE[s.toys] == s.scene[:, None]).all()
    x, y = s.feet[..., 0], s.feet[..., 1]
    for k, name in enumerate(RELATIONS):
        here = s.relations == k
        gaps = ((x[:, :1] - x[:, 1:]), (y[:, :1] - y[:, 1:]))
        axis, sign = {"left of": (0, -1), "right of": (0, 1), "behind": (1, 1), "in front of": (1, -1)}[name]
        assert here.any() and (sign * gaps[axis][here] > 0.6).all()


def test_variety_moves_things_and_reshuffles_nothing():
    calm, wild = (Toybox(variety=v, dependence=0.0).scenes(MANY[:300]) for v in (0.0, 1.0))
    for name in ("toys", "colours", "ground", "sky", "scene", "materials"):
        assert torch.equal(getattr(calm, name), getattr(wild, name))
    assert wild.yaw.std() > 2 * calm.yaw.std() and wild.eye.std(0)[2] > 2 * calm.eye.std(0)[2]
    assert (calm.parts.toy >= 0).all() and (wild.parts.toy < 0).any()  # things lie about


# regions, boxes, captions


def test_regions_are_where_they_should_be(sample):
    share = F.one_hot(sample.regions, len(REGIONS)).float().mean((1, 2))
    toy = share[:, OBJECT] + share[:, OUTLINE]
    assert (share.sum(1) - 1).abs().max() < 1e-5 and (toy > 0.06).all() and (toy < 0.6).all()
    assert (share[:, SKY] > 0.08).all() and (share[:, GROUND] > 0.15).all() and (share[:, OUTLINE] > 0.01).all()
    assert (sample.regions[:, 0, [0, -1]] == SKY).all() and (sample.regions[:, -1, [0, -1]] != SKY).all()
    shadow, thing = (sample.regions == SHADOW), (sample.regions == OBJECT) | (sample.regions == OUTLINE)
    near = F.max_pool2d(thing[:, None].float(), 5, 1, 2)[:, 0] > 0
    assert ((shadow & near).any((1, 2)) == shadow.any((1, 2))).all()  # a shadow begins at its toy
    assert shadow.any((1, 2)).float().mean() > 0.9


def test_shadows_are_darker_than_the_ground_around_them():
    s = Toybox(dependence=1.0).batch(range(60))
    plain = s.attributes.ground == GROUNDS.index("snow")
    light = s.images.mean(1)
    for image, regions in zip(light[plain], s.regions[plain], strict=True):
        if (regions == SHADOW).sum() > 20:
            assert image[regions == SHADOW].mean() < image[regions == GROUND].mean() - 0.05


def test_boxes_hold_the_toy(sample):
    thing = sample.regions == OBJECT
    for (left, top, right, bottom), region in zip(sample.boxes[:, 0].tolist(), thing, strict=True):
        rows, columns = region.nonzero().T
        own = (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)
        assert own.float().mean() > 0.8  # the rest lies about
        assert 0.2 < max(right - left, bottom - top) / 64 < 0.95


def test_captions_name_what_is_there():
    s = Toybox(dependence=0.0).batch(range(60))
    for caption, toy, colour in zip(s.captions, s.labels.tolist(), s.attributes.colour.tolist(), strict=True):
        assert CLASSES[toy] in caption and list(COLOURS)[colour] in caption and caption[:2] in ("a ", "an")
    assert any(c.startswith("an orange") for c in s.captions) and len(set(s.captions)) > 50
    two = Toybox(toys=2).batch(range(10))
    assert all(any(r in c for r in RELATIONS) for c in two.captions)
    assert " and " in Toybox(toys=3).batch([0]).captions[0]


# parts


def test_rays_meet_the_primitives_where_geometry_says():
    def shoot(kind, origin, direction, shape):
        o, d = ([torch.tensor([float(v)], dtype=torch.float64) for v in of] for of in (origin, direction))
        return enter(kind, o, d, torch.tensor([float(shape)], dtype=torch.float64)).item()

    for kind, origin, direction, shape, wanted in [
        (ELLIPSOID, (0, -5, 0), (0, 1, 0), -1, 4),
        (ELLIPSOID, (0, 0, -5), (0, 0, 1), 0.5, 5.5),
        (ELLIPSOID, (0, -5, 1.1), (0, 1, 0), -1, NEVER),
        (BOX, (0.3, -5, 0.2), (0, 2, 0), 1, 2),
        (BOX, (0, -5, 0), (0, 1, 0), 0, 4.5),
        (FRUSTUM, (0, -5, 0), (0, 1, 0), 0, 4.5),
        (FRUSTUM, (0, 0, 5), (0, 0, -1), 0.5, 4),
        (FRUSTUM, (0.7, 0, 5), (0, 0, -1), 0.5, 4 + 0.8),
        (WEDGE, (0, -5, 0), (0, 1, 0), 0, 4),
        (WEDGE, (5, 0, 0), (-1, 0, 0), 0, 4.5),
        (WEDGE, (0, 0, 5), (0, 0, -1), 0, 4),
        (TORUS, (0, -5, 0), (0, 1, 0), 0.25, 3.75),
        (TORUS, (0, 0, 5), (0, 0, -1), 0.25, NEVER),
        (TORUS, (1, 0, 5), (0, 0, -1), 0.25, 4.75),
    ]:
        assert shoot(kind, origin, direction, shape) == pytest.approx(wanted, abs=2e-3)


def test_normals_point_outwards_and_stand_on_the_surface():
    torch.manual_seed(0)
    d = F.normalize(torch.randn(3, 4000, dtype=torch.float64), dim=0)
    o = -3 * d + 0.4 * torch.randn(3, 4000, dtype=torch.float64)
    for kind, shape in [(ELLIPSOID, -1.0), (BOX, 0.6), (FRUSTUM, 0.4), (WEDGE, 0.3), (TORUS, 0.4)]:
        shapes = torch.full((4000,), shape, dtype=torch.float64)
        t = enter(kind, tuple(o), tuple(d), shapes)
        hit = t < NEVER
        q = (o + t * d)[:, hit]
        n = F.normalize(torch.stack(normal(kind, tuple(q), shapes[hit])), dim=0)
        assert hit.sum() > 500 and ((n * d[:, hit]).sum(0) < 0.05).float().mean() > 0.99


def test_parts_are_coloured_with_known_colours():
    assert not set(FIXED) & set(COLOURS)
    assert len(set(Toybox().batch(range(12), labels=torch.arange(12)).boxes[:, 0].tolist()[0])) > 1


# rendered ahead


def test_what_was_rendered_ahead_is_read_and_is_the_same(home, capsys):
    data = Toybox(size=16, variety=0.5)
    live = data.batch(range(10))
    assert main(["data", "toybox", "--render", "6", "--size", "16", "--variety", "0.5"]) == 0
    assert "6 images" in capsys.readouterr().out and len(cache.files()) == 1
    again = Toybox(size=16, variety=0.5)
    read = again.batch([5, 0, 3])
    assert again.cache.rows == 6 and torch.equal(read.images, live.images[[5, 0, 3]])
    assert torch.equal(read.regions, live.regions[[5, 0, 3]]) and torch.equal(read.labels, live.labels[[5, 0, 3]])
    path = again.cache.path
    path.write_bytes(bytes(6 * 3 * 16 * 16))
    assert (Toybox(size=16, variety=0.5).batch([2]).images == -1).all()  # read, indeed
    assert torch.equal(Toybox(size=16, variety=0.5).batch([2, 6]).images[1], live.images[6])
    assert (Toybox(size=16, variety=0.4).batch([2]).images != -1).any()  # other settings, another file


def test_a_render_that_was_stopped_goes_on(home):
    data = Toybox(size=16)
    *_, done = data.render_ahead(5)
    with open(data.cache.path, "ab") as f:
        f.write(b"half an image")
    *_, more = Toybox(size=16).render_ahead(9)
    assert (done, more) == (5, 9) and data.cache.path.stat().st_size == 9 * 3 * 16 * 16
    assert torch.equal(data.batch(range(9)).images, Toybox(size=16, count=100).batch(range(9)).images)
    data.cache.path.unlink()
    assert torch.equal(Toybox(size=16).batch([7]).images, data.batch([7]).images)


def test_a_full_disk_and_a_second_renderer_are_told(home, monkeypatch, capsys):
    monkeypatch.setattr(cache, "SPARE", 2**60)
    assert main(["data", "toybox", "--render", "3", "--size", "16"]) == 2
    assert "GB are free" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("PATCH_FORCING_DATA", str(home))
    first = Toybox(size=16).render_ahead(3)
    next(first)
    with pytest.raises(InputError, match="another process"):
        next(Toybox(size=16).render_ahead(3))
    first.close()
    assert main(["data", "folder", "--render", "3"]) == 2 and main(["data", "--render", "3"]) == 2


# where else it is known


def test_the_oracle_of_toybox_opens(monkeypatch):
    of = checkpoint.ORACLES["toybox-exact"]
    assert (of["dataset"], of["images"]) == ("toybox", 256) and "toybox-exact" in checkpoint.names()
    monkeypatch.setitem(checkpoint.ORACLES, "toybox-exact", of | {"images": 4})
    net = checkpoint.load("toybox-exact")
    assert net.shape == (3, 64, 64) and net.conditioner.names == list(CLASSES)


def test_interventions_find_the_toy(sample):
    grid, overlaps = PatchGrid(64, 64, 4), []
    for image, regions in zip(sample.images, sample.regions, strict=True):
        found = SELECTIONS["thing"].fn(Scene(None, 0, grid, image))
        true = grid.to_patches((regions >= OBJECT)[None, None].float())[0] > 0.1
        overlaps.append(((found & true).sum() / (found | true).sum()).item())
    assert sum(overlaps) / len(overlaps) > 0.7  # a shadow stands out too


def test_a_network_trained_on_it_says_on_how_many_images_and_can_be_studied(tmp_path, capsys):
    run = ["train", "--dataset", "toybox", "--size", "48", "--count", "5", "--model", "nano", "--steps", "2"]
    assert main([*run, "--batch-size", "8", "--out", str(tmp_path / "toys")]) == 0
    net = checkpoint.load(str(tmp_path / "toys" / "toys.safetensors"))
    assert (net.training["images"], net.training["distinct_images"]) == (16, 5)
    assert net.training["data"]["digest"].startswith("toybox")
    found = difficulty(net, images=10)["t"]["0.5"]
    assert 0 < found["background_over_hard_sigma"]["value"] < 10
