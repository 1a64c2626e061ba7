"""Named comparisons, and sweeps: their cost beforehand, cell by cell, failing softly, and the sheet at the end."""

import dataclasses

import numpy as np
import pytest
import text_world
from helpers import bundle
from PIL import Image

from pf_core.data.signs.words import held_out, quoted
from pf_core.errors import InputError
from pf_core.models import checkpoint
from pf_core.models.codecs import to_uint8
from pf_core.presets import PFT, PRESETS, recommended_columns
from pf_core.samplers import SAMPLERS
from pf_core.sampling.contact_sheet import read_sweep, save_sheet, sheet
from pf_core.sampling.run import SampleSpec, resolve, sample
from pf_core.sampling.sweep import Sweep
from pf_core.sampling.sweep_axes import MAX_CELLS, axes_known

BASE = SampleSpec("nano", "look_ahead", nfe=8, labels=["star"], seeds=[5])


def load(name):
    if name != "nano":
        raise InputError(f"There is no checkpoint {name!r}.")
    return bundle()


def network(preset, name):
    """A tiny one of the kind that stands behind a column's name."""
    certain = not name.endswith(("sit", "fm"))
    return text_world.bundle(predict_uncertainty=certain) if preset.prompt else bundle(predict_uncertainty=certain)


class TestPresets:
    @pytest.mark.parametrize("name", list(PRESETS))
    def test_columns_cost_exactly_the_same_and_can_run(self, name):
        preset = PRESETS[name]
        asked = preset.prompt or "star"
        specs = preset.specs(labels=[asked], seeds=[1, 2])
        nets = [network(preset, s.checkpoint) for s in specs]
        found = [resolve(s, net) for s, net in zip(specs, nets, strict=True)]
        assert len({s.nfe for s in found}) == 1 and 2 <= len(found) <= 4
        assert all(s.seeds == [1, 2] and s.labels == [asked] * 2 for s in found)
        assert len({(s.checkpoint, s.sampler) for s in found}) == len(found)

    @pytest.mark.parametrize("name", ["signs-fm-pf", "scenes-fm-pf"])
    def test_networks_of_prompts_are_compared_by_training_and_then_by_sampler(self, name):
        a, b, c = PRESETS[name].specs(labels=[PRESETS[name].prompt])
        assert a.sampler == b.sampler != c.sampler and a.checkpoint != b.checkpoint == c.checkpoint

    @pytest.mark.parametrize("name", ["random-difficulty", "few-steps"])
    def test_chance_and_difficulty_move_the_same_share_whatever_a_network_recommends(self, name):
        of = [checkpoint.load(PFT)] * len(PRESETS[name].columns)
        columns = recommended_columns(PRESETS[name], of)
        assert len({c["settings"]["p"] for c in columns if c["sampler"] != "euler"}) == 1

    def test_the_word_on_a_sign_is_one_that_no_training_shows(self):
        assert held_out(quoted(PRESETS["signs-fm-pf"].prompt))

    def test_each_says_what_to_look_at_in_one_line(self):
        for name, preset in PRESETS.items():
            assert preset.name == name and preset.label and 30 < len(preset.caption) < 240
            assert "\n" not in preset.caption

    def test_what_is_compared_cannot_be_shared(self):
        with pytest.raises(InputError, match="sampler cannot be chosen"):
            PRESETS["three-samplers"].specs(sampler="euler")
        with pytest.raises(InputError, match="colour cannot be chosen"):
            PRESETS["three-samplers"].specs(colour="red")


