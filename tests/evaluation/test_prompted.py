"""Text rendering and composition, on networks of prompts whose pictures are real ones: the numbers are known."""

import sys

import numpy as np
import pytest
import torch
from helpers import bundle, lively

from pf_core.data.signs import Signs
from pf_core.data.splits import EVALUATION
from pf_core.data.toybox import Toybox
from pf_core.data.toybox.prompts import CATEGORIES, pictures, prompts
from pf_core.errors import InputError
from pf_core.evaluation import composition, evidence, judges, metrics, prompted
from pf_core.evaluation.studies import STUDIES
from pf_core.evaluation.studies.common import percent
from pf_core.figures import chart_file
from pf_core.models import build, checkpoint, preset
from pf_core.models.checkpoint import Bundle, data_of
from pf_core.models.codecs import Pixels
from pf_core.models.conditioning import ClassLabels
from pf_core.models.text import TextConfig
from pf_core.models.tokens import rows_of

CALM = {"variety": 0.0, "longest": 3}
SCENES = {"variety": 0.3, "dependence": 0.5, "toys": 3, "captioned": True}


class Prompts(ClassLabels):
    """Takes any text, and forgets it."""

    takes = "prompt"

    def named(self, asked):
        return asked

    def encode(self, asked, device="cpu"):
        return torch.zeros(len(asked), dtype=torch.long)


def network(dataset, settings, size, name="net", **changes):
    record = {"recipe": {"dataset": dataset, "data_settings": settings}}
    return Bundle(name, lively(input_size=size, **changes), Pixels(), Prompts(10, []), training=record)


def spoilt(word, sampler):
    """Look-ahead spells right, dual-loop misses a last letter, Euler all."""
    return {"look_ahead": word, "dual_loop": f"{word[:-1]}{'Q' if word[-1] != 'Q' else 'X'}"}.get(
        sampler, "W" * len(word)
    )


@pytest.fixture
def signs(monkeypatch):
    net = network("signs", CALM, 32)
    data = data_of(net)

    def drawn(run, of, pause):
        words = [prompt.split('"')[1] for prompt in run.spec.labels]
        texts = [spoilt(word, run.spec.sampler if of is net else "none") for word in words]
        return data.batch([EVALUATION.start + s for s in run.spec.seeds], texts=texts).images

    monkeypatch.setattr(prompted, "drawn", drawn)
    monkeypatch.setattr(metrics, "REPEATS", 20)
    return net


def test_text_rendering_tells_who_spells_right(signs, tmp_path, monkeypatch):
    twin = network("signs", CALM, 32, "plain", predict_uncertainty=False)
    monkeypatch.setattr(sys.modules["pf_core.evaluation.studies.text_rendering"], "baseline_of", lambda *_: twin)
    settings, told = {"images": 30, "nfe": 4, "guidance": "1, 3"}, []
    result = evidence.measure("text_rendering", signs, settings, tmp_path, lambda *at: told.append(at))
    assert told[-1][0] == told[-1][1] == 30 * (4 + 4 + 4 + 3) * 3  # two passes an evaluation at guidance 3
    rows = {(row["label"], row["cfg_scale"]): row for row in result["rows"]}
    assert len(rows) == 8 and {row["nfe"] for row in result["rows"]} == {3, 4}
    ahead, plain = rows["look-ahead", 3.0], rows["flow matching, Euler", 3.0]
    assert ahead["words"]["value"] > 0.9 > 0.2 > plain["words"]["value"] == rows["Euler", 1.0]["words"]["value"]
    assert ahead["minus_plain"]["words"]["interval"][0] > 0 and "minus_plain" not in plain
    assert "minus_euler" not in plain and "minus_euler" in ahead
    lengths = rows["dual-loop", 1.0]["by_length"]
    assert lengths[1]["characters"]["value"] < 0.2 and lengths[3]["characters"]["value"] > 0.5
    assert result["real"]["characters"]["value"] > 0.97 and result["asked"][0]
    about = STUDIES["text_rendering"].fn.about
    assert about.verdict(result).startswith("Holds here in part. Characters right in unseen words")
    assert [len(row) for row in about.chart(result).rows] == [2, 2]
    apart = result["at_best"]["minus_plain"]
    assert set(apart) == {"Euler", "dual-loop", "look-ahead"} and apart["look-ahead"]["characters"]["interval"][0] > 0
    assert "minus flow matching, Euler, each at its best: Euler 0.0 points" in about.verdict(result)
    monkeypatch.setattr(prompted, "drawn", None)  # nothing is drawn again
    assert evidence.measure("text_rendering", signs, settings, tmp_path)["rows"] == result["rows"]


