import math
import time

import pytest
import torch
import torch.nn.functional as F

from pf_core.data import DATASETS
from pf_core.data.shapes import OUTLINE_WIDTH, REGIONS, SHAPES, TEXTURES, Shapes
from pf_core.data.splits import HELD_OUT

BACKGROUND, OUTLINE, TEXTURE, FILL = range(4)


@pytest.fixture(scope="module")
def calm():
    return Shapes().batch(range(400))


def same_attributes(a, b, but=()):
    return all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items() if name not in but)


def test_shapes_is_registered_and_can_be_made_from_its_settings():
    entry = DATASETS["shapes"]
    data = entry.fn(**entry.settings({"size": "64", "series": 3}))
    sample = data.batch([0, 1])
    assert (data.size, data.series, data.variety) == (64, 3, 0.0)
    assert sample.images.shape == (2, 3, 64, 64) and sample.regions.shape == (2, 64, 64)
    assert len(data.names) == len(SHAPES) == 10 and data.channels == 3


@pytest.mark.parametrize("size, variety", [(32, 0.0), (64, 1.0)])
def test_item_i_depends_on_series_and_i_alone(size, variety):
    data = Shapes(size=size, variety=variety, series=7)
    batch = data.batch([12, 5, 2**31 + 3, 900])
    for i, index in enumerate([12, 5, 2**31 + 3, 900]):
        alone = Shapes(size=size, variety=variety, series=7).batch([index])
        assert torch.equal(alone.images[0], batch.images[i]) and torch.equal(alone.regions[0], batch.regions[i])
    assert torch.equal(data.batch(range(10, 14)).images[2], batch.images[0])
    assert not torch.equal(data.batch([5]).images, data.batch([6]).images)
    assert not torch.equal(data.batch([5]).images, Shapes(size=size, variety=variety, series=8).batch([5]).images)


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    Shapes().batch(range(3))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("size, variety", [(32, 0.0), (32, 1.0), (64, 0.5)])
def test_images_are_colours_in_range(size, variety):
    images = Shapes(size=size, variety=variety).batch(range(200)).images
    assert images.dtype == torch.float32 and images.is_contiguous() and images.isfinite().all()
    assert images.min() >= -1 and images.max() <= 1
    assert images.max() - images.min() > 1.5


def test_every_class_and_texture_occurs_about_equally_often():
    attributes = Shapes().batch(range(2000)).attributes
    for values, kinds in ((attributes.shape, SHAPES), (attributes.texture, TEXTURES)):
        counts = values.bincount(minlength=len(kinds))
        assert len(counts) == len(kinds)
        assert ((counts - 2000 / len(kinds)).abs() < 5 * (2000 / len(kinds)) ** 0.5).all()


def test_labels_change_the_shape_and_nothing_else():
    data = Shapes(variety=0.5)
    own, asked = data.batch(range(20)), (torch.arange(20) * 3) % 10
    other = data.batch(range(20), labels=asked)
    assert torch.equal(other.labels, asked) and torch.equal(own.labels, own.attributes.shape)
    assert same_attributes(own.attributes, other.attributes, but=["shape"])
    assert same_attributes(own.attributes, data.batch(range(20), labels=own.labels).attributes)
    assert torch.equal(own.images, data.batch(range(20), labels=own.labels).images)
    outside = (own.regions == BACKGROUND) & (other.regions == BACKGROUND)
    assert torch.equal(own.images.movedim(1, -1)[outside], other.images.movedim(1, -1)[outside])


# regions


def test_each_pixel_has_one_region_and_each_image_its_own_kind_of_interior(calm):
    counts = F.one_hot(calm.regions, len(REGIONS)).sum((1, 2))
    assert (counts.sum(1) == 32 * 32).all()
    assert (counts[:, BACKGROUND] > 0).all() and (counts[:, OUTLINE] > 0).all()
    flat = calm.attributes.texture == TEXTURES.index("flat")
    assert (counts[flat, TEXTURE] == 0).all() and (counts[~flat, FILL] == 0).all()
    assert (counts[flat, FILL] > 0).all() and (counts[~flat, TEXTURE] > 0).all()


def test_outside_the_outline_pixels_have_pure_colours(calm):
    a = calm.attributes
    pixels = torch.arange(32) + 0.5
    ramp = (pixels[:, None] + pixels) / 64
    near, far = (a.background[:, i, :, None, None] for i in range(2))
    gap = (calm.images - (near + (far - near) * ramp)).abs().amax(1)
    assert gap[calm.regions == BACKGROUND].max() < 1e-5
    gap = (calm.images - a.colours[:, 0, :, None, None]).abs().amax(1)
    assert gap[calm.regions == FILL].max() < 1e-5


def test_in_flat_shapes_neighbours_that_differ_touch_the_outline(calm):
    flat = calm.attributes.texture == TEXTURES.index("flat")
    images, outline = calm.images[flat], calm.regions[flat] == OUTLINE
    for axis in (1, 2):
        jump = images.diff(dim=axis + 1).abs().amax(1) > 0.1
        near = outline.narrow(axis, 0, 31) | outline.narrow(axis, 1, 31)
        assert jump.sum() > 1000 and near[jump].all()
    span = F.max_pool2d(images, 5, 1, 2) + F.max_pool2d(-images, 5, 1, 2)  # of the colours within two pixels
    assert (span.amax(1) > 0.2)[outline].float().mean() > 0.99


