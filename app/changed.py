"""The chip beside Run: the controls say something else than what the viewer shows."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from gradio.components import Component

from app.handlers import PlainText, on
from app.state import AppState
from pf_core.errors import InputError
from pf_core.sampling.run import SampleSpec, resolve

SENTENCE = "Settings changed: press Run"
# What forms do not say (a file's run may have it), or what the steps decide.
_ELSEWHERE = ("edits", "ts", "noise", "precision", "versions", "checkpoint_hash", "nfe")


class Changed(PlainText):
    """Says so while the form's recipes are not those of the runs that are shown; empty otherwise."""

    def __init__(self, elem_id: str):
        super().__init__("pf-chip", elem_id=elem_id)

    def watch(
        self,
        state: AppState,
        viewer: Component,
        inputs: Mapping[str, Component],
        specs: Callable[[Mapping[str, Any]], list[SampleSpec]],
        first: bool = False,
    ) -> None:
        """Compare whenever a control or the viewer changes. specs: a form's values -> its recipes; `first`: only the
        viewer's first run is made of them."""

        def compare(shown: Any, **values: Any) -> dict:
            return {self: SENTENCE if differs(state, shown, lambda: specs(values), first) else ""}

        changes = [viewer.change, *(control.change for control in inputs.values())]
        on(changes, compare, {"shown": viewer, **inputs}, [self], trigger_mode="always_last")


def differs(state: AppState, shown: Any, specs: Callable[[], list[SampleSpec]], first: bool = False) -> bool:
    """Whether Run would make other runs than those of the viewer's value; False where it shows none that is kept."""
    listed = shown.get("runs") if isinstance(shown, dict) else None
    ids = [run.get("id") for run in listed or [] if isinstance(run, dict)]
    runs = [state.runs.get(i) for i in ids[: 1 if first else None] if i in state.runs]
    if not runs:
        return False
    try:
        asked = [resolve(spec, state.bundle(spec.checkpoint)) for spec in specs()]
    except InputError:
        return True
    return len(asked) != len(runs) or not all(
        sayable(spec) in alike(run.spec) for spec, run in zip(asked, runs, strict=True)
    )


def alike(spec: SampleSpec) -> list[dict[str, Any]]:
    """What a form may say while this run is shown: the run; where no form can say it, its first image alone, or as many
    from the first one's class and seed on, as a form is set from a file."""
    first, n = spec.seeds[0], len(spec.seeds)
    nearest = [replace(spec, labels=spec.labels[:1], seeds=list(range(first, first + k))) for k in {1, n}]
    mixed = len(set(spec.labels)) > 1 or spec.seeds != nearest[-1].seeds
    return [sayable(each) for each in (nearest if mixed else [spec])]


def sayable(spec: SampleSpec) -> dict[str, Any]:
    """Of a complete recipe what a form can say, and what makes a difference."""
    parts = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in _ELSEWHERE}
    parts["labels"] = spec.labels * len(spec.seeds) if len(spec.labels) == 1 else list(spec.labels)
    parts["guidance_interval"] = None if spec.cfg_scale == 1 else tuple(spec.guidance_interval)
    return parts
