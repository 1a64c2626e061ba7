"""What asks for a class is known by its type, and every class can be asked for, whatever its name is."""

import json

import pytest
import torch
from own_pictures import picture, tree

from pf_core.cli import main
from pf_core.data.own.dataset import Folder
from pf_core.errors import InputError
from pf_core.evaluation.evaluate import shards
from pf_core.evaluation.inspect import data_picture
from pf_core.flow import STANDARD_NORMAL
from pf_core.models import build, checkpoint, preset
from pf_core.models.conditioning import ClassLabels, quoted, split
from pf_core.sampling.export import read_recipe
from pf_core.sampling.run import Run, SampleSpec, resolve
from pf_core.sampling.selections import of_class
from pf_core.sampling.sweep import Sweep
from pf_core.sampling.sweep_axes import parse, text_of
from pf_core.training.runner import _by_name

ODD = ["<b>1</b>", "none", "red, green", "3", "0", 'say "x"; y', "blue"]
NUMBERS = [str(i) for i in range(1, 12)]


def saved(path, names, training=None):
    model = build(preset("nano", input_size=16, num_classes=len(names)), 0)
    torch.manual_seed(1)
    with torch.no_grad():  # a new network's output is zero, whatever the class
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    checkpoint.save(path, model, names, training or {}, STANDARD_NORMAL)
    return str(path)


@pytest.fixture
def net(tmp_path):
    return saved(tmp_path / "odd.safetensors", ODD)


def test_an_int_is_an_index_a_text_a_name_and_nothing_the_null_class():
    y = ClassLabels(7, ODD)
    assert [y.index(a) for a in (0, 3, 6)] == [0, 3, 6]
    assert [y.index(a) for a in ("3", "0", "none", " blue ", "red, green")] == [3, 4, 1, 6, 2]
    assert y.index("2") == 2  # digits that are no name
    assert (
        [y.index(a) for a in (None, "", "no class")] == [7, 7, 7]
        and y.null_word == "no class"
        and y.name(7) == "no class"
    )
    assert [y.named(a) for a in (0, 3, "none", None, "no class")] == ["<b>1</b>", "3", "none", None, None]
    for wrong in (7, -1, True, 1.5, "12", "None", [], {}, "9" * 5000):
        with pytest.raises(InputError, match="There is no class"):
            y.index(wrong)
    plain = ClassLabels(3, ["a", "b", "c"])
    assert plain.index("none") == 3 and plain.named("none") is None and plain.null_word == "none"


def test_classes_that_are_numbers_are_asked_for_in_turn_each_once():
    y = ClassLabels(11, NUMBERS)
    labels = [label for part in shards(SampleSpec("x"), range(11), 11) for label in part.labels]
    assert [y.named(label) for label in labels] == NUMBERS
    assert y.index("1") == 0 and y.index(1) == 1 and y.index("11") == 10 and y.index("0") == 0


@pytest.mark.parametrize(
    "text, found",
    [
        ("red, green", ["red, green"]),
        ("red, green,blue", ["red, green", "blue"]),
        ('"red, green",blue', ["red, green", "blue"]),
        ("blue,,none", ["blue", "", "none"]),
        ('"say ""x""; y", blue', ['say "x"; y', "blue"]),
        ("red,green", ["red", "green"]),  # not as it is written
        ("3", ["3"]),
        ('3, "red, green"', ["3", "red, green"]),
        ('(no class), "red, green"', ["(no class)", "red, green"]),
        ('a (b, "red, green"', ["a (b", "red, green"]),
        ("", [""]),
    ],
)
def test_several_classes_are_told_apart_whatever_is_in_their_names(text, found):
    assert split(text, ODD) == found


def test_whatever_names_are_written_are_read_back():
    y = ClassLabels(7, ODD)
    for names in (ODD, ODD[::-1], ["none"], ["red", "red, green"]):
        assert split(",".join(map(quoted, names)), ODD) == list(names)
    values = [*ODD, None]
    assert parse("label", text_of(values, y), y) == values
    assert parse("label", [3, "3", None, "none", 4], y) == ["3", None, "none", "0"]
    assert parse("label", ["red, green", "no class"], y) == ["red, green", None]


