"""The kinds of judges: what they say of a picture. A file's header names its judge's kind."""

from pf_core.errors import InputError
from pf_core.evaluation.judges.network import Judge
from pf_core.evaluation.judges.reader import Reader
from pf_core.evaluation.judges.scenes import Checker


class _Kinds(dict):
    def __missing__(self, kind: str):
        raise InputError(f"There is no kind of judge {kind!r:.60}. Known: {', '.join(self)}.")


KINDS = _Kinds({judge.kind: judge for judge in (Judge, Reader, Checker)})
