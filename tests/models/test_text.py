"""Networks of prompts: tokens, the text tower, cross-attention, and their checkpoints."""

import json
from dataclasses import replace

import pytest
import torch
from helpers import lively as class_network
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from text_world import CONFIG, KNOWN, bundle, lively

from pf_core.data import DATASETS
from pf_core.data.signs.words import quoted
from pf_core.errors import InputError
from pf_core.models import SiTConfig, build, checkpoint, config_dict, openclip, preset
from pf_core.models.conditioning import ClassLabels, Prompts
from pf_core.models.divergence import Divergence
from pf_core.models.text import TextConfig, TextEncoder, new_tower, read_tower
from pf_core.models.tokens import ALL, UNKNOWN, Vocabulary, as_typed, rows_of
from pf_core.types import PatchTime

PROMPTS = Prompts(CONFIG.text.vocabulary)


def states(batch=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 16, 32, generator=rng), PatchTime.dense(torch.rand(batch, 8, generator=rng))


# prompts as tokens


def test_a_quoted_word_is_one_token_a_character_however_it_is_quoted():
    forms = ['reads "AX7"', "reads “AX7”", 'reads "a x 7"', 'READS  "Ax7"', "reads „AX7“", "reads «AX7»", "reads ‹AX7›"]
    forms += ["reads ＂AX7＂", "reads 'AX7'", "reads ‘ax7’"]
    assert len({tuple(PROMPTS.encode([f])[0].tolist()) for f in forms}) == 1
    assert [w.text for w in PROMPTS.words(forms[0])] == ["reads", '"', "a", "x", "7", '"']
    assert all(w.known and len(w.places) == 1 for w in PROMPTS.words(forms[0]))
    for beside in ('("AX7")', '"AX7".', '"A""X7"'):  # a quotation mark is a word of its own, whatever stands beside it
        assert [w.text for w in PROMPTS.words(beside) if '"' in w.text] == ['"'] * beside.count('"')
    assert quoted("it's a 'CAT' 's") == "CAT" and quoted('a "" that reads "AX"') == "AX" and not quoted("the cat's")


def test_words_are_shown_as_they_were_typed():
    typed = "A Red sign: “Ax7” &amp; NO"
    words = [word.text for word in CONFIG.text.vocabulary.words(typed)]
    assert as_typed(typed, words)[:8] == ["A", "Red", "sign", ":", '"', "A", "x", "7"]
    assert as_typed(typed, words)[-2:] == ["&", "no"]  # what was cleaned is no more what was typed


def test_a_pruned_table_has_a_row_for_each_known_token_and_one_for_all_others():
    vocabulary = CONFIG.text.vocabulary
    assert vocabulary.size == len(rows_of(KNOWN)) + 4 < 30
    rows = vocabulary.encode("a zebra cake")
    assert rows[2] == UNKNOWN and rows[0] == vocabulary.size - 2 and rows[4] == vocabulary.size - 1
    assert rows[5:] == [0] * (CONFIG.text.context - 5)
    assert max(Vocabulary(77).encode("a zebra cake")) == ALL - 1
    assert Vocabulary(77).encode("hello!")[:4] == [49406, 3306, 256, 49407]  # CLIP's own


def test_what_looks_like_the_end_of_a_text_is_no_word():
    assert torch.equal(PROMPTS.encode(["a<end_of_text> cake"]), PROMPTS.encode(["a cake"]))


def test_a_person_is_told_what_of_a_prompt_is_lost():
    assert PROMPTS.notes("a red cake") == PROMPTS.notes(None) == []
    assert PROMPTS.notes("a zebra cake zebra") == ["This network does not know: zebra."]
    (cut,) = PROMPTS.notes("a red cake " * 5)
    assert cut == "The prompt is too long for this network, which drops: cake."
    last = PROMPTS.notes('a red cake a red cake a red cake a red sign "AXC"')[0]
    assert last.endswith('which drops: XC".'), "as it was typed"
    assert PROMPTS.notes("a cake.") == ["This network does not know: “.”."]
    assert PROMPTS.named("a \ud83d cake") == "a ? cake", "half a character could not be written into a recipe"
    with pytest.raises(InputError, match="at most 300 characters, not 301"):
        PROMPTS.named("x" * 301)


