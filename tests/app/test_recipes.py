"""Recipes in and out of the app: every export loads back bit for bit; what is wrong with a file is a sentence."""

import json
import shlex
from types import SimpleNamespace
from urllib.parse import parse_qsl

import gradio as gr
import pytest
import torch
from app_world import CLASSES, answers, client, ended, networks, spec, state  # noqa: F401

from app import controls
from app import links as recipes
from app.server.exports import write
from app.server.frames import command, recipe_file
from app.tabs.compare.tab import Compare
from app.tabs.explore.tab import Explore
from app.tabs.intervene.tab import Intervene
from pf_core.cli import main
from pf_core.errors import InputError
from pf_core.models import build, checkpoint, preset
from pf_core.models.codecs import Latents
from pf_core.models.conditioning import ClassLabels, split
from pf_core.sampling.export import WRITERS
from pf_core.sampling.trajectory import Trajectory

EDITS = [
    {"kind": "hold_back", "patches": [5, 6], "outer": 1, "amount": 0.3},
    {"kind": "clean", "patches": [0], "image": 1, "source": "x1_hat"},
]
UPLOAD = [{"kind": "clean", "patches": [1, 2], "source": {"given": 0}}]


@pytest.fixture
def tab(state):  # noqa: F811
    with gr.Blocks():
        tab = Explore(state)
    order = [tab.viewer, tab.run_id, tab.mine, tab.status, *tab.form.outputs, tab.beside]
    told = {name: answers(getattr(tab, name), tab.status, order) for name in ("on_recipe", "from_link")}
    return SimpleNamespace(**told)


def written(run, folder, suffix):
    path = folder / f"a run{suffix}"
    write(run, path)
    return str(path)


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_every_export_loads_back_bit_for_bit(state, tab, tmp_path, suffix):  # noqa: F811
    first = ended(state.start(spec(edits=EDITS, seeds=[4, 9], labels=["class 1", "class 2"], cfg_scale=1.5)))
    shown, run_id, _, said, *updates, beside = tab.on_recipe("", written(first, tmp_path, suffix))
    again = ended(state.runs.get(run_id))
    assert beside == "" and run_id != first.id and torch.equal(again.trajectory.x1, first.trajectory.x1)
    assert again.spec == first.spec and again.packed == first.packed
    assert ("nothing was computed" in said) == (
        suffix == ".safetensors"
    ) and "edits, more than one class or prompt, seeds" in said
    values = [u["value"] if isinstance(u, dict) else u for u in updates if not isinstance(u, dict) or "value" in u]
    assert "nano" in values and "class 1" in values and "look_ahead" in values
    link = dict(parse_qsl(shown["query"]))
    assert recipes.decode(link["recipe"]).edits == first.spec.edits
    del state.runs._things[run_id]
    *_, third_id, _, said = tab.from_link(request=SimpleNamespace(query_params=link))[:4]
    third = tab.from_link(request=SimpleNamespace(query_params=link))
    assert "again" in third[3] and torch.equal(ended(state.runs.get(third[1])).trajectory.x1, first.trajectory.x1)


