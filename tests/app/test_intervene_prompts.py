"""The Intervene tab with a network of prompts, on oblong pictures."""

import base64
import io
from types import SimpleNamespace
from urllib.parse import parse_qsl

import torch
from app_world import ended, networks  # noqa: F401
from PIL import Image
from test_intervene_tab import form, now, started, tab  # noqa: F401
from text_world import lively

from app.tabs.intervene.intervention import CLEAN, DATA, GUESS, STATE
from pf_core.data import DATASETS
from pf_core.models import checkpoint
from pf_core.sampling.selections import EXPERIMENTS, SELECTIONS


def test_a_network_of_prompts_is_edited_on_its_oblong_grid(tab, networks):  # noqa: F811
    record = {"recipe": {"dataset": "signs", "data_settings": {"variety": 0.0}}}
    checkpoint.save(networks / "signs.safetensors", lively(input_size=(32, 96)), [], record)
    of_signs = {"network": "signs", "label": 'a red sign that reads "AX7"'}
    ids = started(tab, **of_signs)
    brush = {"grid": [4, 12], "chosen": [17, 18, 47]}
    probe, words = tab.on_painted(**now(ids, painter=brush))
    assert probe.count("<title>") == 3 * 48 and "3 patches of image 1, at outer step 3" in words
    for show in (GUESS, STATE, CLEAN):
        look = tab.on_look(**now(ids, painter=brush, show=show, source=DATA))[0]["image"]
        assert Image.open(io.BytesIO(base64.b64decode(look.partition(",")[2]))).size == (96, 32)
    for name in SELECTIONS:
        said, painter, *_ = tab.on_select(name, **now(ids, painter=brush))
        assert said == "" or "No patch here" in said, said
    index = tab.on_source(**now(ids, painter=brush, source=DATA))[0]
    assert index >= 2**30 and tab.on_another(**now(ids, painter=brush, source=DATA, index=index))[1] == index + 1
    shown, ids, said, *_ = tab.on_go(**now(ids, painter=brush, kind="clean", source=DATA, index=index, step=1))
    base, edited = (ended(tab.state.runs.get(i)) for i in ids)
    assert said == "" and base.spec.labels == edited.spec.labels == [of_signs["label"]] * 2
    grid, picture = tab.state.bundle("signs").grid, DATASETS["signs"].fn(variety=0.0).batch([index]).images
    kept = [17, 18, 47]
    assert torch.equal(grid.split(edited.trajectory.x1)[0, kept], grid.split(picture)[0, kept])
    told = tab.when_edited(**now(ids, painter=brush, image=1))
    assert "RMS of edited patches" in told and "aspect-ratio: 96 / 32" in told
    query = dict(parse_qsl(shown["query"])) | {"base": "gone", "edited": "gone"}
    lost = tab.from_link(SimpleNamespace(query_params=query))
    assert torch.equal(ended(tab.state.runs.get(lost[1][1])).trajectory.x1, edited.trajectory.x1)
    for experiment in EXPERIMENTS.values():
        *runs, _, asked = tab.on_experiment(experiment, ids=[], **form(**of_signs))
        ended(tab.state.runs.get(runs[1][0]))
        said = tab.when_asked(asked, **now(runs[1], painter=brush))[2]
        assert said == "" or said.endswith("Try another seed or prompt."), said
