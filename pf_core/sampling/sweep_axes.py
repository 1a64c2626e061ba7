"""What can be swept, and the values that people write for it: `16, 32, 64`, `0-7`, `0.2-0.8:0.2`, names."""

from functools import partial
from typing import Any

from pf_core.errors import InputError
from pf_core.models.conditioning import EXAMPLE, NULL_WORDS, Conditioner, Prompts, quoted, split, split_prompts
from pf_core.registry import Parameter, as_text, ranged
from pf_core.samplers import SAMPLERS
from pf_core.sampling.run import DIFFICULTIES, NUMBERS

SPEC_AXES = ("checkpoint", "sampler", "nfe", "steps", "cfg_scale", "label", "prompt", "seed", "difficulty", "probes")
NAMED = ("checkpoint", "sampler", "label", "difficulty")  # axes whose values are names
ASKED = {"label": "class", "prompt": "prompt"}  # axis -> what its values are, of what a network draws
MAX_CELLS = 100
WORDS = {"checkpoint": "network", "nfe": "NFE", "steps": "outer steps", "cfg_scale": "guidance", "label": "class"}


def axes_known() -> list[str]:
    """Everything that can be swept: fields of a recipe, then the samplers' knobs."""
    return list(dict.fromkeys([*SPEC_AXES, *(knob for entry in SAMPLERS.values() for knob in entry.knobs)]))


def axes_of(classes: Conditioner | None) -> list[str]:
    """Those of them that a network with this conditioner takes: classes or prompts, not both; None: all."""
    return [name for name in axes_known() if classes is None or ASKED.get(name, classes.takes) == classes.takes]


def axis_words(name: str) -> str:
    """What an axis is called on a page."""
    return WORDS.get(name, name.replace("_", " "))


def value_words(name: str, value: Any) -> str:
    """A value as a heading says it: 'Look-ahead', '64 NFE', 'star', 'seed 3', 'n inner 4'."""
    if name == "sampler":
        return SAMPLERS[value].title if value in SAMPLERS else str(value)
    if name == "prompt":
        return Prompts.null_word if value is None else str(value)
    if name == "checkpoint" or (name == "label" and isinstance(value, str)):
        return str(value)
    if name == "label" and value is None:
        return "no class"
    text = as_text(value)
    return f"{text} {axis_words(name)}" if name in ("nfe", "steps") else f"{axis_words(name)} {text}"


def parse(name: str, text: Any, classes: Conditioner | None = None) -> list[Any]:
    """An axis's values: a text as above, or a list. Each is checked, and none comes twice. Prompts, which may hold
    commas, have semicolons between them, or lines of their own. Raises InputError.

    classes: the conditioner, for labels and prompts; checkpoints are checked by whoever loads them.
    """
    if name not in axes_known():
        raise InputError(f"{name!r} cannot be swept. Known: {', '.join(axes_known())}.")
    check_takes(name, classes)
    names = classes.names if classes and name == "label" else ()
    read = split_prompts if name == "prompt" else partial(split, names=names, marks=r",;\n")
    parts = read(text) if isinstance(text, str) else list(text or [])
    values: dict[Any, None] = {}
    for part in parts:
        if name in ("label", "prompt") and not isinstance(part, str):  # a class is known by its type
            values[part if classes is None else classes.named(part)] = None
        elif part := part if name == "label" and part.strip() else str(part).strip():
            values |= dict.fromkeys(
                [_named(name, part, classes)]
                if name in (*NAMED, "prompt")
                else ranged(name, part, partial(_check, name), MAX_CELLS)
            )
        if len(values) > MAX_CELLS:
            raise InputError(f"{name} has more than {MAX_CELLS} values: a sweep has at most so many cells.")
    if not values:
        raise InputError(f"Give values for {name}, such as {suggested(name, classes) or 'a name'}.")
    return list(values)


def check_takes(name: str, classes: Conditioner | None) -> None:
    """Raises InputError for labels of a network of prompts, and for prompts of one of classes."""
    if name == "label" and classes and classes.takes == "prompt":
        raise InputError("This network draws what a prompt says: give a prompt, not a label.")
    if name == "prompt" and classes and classes.takes != "prompt":
        raise InputError("This network draws classes, not prompts: give a label, not a prompt.")


def suggested(name: str, classes: Conditioner | None = None) -> str:
    """Values to begin with, as a person would write them; empty where only the caller knows the names."""
    fixed = {"nfe": "8, 16, 32, 64", "steps": "4, 8, 16, 32", "cfg_scale": "1, 2, 4", "seed": "0-3"}
    if name in fixed:
        return fixed[name]
    if name == "sampler":
        return ", ".join(SAMPLERS)
    if name == "difficulty":
        return ", ".join(DIFFICULTIES)
    if name == "probes":
        return "1, 2, 4, 8"
    if name == "prompt":
        return text_of(list(classes.examples[:3]), name=name) if classes and classes.examples else EXAMPLE
    if name == "label":
        return ", ".join(quoted(classes.name(i)) for i in range(min(4, classes.num_classes))) if classes else ""
    if name not in axes_known() or name in NAMED:
        return ""
    knob = _knobs(name)[0]
    low, high, start = knob.knob.low, knob.knob.high, knob.default
    if low is None or high is None or knob.type not in (int, float):
        return str(start)
    values = [start + (low - start) / 2, start, start + (high - start) / 4]
    return ", ".join(dict.fromkeys(f"{round(v) if knob.type is int else round(v, 2):g}" for v in values))


def text_of(values: list[Any], classes: Conditioner | None = None, name: str = "") -> str:
    """Values as a person would write them; `parse` reads them back. classes: of labels, to name the null class; name:
    the axis's, as prompts have marks of their own."""
    if name == "prompt":
        texts = [Prompts.null_word if v is None else str(v) for v in values]
        return "; ".join(text if _plain(text) else quoted(text) for text in texts)
    null = classes.null_word if classes else next((word for word in NULL_WORDS if word not in values), "")
    return ", ".join(null if v is None else quoted(as_text(v)) for v in values)


def _plain(prompt: str) -> bool:
    """Whether a prompt among others is read as it is written, with no quotation marks around it."""
    if ";" in prompt or not prompt.startswith('"'):
        return ";" not in prompt
    return prompt.count('"') % 2 == 0 and '""' not in prompt and split_prompts(prompt) == [prompt]


def _named(name: str, text: str, classes: Conditioner | None) -> str | None:
    if name == "sampler":
        return SAMPLERS[text].name
    if name == "difficulty" and text not in DIFFICULTIES:
        raise InputError(f"difficulty is {' or '.join(DIFFICULTIES)}, not {text!r:.60}.")
    if name == "prompt":
        return text if classes is None else classes.named(text)
    if name == "label":
        if classes is None:
            return None if text == NULL_WORDS[0] else text
        return classes.named(text)
    return text


def _check(name: str, value: Any) -> int | float:
    wrong = None
    for knob in _knobs(name):
        try:
            return knob.check(value)
        except InputError as e:
            wrong = e
    raise wrong


def _knobs(name: str) -> list[Parameter]:
    """The knobs of this name: samplers may share one."""
    if name in NUMBERS:
        return [NUMBERS[name]]
    return [entry.knobs[name] for entry in SAMPLERS.values() if name in entry.knobs]