def test_a_network_of_prompts_is_measured_from_its_file_to_the_figure(tmp_path, monkeypatch):
    """Its pictures are noise: nothing is right, and the cost is what was told as done."""
    monkeypatch.setattr(metrics, "REPEATS", 5)
    text = TextConfig(width=32, layers=1, rows=rows_of(Signs().vocabulary()), context=32)
    config = preset("nano", input_size=(32, 96), patch_size=16, num_classes=0, text=text)
    path = tmp_path / "words.safetensors"
    checkpoint.save(path, build(config), [], {"recipe": {"dataset": "signs", "data_settings": CALM}})
    net, told = checkpoint.load(str(path)), []
    few = {"images": 10, "nfe": 4, "guidance": "2", "baseline": str(path)}
    result = evidence.measure("text_rendering", net, few, tmp_path / "parts", lambda *at: told.append(at))
    assert told[-1] == (10 * (4 + 4 + 4 + 3) * 2,) * 2
    assert [row["words"]["value"] for row in result["rows"]] == [0, 0, 0, 0]
    assert chart_file.draw(STUDIES["text_rendering"].fn.about.chart(result)).subfigs


class Knowing:
    """In the place of a trained judge: knows the real pictures of some prompts, and sees nothing in others."""

    packed, unpacked = staticmethod(judges.Checker.packed), staticmethod(judges.Checker.unpacked)

    def __init__(self, data, asked):
        self.known = {self.key(image): self.told(p) for image, p in zip(pictures(data, asked), asked, strict=True)}

    @staticmethod
    def key(image):
        return image.mul(127.5).round().to(torch.int16).numpy().tobytes()

    @staticmethod
    def told(prompt):
        places = [(0.0, 0.0), {None: (1, 0), 0: (1, 0), 1: (-1, 0), 2: (0.5, -1), 3: (0.5, 1)}[prompt.relation], (3, 0)]
        toys = zip(prompt.toys, places, strict=False)
        return judges.Reading(tuple(judges.Found(w.toy, w.colour or 0, p, (0.0, 0.0), 1.0) for w, p in toys), 0)

    def read(self, images):
        return [self.known.get(self.key(image), judges.Reading((), 0)) for image in images]


def test_composition_tells_by_category_and_part(tmp_path, monkeypatch):
    """Look-ahead shows what is asked for, the others the negative of it."""
    monkeypatch.setattr(metrics, "REPEATS", 20)
    study = sys.modules["pf_core.evaluation.studies.composition"]
    net = network("toybox", SCENES, 64, patch_size=16)
    data, asked = data_of(net), study._asked(24, "evaluation")
    path, by_text = tmp_path / "judge", {p.text: p for p in asked}
    real = pictures(data, asked)
    path.write_bytes(b"knows")
    monkeypatch.setattr(prompted, "judge_for", lambda *_: path)
    knowing = Knowing(data, asked)
    monkeypatch.setattr(judges, "load", lambda _: (knowing, {}))
    monkeypatch.setattr(study, "baseline_of", lambda *_: None)

    def drawn(run, of, pause):
        images = real[[asked.index(by_text[text]) for text in run.spec.labels]]
        return images if run.spec.sampler == "look_ahead" else -images

    monkeypatch.setattr(prompted, "drawn", drawn)
    result = evidence.measure("composition", net, {"images": 24, "nfe": 4, "guidance": "1"}, tmp_path / "parts")
    rows = {row["label"]: row for row in result["rows"]}
    ahead, plain = rows["look-ahead"], rows["Euler"]
    assert ahead["all"]["value"] == result["real"]["all"]["value"] == 1 and plain["all"]["value"] == 0
    assert plain["all"]["interval"][1] > 0.1, "none of a few is not none of all"
    assert set(ahead["by_category"]) == set(CATEGORIES) and ahead["relation"]["value"] == 1
    assert ahead["seen"]["value"] == ahead["unseen"]["value"] == ahead["minus_euler"]["all"]["value"] == 1
    about = STUDIES["composition"].fn.about
    assert about.verdict(result).startswith("Prompts satisfied, each at its best guidance: Euler 0.0%")
    assert about.line(result) == (
        f"Prompts satisfied, minus Euler's {percent(plain['all'])}: dual-loop 0.0 points (0.0 to 0.0), "
        "look-ahead 100.0 points (100.0 to 100.0)."
    )
    twin = {k: v for k, v in plain.items() if k != "minus_euler"} | {"label": prompted.PLAIN}
    no, cannot = "Does not appear here", "Cannot be told here"
    for gap, wide, said in ((0.3, 0.1, "Holds here"), (0, 0.09, "Holds here"), (0, 0.2, cannot), (-0.3, 0.1, no)):
        apart = {"all": {"value": gap, "interval": [gap - wide, gap + wide]}}
        paired = result | {"rows": [twin, ahead | {"minus_plain": apart}], "at_best": {}}
        assert about.line(paired).startswith(f"{said}: p") and about.verdict(paired).startswith(said)
        told = about.verdict(paired | {"trained_on": [256_000, 160_000]})
        assert told.startswith("Not trained alike, on 256,000 images against flow matching's 160,000 images. ")
        assert about.line(paired | {"trained_on": [1, 2]}).startswith("Not trained alike: p")
    assert len(about.chart(result).rows[0][1].series) == 3
    others = study._asked(24, "search")
    assert len(others) == 24 and not {p.text for p in asked} >= {p.text for p in others}


