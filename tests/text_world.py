"""A tiny network of prompts with lively weights, and a data set of a few captioned pictures."""

from dataclasses import replace

from helpers import enlivened

from pf_core.models import preset
from pf_core.models.checkpoint import Bundle
from pf_core.models.codecs import Pixels
from pf_core.models.conditioning import Prompts
from pf_core.models.text import TextConfig
from pf_core.models.tokens import rows_of

KNOWN = ['a red neon sign that reads "ABCX7"', "a cake"]
CONFIG = preset(
    "nano", input_size=(16, 32), num_classes=0, text=TextConfig(width=32, layers=1, rows=rows_of(KNOWN), context=16)
)


def lively(**changes):
    """Random weights everywhere."""
    return enlivened(replace(CONFIG, **changes))


def bundle(**changes):
    return Bundle("words", lively(**changes), Pixels(), Prompts(CONFIG.text.vocabulary))