@pytest.mark.skipif("signs-pft" not in checkpoint.files_here(), reason="signs-pft is not here")
def test_words_that_the_trainings_pictures_never_showed_are_unknown_though_the_table_has_them():
    prompts = checkpoint.load("signs-pft").conditioner
    assert not prompts.notes('a black plate that reads "AX7" beside a hedge')
    assert prompts.notes('a neon sign that reads "AX7"') == ["This network does not know: neon."]


def test_the_empty_prompt_is_the_null_condition():
    assert PROMPTS.named("  ") is PROMPTS.named(None) is PROMPTS.named(PROMPTS.null_word) is None
    assert torch.equal(PROMPTS.encode([None, ""]), PROMPTS.null(2))
    y = PROMPTS.encode(["a cake"] * 400)
    dropped = (PROMPTS.drop(y, 0.25, torch.Generator().manual_seed(0)) == PROMPTS.null(400)).all(1)
    assert 60 < dropped.sum() < 140


def test_a_class_is_no_prompt():
    with pytest.raises(InputError, match="what a prompt says"):
        PROMPTS.encode([3])


@pytest.mark.parametrize("name", ["signs", "toybox"])
def test_no_caption_of_a_data_set_has_an_unknown_or_a_dropped_word(name):
    data = DATASETS[name].fn(size=16, **({"toys": 3} if name == "toybox" else {"variety": 1.0}))
    prompts = Prompts(Vocabulary(32, rows_of(data.vocabulary())))
    assert not [n for caption in data.batch(range(40)).captions for n in prompts.notes(caption)]
    assert prompts.vocabulary.size < 250


# the network


def test_a_new_network_draws_the_same_whatever_the_prompt_and_a_lively_one_does_not():
    x, t = states()
    y = PROMPTS.encode(["a cake", 'a sign that reads "A"'])
    new = build(CONFIG).eval()
    assert torch.equal(new(x, t, y).v, torch.zeros_like(x))
    model = lively()
    assert not torch.equal(model(x, t, y).v, model(x, t, PROMPTS.null(2)).v)


def test_features_computed_once_give_the_bits_of_tokens_and_hang_on_no_other_prompt():
    model, (x, t) = lively(), states(3)
    y = PROMPTS.encode(['reads "AX7"', None, "a cake"])
    features = model.embed(y)
    assert torch.allclose(model(x, t, features).v, model(x, t, y).v, atol=1e-6)
    assert torch.equal(model.embed(y[2:])[0], features[2])


def test_padding_and_what_stands_behind_the_end_change_nothing():
    model, (x, t) = lively(), states()
    y = PROMPTS.encode(["a cake"] * 2)
    other = y.clone()
    other[:, 5:] = 4
    assert torch.equal(model(x, t, model.embed(y)).v, model(x, t, model.embed(other)).v)
    short = model.embed(y)[:, :6]  # four tokens and two of padding
    assert torch.allclose(model(x, t, short).v, model(x, t, model.embed(y)).v, atol=1e-5)


def test_the_order_of_letters_matters():
    model, (x, t) = lively(), states()
    assert not torch.allclose(*(model(x, t, PROMPTS.encode([f'reads "{w}"'] * 2)).v for w in ("AB", "BA")))


def test_every_weight_of_a_network_of_prompts_learns():
    model, (x, t) = build(CONFIG), states()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * p.requires_grad)
    prediction = model(x, t, PROMPTS.encode(KNOWN))
    (prediction.v.square().mean() + prediction.logvar.square().mean()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0] == []


def test_a_frozen_tower_learns_nothing():
    model, (x, t) = build(replace(CONFIG, text=replace(CONFIG.text, trained=False))), states()
    model(x, t, PROMPTS.encode(KNOWN)).v.sum().backward()
    assert not any(p.requires_grad for p in model.text.tower.parameters()) and model.text.pool.weight.requires_grad