def test_what_does_not_fit_in_a_link_is_not_made_again_as_something_else(state, tab, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(recipes, "MOST_IN_A_LINK", 100)
    for changes, x0 in (({"edits": EDITS}, None), ({"seeds": [0]}, torch.randn(1, 3, 32, 32))):
        first = ended(state.start(spec(**changes), x0))
        assert recipes.encode(first.spec) is None
        shown, run_id, *_ = tab.on_recipe("", written(first, tmp_path, ".safetensors"))
        del state.runs._things[run_id]
        said = tab.from_link(request=SimpleNamespace(query_params=dict(parse_qsl(shown["query"]))))[3]
        assert said.endswith("cannot be made again: The recipe does not fit in a link: load its file.")


def test_a_recipe_that_the_controls_do_not_reach_comes_back_from_its_address(state, tab, tmp_path):  # noqa: F811
    for changes in ({"cfg_scale": 10.0}, {"seeds": [2**31 + 1]}, {"settings": {"p": 0.1234567}}):
        first = ended(state.start(spec(**changes)))
        shown, run_id, _, said, *_ = tab.on_recipe("", written(first, tmp_path, ".json"))
        assert ("controls cannot show" in said) == ("settings" not in changes)
        link = dict(parse_qsl(shown["query"]))
        assert tab.from_link(request=SimpleNamespace(query_params=link))[3] == ""
        del state.runs._things[run_id]
        again = tab.from_link(request=SimpleNamespace(query_params=link))
        assert "made again" in again[3] and state.runs.get(again[1]).spec == first.spec


def test_recipes_of_no_class_open_in_compare(state, tmp_path):  # noqa: F811
    both = [state.start(spec(sampler=s, nfe=8, labels=[None])).spec.to_dict() for s in ("euler", "look_ahead")]
    (path := tmp_path / "both.json").write_text(json.dumps({"recipes": both}))
    assert recipes.beside(state, str(path))["label"] == controls.NO_CLASS


def test_what_a_link_or_a_recipe_starts_takes_its_pages_turn(state, tmp_path, monkeypatch):  # noqa: F811
    first = ended(state.start(spec(edits=EDITS)))
    path, plan, lanes = written(first, tmp_path, ".png"), recipes.encode(first.spec), []
    monkeypatch.setattr(state.worker, "add", lambda run, steps, lane="", left=None: lanes.append(lane))
    asked = lambda **query: SimpleNamespace(query_params=query, session_hash="mine")  # noqa: E731
    with gr.Blocks():
        explore, intervene, compare = Explore(state), Intervene(state), Compare(state)
    explore.on_recipe("", path, asked())
    explore.from_link(asked(run="gone", recipe=plan))
    explore.from_link(asked(run="now", network="nano"))
    intervene.on_recipe([], path, asked())
    intervene.from_link(asked(tab="intervene", base="gone", plan=plan))
    compare.from_link(asked(tab="compare", runs="now", c1='["nano","euler",{}]', c2='["nano","look_ahead",{}]'))
    assert lanes == ["mine"] * 9


def test_runs_with_uploads_travel_in_raw_arrays(state, tab, client, tmp_path, capsys):  # noqa: F811
    picture, x0 = torch.rand(1, 3, 32, 32), torch.randn(1, 3, 32, 32)
    first = ended(state.start(spec(edits=UPLOAD, seeds=[0]), x0, picture))
    about = client.get(f"/pf/runs/{first.id}").json()
    assert "json" not in about["exports"] and about["recipe_file"].endswith(".safetensors")
    assert about["edits"][0]["words"].startswith("make clean from an uploaded picture: 2 patches of all images")
    assert recipes.encode(first.spec) is None
    path = written(first, tmp_path, ".safetensors")
    again = state.runs.get(tab.on_recipe("", path)[1])
    assert again.origin == "from a file" and torch.equal(again.trajectory.edit_images, picture)
    words = shlex.split(command(again))
    assert words[:5] == ["python", "-m", "pf_core", "sample", "--recipe"] and words[5] == recipe_file(first)
    out = tmp_path / "again.safetensors"
    assert not main(["sample", "--recipe", path, "--out", str(out)])
    assert torch.equal(Trajectory.load(out).x1, first.trajectory.x1)
    png = written(first, tmp_path, ".png")
    assert "raw arrays" in tab.on_recipe("", png)[3]
    assert main(["sample", "--recipe", png, "--out", str(out)]) == 2
    assert "which contains the noise" in capsys.readouterr().err


def test_the_recipe_alone_repeats_edits_on_the_command_line(state, tmp_path):  # noqa: F811
    first = ended(state.start(spec(edits=EDITS)))
    path, out = written(first, tmp_path, ".json"), tmp_path / "again.safetensors"
    assert command(first).split()[5] == recipe_file(first) == "nano-look_ahead-seed0.json"
    assert not main(["sample", "--recipe", path, "--out", str(out)])
    assert torch.equal(Trajectory.load(out).x1, first.trajectory.x1)


def test_a_stopped_run_loads_back_as_what_ran(state, tab, tmp_path):  # noqa: F811
    first = ended(state.start(spec()))
    first.trajectory.x1 = None
    first.trajectory.frames = first.trajectory.frames[:3]
    again = state.runs.get(tab.on_recipe("", written(first, tmp_path, ".safetensors"))[1])
    assert again.state == "stopped" and again.message.startswith("Stopped after 3 of ") and len(again.heads) == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.png", b"rubbish", "x.png holds no recipe"),
        ("x.safetensors", b"rubbish", "x.safetensors is not a recorded run"),
        ("x.exe", b"MZ", "x.exe is not an export"),
        ("x.json", b"{}", "not a recipe"),
        ("x.json", b"[" * 100_000, "holds no recipe"),
        ("x.json", b'{"checkpoint": "nano", "seeds": "all"}', "seeds"),
        ("x.json", b'{"checkpoint": "/etc/passwd", "nfe": 4}', "no network"),
        ("x.json", b'{"checkpoint": "nano", "nfe": 4, "seeds": [1], "noise": {"file": "/etc/passwd"}}', "only part"),
        ("x.json", b'{"checkpoint": "nano", "nfe": 4, "checkpoint_hash": "0123"}', "another nano"),
        ("x.json", json.dumps({"checkpoint": "nano", "nfe": 4, "seeds": list(range(99))}).encode(), "at most 16"),
    ],
)
def test_a_wrong_file_is_a_sentence(state, tab, tmp_path, name, content, words):  # noqa: F811
    (tmp_path / name).write_bytes(content)
    said = tab.on_recipe("", str(tmp_path / name))[3]
    assert words in said and "\n" not in said and str(tmp_path) not in said and len(state.runs) == 0


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_a_recipe_that_an_editor_saved_again_is_read(state, tab, tmp_path, codec):  # noqa: F811
    path = tmp_path / "saved.json"
    path.write_bytes(json.dumps(spec().to_dict(), indent=1).replace("\n", "\r\n").encode(codec))
    assert recipes.read(str(path)) == spec()


