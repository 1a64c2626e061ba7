"""What a run is trained on, pinned in its folder: it goes on with the same pictures only, read alike."""

from typing import Any

from pf_core import files
from pf_core.errors import InputError
from pf_core.training.run_dir import RunFolder

ANOTHER = "start another run, with --init from this run's network."


def pin(folder: RunFolder, data: Any, step: int, rules: int | None) -> None:
    """Record which pictures a run is trained on. Raises InputError if a run that has reached `step` was trained on
    others, or read them differently: `rules` is the version of the reading rules at its start."""
    facts, path = getattr(data, "facts", None), folder.path / "data.json"
    if not facts:  # a generated data set without versions cannot change
        return
    known = files.read_json(path)
    if step and known and known.get("digest") != facts["digest"]:
        raise InputError(_changed(known, facts, rules))
    if step and known.get("meaning", facts.get("meaning")) != facts.get("meaning"):
        raise InputError(
            f"The names of the classes or the codec have changed since this run began: restore them, or {ANOTHER}"
        )
    files.write_json(path, facts)


def _changed(known: dict[str, Any], facts: dict[str, Any], rules: int | None) -> str:
    """Why another digest is found."""
    if "rules" not in facts:
        return (
            f"This version draws these images differently from the one that began this run ({known.get('digest')} "
            f"then, {facts['digest']} now): {ANOTHER}"
        )
    rules = known.get("rules", rules or 1)  # the last version known to read them alike
    if rules != facts["rules"]:
        return (
            f"This version reads these pictures differently from the one that started this run (rules {rules} then, "
            f"{facts['rules']} now): {ANOTHER}"
        )
    return (
        f"The pictures have changed since this run began ({known.get('pictures')} then, {facts['pictures']} now): "
        "restore them, or start another run from its network."
    )
