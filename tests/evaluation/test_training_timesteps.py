"""Networks trained one law of t each: a person starts it, stops it, goes on, and reads the same numbers."""

import json
import sys
from dataclasses import replace

import pytest

from pf_core import files
from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.evaluation import evaluate, evidence, metrics
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.work import Stopped
from pf_core.figures import evidence as drawn
from pf_core.timesteps import TIMESTEPS
from pf_core.training import runner
from pf_core.training.run_dir import RunFolder

STUDY = vars(sys.modules["pf_core.evaluation.studies.training_timesteps"])
FEW = {"laws": "uniform,ltg", "seeds": 1, "train_images": 12, "images": 20, "nfe": 2}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(metrics, "REPEATS", 5)
    monkeypatch.setattr(evaluate, "REFERENCES", 100)
    monkeypatch.setitem(STUDY, "MODEL", "nano")
    monkeypatch.setitem(STUDY, "SHAPE", {})
    monkeypatch.setitem(STUDY, "BATCH", 4)
    knob = STUDIES["training_timesteps"].knobs["train_images"]
    monkeypatch.setitem(
        STUDIES["training_timesteps"].knobs, "train_images", replace(knob, knob=replace(knob.knob, low=1))
    )


def measure(folder, **watched):
    return evidence.measure("training_timesteps", None, FEW, folder, **watched)


def steps_of(folder, name):
    return RunFolder(folder / "runs" / name).status().step


def test_it_stops_saved_goes_on_and_trains_nothing_twice(tmp_path, monkeypatch):
    asked, told = [], []
    with pytest.raises(Stopped):
        measure(tmp_path, stop=lambda: asked.append(1) or len(asked) == 3)  # pieces: the first run, two steps
    assert RunFolder(tmp_path / "runs" / "uniform-0-12").saved_step() == 2  # it ends the step that it is at
    result = measure(tmp_path, tell=lambda *at: told.append(at))
    assert [steps_of(tmp_path, f"{law}-0-12") for law in ("uniform", "ltg")] == [3, 3]
    assert told[-1][0] == told[-1][1] == evidence.forwards("training_timesteps", None, FEW)
    laws = result["laws"]
    assert set(laws) == {"uniform", "ltg"} and not {"hash", "checkpoint"} & set(result)  # it is of no one network
    assert laws["ltg"]["minus"]["uniform"]["value"] == pytest.approx(-laws["uniform"]["minus"]["ltg"]["value"])
    assert len(laws["ltg"]["networks"][0]["validation"]) == 8
    monkeypatch.setattr(runner, "prepare", None)  # nothing is trained again
    monkeypatch.setattr(evaluate.Run, "__iter__", None)  # nor drawn
    assert measure(tmp_path)["laws"] == json.loads(json.dumps(laws))
    monkeypatch.setitem(STUDY, "BATCH", 6)
    with pytest.raises(InputError, match="another recipe"):
        measure(tmp_path)