def test_the_list_of_classes_tells_a_class_called_none_from_no_class():
    y = ClassLabels(3, ["red, green", "none", "1"])
    world = SimpleNamespace(bundle=lambda network: SimpleNamespace(conditioner=y))
    shown = controls.classes(world, "odd")
    assert shown == ["red, green", "none", "1", "no class"]
    asked = [controls.chosen_class(world, "odd", word) for word in shown]
    assert asked == ["red, green", "none", "1", None]
    assert [controls.class_word(world, "odd", a) for a in asked] == shown


def test_the_command_of_a_run_names_its_classes_so_that_they_are_read_back(state):  # noqa: F811
    run = ended(state.start(spec(labels=["class 1"])))
    run.spec = spec(labels=["red, green", None, "-1", 'a "b"'], seeds=[0, 1, 2, 3])
    (flag,) = [word for word in shlex.split(command(run)) if word.startswith("--label")]
    assert split(flag.removeprefix("--label=")) == ["red, green", "", "-1", 'a "b"']
    run.spec = spec(labels=[None])
    assert "--label" not in command(run)


def test_a_recordings_edits_may_write_their_numbers_as_text(state, client):  # noqa: F811
    first = ended(state.start(spec(edits=EDITS)))
    as_text = [each | {k: str(each[k]) for k in ("outer", "amount", "image") if k in each} for each in EDITS]
    first.trajectory.recipe = first.trajectory.recipe | {"edits": as_text}
    again = state.keep(first.trajectory)
    assert again.spec.edits == first.spec.edits and client.get(f"/pf/runs/{again.id}").json()["edits"]


@pytest.fixture
def intervene(state):  # noqa: F811
    with gr.Blocks():
        return Intervene(state)


