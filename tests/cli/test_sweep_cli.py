"""The sweep command: a sheet, the same sheet again, what is kept when it is interrupted, and mistakes."""

import numpy as np
import pytest
from PIL import Image
from test_cli import fails, net  # noqa: F401

from pf_core.cli import main
from pf_core.sampling.contact_sheet import read_sweep
from pf_core.sampling.sweep import Sweep

ARGS = "sweep --checkpoint net --nfe 6 --cfg-scale 2 --p 0.3 --label star --axis sampler=euler,dual_loop --axis".split()


def test_a_sheet_and_the_same_again(net, tmp_path, capsys):  # noqa: F811
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    assert main([*ARGS, "nfe=2,5", "--axis", "seed=0-1", "--out", str(first)]) == 0
    said = capsys.readouterr().out
    assert "6 images, 22 NFE, 44 forwards, about" in said and "2 cannot run" in said
    sweep = read_sweep(first)
    assert sweep.axes == {"sampler": ["euler", "dual_loop"], "nfe": [2, 5], "seed": [0, 1]}
    assert (sweep.base.cfg_scale, sweep.base.settings, sweep.base.labels) == (2.0, {"p": 0.3}, ["star"])
    assert main(["sweep", "--recipe", str(first), "--out", str(again)]) == 0
    assert np.array_equal(Image.open(first), Image.open(again))


def test_probes_are_numbers_so_that_the_sheet_can_be_repeated(net, tmp_path):  # noqa: F811
    sheet = tmp_path / "sheet.png"
    argv = "sweep --checkpoint net --sampler dual_loop --nfe 6 --difficulty divergence --probes 1 --axis seed=0".split()
    assert main([*argv, "--out", str(sheet)]) == 0 and read_sweep(sheet).base.probes == 1
    assert main(["sweep", "--recipe", str(sheet), "--out", str(tmp_path / "again.png")]) == 0


def test_what_was_drawn_before_an_interruption_is_kept(net, tmp_path, monkeypatch):  # noqa: F811
    run = Sweep.run

    def interrupted(self, *given):
        yield next(run(self, *given))
        raise KeyboardInterrupt

    monkeypatch.setattr(Sweep, "run", interrupted)
    out = tmp_path / "part.png"
    assert main([*ARGS, "seed=0-3", "--out", str(out)]) == 130
    tiles = np.asarray(Image.open(out))
    assert read_sweep(out).axes["seed"] == [0, 1, 2, 3] and tiles.std() > 5


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["nfe", "--out", "x.png"], "--axis takes a name and its values"),
        (["sampler=heun", "--out", "x.png"], "each name once"),
        (["nfe=4", "--out", "x.gif"], "name it .png"),
        (["seed=0-99", "--axis", "nfe=2,3", "--out", "x.png"], "at most 100"),
        (["label=cat", "--out", "x.png"], "no class 'cat'"),
        (["nfe=4", "--seeds", "0-3", "--out", "x.png"], "with one seed: to vary it give --axis seed=VALUES"),
        (["nfe=4", "--label", "star,ring", "--out", "x.png"], "with one label: to vary it give --axis label=VALUES"),
        (["nfe=4", "--recipe", "y.png", "--out", "x.png"], "already decides"),
    ],
)
def test_mistakes_are_one_sentence(net, tmp_path, monkeypatch, capsys, more, says):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    assert says in fails(capsys, *ARGS, *more)
    assert "There is no file gone.png" in fails(capsys, "sweep", "--recipe", "gone.png", "--out", "x.png")
    assert "holds no sweep" in fails(capsys, "sweep", "--recipe", __file__, "--out", "x.png")