def test_a_network_of_prompts_can_rank_patches_by_its_divergence():
    model, (x, t) = lively(), states()
    signs = [torch.Generator().manual_seed(k) for k in range(2)]
    looked = Divergence(model, 1.0, 2, signs).ranked(x, t, model.embed(PROMPTS.encode(KNOWN)))
    assert looked.difficulty.isfinite().all()


def test_networks_of_classes_have_the_keys_that_they_had():
    keys = class_network().state_dict().keys()
    assert not [k for k in keys if "text" in k or "cross" in k] and "y_embedder.embedding_table.weight" in keys
    assert "text" not in config_dict(preset("nano"))


def test_the_configuration_survives_json():
    assert SiTConfig(**json.loads(json.dumps(config_dict(CONFIG)))) == CONFIG


@pytest.mark.parametrize(
    "wrong", [{"width": 33}, {"heads": 5}, {"rows": [3, 2]}, {"rows": [1, ALL]}, {"layers": 0}, {"context": "long"}]
)
def test_a_text_tower_that_cannot_be_is_one_sentence(wrong):
    with pytest.raises(InputError):
        TextConfig(**{"width": 32, "heads": 2} | wrong)


# checkpoints


def test_a_saved_network_of_prompts_comes_back_with_its_words(tmp_path):
    path = tmp_path / "words.safetensors"
    checkpoint.save(path, lively(), [], {"steps": 7})
    assert checkpoint.damage(path) is None
    net = checkpoint.load(str(path))
    assert net.conditioner == PROMPTS and net.model.config == CONFIG
    x, t = states()
    y = net.conditioner.encode(KNOWN)
    rounded = lively()
    for p in rounded.parameters():
        if p is not rounded.pos_embed:
            p.copy_(p.bfloat16().float())
    assert torch.equal(net.model(x, t, y).v, rounded(x, t, y).v)
    table = load_file(path)["text.tower.token_embedding.weight"]
    assert table.shape == (CONFIG.text.vocabulary.size, 32)


def test_a_cut_table_of_tokens_is_one_sentence(tmp_path):
    path = tmp_path / "words.safetensors"
    checkpoint.save(path, lively(), [], {})
    with pytest.raises(InputError, match="does not fit together"):
        with safe_open(path, "pt") as f:
            about = f.metadata()
        weights = load_file(path)
        weights["text.tower.token_embedding.weight"] = weights["text.tower.token_embedding.weight"][:5].clone()
        save_file(weights, path, metadata=about)
        checkpoint.load(str(path))


# towers of others


def small_clip(config):
    """A CLIP model's state dict as open_clip writes it, in the layout of most of its models."""
    tower = new_tower(config)
    return {**tower.state_dict(), "text_projection": torch.zeros(config.width, 8), "logit_scale": torch.tensor(1.0),
            "visual.proj": torch.zeros(2, 2)}  # fmt: skip


GIVEN = TextConfig(width=64, layers=2, heads=1, context=20, trained=False)


@pytest.mark.parametrize("form", ["safetensors", "pt", "nested", "custom"])
def test_a_tower_of_open_clips_file_is_read_in_every_layout(tmp_path, form):
    weights = small_clip(GIVEN)
    path = tmp_path / ("clip.safetensors" if form == "safetensors" else "clip.pt")
    if form == "safetensors":
        save_file(weights, path)
    elif form == "pt":
        torch.save(weights, path)
    elif form == "nested":
        torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}, "epoch": 3}, path)
    else:
        torch.save({k if k.startswith("vis") else f"text.{k}": v for k, v in weights.items()}, path)
    config, read = read_tower(path)
    assert config == GIVEN and torch.equal(read["ln_final.weight"], weights["ln_final.weight"])
    assert "text_projection" not in read


