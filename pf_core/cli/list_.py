"""list: samplers, timestep samplers, data sets, studies and networks, with their settings."""

import argparse

from pf_core.data import DATASETS
from pf_core.errors import InputError
from pf_core.evaluation.studies import STUDIES
from pf_core.models import PRESETS, checkpoint
from pf_core.models.codecs import CODECS
from pf_core.samplers import SAMPLERS
from pf_core.timesteps import TIMESTEPS

REGISTRIES = {r.kind.replace(" ", "-") + "s": r for r in (SAMPLERS, TIMESTEPS, DATASETS, CODECS)} | {"studies": STUDIES}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", metavar="KIND", help="this table only, for the README: " + ", ".join(REGISTRIES))


def run(args: argparse.Namespace) -> None:
    if args.markdown:
        print(markdown(args.markdown))
        return
    for kind, registry in REGISTRIES.items():
        print(kind)
        for name, entry in registry.items():
            settings = ", ".join(f"{k.flag} {k.default}" for k in entry.knobs.values())
            print(f"  {name:20} {entry.label}{'  [' + settings + ']' if settings else ''}")
    print("network sizes")
    for name, config in PRESETS.items():
        size = f"depth {config.depth}, width {config.hidden_size}, {config.num_heads} heads, patch {config.patch_size}"
        print(f"  {name:20} {size}")
    print("checkpoints")
    for name in checkpoint.names():
        print(f"  {name}")


def markdown(kind: str) -> str:
    """A registry as a Markdown table. Raises InputError for an unknown kind."""
    if kind not in REGISTRIES:
        raise InputError(f"There is no table {kind!r}. Known: {', '.join(REGISTRIES)}.")
    rows = ["| name | what it does | settings |", "|---|---|---|"]
    for name, entry in REGISTRIES[kind].items():
        settings = ", ".join(f"`{k.flag}` {k.default}" for k in entry.knobs.values()) or "none"
        rows.append(f"| `{name}` | {entry.label} | {settings} |")
    return "\n".join(rows)