def test_every_class_of_a_network_can_be_drawn_from_the_command_line(net, tmp_path):
    def recipe(label):
        out = tmp_path / "a.json"
        assert (
            main(
                [
                    "sample",
                    "--checkpoint",
                    net,
                    "--label",
                    label,
                    "--nfe",
                    "1",
                    "--sampler",
                    "euler",
                    "--seeds",
                    "0-1",
                    "--out",
                    str(out),
                ]
            )
            == 0
        )
        return read_recipe(out)["labels"]

    for name in ("none", "red, green", "3"):
        assert recipe(name) == [name, name]
    assert recipe("no class") == [None, None] and recipe("2,none") == ["red, green", "none"]


def test_a_class_called_none_is_drawn_as_that_class(net):
    bundle = checkpoint.load(net)

    def drawn(label):
        return list(Run(bundle, SampleSpec("odd", "euler", nfe=2, labels=[label])))[-1].x

    assert not torch.equal(drawn("none"), drawn(None)) and torch.equal(drawn("none"), drawn(1))
    spec = resolve(SampleSpec("odd", labels=["none", None, 1], seeds=[1, 2, 3]), bundle)
    assert spec.labels == ["none", None, "none"]
    again = SampleSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert resolve(again, bundle).labels == spec.labels
    cells = Sweep(spec, {"label": ["none", None, 4]}).cells()
    assert [resolve(c.spec, bundle).labels for c in cells] == [["none"], [None], ["0"]]


# a network and a data set that have the same classes in another order


def test_labels_of_a_data_set_meet_a_network_by_name(home, tmp_path):
    content = {f"{n}/{i}.png": picture((20 * int(n), 90, 10 * i)) for n in NUMBERS for i in range(2)}
    mine = tree(tmp_path / "mine" / "n", content)
    recipe = {"dataset": "folder", "data_settings": {"path": str(mine), "size": 16}}
    net = checkpoint.load(saved(tmp_path / "old.safetensors", sorted(NUMBERS), {"recipe": recipe}))  # 1, 10, 11, 2, ...
    data = Folder(path=str(mine), size=16)
    labels = torch.arange(11)
    assert [net.conditioner.names[i] for i in net.conditioner.of_data(labels, data.names)] == data.names == NUMBERS
    found = of_class(net, {"dataset": "folder", "settings": {"path": str(mine), "size": 16}}, "2")
    assert data.names[int(data.batch([found]).labels[0])] == "2"
    held = data_picture(net, 0)
    assert held.label == data.names[int(data.batch([2**31]).labels[0])]


def test_a_class_that_a_network_lacks_is_said(home, tmp_path):
    y = ClassLabels(2, ["cat", "dog"])
    assert y.of_data(torch.tensor([1, 0]), ["dog", "cat", "fox"]).tolist() == [0, 1]
    with pytest.raises(InputError, match="The network has no class 'fox', which the pictures have; it knows cat, dog"):
        y.of_data(torch.tensor([1, 2]), ["dog", "cat", "fox"])
    assert ClassLabels(0).of_data(torch.tensor([1, 2]), ["a", "b", "c"]).tolist() == [0, 0]
    mine = tree(tmp_path / "mine" / "n", {f"{n}/1.png": picture() for n in ("fox", "hen")})
    recipe = {"dataset": "folder", "data_settings": {"path": str(mine), "size": 16}}
    item = data_picture(checkpoint.load(saved(tmp_path / "a.safetensors", ["cat", "dog"], {"recipe": recipe})), 0)
    assert item.label is None and "has no class 'fox'" in item.about


def test_a_training_that_starts_from_a_network_takes_each_class_by_its_name():
    table = torch.arange(5.0)[:, None]
    weights = {"y_embedder.embedding_table.weight": table, "other": table}
    moved = _by_name(weights, ["a", "b", "c", "d"], ["d", "x", "b", "y"])
    assert moved["y_embedder.embedding_table.weight"][:, 0].tolist() == [3, 0, 1, 2, 4]
    assert _by_name(weights, ["a", "b", "c", "d"], ["a", "b", "c", "d"]) is weights