def test_a_recording_brings_no_more_pictures_than_its_edits_paint_with(state, intervene, tmp_path):  # noqa: F811
    recorded, path = ended(state.start(spec(sampler="euler", nfe=2))).trajectory, tmp_path / "many.safetensors"
    recorded.edit_images = torch.zeros(50, *recorded.x0.shape[1:])
    for edits, loaded, painted in (([], 0, 0), ([UPLOAD[0] | {"source": {"given": 1}}], 2, 1)):
        recorded.recipe, before = recorded.recipe | {"edits": edits}, len(state.pictures)
        recorded.save(path)
        images = Trajectory.load(path).edit_images
        ids = intervene.on_recipe([], str(path))[intervene.page.ids]
        assert len(images if loaded else []) == loaded and (images is None) == (not loaded)
        assert len(state.pictures) - before == 2 * painted  # for the run, and for the page that goes on from there
    edited = ended(state.runs.get(ids[1]))
    assert edited.state == "done" and edited.spec.edits[0]["source"] == {"given": 0} and len(edited.edit_images) == 1


def test_a_recipe_that_the_controls_cannot_say_is_shown_all_the_same(state, intervene, tmp_path):  # noqa: F811
    (tmp_path / "x.json").write_text(json.dumps(spec(cfg_scale=10).to_dict()))
    found = intervene.on_recipe([], str(tmp_path / "x.json"))
    assert state.runs.get(found[intervene.page.ids][0]).spec.cfg_scale == 10
    assert "It has guidance 10, which the controls cannot show" in found[intervene.page.status]


def test_a_recording_made_with_a_file_is_shown_with_that_files_network(state, monkeypatch):  # noqa: F811
    recorded = ended(state.start(spec())).trajectory
    recorded.recipe = recorded.recipe | {"checkpoint": "/somewhere/checkpoints/nano.safetensors"}
    monkeypatch.setattr(checkpoint, "takes", lambda name: name)
    assert state.keep(recorded).takes == "nano"


def test_a_recording_of_latents_is_as_large_as_what_is_shown_of_it(state, monkeypatch):  # noqa: F811
    recorded = ended(state.start(spec())).trajectory
    monkeypatch.setattr(checkpoint, "codec_of", lambda name: Latents(channels=3, factor=128))
    with pytest.raises(InputError, match="at most .* 512 pixels a side; .* 4096 x 4096 pixels"):
        state.keep(recorded)


def test_a_recipe_of_a_sampler_on_trial_is_run_and_told(state, client):  # noqa: F811
    run = ended(state.start(spec(sampler="random_look_ahead")))
    told = client.get(f"/pf/runs/{run.id}").json()
    assert run.state == "done" and told["sampler"]["name"] == "random_look_ahead" and run.label
    assert state.keep(run.trajectory).label == run.label


def test_a_recording_finds_its_network_by_its_whole_name(state, tab, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(checkpoint, "RUNS", tmp_path / "runs")
    torch.manual_seed(8)
    model, kept = build(preset("nano")), "foo/checkpoints/0000003"
    paths = [tmp_path / "runs" / f"{name}.safetensors" for name in ("foo/network", kept, "nano/network")]
    paths.append(checkpoint.FOLDER / "my.net.safetensors")
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, model, CLASSES, {})
    for name, path in zip(("runs/foo", "runs/foo@3", "runs/nano", "my.net"), paths, strict=True):
        recording = written(ended(state.start(spec(checkpoint=name))), tmp_path, ".safetensors")
        said = tab.on_recipe("", recording)[3]
        assert "nothing was computed" in said and "not here" not in said and "another" not in said
        path.unlink()
        assert f"Its network {name} is not here" in tab.on_recipe("", recording)[3]
    by_file = spec(checkpoint="/somewhere/nano.safetensors")
    assert recipes.here(state, by_file).checkpoint == "nano"


def test_a_recording_of_another_network_is_shown_and_says_so(state, tab, tmp_path):  # noqa: F811
    path = written(ended(state.start(spec())), tmp_path, ".safetensors")
    torch.manual_seed(8)
    checkpoint.save(checkpoint.FOLDER / "nano.safetensors", build(preset("nano")), CLASSES, {})
    said = tab.on_recipe("", path)[3]
    assert "nothing was computed" in said and "another nano" in said
    (checkpoint.FOLDER / "nano.safetensors").unlink()
    assert "not here" in tab.on_recipe("", path)[3]


@pytest.mark.parametrize("text", ["", "x", "????", "A" * 9000, "eJwDAAAAAAE"])
def test_a_damaged_link_is_a_sentence(text):
    with pytest.raises(InputError):
        recipes.decode(text)