def test_the_command_names_a_folder_and_writes_figure_and_numbers(tmp_path, capsys):
    few = [w for name, value in FEW.items() for w in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["study", "training_timesteps", *few]) == 2 and "with --out" in capsys.readouterr().err
    for wrong in (["--checkpoint", "shapes-pft"], ["--runs", "runs/x"]):
        assert main(["study", "training_timesteps", *wrong, "--out", str(tmp_path)]) == 2
        assert "networks of its own" in capsys.readouterr().err
    out = tmp_path / "laws"
    assert main(["study", "training_timesteps", *few, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "forward passes of an image, about" in said.err and "100%" in said.err
    assert {p.suffix for p in out.glob("training_timesteps.*")} == {".json", ".png", ".pdf", ".svg"}
    made = json.loads((out / "training_timesteps.json").read_text())
    assert made["command"].startswith("python -m pf_core study training_timesteps --out training_timesteps")
    assert "--laws uniform,ltg --seeds 1 --train-images 12" in made["command"]
    assert STUDIES["training_timesteps"].fn.about.verdict(made).endswith(".")


def law(name, value, minus, each, label=None):
    """As a result has it: `minus` every other law, by seed `each`."""
    measured = {other: {"value": v, "interval": [v - 5, v + 5]} for other, v in minus.items()}
    networks = [{"frechet": {"value": value + d, "interval": [value - 9, value + 9]}} for d in (-3, 3)]
    frechet = {"value": value, "interval": [value - 9, value + 9]}
    return {"label": label or name, "frechet": frechet, "minus": measured, "minus_by_seed": each, "networks": networks}


def test_the_verdict_asks_for_an_interval_and_for_every_training_seed():
    verdict = STUDIES["training_timesteps"].fn.about.verdict
    others = {"uniform": -50.0, "srm": -20.0, "ltg_shared": -2.0}
    laws = {name: law(name, 300 - d, {}, {}) for name, d in others.items()}
    laws["ltg"] = law("ltg", 300, others, {name: [d - 1, d + 1] for name, d in others.items()}, "LTG")
    said = verdict({"laws": laws})
    assert (
        said.startswith("Holds here:")
        and "not told from one t drawn as its patches are, \u22122 (\u22127 to 3)" in said
    )
    laws["ltg"]["minus_by_seed"]["srm"] = [-45, 5]  # one training says otherwise
    assert verdict({"laws": laws}).startswith("Holds here in part:")
    laws["ltg"]["minus"]["ltg_shared"] = {"value": -9, "interval": [-14, -4]}
    laws["ltg"]["minus_by_seed"]["ltg_shared"] = [-19, 1]
    assert "not told from one t drawn" in verdict({"laws": laws})


@pytest.mark.parametrize(
    "each, how, holds", [([20, 80], "worse than", "Holds here"), ([-3, 103], "not told from", "Holds here in part")]
)
def test_independent_times_must_be_worse_than_one_t_with_every_training_seed(each, how, holds):
    about = STUDIES["training_timesteps"].fn.about
    laws = {
        "uniform": law("uniform", 350, {}, {}),
        "independent": law("independent", 400, {"uniform": 50.0}, {"uniform": each}),
    }
    others = {"uniform": -50.0, "independent": -100.0}
    laws["ltg"] = law("ltg", 300, others, {name: [d - 1, d + 1] for name, d in others.items()}, "LTG")
    for said in (about.verdict({"laws": laws}), about.line({"laws": laws})):
        seeds = ", ".join(f"{e:.0f}".replace("-", "\u2212") for e in each)
        assert (
            said.startswith(f"{holds}: ")
            and f"independent times are {how} one t, 50 (45 to 55), by seed {seeds}" in said
        )


def test_every_law_that_is_compared_is_a_timestep_sampler_and_all_share_the_rest():
    recipes = [STUDY["_recipe"](name, 1, 400, False) for name in STUDY["LABELS"]]
    assert set(STUDY["LABELS"]) <= set(TIMESTEPS)
    alike = {json.dumps(r.to_dict() | {"config": None}) for r in recipes}
    assert len(alike) == 1 and all(r.difficulty and r.config.steps == 100 for r in recipes)
    fast = STUDY["_recipe"]("ltg", 1, 400, True).config
    assert replace(fast, precision="fp32", compile=False) == STUDY["_recipe"]("ltg", 1, 400, False).config != fast


def test_study_all_shows_what_is_kept_of_trainings_and_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    assert evidence.kept_of_trainings() == []
    laws = {"uniform": law("uniform", 320, {"ltg": 20.0}, {"ltg": [19, 21]}, "one t (SiT)")}
    laws["ltg"] = law("ltg", 300, {"uniform": -20.0}, {"uniform": [-21, -19]}, "LTG")
    about = {"made": "2026-11-28", "seconds": 60.0}
    about |= {"command": "python -m pf_core study training_timesteps --out laws", "network": "depth 2", "seeds": 2}
    known = {"study": "training_timesteps", **about, "train_images": 100, "images": 20, "nfe": 4, "laws": laws}
    files.write_json(tmp_path / evidence.TRAININGS / "training_timesteps.json", known)
    found = evidence.kept("training_timesteps", "nano", "a network's hash")  # as the wall asks
    assert found == known == evidence.kept_of_trainings()[0]
    drawn.report(evidence.kept_of_trainings(), tmp_path / "report.html", "Kept.")
    assert "Holds here: Frechet distance one t (SiT) 320" in (tmp_path / "report.html").read_text()