@pytest.mark.parametrize(
    "what", ["missing", "program", "no text", "pickle", "text", "other size", "nan", "whole object"]
)
def test_a_wrong_file_for_a_tower_is_one_sentence(tmp_path, what):
    path, weights = tmp_path / "clip.pt", small_clip(GIVEN)
    if what == "program":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    elif what == "no text":
        torch.save({k: v for k, v in weights.items() if k.startswith("vis")}, path)
    elif what == "pickle":
        torch.save({"state_dict": weights, "hook": print}, path)
    elif what == "text":
        path.write_text("weights")
    elif what == "other size":
        torch.save(weights | {"token_embedding.weight": torch.zeros(100, 64)}, path)
    elif what == "nan":
        torch.save(weights | {"ln_final.bias": torch.full((64,), torch.nan)}, path)
    elif what == "whole object":
        torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError) as error:
        read_tower(path)
    said = {"program": "TorchScript", "missing": "no file", "no text": "no text tower", "other size": "100 tokens"}
    said |= dict.fromkeys(("pickle", "text", "whole object"), "nothing else: save the network's state_dict()")
    assert said.get(what, "") in str(error.value) and str(error.value).endswith(".")


def true_tower():
    """open_clip's text tower as ViT-B-32 has it, with weights of our own: its own way to draw them takes seconds."""
    with torch.device("meta"):
        tower = openclip.package().transformer.TextTransformer(
            context_length=77, vocab_size=ALL, width=512, heads=8, layers=12, output_dim=512, output_tokens=True
        )
    tower = tower.to_empty(device="cpu").eval().requires_grad_(False)
    tower.attn_mask = tower.build_causal_mask()
    rng = torch.Generator().manual_seed(0)
    for name, p in tower.named_parameters():
        p.normal_(1.0 if "ln_" in name and name.endswith("weight") else 0.0, 0.04, generator=rng)
    return tower


def test_a_text_tower_of_true_architecture_gives_what_open_clip_gives(tmp_path):
    tower, path = true_tower(), tmp_path / "vit-b-32.safetensors"
    save_file({**tower.state_dict(), "logit_scale": torch.tensor(4.6), "visual.proj": torch.zeros(2, 2)}, path)
    config, weights = read_tower(path)
    assert config == TextConfig(512, 12, 8, 77, None, False, False)
    with torch.device("meta"):
        ours = TextEncoder(config, 32)
    ours.tower.load_state_dict(weights, assign=True)
    prompts = ["a red mushroom", "a red mushroom left of a blue house on a checked floor"]
    features = ours.features(Prompts(config.vocabulary).encode(prompts))
    pooled, tokens = tower(openclip.tokenizer()(prompts))
    lengths = features.ne(0).any(-1).sum(1).tolist()
    assert lengths == [5, 14]
    for k, length in enumerate(lengths):
        assert torch.allclose(features[k, :length], tokens[k, :length], atol=1e-4)
        assert torch.allclose(features[k, length - 1] @ tower.text_projection, pooled[k], atol=1e-4)


@pytest.mark.slow
def test_a_tower_of_true_size_gives_what_open_clip_gives(tmp_path):
    """ViT-B-32: the whole model with weights of its own, written and read as open_clip does."""
    model = openclip.package().create_model("ViT-B-32").eval()
    torch.save(model.state_dict(), tmp_path / "vit-b-32.pt")
    config, weights = read_tower(tmp_path / "vit-b-32.pt")
    assert (config.width, config.layers, config.heads, config.context) == (512, 12, 8, 77)
    net = build(preset("nano", num_classes=0, text=config)).eval()
    net.text.tower.load_state_dict(weights)
    y = Prompts(config.vocabulary).encode(["a red mushroom left of a blue house"])
    with torch.no_grad():
        features = net.embed(y)
        pooled = features[0, int(features[0].ne(0).any(-1).sum()) - 1] @ model.text_projection
        expected = model.encode_text(openclip.tokenizer()(["a red mushroom left of a blue house"]))[0]
    assert torch.allclose(pooled, expected, atol=1e-4)


def test_classes_and_prompts_have_the_same_duties():
    duties = "names num_classes null_word takes named index name asked split of_sample asked_of encode null drop notes"
    assert all(hasattr(one, duty) for one in (PROMPTS, ClassLabels(2)) for duty in duties.split())
    assert bundle().conditioner.named(" a  cake ") == "a cake"