def test_regions_of_circles_and_squares_are_those_of_their_exact_distance():
    pixels = torch.arange(32) + 0.5
    for name in ("circle", "ring", "square"):
        sample = Shapes(variety=0.5).batch(range(60), labels=torch.full((60,), SHAPES.index(name)))
        a = sample.attributes
        dx, dy = (pixels.view(shape) - a.centre[:, i, None, None] for i, shape in enumerate([(1, 1, -1), (1, -1, 1)]))
        radius, angle = a.radius[:, None, None], a.angle[:, None, None]
        if name == "square":
            turned = torch.stack([angle.cos() * dx + angle.sin() * dy, angle.cos() * dy - angle.sin() * dx])
            excess = turned.abs() - 0.85 * radius
            distance = excess.clamp(min=0).norm(dim=0) + excess.amax(0).clamp(max=0)
        else:
            distance = torch.hypot(dx, dy) - radius
            distance = torch.maximum(distance, -distance - 0.48 * radius) if name == "ring" else distance
        interior = torch.where(a.texture == 0, FILL, TEXTURE)[:, None, None]
        expected = torch.where(distance < 0, interior, BACKGROUND)
        expected = torch.where(distance.abs() <= OUTLINE_WIDTH, OUTLINE, expected)
        sure = (distance.abs() - OUTLINE_WIDTH).abs() > 0.15  # the fields are tables: not exact to the last bit
        assert sure.float().mean() > 0.8 and torch.equal(sample.regions[sure], expected[sure])


def test_the_background_is_smooth_and_outline_and_texture_are_not(calm):
    mean, square = F.avg_pool2d(calm.images, 3, 1), F.avg_pool2d(calm.images**2, 3, 1)
    spread = (square - mean**2).clamp(min=0).sqrt().amax(1)  # of each 3 x 3 window
    middle = calm.regions[:, 1:-1, 1:-1]
    pure = F.max_pool2d((calm.regions == OUTLINE).float(), 3, 1) == 0
    background, outline, texture = (
        spread[(middle == BACKGROUND) & pure],
        spread[middle == OUTLINE],
        spread[middle == TEXTURE],
    )
    assert background.max() < 0.05
    assert outline.mean() > 10 * background.mean() and texture.mean() > 10 * background.mean()
    assert outline.mean() > 0.2 and texture.mean() > 0.2


# knobs


def test_calm_images_are_upright_middling_and_central(calm):
    a = calm.attributes
    assert a.angle.abs().max() <= math.radians(15) + 1e-6
    assert a.radius.min() >= 0.25 * 32 and a.radius.max() <= 0.34 * 32
    assert a.period.min() >= 4 and a.period.max() <= 7
    assert (a.centre - 16).abs().max() <= 1
    assert a.angle.abs().max() > math.radians(14) and a.radius.max() - a.radius.min() > 0.08 * 32


def test_wild_images_are_wilder_in_all_of_that_and_stay_inside(calm):
    a = Shapes(variety=1.0).batch(range(400)).attributes
    assert a.angle.max() > 3 and a.angle.min() < -3
    assert a.radius.min() < 0.2 * 32 and a.radius.max() > 0.35 * 32
    assert a.period.min() < 3 and (a.centre - 16).abs().max() > 8
    assert ((a.centre - a.radius[:, None]) > -1e-4).all() and ((a.centre + a.radius[:, None]) < 32 + 1e-4).all()
    kept = {"angle", "radius", "period", "centre"}
    assert same_attributes(calm.attributes, a, but=kept)  # variety reshuffles nothing


@pytest.mark.parametrize("variety", [0.0, 1.0])
def test_64_pixels_show_the_same_image_as_32(variety):
    small, large = (Shapes(size=size, variety=variety).batch(range(100)) for size in (32, 64))
    gap = (F.avg_pool2d(large.images, 2) - small.images).abs()
    assert gap.mean() < 0.01 and gap.mean((1, 2, 3)).max() < 0.03
    assert torch.equal(small.labels, large.labels)
    torch.testing.assert_close(2 * small.attributes.radius, large.attributes.radius)


def test_a_thousand_images_take_less_than_a_second_of_one_thread():
    threads, data = torch.get_num_threads(), Shapes()
    data.batch(range(2))  # the table of distances is made once
    try:
        torch.set_num_threads(1)
        took = []
        for first in (0, 512, 1024):
            start = time.process_time()
            data.batch(range(first, first + 512))
            took.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    assert 512 / min(took) > 1000


def test_a_counted_set_repeats_its_first_images():
    few, endless = Shapes(count=3), Shapes()
    assert len(few) == 3
    assert torch.equal(few.batch(range(7)).images, endless.batch([0, 1, 2, 0, 1, 2, 0]).images)


@pytest.mark.parametrize("name", ["shapes", "toybox", "signs"])
def test_a_counted_set_holds_out_pictures_that_it_never_shows(name):
    few, endless = DATASETS[name].fn(count=3), DATASETS[name].fn()
    assert torch.equal(few.batch([HELD_OUT]).images, endless.batch([HELD_OUT]).images)
    assert torch.equal(few.batch([4]).images, endless.batch([1]).images)