def test_the_judge_of_scenes_finds_in_real_pictures_what_their_prompts_ask_for_or_a_sentence_says_how_to_train_it():
    data = Toybox(**SCENES)
    try:
        reader, record = judges.load(judges.find("toybox", SCENES, 64, "scenes"))
    except InputError as e:  # its weights are not shipped: make train-judges
        assert "judge --dataset toybox --kind scenes" in str(e)
        return
    asked = [p for category in CATEGORIES for p in prompts(category, 15)]
    images = pictures(data, asked)
    right, wrong = (composition.measured(asked, reader.read(i))["all"]["value"] for i in (images, images.flip(0)))
    assert right >= record["held_out_accuracy"]["all"] - 0.1 and wrong < 0.2


def test_real_pictures_of_prompts_are_the_same_in_any_batch():
    data = Toybox(**SCENES)
    asked = [p for category in CATEGORIES for p in prompts(category, 3)]
    assert torch.equal(pictures(data, asked)[:5], pictures(data, asked[:5]))
    assert torch.equal(pictures(data, asked)[5:8], pictures(data, asked[5:8], first=5))


def test_what_cannot_be_measured_is_said(signs):
    with pytest.raises(InputError, match="nano takes no prompts"):
        evidence.forwards("text_rendering", bundle(), {})
    with pytest.raises(InputError, match="No judge knows `toybox` of 32x32.*--kind scenes"):
        evidence.forwards("composition", network("toybox", SCENES, 32), {})
    with pytest.raises(InputError, match="No judge knows `signs` of 96x32"):
        evidence.forwards("composition", signs, {})
    for wrong in ("", "a", "-1"):
        with pytest.raises(InputError, match="guidance"):
            prompted.guidances(wrong)
    assert prompted.guidances("4, 1,1") == [1.0, 4.0]


def test_prompts_drawn_the_fast_way_are_so_in_every_row(signs):
    slow, fast = ([spec for *_, spec in prompted.rows(signs, signs, 8, [1, 2], fast)] for fast in (False, True))
    assert {(spec.precision, spec.compile) for spec in slow} == {("fp32", False)}
    assert {(spec.precision, spec.compile) for spec in fast} == {("bf16", True)} and len(fast) == len(slow) > 3


def test_each_is_compared_at_the_guidance_that_serves_itself_best():
    """Flow matching is best at 1, Patch Forcing at 4, and still behind: at one guidance it would be ahead."""
    shares = {(prompted.PLAIN, 1): 0.7, (prompted.PLAIN, 4): 0.4, ("Euler", 1): 0.5, ("Euler", 4): 0.6}

    def row(label, scale, share):
        characters = metrics.Resampled(share, share + np.linspace(-0.02, 0.02, 9))
        return prompted.Row(label, scale, {"cfg_scale": scale}, {"characters": characters})

    done = [row(*of, share) for of, share in shares.items()]
    result = {"rows": prompted.compared(done), "at_best": prompted.at_best(done)}
    assert result["rows"][-1]["minus_plain"]["characters"]["value"] == pytest.approx(0.2)
    about = STUDIES["text_rendering"].fn.about
    for of in (result, {"rows": result["rows"]}):  # the second as it was kept before
        assert about.verdict(of).startswith("Does not appear here. ") and "Euler \u221210.0 points" in about.line(of)
    alone = {"rows": prompted.compared(done[2:]), "at_best": prompted.at_best(done[2:])}  # of a network without a head
    assert about.verdict(alone).endswith(
        "Euler 60.0% (58.1 to 61.9) at guidance 4. Guidance 4 is the largest measured."
    )
    assert about.line(alone) == "Characters right, Euler alone: 60.0% (58.1 to 61.9)."


def test_a_guidance_is_chosen_by_label():
    rows = [{"label": "a", "cfg_scale": s, "words": {"value": v}} for s, v in ((1, 0.2), (2, 0.5), (4, 0.3))]
    assert [r["cfg_scale"] for r in prompted.best(rows, "words")] == [2] and np.isfinite(rows[0]["words"]["value"])
