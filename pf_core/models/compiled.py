"""Networks compiled by torch: faster after a compilation of seconds to minutes, rounded differently."""

import os
import shutil
import subprocess
from typing import Any

import torch
from torch import nn

from pf_core.errors import InputError

# Compilations of one function, here of every network's forward, in each shape: at torch's own 8 a study of many
# networks would run from the third on as if it was not compiled.
MOST_COMPILED = 256


def cpu_compiler() -> str | None:
    """Path of the C++ compiler that compilation needs on a CPU; None if there is none."""
    return shutil.which(os.environ.get("CXX", "g++"))


def check_compiler() -> None:
    """Raises InputError if there is no working C++ compiler."""
    name = cpu_compiler()
    if name is None:
        raise InputError("--compile needs a C++ compiler: install g++, or leave --compile out.")
    argv, program = [name, "-x", "c++", "-fsyntax-only", "-"], "int main() { return 0; }"
    try:
        done = subprocess.run(argv, input=program, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        reason = str(e)
    else:
        reason = "" if not done.returncode else (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    if reason:
        raise InputError(
            f"--compile needs a C++ compiler, and {name} fails ({reason}): repair it or leave --compile out."
        )


def compiled(model: Any) -> Any:
    """The network compiled for the shapes it will meet, each when it first does; all else of it is as it was. Raises
    InputError for what is no such network, or where there is no compiler."""
    if not isinstance(model, nn.Module):
        raise InputError("Only a network of layers can be compiled: leave --compile out.")
    if next((p.device.type for p in model.parameters()), "cpu") == "cpu":
        check_compiler()
    torch._dynamo.config.recompile_limit = MOST_COMPILED
    torch._dynamo.config.accumulated_recompile_limit = 4 * MOST_COMPILED
    return torch.compile(model, dynamic=False)