class TestCells:
    def test_they_come_row_by_row_and_block_by_block(self):
        sweep = Sweep(BASE, {"sampler": ["euler", "heun"], "nfe": [4, 8, 9], "seed": [1, 2]})
        cells = sweep.cells()
        assert sweep.shape == (2, 3, 2) and len(cells) == 12
        assert [c.place for c in cells[:3]] == [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
        assert cells[3].values == {"sampler": "heun", "nfe": 8, "seed": 1}
        assert (cells[-1].spec.sampler, cells[-1].spec.nfe, cells[-1].spec.seeds) == ("heun", 9, [2])

    @pytest.mark.parametrize("axis", axes_known())
    def test_everything_known_can_be_swept(self, axis):
        values = {"checkpoint": ["nano"], "sampler": ["euler"], "label": ["ring"]}.get(axis, [2])
        spec = Sweep(BASE, {axis: values}).cells()[0].spec
        assert spec != BASE or axis == "checkpoint"

    def test_a_knob_goes_to_the_sampler_and_the_rest_of_the_settings_stay(self):
        base = dataclasses.replace(BASE, settings={"p": 0.3, "ratio": 2.0})
        assert Sweep(base, {"ratio": [1.5]}).cells()[0].spec.settings == {"p": 0.3, "ratio": 1.5}
        assert Sweep(base, {"sampler": ["euler"]}).cells()[0].spec.settings == {}
        assert Sweep(base, {"sampler": ["dual_loop"]}).cells()[0].spec.settings == {"p": 0.3}

    def test_a_resolved_base_is_swept_at_equal_nfe(self):
        base = resolve(dataclasses.replace(BASE, nfe=31), bundle())
        assert base.steps == 16
        specs = [resolve(c.spec, bundle()) for c in Sweep(base, {"sampler": ["euler", "look_ahead"]}).cells()]
        assert [s.nfe for s in specs] == [31, 31] and [s.steps for s in specs] == [31, 16]

    def test_a_cell_is_the_first_image_of_its_recipe(self):
        spec = Sweep(dataclasses.replace(BASE, seeds=[7, 8], labels=["star", "ring"]), {"nfe": [3]}).cells()[0].spec
        assert (spec.seeds, spec.labels) == ([7], ["star"])

    @pytest.mark.parametrize(
        ("axes", "says"),
        [
            ({"colour": [1]}, "'colour' cannot be swept. Known: checkpoint, sampler, nfe"),
            ({"p": []}, "list of values for p"),
            ({"p": 0.4}, "list of values for p"),
            ({"p": [0.1], "nfe": [1], "seed": [1], "ratio": [1]}, "at most 3 axes"),
            ({"seed": list(range(51)), "p": [0.1, 0.2]}, f"102 cells; a sweep has at most {MAX_CELLS}"),
            ({"nfe": [1], "steps": [1]}, "not both"),
        ],
    )
    def test_bad_sweeps_are_sentences(self, axes, says):
        with pytest.raises(InputError, match=says):
            Sweep(BASE, axes)

    def test_noise_from_a_file_is_refused(self):
        with pytest.raises(InputError, match="noise from seeds"):
            Sweep(dataclasses.replace(BASE, noise={"file": "x", "sha256": "y"}), {"p": [0.1]})


class TestRunning:
    sweep = Sweep(BASE, {"sampler": ["euler", "look_ahead", "dual_loop"], "nfe": [3, 8]})  # dual_loop needs 4

    def test_the_cost_is_stated_first_and_is_what_is_spent(self):
        cost = self.sweep.cost(load)
        assert cost[:5] == (5, 3 + 3 + 8 + 7 + 8, 3 + 3 + 8 + 7 + 8, 1, 8) and cost.seconds is None
        assert str(cost).startswith("5 images, 29 NFE, 29 forwards; 1 cannot run: 3 NFE are too few")
        done = list(self.sweep.run(load))
        assert sum(d.nfe for d in done) == cost.nfe and sum(d.forwards for d in done) == cost.forwards

    def test_guidance_doubles_the_forwards(self):
        cost = Sweep(BASE, {"cfg_scale": [1, 2.0], "seed": [1, 2]}).cost(load)
        assert cost.nfe == 4 * 7 and cost.forwards == 2 * 7 + 2 * 14

    def test_a_cell_that_fails_is_a_sentence_and_the_others_go_on(self):
        done = list(self.sweep.run(load))
        assert [d.error is None for d in done] == [True, True, False, True, True, True]
        assert "too few" in done[2].error and done[2].image is None
        checkpoints = list(Sweep(BASE, {"checkpoint": ["none", "nano"]}).run(load))
        assert checkpoints[0].error == "There is no checkpoint 'none'." and checkpoints[1].image
        knobs = list(Sweep(BASE, {"sampler": ["euler", "look_ahead"], "ratio": [2.0]}).run(load))
        assert "no setting 'ratio'" in knobs[0].error and knobs[1].image
        odd = list(Sweep(BASE, {"sampler": [["euler"], None, "eulr"]}).run(load))
        assert all("no sampler" in d.error for d in odd)

    def test_a_cell_is_the_image_of_its_recipe(self):
        done = next(self.sweep.run(load))
        *_, final = sample(bundle(), done.cell.spec)
        assert np.array_equal(np.asarray(done.image), to_uint8(final.x)[0].numpy())
        assert done.seconds > 0

    def test_it_runs_lazily_and_stops_between_two_forwards(self):
        asked = []
        run = self.sweep.run(lambda name: asked.append(name) or load(name))
        assert not asked and next(run).image and len(asked) == 1
        run.close()
        ticks = iter(range(100))
        done = list(self.sweep.run(load, stop=lambda: next(ticks) >= 4))  # 3 forwards of the first, 1 of the second
        assert len(done) == 1 and next(ticks) == 5


class TestSheet:
    sweep = Sweep(BASE, {"sampler": ["euler", "dual_loop"], "nfe": [3, 8], "seed": [1, 2]})  # dual_loop needs 4

    def tile(self, page, x, y, z):
        left = (page.width - 6) // 2 - 2 * (128 + 6)  # two blocks of two columns
        across, down = z * (page.width - 6) // 2 + left + x * 134, 54 + y * 134
        return np.asarray(page.crop((across, down, across + 128, down + 128)))

    def test_it_holds_every_cell_in_its_place_and_can_be_read_back(self, tmp_path):
        done = list(self.sweep.run(load))
        save_sheet(tmp_path / "sheet.png", self.sweep, done)
        assert read_sweep(tmp_path / "sheet.png") == self.sweep
        page = Image.open(tmp_path / "sheet.png")
        for d in done:
            tile = self.tile(page, *d.cell.place)
            if d.image:
                assert np.array_equal(tile[::4, ::4], np.asarray(d.image))
            else:
                assert tile.std() > 10 and np.array_equal(tile[-1, -1], [236, 236, 236])  # words on grey

    def test_a_stopped_sweep_keeps_what_is_done(self):
        run = self.sweep.run(load)
        first = next(run)
        page = sheet(self.sweep, [first])
        assert np.array_equal(self.tile(page, 0, 0, 0)[::4, ::4], np.asarray(first.image))
        assert self.tile(page, 1, 1, 1).std() == 0
        assert sheet(self.sweep, []).size == page.size

    @pytest.mark.parametrize("axes", [{}, {"p": [0.25]}, {"nfe": [2, 4], "label": ["star", None]}])
    def test_fewer_axes_make_smaller_sheets(self, axes):
        assert sheet(Sweep(BASE, axes), []).height < sheet(Sweep(BASE, {"p": [0.1], "nfe": [1, 2, 3]}), []).height

    @pytest.mark.parametrize("content", [b"", b"no picture", None])
    def test_what_holds_no_sweep_is_refused(self, tmp_path, content):
        path = tmp_path / "x.png"
        Image.new("RGB", (4, 4)).save(path) if content is None else path.write_bytes(content)
        with pytest.raises(InputError, match="holds no sweep"):
            read_sweep(path)

    @pytest.mark.parametrize("d", [None, {}, {"base": BASE.to_dict(), "axes": []}])
    def test_what_is_no_sweep_is_refused(self, d):
        with pytest.raises(InputError, match="not a sweep"):
            Sweep.from_dict(d)


def test_samplers_are_named_in_the_presets_alone():
    for preset in PRESETS.values():
        assert all(column["sampler"] in SAMPLERS for column in preset.columns)
